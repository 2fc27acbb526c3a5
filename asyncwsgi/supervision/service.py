"""What is served, and how: all that a child has to be told, and can be told as text."""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from asyncwsgi.app_loading import NamedLifespan
from asyncwsgi.config import SECRETS, Config, option_fields
from asyncwsgi.development.options import Development
from asyncwsgi.env_files import EnvFiles
from asyncwsgi.errors import ConfigError
from asyncwsgi.import_variables import answering
from asyncwsgi.log_setup import enable_loggers
from asyncwsgi.server_log import logger
from asyncwsgi.supervision.options import FOR_ALL, PROCESS_OPTIONS, ProcessOptions

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

IMPORT_VARIABLES = {
    # As with Flask's own command: app.run() starts no other server.
    "FLASK_RUN_FROM_CLI": "true",
    # Werkzeug's name for the process that serves: its debugger tells the PIN in no other, and
    # applications start their background work in no other.
    "WERKZEUG_RUN_MAIN": "true",
}


@dataclass(frozen=True, slots=True)
class Service:
    """An application by its name, and all options."""

    app: str
    """As on the command line (see `asyncwsgi.app_loading`)."""
    config: Config = field(default_factory=Config)
    development: Development = field(default_factory=Development)
    processes: ProcessOptions = field(default_factory=ProcessOptions)
    app_dir: str = ""
    """Where modules are looked for first; empty is the current directory."""
    env_files: EnvFiles = field(default_factory=EnvFiles)
    inspector: str = ""
    """The URL of the request inspector, with its key; known once it listens."""

    def __post_init__(self) -> None:
        if self.development.inspect and (self.processes.worker_count or 1) > 1:
            raise ConfigError(
                f"--inspect shows the requests of one process, and there shall be "
                f"{self.processes.worker_count} workers; give --workers 1, or --no-inspect"
            )
        if self.processes.preload and self.development.reload:
            raise ConfigError(
                "preload and reload exclude each other: what is imported once is not taken up again"
            )

    @property
    def has_supervisor(self) -> bool:
        """Whether children serve, and not this process."""
        development = self.development
        has_workers = self.processes.worker_count is not None
        return has_workers or development.reload or development.inspect

    def load(self) -> WSGIApplication:
        """Import the application, and the lifespan, with the variables that they shall have.

        Raises:
            AppImportError: see `load_application`.
            ConfigError: see `EnvFiles.load`.
        """
        self.env_files.load()
        lifespan = self.config.lifespan
        with answering(IMPORT_VARIABLES) as asked:
            try:
                application = self.development.load(self.app, self.config, self.app_dir)
                if isinstance(lifespan, NamedLifespan):
                    lifespan.load(self.app_dir)
            finally:
                enable_loggers()
        # Extensions look for it, too: Flask-SocketIO chooses its mode by it.
        if ("FLASK_RUN_FROM_CLI", "flask.app") in asked:
            logger.warning(
                "ignored run(), which was called while %s was imported: call it below "
                'if __name__ == "__main__"',
                self.app,
            )
        if not self.development.reload:
            _freeze()
        return application

    def as_json(self) -> dict[str, Any]:
        """What `from_json` makes the same of, but for the secrets.

        Raises:
            ConfigError: an option that cannot be written as text.
        """
        return {
            "app": self.app,
            "config": _as_json(self.config),
            "development": dataclasses.asdict(self.development),
            "processes": dataclasses.asdict(self.processes),
            "app_dir": self.app_dir,
            "env_files": dataclasses.asdict(self.env_files),
            "inspector": self.inspector,
        }

    def secrets(self) -> dict[str, str]:
        """What `as_json` leaves out, since it may stand where others can read it."""
        values = {name: getattr(self.config, name) for name in SECRETS}
        return {name: value for name, value in values.items() if value is not None}

    @classmethod
    def from_json(cls, values: dict[str, Any], secrets: dict[str, str]) -> Self:
        config = _with_tuples(values["config"]) | secrets
        if config["lifespan"] is not None:
            config["lifespan"] = NamedLifespan(config["lifespan"])
        return cls(
            values["app"],
            Config(**config),
            Development(**_with_tuples(values["development"])),
            ProcessOptions(**_with_tuples(values["processes"])),
            values["app_dir"],
            EnvFiles(**_with_tuples(values["env_files"])),
            values["inspector"],
        )


def named_service(app: str, config: Config | None, options: Mapping[str, Any]) -> Service:
    """Make one of the keyword arguments of a program.

    Raises:
        ConfigError: options that cannot be served.
    """
    own = {name: value for name, value in options.items() if name in SERVICE_OPTIONS}
    others = {name: value for name, value in options.items() if name not in SERVICE_OPTIONS}
    if config is not None and others:
        raise ConfigError("give either config or options, not both")
    if isinstance(others.get("lifespan"), str):
        others["lifespan"] = NamedLifespan(others["lifespan"])
    reloading = {name: own.pop(name) for name in _OF_RELOAD if name in own}
    # What is put into pages is for who runs the command, and not for what a program embeds.
    development = Development.from_options({**reloading, "refresh": False})
    if own.get("workers") is None:
        for name in own.keys() - set(FOR_ALL):
            raise ConfigError(f"{name} is for workers; give workers=N, too")
    processes = ProcessOptions.from_options(own, reads_environment=False)
    return Service(app, config or Config.from_options(others), development, processes)


_OF_RELOAD = ("reload", "reload_dir", "reload_include", "reload_exclude")
SERVICE_OPTIONS = (*_OF_RELOAD, *PROCESS_OPTIONS)
"""What a program may give besides the fields of `Config`, if it names its application."""


def _with_tuples(values: dict[str, Any]) -> dict[str, Any]:
    """Options as they were before JSON, which has lists alone."""
    return {n: tuple(value) if isinstance(value, list) else value for n, value in values.items()}


def _as_json(config: Config) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for each, option in option_fields():
        value = getattr(config, each.name)
        if isinstance(value, NamedLifespan):
            value = value.name
        elif callable(value) or (value is not None and not option.on_command_line):
            raise ConfigError(
                f"{each.name} cannot be written as text, and several processes are told their "
                f"options so; {_CURES.get(each.name, 'leave it out')}"
            )
        values[each.name] = None if option.is_secret else value
    return values


_CURES = {
    "lifespan": "name it: lifespan='module:name'",
    "executor": "leave requests to the worker threads",
    "context": "set context variables where the application is imported",
    "ssl_context": "name the files: certfile, keyfile, ca_certs",
}
"""For each option that need not be text."""


def _freeze() -> None:
    """Have the garbage collector pass over what was imported: all of that stays.

    Else it walks through it every so often, in the middle of a request, which takes 3 ms for Flask
    alone and more for each library that is imported. In a worker that was forked it would write to
    it, too, and what is written to is copied.
    """
    gc.collect()
    gc.freeze()
