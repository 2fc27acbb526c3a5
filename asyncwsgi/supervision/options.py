"""The options of several processes, around the server that `Config` describes in each of them."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from asyncwsgi.config import AUTO, Option, declared, octal
from asyncwsgi.errors import ConfigError
from asyncwsgi.supervision.cores import usable_cores

WEB_CONCURRENCY = "WEB_CONCURRENCY"
"""How platforms that run many kinds of programs say how many processes there shall be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessOptions:
    """How many processes serve, and when one is replaced.

    Raises:
        ConfigError: a value, or a combination of values, that cannot be had.
    """

    workers: int | str | None = declared(
        None,
        "Processes that serve; auto is one for each core that may be used. Without it this process "
        "serves itself.",
        words=(AUTO,),
        metavar="INTEGER|auto",
    )
    preload: bool = declared(
        False, "Import the application once, in a process that forks the workers."
    )
    max_requests: int = declared(
        0, "Requests after which a worker is replaced by a new one; 0 is never.", minimum=0
    )
    max_requests_jitter: int = declared(
        0,
        "Most requests that are added to max_requests, for each worker another number, so that not "
        "all are replaced at once.",
        minimum=0,
    )
    max_worker_memory: int = declared(
        0, "Bytes of resident memory beyond which a worker is replaced; 0 is no limit.", minimum=0
    )
    worker_timeout: float = declared(
        0.0,
        "Seconds for which the loop of a worker may not answer before it is killed; 0 is for ever.",
        minimum=0,
    )

    user: str | None = declared(
        None,
        "User, by name or number, as whom the application runs; this process opens the "
        "listeners before.",
    )
    group: str | None = declared(None, "Group, by name or number; without it, that of the user.")
    pid: str | None = declared(
        None, "File in which the number of this process stands.", holds_paths=True
    )
    umask: str | None = declared(
        None, "File mode creation mask, octal, of all that is created: 027 for instance."
    )

    def __post_init__(self) -> None:
        if isinstance(self.workers, str):
            object.__setattr__(self, "workers", _number_of(self.workers, "workers"))
        if self.workers is not None:
            self._check_workers(self.workers)
        for field in dataclasses.fields(self):
            self._check_number(field, field.metadata["option"])
        if self.umask is not None:
            octal(self.umask, "umask")
        if self.max_requests_jitter and not self.max_requests:
            raise ConfigError("max_requests_jitter is added to max_requests, which is not given")

    def _check_workers(self, workers: object) -> None:
        if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
            raise ConfigError(f"workers must be at least 1, or auto, got {workers!r}")
        if os.name != "posix":
            raise ConfigError(
                "workers share sockets and are told by signals, which this platform cannot; start "
                "one process, and raise 'threads'"
            )

    def _check_number(self, field: dataclasses.Field[Any], option: Option) -> None:
        value = getattr(self, field.name)
        if option.minimum is None:
            return
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ConfigError(f"{field.name} must be a number, got {value!r}")
        if not value >= option.minimum:
            raise ConfigError(f"{field.name} must be at least {option.minimum}, got {value!r}")

    @property
    def worker_count(self) -> int | None:
        """How many processes serve; None if it was not said, so that this one does."""
        assert not isinstance(self.workers, str)
        return self.workers

    @classmethod
    def from_options(cls, options: Mapping[str, Any], *, reads_environment: bool) -> Self:
        """Make one of keyword arguments.

        Args:
            options: as they were given.
            reads_environment: whether ``WEB_CONCURRENCY`` stands in for `workers`.
        """
        values = dict(options)
        if reads_environment and values.get("workers") is None:
            number = os.environ.get(WEB_CONCURRENCY, "")
            values["workers"] = _number_of(number, WEB_CONCURRENCY) if number else None
        return cls(**values)


def _number_of(text: str, name: str) -> int:
    if text == AUTO:
        return usable_cores()
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        raise ConfigError(f"{name} must be at least 1, or auto, got {text!r}")
    return int(text)


PROCESS_OPTIONS = tuple(field.name for field in dataclasses.fields(ProcessOptions))
FOR_ALL = ("workers", "user", "group", "pid", "umask")
"""Those that make sense without workers, too."""
