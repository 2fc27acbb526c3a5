"""The package as it is installed: names, version, types, entry point."""

from __future__ import annotations

import os
import subprocess
from importlib.metadata import entry_points, version
from importlib.resources import files

import pytest

import asyncwsgi
from asyncwsgi import cli
from tests.docs.environment import Environment


@pytest.mark.parametrize("name", asyncwsgi.__all__)
def test_every_name_that_is_promised_is_there(name: str) -> None:
    assert getattr(asyncwsgi, name) is not None


def test_the_promised_names_are_in_order_and_there_once() -> None:
    assert asyncwsgi.__all__ == sorted(set(asyncwsgi.__all__))


def test_the_version_is_that_of_the_installed_distribution() -> None:
    assert asyncwsgi.__version__ == version("asyncwsgi")


def test_type_checkers_are_told_that_there_are_types() -> None:
    # PEP 561.
    assert (files("asyncwsgi") / "py.typed").is_file()


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Where nothing but this package is installed."""
    return Environment(tmp_path_factory.mktemp("venv"), [])


@pytest.mark.parametrize(
    ("module", "wanted"),
    [
        ("serving", "werkzeug"),
        ("serving.servers", "werkzeug"),
        ("flask", "flask"),
        ("gunicorn", "gunicorn"),
        ("django", "django"),
    ],
)
def test_a_module_that_needs_an_extra_says_which(
    bare: Environment, module: str, wanted: str
) -> None:
    done = subprocess.run(
        [bare.python, "-c", f"import asyncwsgi.{module}"],
        env={**os.environ, "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"ModuleNotFoundError: asyncwsgi.{module.partition('.')[0]} is ")
    assert f"install it: pip install {wanted} (the extra `{wanted}` does)" in last


def test_the_adapter_of_bottle_says_that_it_wants_bottle(bare: Environment) -> None:
    done = subprocess.run(
        [bare.python, "-c", "import asyncwsgi.bottle"],
        env={**os.environ, "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Bottle is not installed; install it: pip install bottle" in done.stderr


def test_the_command_is_the_command_line() -> None:
    (command,) = entry_points(group="console_scripts", name="asyncwsgi")
    assert command.load() is cli.main
