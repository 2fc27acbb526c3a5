"""The command line: ``asyncwsgi [OPTIONS] [APP]``."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import click
from click.core import ParameterSource

from asyncwsgi.app_loading import NamedLifespan, format_error
from asyncwsgi.command.app_search import Found, find_application
from asyncwsgi.command.interface import make_command
from asyncwsgi.command.options import APPLICATION_OPTIONS, ApplicationOptions
from asyncwsgi.command.settings_file import APP, read_settings
from asyncwsgi.config import LARGEST_PORT, Config
from asyncwsgi.development.options import (
    DEVELOPMENT_OPTIONS,
    OPTIONS_OF_RELOAD,
    Development,
)
from asyncwsgi.env_files import EnvFiles, are_found_files_skipped
from asyncwsgi.errors import AppImportError, AsyncWSGIError, BindError, ConfigError, LifespanError
from asyncwsgi.log_setup import configure_logging, finish_log, write_error
from asyncwsgi.running import run_service
from asyncwsgi.server_log import logger
from asyncwsgi.socket_activation import take_listeners
from asyncwsgi.standard_streams import hold_standard_descriptors
from asyncwsgi.supervision.inheritance import Inheritance, take_inheritance
from asyncwsgi.supervision.options import FOR_ALL, PROCESS_OPTIONS, ProcessOptions
from asyncwsgi.supervision.service import Service
from asyncwsgi.supervision.worker import serve_for_supervisor

# 0 after a graceful stop, 128 + N after one forced by signal N, 1 for anything unforeseen.
EXIT_CODES: dict[type[AsyncWSGIError], int] = {
    ConfigError: 2,
    AppImportError: 3,
    BindError: 4,
    LifespanError: 5,
}

_NEEDS = {"forwarded_headers": "forwarded_allow_ips", "max_parked": "park_async_views"}
"""Options that say nothing without another one."""
_FOR_LISTENERS = {
    "uwsgi_allow_ips": (("uwsgi",), "listeners of uwsgi", "uwsgi://HOST:PORT"),
    "socket_mode": (("unix:", "uwsgi+unix:"), "Unix sockets", "unix:PATH"),
}
"""Options for one kind of listener: how these begin, what they are, and an example."""


@dataclass
class _Start:
    """What is known before options are read."""

    settings: dict[str, Any]
    """What the settings file says."""
    variables: list[str]
    """Those that were set out of files."""

    def forget_variables(self) -> None:
        for name in self.variables:
            os.environ.pop(name, None)


def _begin(ctx: click.Context, _: click.Parameter, env_file: tuple[str, ...]) -> tuple[str, ...]:
    """Read what says more of the options, before they are read.

    The variables of files are set until all options are known. The application gets them where it
    is imported: who imports it anew reads the files anew.
    """
    settings = read_settings(Path.cwd())
    named = env_file or settings.get("env_file", ())
    ctx.obj = _Start(settings, EnvFiles(named).load())
    return tuple(named)


def _serve(app: str | None, **options: Any) -> NoReturn:
    sys.exit(run_service(_service(app, options)))


def _service(app: str | None, options: dict[str, Any]) -> Service:
    start: _Start = click.get_current_context().obj
    _fill_in(options, start.settings)
    wants_inspector = options["inspect"]
    development = Development.from_options(_take(options, DEVELOPMENT_OPTIONS))
    application = ApplicationOptions(**_take(options, APPLICATION_OPTIONS))
    env_files = _env_files(application, development)
    start.variables += env_files.load()
    processes = ProcessOptions.from_options(
        _take(options, PROCESS_OPTIONS),
        reads_environment=not (development.debug or development.inspect),
    )
    if wants_inspector is None and (processes.worker_count or 1) > 1:
        # It shows one process; who has asked for several, and for --debug, has not asked for it.
        development = dataclasses.replace(development, inspect=False)
    _check_flags(
        _flags_given(),
        reloads=development.reload,
        inspects=development.inspect,
        has_workers=processes.workers is not None,
    )
    warnings = [*development.renamed, *env_files.complaints, *_find_listeners(options)]
    _check_needs(_flags_given(), options)
    config = _config(options)
    if app is None:
        found = find_application(application.directory, start.settings.get(APP))
    else:
        found = Found(app)
    start.forget_variables()
    os.environ.update(found.variables)
    configure_logging(config)
    for warning in warnings:
        logger.warning(warning)
    if found.reason:
        logger.info("no APP is given, so %s is served: %s", found.app, found.reason)
    directory = str(application.directory) if application.app_dir else ""
    return Service(found.app, config, development, processes, directory, env_files)


def _config(options: dict[str, Any]) -> Config:
    if options["lifespan"] is not None:
        options["lifespan"] = NamedLifespan(options["lifespan"])
    return Config.from_options(options)


def _fill_in(options: dict[str, Any], settings: Mapping[str, Any]) -> None:
    """Have options that neither a flag nor a variable gives as the settings file says."""
    given = _options_given()
    if given & {"host", "port"}:
        given.add("bind")  # which would take their place
    for name in settings.keys() & options.keys() - given:
        options[name] = settings[name]


def _env_files(application: ApplicationOptions, development: Development) -> EnvFiles:
    named = application.env_file
    finds = development.reload or development.debug or bool(named)
    return EnvFiles(named, finds=finds and not are_found_files_skipped())


def _take(options: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: options.pop(name) for name in names}


def _find_listeners(options: dict[str, Any]) -> Iterator[str]:
    """Have it listen where the environment says, unless an option does.

    That counts for more than the settings file, which says what is usual. PORT is how hosting
    platforms say where a program shall listen; whoever has opened sockets knows more than they.

    Yields:
        What people should know.
    """
    given = _options_given()
    port = os.environ.get("PORT", "")
    if port and not given & {"port", "bind"}:
        if port.isascii() and port.isdigit() and int(port) <= LARGEST_PORT:
            options |= {"port": int(port), "bind": ()}
        else:
            yield f"ignored PORT, which is {port!r} and no port"
    if not given & {"host", "port", "bind"}:
        options["bind"] = take_listeners() or options["bind"]


def _flags_given() -> set[str]:
    """The names of the options that stand on the command line itself."""
    ctx = click.get_current_context()
    return {n for n in ctx.params if ctx.get_parameter_source(n) is ParameterSource.COMMANDLINE}


def _options_given() -> set[str]:
    """The names of the options that the command line or a variable has given."""
    ctx = click.get_current_context()
    return {n for n in ctx.params if ctx.get_parameter_source(n) is not ParameterSource.DEFAULT}


def _check_flags(given: set[str], *, reloads: bool, inspects: bool, has_workers: bool) -> None:
    # Of flags alone: a variable may be set for many programs, of which this is one.
    for name in sorted(given & {"host", "port"}):
        if "bind" in given:
            raise ConfigError(
                f"--{name} and --bind exclude each other; --bind HOST:PORT says both, and may be "
                "given several times"
            )
    for name in sorted(given & OPTIONS_OF_RELOAD):
        if not reloads:
            flag = name.replace("_", "-")
            raise ConfigError(f"--{flag} is for --reload, which is off; give --reload or --debug")
    for name in sorted(given & {"inspect_port", "inspect_secrets"}):
        if not inspects:
            flag = name.replace("_", "-")
            raise ConfigError(f"--{flag} is for --inspect, which is off; give --inspect or --debug")
    for name in sorted(given & set(PROCESS_OPTIONS) - set(FOR_ALL)):
        if not has_workers:
            flag = name.replace("_", "-")
            raise ConfigError(f"--{flag} is for --workers, which is not given; give --workers N")


def _check_needs(given: set[str], options: dict[str, Any]) -> None:
    for name, needed in _NEEDS.items():
        if name in given and not options[needed]:
            flag, other = (f"--{each.replace('_', '-')}" for each in (name, needed))
            raise ConfigError(f"{flag} is for {other}, which is not given; give both")
    for name, (beginnings, kind, example) in _FOR_LISTENERS.items():
        if name in given and not any(bind.startswith(beginnings) for bind in options["bind"]):
            flag = f"--{name.replace('_', '-')}"
            raise ConfigError(f"{flag} is for {kind}, and there is none; give --bind {example}")


def _serve_for_supervisor(inheritance: Inheritance) -> int:
    service = inheritance.service
    configure_logging(
        service.config,
        in_background=inheritance.asking is None,  # who forks has no thread besides
        names_process=service.processes.workers is not None,
    )
    return serve_for_supervisor(inheritance)


def _exit_code_of(serve: Callable[[], int]) -> int:
    try:
        return serve()
    except AsyncWSGIError as error:
        write_error(format_error(error))
        return EXIT_CODES.get(type(error), 1)


command = make_command(_serve, _begin)


def main() -> None:
    """The entry point of the ``asyncwsgi`` command, and of the children of a supervisor."""
    hold_standard_descriptors()
    try:
        if (inheritance := take_inheritance()) is not None:
            sys.exit(_exit_code_of(lambda: _serve_for_supervisor(inheritance)))
        sys.exit(_exit_code_of(lambda: command(prog_name="asyncwsgi")))
    finally:
        finish_log()
