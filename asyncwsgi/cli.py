"""The command line: ``asyncwsgi [OPTIONS] [APP]``."""

from __future__ import annotations

import dataclasses
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from asyncwsgi.app_loading import NamedLifespan, format_error
from asyncwsgi.command.app_search import Found, find_application
from asyncwsgi.command.options import (
    APPLICATION_OPTIONS,
    ApplicationOptions,
    command_line_options,
)
from asyncwsgi.command.settings_file import APP, read_settings
from asyncwsgi.config import LARGEST_PORT, Config, Option
from asyncwsgi.development.options import DEVELOPMENT_OPTIONS, Development
from asyncwsgi.env_files import ENVIRONMENT_PREFIX, EnvFiles
from asyncwsgi.errors import AppImportError, AsyncWSGIError, BindError, ConfigError, LifespanError
from asyncwsgi.log_setup import configure_logging, finish_log, write_error
from asyncwsgi.running import run_service
from asyncwsgi.server_log import logger
from asyncwsgi.socket_activation import take_listeners
from asyncwsgi.standard_streams import hold_standard_descriptors
from asyncwsgi.supervision.inheritance import take_inheritance
from asyncwsgi.supervision.options import FOR_ALL, PROCESS_OPTIONS, ProcessOptions
from asyncwsgi.supervision.service import Service
from asyncwsgi.supervision.worker import serve_for_supervisor
from asyncwsgi.version import __version__

# 0 after a graceful stop, 128 + N after one forced by signal N, 1 for anything unforeseen.
EXIT_CODES: dict[type[AsyncWSGIError], int] = {
    ConfigError: 2,
    AppImportError: 3,
    BindError: 4,
    LifespanError: 5,
}

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

_NEEDS = {"forwarded_headers": "forwarded_allow_ips", "max_parked": "park_async_views"}
"""Options that say nothing without another one."""
_FOR_LISTENERS = {
    "uwsgi_allow_ips": (("uwsgi",), "listeners of uwsgi", "uwsgi://HOST:PORT"),
    "socket_mode": (("unix:", "uwsgi+unix:"), "Unix sockets", "unix:PATH"),
}
"""Options for one kind of listener: how these begin, what they are, and an example."""


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


def _click_option(field: dataclasses.Field[Any], option: Option) -> click.Option:
    flag = f"--{field.name.replace('_', '-')}"
    default = None if option.implied_by else field.default
    more: dict[str, Any] = {"type": type(field.default) if field.default is not None else str}
    if isinstance(field.default, bool):
        flag = f"{flag}/--no-{flag.removeprefix('--')}"
    elif isinstance(field.default, tuple):
        more = {"multiple": True, "type": click.Path() if option.holds_paths else str}
    elif option.words:
        more = {"type": _NumberOrWord(option.words)}
    elif option.choices:
        more = {"type": click.Choice(option.choices, case_sensitive=False)}
    elif option.holds_paths:
        more = {"type": click.Path()}
    if field.name == "env_file":
        more |= {"is_eager": True, "callback": _begin}
    return _Option(
        [*option.flags, flag],
        default=default,
        show_default=default not in (None, (), ""),
        show_envvar=True,
        help=_help_of(option),
        metavar=option.metavar,
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


def _command() -> click.Command:
    app = click.Argument(["app"], metavar="[APP]", required=False, shell_complete=_complete_files)
    return _Command(
        "asyncwsgi",
        callback=_serve,
        params=[app, *(_click_option(*each) for each in command_line_options())],
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


def _complete_files(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(incomplete, type="file")]


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
    """Read what says more of the options, before they are read; but behind ``--help``.

    The variables of files are set until all options are known. The application gets them where it
    is imported: who imports it anew reads the files anew.
    """
    if ctx.resilient_parsing:  # for the completion of a shell
        return env_file
    settings = read_settings(Path.cwd())
    named = env_file or settings.get("env_file", ())
    ctx.obj = _Start(settings, EnvFiles(named).load())
    return tuple(named)


def _serve(app: str | None, **options: Any) -> NoReturn:
    sys.exit(_run(_service(app, options)))


def _service(app: str | None, options: dict[str, Any]) -> Service:
    start: _Start = click.get_current_context().obj
    _fill_in(options, start.settings)
    development = Development.from_options(_take(options, DEVELOPMENT_OPTIONS))
    application = ApplicationOptions(**_take(options, APPLICATION_OPTIONS))
    env_files = _env_files(application, development)
    start.variables += env_files.load()
    processes = ProcessOptions.from_options(
        _take(options, PROCESS_OPTIONS), reads_environment=not development.debug
    )
    _check_flags(
        _flags_given(), reloads=development.reload, has_workers=processes.workers is not None
    )
    warnings = [*env_files.complaints, *_find_listeners(options)]
    _check_needs(_flags_given(), options)
    config = _config(options)
    found = Found(app) if app else find_application(application.directory, start.settings.get(APP))
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
    return EnvFiles(named, finds=finds)


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


def _check_flags(given: set[str], *, reloads: bool, has_workers: bool) -> None:
    # Of flags alone: a variable may be set for many programs, of which this is one.
    for name in sorted(given & {"host", "port"}):
        if "bind" in given:
            raise ConfigError(
                f"--{name} and --bind exclude each other; --bind HOST:PORT says both, and may be "
                "given several times"
            )
    for name in sorted(given & {"extra_files", "exclude_patterns"}):
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
    for name, (beginnings, kind, example) in _FOR_LISTENERS.items():
        if name in given and not any(bind.startswith(beginnings) for bind in options["bind"]):
            flag = f"--{name.replace('_', '-')}"
            raise ConfigError(f"{flag} is for {kind}, and there is none; give --bind {example}")


def _run(service: Service) -> int:
    for path in service.development.missing_files if service.development.reload else ():
        logger.warning("--extra-files: there is no %s; it counts when it is made", path)
    return run_service(service)


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
            service = inheritance.service
            configure_logging(
                service.config,
                in_background=inheritance.asking is None,  # who forks has no thread besides
                names_process=service.processes.workers is not None,
            )
            sys.exit(_exit_code_of(lambda: serve_for_supervisor(inheritance)))
        sys.exit(_exit_code_of(lambda: command(prog_name="asyncwsgi")))
    finally:
        finish_log()
