"""What the command line offers for development, around the server that `Config` describes."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from asyncwsgi.app_loading import load_application
from asyncwsgi.config import LARGEST_PORT, Option, option_fields
from asyncwsgi.development.debugger import has_werkzeug, with_debugger
from asyncwsgi.development.editor import editor_template
from asyncwsgi.errors import ConfigError
from asyncwsgi.reloading.sources import is_directory

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

    from asyncwsgi.config import Config

_WILDCARDS = ("*", "?", "[")
_PATHS = f"paths, separated by {os.pathsep!r}"


def _option(default: Any, text: str, **more: Any) -> Any:
    return dataclasses.field(default=default, metadata={"option": Option(text, **more)})


def _paths(value: str | Iterable[str]) -> tuple[str, ...]:
    values = (value,) if isinstance(value, str) else value
    return tuple(path for each in values for path in each.split(os.pathsep) if path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Development:
    """Whether to reload, what to watch besides the code, and whether to debug."""

    reload: bool = _option(
        False, "Take up changed code while the listeners stay open.", implied_by="debug"
    )
    debug: bool = _option(False, "For development: --reload and --debugger, and FLASK_DEBUG=1.")
    debugger: bool = _option(
        False, "Show Werkzeug's interactive debugger for exceptions.", implied_by="debug"
    )
    inspect: bool = _option(
        False,
        "Show each request as it comes, on a page of its own at this machine alone.",
        implied_by="debug",
    )
    inspect_port: int = _option(0, "Port of that page; 0 is a free one.", minimum=0)
    inspect_secrets: bool = _option(
        False, "Keep cookies, passwords and tokens for it as they are, instead of masking them."
    )
    editor: str = _option(
        "",
        "The editor in which error pages open files: its command, such as code, or a link with "
        "{path} and {line} in it; none for no links.  [default: as VISUAL or EDITOR says]",
    )
    extra_files: tuple[str, ...] = _option(
        (),
        f"More files, or directories of them, that --reload watches: {_PATHS}.",
        metavar="PATHS",
        holds_paths=True,
    )
    exclude_patterns: tuple[str, ...] = _option(
        (),
        f"What --reload ignores: fnmatch patterns of whole {_PATHS}.",
        metavar="PATTERNS",
        holds_paths=True,
    )

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        """Make one of what was given by name; ``None`` is what another option implies.

        Raises:
            ConfigError: what is wanted cannot be had here.
        """
        values = dict(options)
        for field, option in option_fields(cls):
            if option.implied_by and values.get(field.name) is None:
                values[field.name] = values.get(option.implied_by, False)
            elif field.default == () and field.name in values:
                values[field.name] = _paths(values[field.name])
        development = cls(**values)
        # Once, where they are given: a child is told what held then.
        development._check()
        development._check_paths()
        return development

    @property
    def editor_link(self) -> str:
        """The link by which an editor opens a line of a file (see `editor_template`)."""
        return editor_template(self.editor, os.environ)

    def _check(self) -> None:
        if not 0 <= self.inspect_port <= LARGEST_PORT:
            raise ConfigError(
                f"--inspect-port must be from 0 to {LARGEST_PORT}, got {self.inspect_port}"
            )
        editor_template(self.editor, {})
        if self.reload and os.name != "posix":
            raise ConfigError(
                "--reload hands sockets from process to process, which this platform cannot; use "
                "Werkzeug's reloader: python -m asyncwsgi.flask run --debug"
            )
        if self.inspect and os.name != "posix":
            raise ConfigError(
                "--inspect has a process beside the one that serves, which hands it sockets; this "
                "platform cannot: give --no-inspect"
            )
        if self.debugger and not has_werkzeug():
            raise ConfigError(
                "the debugger is Werkzeug's, which is not installed; install werkzeug "
                "or give --no-debugger"
            )

    def _check_paths(self) -> None:
        for path in self.missing_files:
            if any(character in path for character in _WILDCARDS):
                raise ConfigError(
                    f"--extra-files takes paths and no patterns, got {path!r}; name the directory, "
                    "in which every file counts"
                )
            if not is_directory(Path(path).parent):
                raise ConfigError(
                    f"--extra-files: there is no {path}, nor a directory to hold it; correct the "
                    "path, or make the directory first"
                )
        for pattern in self.exclude_patterns:
            if not pattern.startswith((os.sep, *_WILDCARDS)):
                raise ConfigError(
                    f"--exclude-patterns {pattern!r} matches nothing: a pattern is compared with a "
                    f"whole path; write {f'*{os.sep}{pattern}'!r}"
                )

    @property
    def missing_files(self) -> list[str]:
        """Those of `extra_files` that are not there; they may be made later."""
        # Not Path.exists(), which raises PermissionError.
        return [path for path in self.extra_files if not os.path.exists(path)]  # noqa: PTH110

    def load(self, name: str, config: Config, directory: str = "") -> WSGIApplication:
        """Import the application called `name`, with the debugger around it if there shall be one.

        Args are those of `load_application`.

        Raises:
            AppImportError: see `load_application`.
        """
        if self.debug:
            # Flask reads it when its application is made, and hides exceptions without it.
            os.environ.setdefault("FLASK_DEBUG", "1")
        application = load_application(name, directory)
        return with_debugger(application, config) if self.debugger else application


DEVELOPMENT_OPTIONS = tuple(field.name for field in dataclasses.fields(Development))
