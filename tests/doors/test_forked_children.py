"""Children that a view forks are signalled, and let go, as if no server were in their process."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from textwrap import dedent

import pytest

from tests.client import TIMEOUT
from tests.doors.conftest import Start, Write
from tests.doors.processes import Process, address_of

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")

ROUNDS = 50

APP = """
import multiprocessing, os, signal, subprocess, sys, threading, time, warnings

warnings.simplefilter("ignore", DeprecationWarning)  # of forks in programs with threads
context = multiprocessing.get_context("fork")

def child_of(function):
    end, begin = os.pipe()
    child = os.fork()
    if not child:
        os.write(begin, repr(function()).encode())
        os._exit(0)
    os.waitpid(child, 0)
    said = os.read(end, 4096).decode()
    os.close(end), os.close(begin)
    return said

def app(environ, start_response):
    body = str(globals()[environ["PATH_INFO"].strip("/")]()).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]

def hello():
    return "hello"
"""
DOORS = {
    "command line": ("-m", "asyncwsgi", "--port", "0", "views:app"),
    "run": ("-c", "import asyncwsgi, views; asyncwsgi.run(views.app, port=0)"),
    "reload": ("-m", "asyncwsgi", "--port", "0", "--reload", "views:app"),
}
Serve = Callable[..., Process]


@pytest.fixture(params=DOORS)
def serve(request: pytest.FixtureRequest, start: Start, write: Write) -> Serve:
    """Serves views, which are functions, from a process that is the server's own."""

    def serve(views: str) -> Process:
        write("views.py", APP + dedent(views))
        environment = {"PYTHONPATH": os.pathsep.join([".", os.environ.get("PYTHONPATH", "")])}
        return start(*DOORS[request.param], environment=environment)

    return serve


def test_who_is_terminated_at_once_ends(serve: Serve) -> None:
    process = serve(f"""
    def view():
        codes = []
        for _ in range({ROUNDS}):
            child = context.Process(target=time.sleep, args=[{10 * TIMEOUT}])
            child.start()
            child.terminate()
            child.join()
            codes.append(child.exitcode)
        return set(codes)
    """)
    with process.connect() as client:
        assert client.get("/view").body == b"{-15}"
        assert client.get("/hello").body == b"hello"  # the parent has not heard of it


def test_a_pool_with_busy_workers_is_terminated(serve: Serve) -> None:
    process = serve(f"""
    def view():
        with context.Pool(2) as pool:
            results = pool.map(abs, [-1, -2])
            pool.map_async(time.sleep, [{10 * TIMEOUT}] * 4)
        return results
    """)
    with process.connect() as client:
        assert client.get("/view").body == b"[1, 2]"
        assert client.get("/hello").body == b"hello"


def test_a_daemon_child_does_not_hold_up_the_stop(serve: Serve) -> None:
    process = serve(f"""
    def view():
        context.Process(target=time.sleep, args=[{10 * TIMEOUT}], daemon=True).start()
    """)
    with process.connect() as client:
        assert client.get("/view").status == 200
    assert process.interrupt() == 0


def test_a_child_has_the_handlers_and_the_mask_of_a_new_process(serve: Serve) -> None:
    process = serve("""
    def state():
        handlers = [signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)]
        # From another thread there is no telling; in a child this is the main thread.
        wakeup = signal.set_wakeup_fd(-1)
        return handlers == [signal.SIG_DFL, signal.default_int_handler], wakeup, mask()

    def mask():
        return [number.name for number in signal.pthread_sigmask(signal.SIG_BLOCK, [])]

    def view():
        signal.pthread_sigmask(signal.SIG_SETMASK, [signal.SIGUSR1, signal.SIGINT])
        return child_of(state), sorted(mask())
    """)
    with process.connect() as client:
        mask = "['SIGINT', 'SIGUSR1']"
        assert client.get("/view").body.decode().replace('"', "") == f"((True, -1, {mask}), {mask})"


def test_a_program_that_a_view_starts_can_be_terminated(serve: Serve) -> None:
    process = serve(f"""
    def view():
        code = "import time; time.sleep({10 * TIMEOUT})"
        started = [subprocess.Popen([sys.executable, "-c", code]),
                   subprocess.Popen([sys.executable, "-c", code], preexec_fn=os.getpid)]
        for program in started:
            program.terminate()
        return [program.wait() for program in started]
    """)
    with process.connect() as client:
        assert client.get("/view").body == b"[-15, -15]"


def test_a_child_that_outlives_the_server_does_not_hold_its_address(serve: Serve) -> None:
    process = serve(f"""
    def view():
        child = os.fork()
        if not child:
            for descriptor in range(3):
                os.dup2(os.open(os.devnull, os.O_RDWR), descriptor)
            time.sleep({10 * TIMEOUT})
            os._exit(0)
        return child
    """)
    address = address_of(process.urls()[0])
    assert isinstance(address, tuple)
    with socket.create_connection(address, TIMEOUT) as client:
        client.sendall(b"GET /view HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        child = int(client.recv(65536).partition(b"\r\n\r\n")[2] or client.recv(65536))
        assert process.interrupt() == 0
        try:
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(address, TIMEOUT)
        finally:
            os.kill(child, signal.SIGKILL)


PROGRAM = """
import asyncwsgi, views
from views import *
def mine(*_): pass
signal.signal(signal.SIGTERM, mine)
{serve}
"""


@pytest.mark.parametrize(
    "door",
    [
        "asyncwsgi.run(views.app, port=0)",
        "with asyncwsgi.serve_in_thread(views.app, port=0) as server:\n"
        "    print('listening on', server.url, file=sys.stderr); sys.stdin.read()",
    ],
    ids=["run", "embedded"],
)
def test_a_handler_that_the_program_had_before_is_its_childrens(
    start: Start, write: Write, door: str
) -> None:
    write(
        "views.py",
        APP
        + dedent("""
    def view():
        return child_of(lambda: signal.getsignal(signal.SIGTERM).__name__)
    """),
    )
    process = start(
        "-c", PROGRAM.format(serve=door),
        environment={"PYTHONPATH": os.pathsep.join([".", os.environ.get("PYTHONPATH", "")])},
    )  # fmt: skip
    with process.connect() as client:
        assert client.get("/view").body == b"'mine'"
