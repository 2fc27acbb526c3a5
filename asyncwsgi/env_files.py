"""Environment variables out of files, by python-dotenv and the rules of Flask's own command.

A variable that is set counts for more than any file. Of files, those that were named count for more
than ``.env``, and that for more than ``.flaskenv``; these two are looked for in the current
directory and in those above it. Whoever can write them is not who starts the server, perhaps: so
they say nothing of the server itself, which variables of its own do.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path

from asyncwsgi.errors import ConfigError

ENVIRONMENT_PREFIX = "ASYNCWSGI"
"""Before the names of variables that are options."""
FOUND_NAMES = (".env", ".flaskenv")
_CURE = "install it: pip install python-dotenv (the extra `dotenv` does)"


@dataclass(frozen=True, slots=True)
class EnvFiles:
    """The files of one application.

    Args:
        named: those that were named, the most important last.
        finds: whether ``.env`` and ``.flaskenv`` count, too.
    """

    named: tuple[str, ...] = ()
    finds: bool = False

    def load(self, environ: MutableMapping[str, str] = os.environ) -> list[str]:
        """Set the variables that are not set yet; their names.

        Raises:
            ConfigError: a file that was named is not there, one cannot be read, or python-dotenv is
                not installed and one was named.
        """
        values = {name: value for name, value in self._found().items() if not _is_own(name)}
        for path in self.named:
            values |= _read(path)
        new = {name: value for name, value in values.items() if name not in environ}
        environ.update(new)
        return list(new)

    @property
    def watched(self) -> list[str]:
        """The paths that matter, also those of files that may be made yet."""
        names = FOUND_NAMES if self.finds else ()
        return [*self.named, *names, *filter(None, map(_find, names))]

    @property
    def complaints(self) -> list[str]:
        """What people should know of files that do not do what they seem to do."""
        if not _has_dotenv():
            there = [name for name in FOUND_NAMES if self.finds and _is_file(name)]
            names = " and ".join(there)
            return [f"ignored {names}, which python-dotenv reads; {_CURE}"] if there else []
        return [
            f"ignored {name} of {' or '.join(FOUND_NAMES)}, which say nothing of the server; set "
            "it, or name the file: --env-file .env"
            for name in self._found()
            if _is_own(name)
        ]

    def _found(self) -> dict[str, str]:
        """The variables of those that were not named."""
        values: dict[str, str] = {}
        if self.finds and _has_dotenv():
            for name in reversed(FOUND_NAMES):
                path = _find(name)
                if path is not None and not self._is_named(path):
                    values |= _read(path)
        return values

    def _is_named(self, path: str) -> bool:
        return os.path.realpath(path) in map(os.path.realpath, self.named)


def are_found_files_skipped(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether FLASK_SKIP_DOTENV forbids the files that are not named, as to Flask's own command."""
    value = environ.get("FLASK_SKIP_DOTENV", "")
    return value != "" and value.lower() not in ("0", "false", "no")


def _has_dotenv() -> bool:
    try:
        import dotenv  # noqa: F401
    except ImportError:
        return False
    return True


def _read(path: str) -> dict[str, str]:
    try:
        from dotenv import dotenv_values
    except ImportError:
        raise ConfigError(
            f"env_file: {path} is read by python-dotenv, which is not installed; {_CURE}"
        ) from None
    if not _is_file(path):
        raise ConfigError(f"env_file: there is no file {path}; correct the path, or make the file")
    try:
        values = dotenv_values(path, encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"env_file: {path} cannot be read: {error}") from None
    return {name: value for name, value in values.items() if value is not None}


def _find(name: str) -> str | None:
    """The nearest file of that name, here or above."""
    here = Path.cwd()
    paths = (str(directory / name) for directory in (here, *here.parents))
    return next(filter(_is_file, paths), None)


def _is_file(path: str) -> bool:
    return os.path.isfile(path)  # noqa: PTH113  Path.is_file() raises PermissionError


def _is_own(name: str) -> bool:
    return name.upper().startswith(f"{ENVIRONMENT_PREFIX}_")
