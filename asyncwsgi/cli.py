"""The command line: ``asyncwsgi [OPTIONS] APP``. Its options are the fields of `Config`."""

from __future__ import annotations

import dataclasses
import functools
import os
import sys
from typing import TYPE_CHECKING, Any, NoReturn

import click

from asyncwsgi.app_loading import NamedLifespan, format_error
from asyncwsgi.config import Config, Option, option_fields
from asyncwsgi.errors import AppImportError, AsyncWSGIError, BindError, ConfigError, LifespanError
from asyncwsgi.log_setup import configure_logging
from asyncwsgi.reloading.child import serve_for_supervisor, take_inheritance
from asyncwsgi.reloading.options import DEVELOPMENT_OPTIONS, Development
from asyncwsgi.reloading.supervisor import supervise
from asyncwsgi.running import run
from asyncwsgi.standard_streams import hold_standard_descriptors
from asyncwsgi.version import __version__

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

ENVIRONMENT_PREFIX = "ASYNCWSGI"

# 0 after a graceful stop, 128 + N after one forced by signal N, 1 for anything unforeseen.
EXIT_CODES: dict[type[AsyncWSGIError], int] = {
    ConfigError: 2,
    AppImportError: 3,
    BindError: 4,
    LifespanError: 5,
}


def _click_option(field: dataclasses.Field[Any], option: Option) -> click.Option:
    flag = f"--{field.name.replace('_', '-')}"
    more: dict[str, Any] = {"type": type(field.default) if field.default is not None else str}
    if isinstance(field.default, bool):
        flag = f"{flag}/--no-{flag.removeprefix('--')}"
    elif isinstance(field.default, tuple):
        more = {"multiple": True, "metavar": "ADDRESS"}
    elif option.choices:
        more = {"type": click.Choice(option.choices)}
    return click.Option(
        [*option.flags, flag],
        default=field.default,
        show_default=field.default not in (None, ()),
        show_envvar=True,
        help=option.help,
        **more,
    )


def _command() -> click.Command:
    params: list[click.Parameter] = [click.Argument(["app"], metavar="APP")]
    params += [
        _click_option(field, option) for field, option in option_fields() if option.on_command_line
    ]
    params += _development_options()
    return click.Command(
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


def _development_options() -> list[click.Option]:
    """What is around a server and not of it: no field of `Config`."""
    make = functools.partial(click.Option, show_envvar=True)
    paths = f"paths, separated by {os.pathsep!r}"
    return [
        make(
            ["--reload/--no-reload"],
            default=None,
            help="Take up changed code while the listeners stay open.  [default: as --debug]",
        ),
        make(
            ["--debug/--no-debug"],
            default=False,
            show_default=True,
            help="For development: --reload and --debugger, and FLASK_DEBUG=1.",
        ),
        make(
            ["--debugger/--no-debugger"],
            default=None,
            help="Show Werkzeug's interactive debugger for exceptions.  [default: as --debug]",
        ),
        make(
            ["--extra-files"],
            default="",
            metavar="PATHS",
            help=f"More files, or directories of them, that --reload watches: {paths}.",
        ),
        make(
            ["--exclude-patterns"],
            default="",
            metavar="PATTERNS",
            help=f"What --reload ignores: fnmatch patterns of whole {paths}.",
        ),
    ]


def _serve(app: str, **options: Any) -> NoReturn:
    try:
        development = Development.from_options(
            {name: options.pop(name) for name in DEVELOPMENT_OPTIONS}
        )
        if options["lifespan"] is not None:
            options["lifespan"] = NamedLifespan(options["lifespan"])
        config = Config.from_options(options)
        configure_logging(config)
        code = _run(app, config, development)
    except AsyncWSGIError as error:
        click.echo(format_error(error), err=True, nl=False)
        code = EXIT_CODES.get(type(error), 1)
    sys.exit(code)


def _run(app: str, config: Config, development: Development) -> int:
    load = functools.partial(_load, app, config, development)
    inheritance = take_inheritance()
    if inheritance is not None:
        shows_errors = development.debugger
        return serve_for_supervisor(load, config, inheritance, shows_errors=shows_errors)
    if development.reload:
        return supervise(config, development)
    return run(load(), config)


def _load(app: str, config: Config, development: Development) -> WSGIApplication:
    application = development.load(app, config)
    if isinstance(config.lifespan, NamedLifespan):
        config.lifespan.load()
    return application


command = click.version_option(__version__, message="asyncwsgi %(version)s")(_command())


def main() -> None:
    """The entry point of the ``asyncwsgi`` command."""
    hold_standard_descriptors()
    command(prog_name="asyncwsgi")
