"""What does not hold up a server that is to stop, and what stops one."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from asyncwsgi.serving import make_server
from tests.client import TIMEOUT, connect
from tests.doors.processes import Process
from tests.server.helpers import FOREVER
from tests.serving.apps import PLAIN, hello
from tests.serving.conftest import Start

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

PROGRAM = """\
import signal, socket, sys, threading, time
from asyncwsgi.serving import make_server

def application(environ, start_response):
    try:
        sys.stderr.write("in a view\\n")
        threading.Event().wait()
    except BaseException as error:
        print("the view saw", type(error).__name__, flush=True)
        raise
    start_response("200 OK", [])
    return [b"hello"]

server = make_server("127.0.0.1", 0, application, threaded={threaded})
client = socket.create_connection(server.server_address)
client.sendall(b"GET / HTTP/1.1\\r\\nHost: test\\r\\n\\r\\n")
{serve}
print("served", flush=True)
"""
Run = Callable[..., Process]
each_kind = pytest.mark.parametrize("threaded", [True, False], ids=["threaded", "one at a time"])

HELD_PROGRAM = """
import sys, threading, time, urllib.request
import asyncwsgi.running
import asyncwsgi.serving.servers
from asyncwsgi import from_thread

class Told(asyncwsgi.running.ServerThread):
    def close(self):
        sys.stderr.write("closing\\n")
        super().close()

asyncwsgi.serving.servers.ServerThread = Told
asyncwsgi.serving.servers.CUT_TIMEOUT = 0.0

async def hold():
    sys.stderr.write("the loop is held\\n")
    while True:
        time.sleep(0.1)

def app(environ, start_response):
    from_thread.run(hold)

class Asked(asyncwsgi.serving.servers.ThreadedWSGIServer):
    def _wait(self, *args):
        url = f"http://127.0.0.1:{self.port}/"
        threading.Thread(target=urllib.request.urlopen, args=[url], daemon=True).start()
        super()._wait(*args)

Asked("127.0.0.1", 0, app).serve_forever()
"""


@each_kind
def test_connections_without_a_request_are_not_waited_for(start: Start, threaded: bool) -> None:
    running = start(hello, threaded=threaded, graceful_timeout=FOREVER)
    with running.connect() as kept, running.connect() as half, running.connect() as silent:
        assert kept.get().body == b"hello"
        half.send(b"GET / HT")
        running.close()
        assert not running.thread.is_alive()
        assert kept.is_closed()
        assert silent.is_closed()


@each_kind
def test_starting_and_stopping_over_and_over_leaves_nothing_behind(threaded: bool) -> None:
    def serve_once() -> tuple[int, int]:
        server = make_server("127.0.0.1", 0, hello, threaded=threaded)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        with connect(("127.0.0.1", server.port)) as client:
            assert client.get().body == b"hello"
        server.shutdown()
        thread.join()
        return len(list(Path("/dev/fd").iterdir())), threading.active_count()

    serve_once()
    descriptors, threads = serve_once()
    for _ in range(20):
        now = serve_once()
        assert now[0] <= descriptors
        assert now[1] <= threads


def test_as_many_requests_run_at_once_as_there_are_clients(start: Start) -> None:
    # Werkzeug has a thread for each. Fewer, and the barrier breaks.
    clients = 50
    barrier = threading.Barrier(clients, timeout=TIMEOUT)

    def meet(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        barrier.wait()
        start_response("200 OK", PLAIN)
        return [b"met"]

    running = start(meet)
    connections = [running.connect() for _ in range(clients)]
    for client in connections:
        client.request()
    for client in connections:
        assert client.reply().body == b"met"
        client.close()


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Starts a program whose client waits for an answer that does not come."""
    with ExitStack() as stack:

        def start(*, threaded: bool, serve: str = "server.serve_forever()") -> Process:
            source = PROGRAM.format(threaded=threaded, serve=serve)
            process = Process("-c", source, directory=tmp_path)
            stack.callback(process.close)
            process.read_until("in a view")
            return process

        yield start


class TestSignals:
    def test_ctrl_c_interrupts_a_view_in_the_main_thread(self, run: Run) -> None:
        process = run(threaded=False)
        assert process.interrupt() == 0
        assert process.output.splitlines() == ["the view saw KeyboardInterrupt", "served"]

    def test_ctrl_c_leaves_views_in_threads_alone(self, run: Run) -> None:
        process = run(threaded=True)
        assert process.interrupt() == 0
        assert process.output.splitlines() == ["served"]

    @each_kind
    def test_what_a_handler_raises_leaves_serve_forever(self, run: Run, threaded: bool) -> None:
        serve = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7)); server.serve_forever()"
        process = run(threaded=threaded, serve=serve)
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 7
        assert "served" not in process.output

    def test_a_second_ctrl_c_does_not_wait_for_a_loop_that_a_coroutine_holds(
        self, tmp_path: Path
    ) -> None:
        process = Process("-c", HELD_PROGRAM, directory=tmp_path)
        try:
            process.read_until("the loop is held")
            process.send_signal(signal.SIGINT)
            process.read_until("closing")
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(TIMEOUT)
            # One that comes between Python's last look and the system call is heard with the next.
            assert process.interrupt() == 0
        finally:
            process.close()

    def test_a_program_ends_with_its_main_thread(self, run: Run) -> None:
        serve = (
            "threading.Thread(target=server.serve_forever, daemon=True).start()\n"
            "sys.stdin.read()\n"
            "sys.exit(3)"
        )
        process = run(threaded=True, serve=serve)
        process.end_input()
        assert process.wait() == 3
        assert process.log.splitlines() == [
            "in a view", "cut after graceful_timeout of 1 s; in flight: GET /"
        ]  # fmt: skip


EXITING = """
import atexit, sys, threading
from asyncwsgi.serving import make_server

entered, is_exiting = threading.Event(), threading.Event()

def app(environ, start_response):
    start_response("200 OK", [("Content-Length", str(64 * 2**20))])
    entered.set()
    is_exiting.wait()
    return [bytes(2**20)] * 64

server = make_server("127.0.0.1", 0, app, threaded=True)
server.graceful_timeout = {graceful_timeout}
threading.Thread(target=server.serve_forever, daemon=True).start()
print(f"listening on http://127.0.0.1:{{server.port}}", file=sys.stderr, flush=True)
entered.wait()
atexit.register(is_exiting.set)
sys.exit(3)
"""


def test_a_response_in_flight_ends_before_the_interpreter(tmp_path: Path) -> None:
    # Werkzeug's reloader ends a process so: the thread that serves is a daemon.
    process = Process("-c", EXITING.format(graceful_timeout=TIMEOUT), directory=tmp_path)
    try:
        with process.connect() as client:
            assert len(client.get().body) == 64 * 2**20
        assert process.wait() == 3
    finally:
        process.close()
