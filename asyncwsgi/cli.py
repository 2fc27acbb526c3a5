"""The command line: ``asyncwsgi [OPTIONS] APP``. Its options are the fields of `Config`."""

from __future__ import annotations

import dataclasses
import os
import re
import sys
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

import click
from click.core import ParameterSource

from asyncwsgi.app_loading import NamedLifespan, format_error
from asyncwsgi.config import LARGEST_PORT, Config, Option, option_fields
from asyncwsgi.development.options import (
    DEVELOPMENT_OPTIONS,
    OPTIONS_OF_RELOAD,
    Development,
)
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
from asyncwsgi.version import __version__

ENVIRONMENT_PREFIX = "ASYNCWSGI"

# 0 after a graceful stop, 128 + N after one forced by signal N, 1 for anything unforeseen.
EXIT_CODES: dict[type[AsyncWSGIError], int] = {
    ConfigError: 2,
    AppImportError: 3,
    BindError: 4,
    LifespanError: 5,
}

SECTIONS = {
    "host": "Listeners",
    "threads": "Worker threads and async views",
    "certfile": "TLS",
    "head_timeout": "Timeouts",
    "max_head_size": "Limits",
    "shutdown_delay": "Health and metrics",
    "root_path": "Proxies",
    "server_header": "Server header, log and event loop",
    "workers": "Processes",
    "reload": "Development",
    "version": "Other",
}
"""The headings of ``--help``, each by the option above which it stands."""

_NEEDS = {"forwarded_headers": "forwarded_allow_ips", "max_parked": "park_async_views"}
"""Options that say nothing without another one."""


class _Command(click.Command):
    """A command whose options are listed below headings."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: list[tuple[str, list[tuple[str, str]]]] = []
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if not isinstance(param, click.Option) or record is None:
                continue  # APP, of which the usage tells
            if param.name in SECTIONS:
                sections.append((SECTIONS[param.name], []))
            sections[-1][1].append(record)
        for heading, records in sections:
            with formatter.section(heading):
                formatter.write_dl(records)


class _Option(click.Option):
    """An option that blames the variable, and not its flag, for what the variable says."""

    def get_error_hint(self, ctx: click.Context | None) -> str:
        assert self.name is not None
        if ctx is not None and ctx.get_parameter_source(self.name) is ParameterSource.ENVIRONMENT:
            return f"{ENVIRONMENT_PREFIX}_{self.name.upper()}"
        return super().get_error_hint(ctx)


def _click_option(field: dataclasses.Field[Any], option: Option) -> click.Option:
    flag = f"--{field.name.replace('_', '-')}"
    default = None if option.implied_by else field.default
    more: dict[str, Any] = {"type": type(field.default) if field.default is not None else str}
    if isinstance(field.default, bool):
        flag = f"{flag}/--no-{flag.removeprefix('--')}"
    elif isinstance(field.default, tuple):
        more = {"multiple": True, "type": click.Path() if option.holds_paths else str}
    elif option.choices:
        more = {"type": click.Choice(option.choices, case_sensitive=False)}
    return _Option(
        [*option.flags, flag],
        default=default,
        show_default=default not in (None, (), ""),
        show_envvar=True,
        help=_help_of(option),
        metavar=option.metavar,
        hidden=option.hidden,
        **more,
    )


def _help_of(option: Option) -> str:
    text = _OPTION_NAME.sub(_flag_of, option.help)
    return f"{text}  [default: as --{option.implied_by}]" if option.implied_by else text


_OPTION_NAME = re.compile(r"\b[a-z]+(_[a-z]+)+\b")


def _flag_of(match: re.Match[str]) -> str:
    """What an option that a help text names is called on the command line."""
    names = {field.name for cls in (Config, ProcessOptions) for field, _ in option_fields(cls)}
    return f"--{match[0].replace('_', '-')}" if match[0] in names else match[0]


def _command() -> click.Command:
    params: list[click.Parameter] = [click.Argument(["app"], metavar="APP")]
    params += [
        _click_option(field, option) for field, option in option_fields() if option.on_command_line
    ]
    for options in (ProcessOptions, Development):
        params += [_click_option(field, option) for field, option in option_fields(options)]
    return _Command(
        "asyncwsgi",
        callback=_serve,
        params=params,
        help=(
            "Serve the WSGI application APP.\n\nAPP is module:attribute, module (finds "
            "application, app or a factory), a file such as app.py:app, or a factory call such "
            "as module:create_app('production')."
        ),
        context_settings={
            "auto_envvar_prefix": ENVIRONMENT_PREFIX,
            "help_option_names": ["--help"],
            "max_content_width": 100,
        },
    )


def _serve(app: str, **options: Any) -> NoReturn:
    sys.exit(_exit_code_of(lambda: _run(_service(app, options))))


def _service(app: str, options: dict[str, Any]) -> Service:
    development = Development.from_options(_take(options, DEVELOPMENT_OPTIONS))
    processes = ProcessOptions.from_options(
        _take(options, PROCESS_OPTIONS), reads_environment=not development.debug
    )
    _check_flags(
        _flags_given(), reloads=development.reload, has_workers=processes.workers is not None
    )
    _check_needs(_flags_given(), options)
    bad_port = _take_port(options)
    if not _options_given() & {"host", "port", "bind"}:
        options["bind"] = take_listeners()
    if options["lifespan"] is not None:
        options["lifespan"] = NamedLifespan(options["lifespan"])
    config = Config.from_options(options)
    configure_logging(config)
    if bad_port:
        logger.warning("ignored PORT, which is %r and no port", bad_port)
    return Service(app, config, development, processes)


def _take(options: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: options.pop(name) for name in names}


def _take_port(options: dict[str, Any]) -> str:
    """Take PORT, by which hosting platforms say where a program shall listen, as the default.

    Returns:
        What it says, if that is no port; else nothing.
    """
    port = os.environ.get("PORT", "")
    source = click.get_current_context().get_parameter_source("port")
    if not port or options["bind"] or source is not ParameterSource.DEFAULT:
        return ""
    if not (port.isascii() and port.isdigit() and int(port) <= LARGEST_PORT):
        return port
    options["port"] = int(port)
    return ""


def _flags_given() -> set[str]:
    """The names of the options that stand on the command line itself."""
    ctx = click.get_current_context()
    return {n for n in ctx.params if ctx.get_parameter_source(n) is ParameterSource.COMMANDLINE}


def _options_given() -> set[str]:
    """The names of the options that the command line or a variable has given."""
    ctx = click.get_current_context()
    return {n for n in ctx.params if ctx.get_parameter_source(n) is not ParameterSource.DEFAULT}


def _check_flags(given: set[str], *, reloads: bool, has_workers: bool) -> None:
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
    for name in sorted(given & set(PROCESS_OPTIONS) - set(FOR_ALL)):
        if not has_workers:
            flag = name.replace("_", "-")
            raise ConfigError(f"--{flag} is for --workers, which is not given; give --workers N")


def _check_needs(given: set[str], options: dict[str, Any]) -> None:
    for name, needed in _NEEDS.items():
        if name in given and not options[needed]:
            flag, other = (f"--{each.replace('_', '-')}" for each in (name, needed))
            raise ConfigError(f"{flag} is for {other}, which is not given; give both")


def _run(service: Service) -> int:
    for line in service.development.renamed:
        logger.warning(line)
    return run_service(service)


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


command = click.version_option(__version__, message="asyncwsgi %(version)s")(_command())


def main() -> None:
    """The entry point of the ``asyncwsgi`` command, and of the children of a supervisor."""
    hold_standard_descriptors()
    try:
        if (inheritance := take_inheritance()) is not None:
            sys.exit(_exit_code_of(lambda: _serve_for_supervisor(inheritance)))
        command(prog_name="asyncwsgi")
    finally:
        finish_log()
