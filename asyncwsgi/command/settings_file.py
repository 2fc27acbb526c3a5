"""``[tool.asyncwsgi]`` of pyproject.toml: options that go with a project.

Only the file of the working directory is read, so that a server does what the project says whose
directory it runs in, and never what a file above it says. The file goes wherever the project goes,
also to where it is served: it cannot say what is for one machine alone.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

from asyncwsgi.command.options import command_line_options
from asyncwsgi.config import Option
from asyncwsgi.errors import ConfigError
from asyncwsgi.words import nearest, with_article

FILE = "pyproject.toml"
APP = "app"
"""What says which application is served, if the command line does not."""
_TABLE = "tool.asyncwsgi"

_DEBUGS = "it is for whoever develops, and this file goes wherever the project goes"
_TRUSTS = "whom to believe depends on the machine, and this file goes wherever the project goes"
_NEVER = {
    **dict.fromkeys(("debug", "debugger", "inspect"), _DEBUGS),
    **dict.fromkeys(
        ("forwarded_allow_ips", "proxy_protocol_allow_ips", "uwsgi_allow_ips"), _TRUSTS
    ),
}
"""Options that may not stand there, and why."""


def read_settings(directory: Path) -> dict[str, Any]:
    """What the file in `directory` says, by the names of options; nothing without one.

    Raises:
        ConfigError: it cannot be read, or says what no option takes.
    """
    known = {field.name: (field, option) for field, option in command_line_options()}
    settings: dict[str, Any] = {}
    for key, value in _read_table(directory / FILE).items():
        name = key.replace("-", "_")
        if name in settings:
            raise _error(f"{key} is there twice, with dashes and with underscores")
        if name in _NEVER:
            flag = name.replace("_", "-")
            raise _error(f"{key} may not stand there: {_NEVER[name]}; give --{flag}")
        if name not in known and name != APP:
            raise _error(f"there is no option {key!r}; {nearest(name, {*known, APP})}")
        settings[name] = _taken(key, value, *known[name]) if name in known else _text(key, value)
    for name in ("host", "port"):
        if name in settings and "bind" in settings:
            raise _error(f"{name} and bind exclude each other; bind = ['HOST:PORT'] says both")
    return settings


def _read_table(path: Path) -> dict[str, Any]:
    if not os.path.isfile(path):  # noqa: PTH113  Path.is_file() raises PermissionError
        return {}
    import tomllib  # children of a supervisor never need it

    try:
        source = path.read_text(encoding="utf-8")
        # A fault that is none of ours does not keep anybody from being served.
        file = tomllib.loads(source) if "asyncwsgi" in source else {}
    except (OSError, ValueError) as error:
        raise ConfigError(f"{FILE} cannot be read: {error}") from None
    tool = file.get("tool", {})
    table = tool.get("asyncwsgi", {}) if isinstance(tool, dict) else {}
    if not isinstance(table, dict):
        raise ConfigError(f"{FILE}: expected [{_TABLE}] to be a table, got {table!r}")
    return table


def _taken(key: str, value: Any, field: dataclasses.Field[Any], option: Option) -> Any:
    """What the option takes for `value`, which is of its type."""
    if option.words:
        return _number_or_word(key, value, option.words, option.minimum)
    if isinstance(field.default, tuple):
        return _texts(key, value)
    if isinstance(field.default, bool):
        return _checked(key, value, bool, "true or false")
    if isinstance(field.default, int | float):
        return _number(key, value, type(field.default), option.minimum)
    if option.choices and value not in option.choices:
        raise _error(f"{key} must be one of {', '.join(option.choices)}, got {value!r}")
    return _text(key, value)


def _number_or_word(key: str, value: Any, words: tuple[str, ...], minimum: float | None) -> Any:
    if value in words:
        return value
    if isinstance(value, str):
        raise _error(f"{key} must be an int, or {' or '.join(map(repr, words))}, got {value!r}")
    return _number(key, value, int, minimum)


def _number(key: str, value: Any, kind: type, minimum: float | None) -> Any:
    wanted = (int, float) if kind is float else (int,)
    if isinstance(value, bool) or not isinstance(value, wanted):
        raise _wrong(key, value, with_article(kind))
    if minimum is not None and not value >= minimum:
        raise _error(f"{key} must be at least {minimum}, got {value!r}")
    return value


def _texts(key: str, value: Any) -> tuple[str, ...]:
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(each, str) for each in values):
        raise _wrong(key, value, "an array of strings")
    return tuple(values)


def _text(key: str, value: Any) -> Any:
    return _checked(key, value, str, "a string, in quotation marks")


def _checked(key: str, value: Any, kind: type, expected: str) -> Any:
    if not isinstance(value, kind):
        raise _wrong(key, value, expected)
    return value


def _wrong(key: str, value: Any, expected: str) -> ConfigError:
    return _error(f"{key} must be {expected}, got {value!r} ({type(value).__name__})")


def _error(text: str) -> ConfigError:
    return ConfigError(f"{FILE}, [{_TABLE}]: {text}")
