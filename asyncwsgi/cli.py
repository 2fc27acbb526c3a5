"""The command line: ``asyncwsgi [OPTIONS] APP``. Its options are the fields of `Config`."""

from __future__ import annotations

import dataclasses
import sys
import traceback
from typing import Any, NoReturn

import click

from asyncwsgi.app_loading import load_application
from asyncwsgi.config import Config, Option, option_fields
from asyncwsgi.errors import AppImportError, AsyncWSGIError, BindError, ConfigError
from asyncwsgi.log_setup import configure_logging
from asyncwsgi.running import run
from asyncwsgi.version import __version__

ENVIRONMENT_PREFIX = "ASYNCWSGI"

# 0 after a graceful stop, 128 + N after one forced by signal N, 1 for anything unforeseen.
EXIT_CODES: dict[type[AsyncWSGIError], int] = {ConfigError: 2, AppImportError: 3, BindError: 4}


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


def _serve(app: str, **options: Any) -> NoReturn:
    try:
        config = Config.from_options(options)
        configure_logging(config)
        code = run(load_application(app), config)
    except AsyncWSGIError as error:
        code = _report(error)
    sys.exit(code)


def _report(error: AsyncWSGIError) -> int:
    cause = error.__cause__
    if isinstance(error, AppImportError) and cause is not None:
        # The mistake is in the application: show where.
        traceback.print_exception(cause)
    click.echo(f"asyncwsgi: {error}", err=True)
    return EXIT_CODES.get(type(error), 1)


command = click.version_option(__version__, message="asyncwsgi %(version)s")(_command())


def main() -> None:
    """The entry point of the ``asyncwsgi`` command."""
    command(prog_name="asyncwsgi")
