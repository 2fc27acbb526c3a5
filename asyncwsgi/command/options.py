"""All options of the command line, and those that are its own: how it imports the application."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asyncwsgi.config import Config, Option, declared, option_fields
from asyncwsgi.development.options import Development
from asyncwsgi.errors import ConfigError
from asyncwsgi.reloading.sources import is_directory
from asyncwsgi.supervision.options import ProcessOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationOptions:
    """From where the application is imported, and with which variables.

    Raises:
        ConfigError: a directory that is none.
    """

    app_dir: str = declared(
        "",
        "Directory in which modules are looked for, before all others and in place of the current "
        "one.",
        metavar="DIRECTORY",
        holds_paths=True,
    )
    env_file: tuple[str, ...] = declared(
        (),
        "File of environment variables for the application and for this command, besides .env and "
        ".flaskenv; needs python-dotenv. May be given several times.",
        metavar="FILE",
        holds_paths=True,
    )

    def __post_init__(self) -> None:
        if self.app_dir and not is_directory(self.app_dir):
            raise ConfigError(
                f"app_dir: there is no directory {self.app_dir!r}; expected the one that holds the "
                "application's modules, such as src"
            )

    @property
    def directory(self) -> Path:
        """Where modules are looked for first."""
        return Path(self.app_dir).absolute()


APPLICATION_OPTIONS = tuple(field.name for field in dataclasses.fields(ApplicationOptions))


def command_line_options() -> list[tuple[dataclasses.Field[Any], Option]]:
    """Every option of the command line, in the order of ``--help``."""
    return [
        (field, option)
        for options in (ApplicationOptions, Config, ProcessOptions, Development)
        for field, option in option_fields(options)
        if option.on_command_line
    ]
