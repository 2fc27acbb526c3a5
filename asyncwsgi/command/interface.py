"""The command as people see it: its flags, out of the declarations of options, and its help."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any, NoReturn

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from asyncwsgi.command.options import command_line_options
from asyncwsgi.config import Option
from asyncwsgi.env_files import ENVIRONMENT_PREFIX
from asyncwsgi.version import __version__

SECTIONS = {
    "app_dir": "Application",
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

EXAMPLES = [
    ("asyncwsgi", "the application that the project names, or that is in app.py"),
    ("asyncwsgi --debug hello:app", "while you develop: reloads, and a debugger in the browser"),
    ("asyncwsgi --port auto hello.py", "a file, on the first free port from 8000 upwards"),
    ("asyncwsgi --workers auto 'shop:create_app()'", "a factory, in a process for each core"),
    ("asyncwsgi --bind unix:/run/shop.sock shop.wsgi", "behind a proxy"),
]


def make_command(
    serve: Callable[..., NoReturn],
    begin: Callable[[click.Context, tuple[str, ...]], tuple[str, ...]],
) -> click.Command:
    """The command itself.

    Args:
        serve: called with APP, which may be None, and all options by their names.
        begin: called before, with the files of variables that are named; but not if help is wanted,
            or the completion of a word. It may set variables; other options are read behind it.
    """
    app = click.Argument(["app"], metavar="[APP]", required=False, shell_complete=_complete_files)
    before = {"is_eager": True, "callback": lambda ctx, _, names: _begun(begin, ctx, names)}
    options = [
        _click_option(field, option, **(before if field.name == "env_file" else {}))
        for field, option in command_line_options()
    ]
    command = _Command(
        "asyncwsgi",
        callback=serve,
        params=[app, *options],
        help=(
            "Serve the WSGI application APP.\n\nAPP is module:attribute, module (finds "
            "application, app or a factory), a file such as app.py:app, or a factory call such "
            "as module:create_app('production'). Without it, the application is what "
            "pyproject.toml or FLASK_APP names, or else in wsgi.py, in app.py, or manage.py's."
        ),
        context_settings={
            "auto_envvar_prefix": ENVIRONMENT_PREFIX,
            "help_option_names": ["--help"],
            "max_content_width": 100,
        },
    )
    return click.version_option(__version__, message="asyncwsgi %(version)s")(command)


def _begun(
    begin: Callable[[click.Context, tuple[str, ...]], tuple[str, ...]],
    ctx: click.Context,
    names: tuple[str, ...],
) -> tuple[str, ...]:
    return names if ctx.resilient_parsing else begin(ctx, names)


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

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Examples"):
            formatter.write_dl(EXAMPLES, col_max=50)


class _Option(click.Option):
    """An option that blames the variable, and not its flag, for what the variable says."""

    def get_error_hint(self, ctx: click.Context | None) -> str:
        assert self.name is not None
        if ctx is not None and ctx.get_parameter_source(self.name) is ParameterSource.ENVIRONMENT:
            return f"{ENVIRONMENT_PREFIX}_{self.name.upper()}"
        return super().get_error_hint(ctx)


class _NumberOrWord(click.ParamType):  # type: ignore[type-arg]  # it has some since click 8.4
    """A whole number, or one of some words."""

    def __init__(self, words: tuple[str, ...]) -> None:
        self.name = "|".join(("integer", *words))
        self._words = words

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | str:
        if value in self._words:
            return str(value)
        try:
            return int(value)
        except ValueError:
            words = ", ".join(map(repr, self._words))
            self.fail(f"{value!r} is not a valid integer, nor {words}.", param, ctx)


def _click_option(field: dataclasses.Field[Any], option: Option, **more: Any) -> click.Option:
    flag = f"--{field.name.replace('_', '-')}"
    default = None if option.implied_by else field.default
    kind: dict[str, Any] = {"type": type(field.default) if field.default is not None else str}
    if isinstance(field.default, bool):
        flag = f"{flag}/--no-{flag.removeprefix('--')}"
    elif isinstance(field.default, tuple):
        kind = {"multiple": True, "type": click.Path() if option.holds_paths else str}
    elif option.words:
        kind = {"type": _NumberOrWord(option.words)}
    elif option.choices:
        kind = {"type": click.Choice(option.choices, case_sensitive=False)}
    elif option.holds_paths:
        kind = {"type": click.Path()}
    return _Option(
        [*option.flags, flag],
        default=default,
        show_default=default not in (None, (), ""),
        show_envvar=True,
        help=_help_of(option),
        metavar=option.metavar,
        hidden=option.hidden,
        **kind,
        **more,
    )


def _help_of(option: Option) -> str:
    text = _OPTION_NAME.sub(_flag_of, option.help)
    return f"{text}  [default: as --{option.implied_by}]" if option.implied_by else text


_OPTION_NAME = re.compile(r"\b[a-z]+(_[a-z]+)+\b")


def _flag_of(match: re.Match[str]) -> str:
    """What an option that a help text names is called on the command line."""
    names = {field.name for field, _ in command_line_options()}
    return f"--{match[0].replace('_', '-')}" if match[0] in names else match[0]


def _complete_files(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(incomplete, type="file")]
