"""``egg:asyncwsgi#main``: Pyramid's ``pserve``, and what ini files may say."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from asyncwsgi import paste
from asyncwsgi.config import Config
from asyncwsgi.errors import ConfigError
from tests.client import connect
from tests.docs.environment import Environment
from tests.doors.conftest import Start, Write
from tests.doors.processes import Process, replace

APP = """
from pyramid.config import Configurator
from pyramid.response import Response


def view(request):
    return Response("the first answer")


def main(global_config, **settings):
    config = Configurator(settings=settings)
    config.add_route("index", "/")
    config.add_view(view, route_name="index")
    return config.make_wsgi_app()
"""
INI = """
[app:main]
use = call:site_of_tests:main

[server:main]
use = egg:asyncwsgi#main
bind = unix:socket
access_log = off

[loggers]
keys = root

[handlers]
keys = console

[formatters]
keys = plain

[logger_root]
level = INFO
handlers = console

[handler_console]
class = StreamHandler
args = (sys.stderr,)
formatter = plain

[formatter_plain]
format = %(message)s
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Where this project is installed, with the entry points that it declares."""
    requirements = ["pyramid", "plaster-pastedeploy"]
    return Environment(tmp_path_factory.mktemp("venv"), requirements)


@pytest.fixture
def serve(start: Start, write: Write, tmp_path: Path, installed: Environment) -> Start:
    """Starts ``pserve`` on the ini file."""
    write("site_of_tests.py", APP)
    write("site.ini", INI)

    def serve(*flags: str) -> Process:
        pserve, path = str(installed.scripts / "pserve"), {"PYTHONPATH": str(tmp_path)}
        return start(*flags, "site.ini", executable=pserve, environment=path)

    return serve


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_pserve_serves_until_a_signal(serve: Start, tmp_path: Path, number: signal.Signals) -> None:
    process = serve()
    process.urls()
    with connect(str(tmp_path / "socket")) as client:
        assert client.get().body == b"the first answer"
    process.send_signal(number)
    assert process.wait() == 0
    assert "Traceback" not in process.log
    assert "GET" not in process.log


def test_pserve_reloads(serve: Start, tmp_path: Path) -> None:
    process = serve("--reload", "-v")
    process.urls()
    replace(tmp_path / "site_of_tests.py", "the first answer", "another answer")
    process.send_signal(signal.SIGHUP)  # it may not have seen yet what the file was
    process.urls()
    with connect(str(tmp_path / "socket")) as client:
        assert client.get().body == b"another answer"
    process.send_signal_to_group(signal.SIGINT)
    process.wait()
    assert "Traceback" not in process.log


def test_text_becomes_what_an_option_is() -> None:
    settings = {
        "bind": "127.0.0.1:1\n  [::1]:1",
        "threads": " 4 ",
        "head_timeout": "2.5",
        "access_log": "No",
        "cancel_on_disconnect": "true",
        "root_path": "/spam",
    }
    assert paste.config_of(settings) == Config(
        bind=("127.0.0.1:1", "[::1]:1"),
        threads=4,
        head_timeout=2.5,
        access_log=False,
        cancel_on_disconnect=True,
        root_path="/spam",
    )


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("thread", "4", "there is no option 'thread'; did you mean 'threads'?"),
        ("listen", "*:80", "there is no option 'listen'; here it is 'bind'"),
        ("threads", "many", "threads must be a whole number, got 'many'"),
        ("head_timeout", "", "head_timeout must be a number, got ''"),
        ("access_log", "maybe", "access_log must be true or false, got 'maybe'"),
        ("threads", "0", "threads must be at least 1, got 0"),
        ("executor", "x", "executor is for programs; text cannot say it"),
        ("workers", "4", "a server is one process"),
    ],
)
def test_what_cannot_be_served_is_named(name: str, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        paste.config_of({name: text})
    assert message in str(raised.value)
