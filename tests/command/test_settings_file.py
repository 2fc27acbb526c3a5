"""``[tool.asyncwsgi]`` in pyproject.toml."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from asyncwsgi import ConfigError
from asyncwsgi.command.options import command_line_options
from asyncwsgi.command.settings_file import read_settings


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "pyproject.toml"


def read(file: Path, *lines: str) -> dict[str, Any]:
    """What a table of these lines says."""
    file.write_text("\n".join(["[tool.asyncwsgi]", *lines]))
    return read_settings(file.parent)


SAMPLES = {bool: True, int: 4096, float: 7, str: "text", tuple: ["a", "b"], type(None): "text"}
TO_STAND_ELSEWHERE = {
    "debug",
    "debugger",
    "inspect",
    "forwarded_allow_ips",
    "proxy_protocol_allow_ips",
    "uwsgi_allow_ips",
}


def sample(field: Any, option: Any) -> Any:
    """A value that suits an option."""
    if option.choices:
        return option.choices[-1]
    return "auto" if option.words else SAMPLES[type(field.default)]


def as_toml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value)


@pytest.mark.parametrize("dash", ["_", "-"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param(field.name, sample(field, option), id=field.name)
        for field, option in command_line_options()
        if field.name not in TO_STAND_ELSEWHERE
    ],
)
def test_every_option_may_stand_there(file: Path, name: str, value: Any, dash: str) -> None:
    expected = tuple(value) if isinstance(value, list) else value
    assert read(file, f"{name.replace('_', dash)} = {as_toml(value)}") == {name: expected}


def test_it_names_the_application(file: Path) -> None:
    assert read(file, 'app = "shop:app"') == {"app": "shop:app"}


@pytest.mark.parametrize("name", sorted(TO_STAND_ELSEWHERE))
def test_what_depends_on_who_runs_it_may_not_stand_there(file: Path, name: str) -> None:
    flag = name.replace("_", "-")
    with pytest.raises(ConfigError, match=f"{name} may not stand there: .*; give --{flag}$"):
        read(file, f"{name} = true")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        pytest.param("prot = 1", "there is no option 'prot'; did you mean 'port'?", id="no option"),
        pytest.param("ap = 'a'", "there is no option 'ap'; did you mean 'app'?", id="nearly app"),
        pytest.param(
            "executor = 'a'", "there is no option 'executor'; see docs/options.md", id="an object"
        ),
        pytest.param(
            "threads = '7'", "threads must be an int, got '7' (str)", id="a number as text"
        ),
        pytest.param("threads = true", "threads must be an int, got True (bool)", id="no number"),
        pytest.param("threads = 7.5", "threads must be an int, got 7.5 (float)", id="no integer"),
        pytest.param("threads = 0", "threads must be at least 1, got 0", id="too small"),
        pytest.param(
            "head-timeout = 'a'", "head-timeout must be a float, got 'a' (str)", id="no seconds"
        ),
        pytest.param("port = 'any'", "port must be an int, or 'auto', got 'any'", id="no word"),
        pytest.param("workers = 1.5", "workers must be an int, got 1.5 (float)", id="no count"),
        pytest.param(
            "reload = 'yes'", "reload must be true or false, got 'yes' (str)", id="no switch"
        ),
        pytest.param(
            "socket-mode = 660",
            "socket-mode must be a string, in quotation marks, got 660 (int)",
            id="text as a number",
        ),
        pytest.param(
            "bind = [1]", "bind must be an array of strings, got [1] (list)", id="no texts"
        ),
        pytest.param(
            "loop = 'trio'", "loop must be one of auto, uvloop, asyncio, got 'trio'", id="no choice"
        ),
        pytest.param(
            "app = 1", "app must be a string, in quotation marks, got 1 (int)", id="no name"
        ),
        pytest.param(
            "log-level = 'info'\nlog_level = 'info'",
            "log_level is there twice, with dashes and with underscores",
            id="twice",
        ),
        pytest.param(
            "bind = ':1'\nport = 1",
            "port and bind exclude each other; bind = ['HOST:PORT'] says both",
            id="two places",
        ),
    ],
)
def test_what_is_wrong_is_an_error_that_names_the_file_and_the_key(
    file: Path, line: str, message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        read(file, line)
    assert str(caught.value) == f"pyproject.toml, [tool.asyncwsgi]: {message}"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        pytest.param("[tool]\nasyncwsgi = 3", "expected [tool.asyncwsgi] to be a table", id="else"),
        pytest.param("[tool.asyncwsgi", "pyproject.toml cannot be read: ", id="no TOML"),
        pytest.param("# asyncwsgi \xff", "pyproject.toml cannot be read: ", id="no UTF-8"),
    ],
)
def test_a_file_that_cannot_be_read_is_an_error(file: Path, source: str, message: str) -> None:
    file.write_bytes(source.encode("latin-1"))
    with pytest.raises(ConfigError, match=re.escape(message)):
        read_settings(file.parent)


@pytest.mark.parametrize(
    "source",
    [
        pytest.param("", id="empty"),
        pytest.param("[project]\nname = 'asyncwsgi'", id="no table"),
        pytest.param("tool = 'asyncwsgi'", id="no tables"),
        pytest.param("[tool.other", id="a fault that is none of ours"),
    ],
)
def test_a_file_that_says_nothing_of_it_is_none(file: Path, source: str) -> None:
    file.write_text(source)
    assert read_settings(file.parent) == {}


def test_only_the_file_of_the_directory_itself_counts(file: Path) -> None:
    read(file, "threads = 7")
    directory = file.parent / "inner"
    directory.mkdir()
    assert read_settings(directory) == {}
    os.mkdir(directory / "pyproject.toml")  # noqa: PTH102
    assert read_settings(directory) == {}
