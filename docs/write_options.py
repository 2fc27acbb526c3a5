"""Writes `docs/options.md` from the declarations of the options; run it as a script."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import click

from asyncwsgi.cli import command
from asyncwsgi.command.options import ApplicationOptions
from asyncwsgi.config import KIB, Config, Option, option_fields
from asyncwsgi.development.options import Development
from asyncwsgi.env_files import ENVIRONMENT_PREFIX
from asyncwsgi.supervision.options import ProcessOptions

TARGET = Path(__file__).with_name("options.md")
SMALLEST_SIZE = 16 * KIB
"""Numbers from here on are bytes, and easier to read in units; counts are smaller."""

PREFACE = """\
<!-- Written by docs/write_options.py; change the declarations of the options instead. -->

# Options

Every option is a keyword argument of `asyncwsgi.run`, `serve`, `serve_in_thread` and `Server`, and
a field of `asyncwsgi.Config`. The command line has a flag for each that can be written as text;
what it is not given, it takes from the environment, and then from `[tool.asyncwsgi]` in the
pyproject.toml of the working directory, where each option with a flag may stand by its name (see
[running.md](running.md#settings-of-a-project)). Both count for the command line alone: a program
that calls `asyncwsgi` gets what it passes, and the defaults.

Timeouts are seconds; they are looked at about once a second, more often if one is short. Sizes are
bytes unless their meaning says otherwise. A variable for an option that is on or off takes `1`,
`true`, `yes`, `on` and their opposites; `ASYNCWSGI_BIND` takes several listeners, separated by
spaces, and variables for paths take several of them, separated by `:`.

`log_format`, `log_level`, `log_config` and `access_log_file` concern processes whose logging
asyncwsgi configures: those of the command line, and those of `run` if the program has configured
none. `loop` concerns the doors that make a loop: the command line, `run` and `serve_in_thread`.

| option | command line | environment | default | meaning |
|---|---|---|---|---|
"""


PROCESSES = """
## Processes

These are options of the command line, and of `asyncwsgi.run("module:app", ...)`; see
[workers.md](workers.md).

| option | command line | environment | default | meaning |
|---|---|---|---|---|
"""

APPLICATION = """
## Application

These, and those below, are options of the command line alone; see
[running.md](running.md#the-application).

| option | command line | environment | default | meaning |
|---|---|---|---|---|
"""

DEVELOPMENT = """
## Development

See [running.md](running.md#development---reload-and---debug); of these, `reload` is one of
`asyncwsgi.run("module:app", ...)`, too.

| option | command line | environment | default | meaning |
|---|---|---|---|---|
"""


def render() -> str:
    """The whole page."""
    return (
        PREFACE
        + _table(Config)
        + PROCESSES
        + _table(ProcessOptions)
        + APPLICATION
        + _table(ApplicationOptions)
        + DEVELOPMENT
        + _table(Development)
    )


def _table(options: Any) -> str:
    flags = {parameter.name: parameter for parameter in command.params}
    rows = [_row(field, option, flags.get(field.name)) for field, option in option_fields(options)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _row(
    field: dataclasses.Field[Any], option: Option, parameter: click.Parameter | None
) -> list[str]:
    if parameter is None:
        flags = variable = "-"
    else:
        flags = ", ".join(map(_code, (*parameter.opts, *parameter.secondary_opts)))
        variable = _code(f"{ENVIRONMENT_PREFIX}_{field.name.upper()}")
    meaning = option.help
    if option.choices:
        meaning += f" One of {', '.join(map(_code, option.choices))}."
    default = f"as {_code(option.implied_by)}" if option.implied_by else _default(field.default)
    return [_code(field.name), flags, variable, default, meaning.replace("|", "\\|")]


def _default(value: Any) -> str:
    if value in (None, "", ()):
        return "-"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, int) and value >= SMALLEST_SIZE:
        return f"{_code(value)} ({_in_units(value)})"
    return _code(f"{value:g}" if isinstance(value, float) else value)


def _in_units(size: int) -> str:
    return f"{size // KIB**2} MiB" if size % KIB**2 == 0 else f"{size // KIB} KiB"


def _code(value: object) -> str:
    return "`{}`".format(str(value).replace("|", "\\|"))


if __name__ == "__main__":
    TARGET.write_text(render(), encoding="utf-8")
