"""systemd's two protocols, as it speaks them: sockets that it has opened, and what it is told."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from asyncwsgi.errors import ConfigError
from asyncwsgi.service_manager import ServiceManager
from asyncwsgi.socket_activation import take_listeners
from tests.client import TIMEOUT, connect
from tests.doors.conftest import Start, Write
from tests.doors.processes import Process

APP = """\
import os, time

VARIABLES = ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")

def app(environ, start_response):
    if environ["PATH_INFO"] == "/forked":
        return forked(start_response)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [" ".join(name for name in VARIABLES if name in os.environ).encode()]

def forked(start_response):
    # Whether a child has the listener of its parent.
    child = os.fork()
    if not child:
        try:
            os.fstat(3)
        except OSError:
            os._exit(0)
        os._exit(1)
    _, status = os.waitpid(child, 0)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"inherited" if status else b"closed"]
"""
# What a manager does between fork and exec.
ACTIVATE = """\
import os, sys
descriptor, count, *command = sys.argv[1:]
os.dup2(int(descriptor), 3)
os.environ.update(LISTEN_FDS=count, LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES="http")
os.execv(sys.executable, [sys.executable, *command])
"""
SERVE = ("-m", "asyncwsgi", "web:app")


@pytest.fixture(autouse=True)
def web(write: Write) -> Path:
    return write("web.py", APP)


@pytest.fixture
def activate(start: Start, listener: socket.socket) -> Any:
    """Starts a program that was given `listener`."""

    def activate(*command: str, count: int = 1, **environment: str) -> Process:
        # Not 3, which would not survive a dup2() onto itself.
        with socket.socket(fileno=os.dup(listener.fileno())) as copy:
            arguments = ("-c", ACTIVATE, str(copy.fileno()), str(count), *command)
            return start(*arguments, descriptors=[copy.fileno()], environment=environment)

    return activate


class TestSocketActivation:
    def test_a_listener_of_the_manager_s_is_served(
        self, activate: Any, listener: socket.socket
    ) -> None:
        process = activate(*SERVE)
        port = listener.getsockname()[1]
        assert process.urls() == [f"http://127.0.0.1:{port}"]
        with connect(("127.0.0.1", port)) as client:
            assert client.get().body == b""  # the variables are for nobody else
            assert client.get("/forked").body == b"closed"

    def test_clients_wait_from_one_process_to_the_next(
        self, activate: Any, listener: socket.socket
    ) -> None:
        process = activate(*SERVE)
        process.urls()
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0
        with connect(listener.getsockname()) as client:
            client.request()
            activate(*SERVE)
            assert client.reply().status == 200

    @pytest.mark.parametrize(
        "given",
        [
            pytest.param((("--port", "0"), {}), id="port"),
            pytest.param((("--bind", "127.0.0.1:0"), {}), id="bind"),
            pytest.param(((), {"ASYNCWSGI_BIND": "127.0.0.1:0"}), id="a variable"),
        ],
    )
    def test_who_says_where_to_listen_gets_that(
        self, activate: Any, listener: socket.socket, given: Any
    ) -> None:
        arguments, environment = given
        process = activate(*SERVE, *arguments, **environment)
        [url] = process.urls()
        assert url != f"http://127.0.0.1:{listener.getsockname()[1]}"

    def test_a_listener_is_named_by_its_descriptor_where_that_is_wanted(
        self, activate: Any, listener: socket.socket
    ) -> None:
        process = activate(*SERVE, "--bind", "fd://3")
        assert process.urls() == [f"http://127.0.0.1:{listener.getsockname()[1]}"]

    def test_a_reload_keeps_it(self, activate: Any, listener: socket.socket, web: Path) -> None:
        process = activate(*SERVE, "--reload")
        assert process.urls() == [f"http://127.0.0.1:{listener.getsockname()[1]}"]
        web.write_text(APP + "\n# changed\n")
        assert process.urls() == [f"http://127.0.0.1:{listener.getsockname()[1]}"]

    def test_one_that_is_not_open_is_named(self, activate: Any) -> None:
        process = activate(*SERVE, count=1000)
        assert process.wait() == 2
        assert "LISTEN_FDS tells of descriptor" in process.log

    def test_systemd_itself_starts_it_when_a_client_comes(
        self, start: Start, tmp_path: Path
    ) -> None:
        program = shutil.which("systemd-socket-activate")
        assert program is not None, "it is part of systemd; see `make programs`"
        path = str(tmp_path / "web.sock")
        # Of its own variables it passes on a few.
        variable = f"PYTHONPATH={os.environ.get('PYTHONPATH', '')}"
        options = ("-l", path, "--fdname=http", "-E", variable)
        process = start(*options, sys.executable, *SERVE, executable=program)
        process.read_until("Listening on")
        with connect(path) as client:
            assert client.get().body == b""
        assert process.urls() == [f"unix:{path}"]

    def test_variables_for_another_process_are_left_to_it(self) -> None:
        environ = {"LISTEN_FDS": "1", "LISTEN_PID": "1", "LISTEN_FDNAMES": "x"}
        before = environ.copy()
        assert take_listeners(environ) == ()
        assert environ == before

    def test_variables_that_make_no_sense_are_named(self) -> None:
        environ = {"LISTEN_FDS": "all", "LISTEN_PID": str(os.getpid())}
        with pytest.raises(ConfigError, match="LISTEN_FDS is 'all'; expected how many"):
            take_listeners(environ)


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """Where a manager listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(TIMEOUT)
        yield sock


def told(manager: socket.socket) -> str:
    return manager.recv(1000).decode()


class TestNotification:
    def test_the_manager_is_told_of_beginning_and_end(
        self, start: Start, manager: socket.socket
    ) -> None:
        environment = {"NOTIFY_SOCKET": manager.getsockname()}
        process = start(*SERVE, "--port", "0", environment=environment)
        assert told(manager) == "READY=1"
        with process.connect() as client:
            assert client.get().status == 200
            process.send_signal(signal.SIGTERM)
            assert told(manager) == "STOPPING=1"
        assert process.wait() == 0

    def test_it_is_told_that_the_loop_comes_round(
        self, start: Start, manager: socket.socket
    ) -> None:
        environment = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "20000"}
        process = start(*SERVE, "--port", "0", environment=environment)
        heard = [told(manager) for _ in range(6)]
        assert heard.count("READY=1") == 1
        assert heard.count("WATCHDOG=1") == 5
        process.send_signal(signal.SIGTERM)
        while told(manager) != "STOPPING=1":
            pass
        assert process.wait() == 0

    def test_the_watchdog_of_another_process_is_not_ours(self, manager: socket.socket) -> None:
        environ = {
            "NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "20000", "WATCHDOG_PID": "1",
        }  # fmt: skip
        with pytest.raises(StopIteration):
            ServiceManager(environ).keep_telling().send(None)
        ServiceManager(environ).ready()
        assert told(manager) == "READY=1"

    def test_a_name_without_a_file_is_one_too(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.bind(f"\0asyncwsgi-test-{os.getpid()}")
            sock.settimeout(TIMEOUT)
            ServiceManager({"NOTIFY_SOCKET": f"@asyncwsgi-test-{os.getpid()}"}).stopping()
            assert told(sock) == "STOPPING=1"

    def test_a_manager_that_is_gone_ends_nothing(self, caplog: pytest.LogCaptureFixture) -> None:
        ServiceManager({"NOTIFY_SOCKET": "/nonexistent/notify"}).ready()
        [record] = caplog.records
        assert record.getMessage().startswith("cannot tell the service manager READY=1 at NOTIFY")

    def test_nobody_is_told_unless_asked_for(self) -> None:
        ServiceManager({"WATCHDOG_USEC": "20000"}).ready()
        with pytest.raises(StopIteration):
            ServiceManager({"WATCHDOG_USEC": "20000"}).keep_telling().send(None)

    def test_who_stops_before_being_ready_never_is(self, manager: socket.socket) -> None:
        service = ServiceManager({"NOTIFY_SOCKET": manager.getsockname()})
        service.stopping()
        service.ready()
        assert told(manager) == "STOPPING=1"
        manager.setblocking(False)
        with pytest.raises(BlockingIOError):
            told(manager)
