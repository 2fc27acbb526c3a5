"""``--lifespan``: named on the command line, imported with the application."""

from __future__ import annotations

import signal

import pytest

from tests.client import connect
from tests.doors.conftest import Start, Write
from tests.loops import LOOPS

WEB = """
import asyncio
import contextlib
import sys

POOL = []


@contextlib.asynccontextmanager
async def lifespan():
    print("entered", flush=True)
    POOL.append("a pool")
    yield
    print("left", flush=True)


@contextlib.asynccontextmanager
async def hanging():
    sys.stderr.write("entering\\n")
    await asyncio.Event().wait()
    yield


@contextlib.asynccontextmanager
async def tidying():
    try:
        sys.stderr.write("entering\\n")
        await asyncio.Event().wait()
        yield
    finally:
        sys.stderr.write("tidying up\\n")
        await asyncio.Event().wait()


@contextlib.asynccontextmanager
async def swallowing():
    with contextlib.suppress(asyncio.CancelledError):
        sys.stderr.write("entering\\n")
        await asyncio.Event().wait()
    yield
    sys.stderr.write("tidying up\\n")
    await asyncio.Event().wait()


async def closed_with_the_loop():
    try:
        yield
    finally:
        sys.stderr.write("the loop ends\\n")


GENERATOR = closed_with_the_loop()


@contextlib.asynccontextmanager
async def waiting_for_a_thread():
    await anext(GENERATOR)
    sys.stderr.write("entering\\n")
    await asyncio.to_thread(sys.stdin.read)
    yield


@contextlib.asynccontextmanager
async def exiting():
    sys.exit(7)
    yield


@contextlib.asynccontextmanager
async def failing():
    raise LookupError("no database")
    yield


def app(environ, start_response):
    body = POOL[0].encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


nothing = 5
"""


@pytest.mark.parametrize("name", ["web:lifespan", "web.py:lifespan"])
def test_surrounds_what_the_command_serves(start: Start, write: Write, name: str) -> None:
    write("web.py", WEB)
    process = start("-m", "asyncwsgi", "--port", "0", "--lifespan", name, "web:app")
    with process.connect() as client:
        assert client.get().body == b"a pool"
    assert process.interrupt() == 0
    assert process.output == "entered\nleft\n"


def test_one_that_fails_is_5_and_shows_where(start: Start, write: Write) -> None:
    write("web.py", WEB)
    process = start("-m", "asyncwsgi", "--port", "0", "--lifespan", "web:failing", "web:app")
    assert process.wait() == 5
    assert 'web.py", line' in process.log
    assert process.log.splitlines()[-1] == (
        "asyncwsgi: entering the lifespan failed with LookupError: no database; nothing is served; "
        "correct it there"
    )


def test_one_that_exits_does_so(start: Start, write: Write) -> None:
    write("web.py", WEB)
    process = start("-m", "asyncwsgi", "--port", "0", "--lifespan", "web:exiting", "web:app")
    assert process.wait() == 7


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_ends_one_that_hangs(
    start: Start, write: Write, number: signal.Signals, loop: str
) -> None:
    write("web.py", WEB)
    process = start(
        "-m", "asyncwsgi", "--port", "0", "--loop", loop, "--lifespan", "web:hanging", "web:app"
    )
    process.read_until("entering")
    process.send_signal_to_group(number)
    assert process.wait() == 0
    entering, stopping = process.log.splitlines()
    assert (entering, stopping[20:]) == ("entering", "INFO stopping; 0 requests in flight")


@pytest.mark.parametrize("name", ["tidying", "swallowing"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_second_ends_one_that_hangs_as_it_tidies_up(
    start: Start, write: Write, number: signal.Signals, name: str
) -> None:
    write("web.py", WEB)
    process = start("-m", "asyncwsgi", "--port", "0", "--lifespan", f"web:{name}", "web:app")
    process.read_until("entering")
    process.send_signal_to_group(number)
    process.read_until("tidying up")
    process.send_signal_to_group(number)
    assert process.wait() == 128 + number


@pytest.mark.parametrize("loop", LOOPS)
def test_the_second_counts_though_a_thread_of_it_hangs(
    start: Start, write: Write, loop: str
) -> None:
    # A loop that is closed waits for the threads of `asyncio.to_thread`, and so does Python.
    write("web.py", WEB)
    process = start(
        "-m", "asyncwsgi", "--port", "0", "--loop", loop,
        "--lifespan", "web:waiting_for_a_thread", "web:app",
    )  # fmt: skip
    process.read_until("entering")
    process.send_signal(signal.SIGINT)
    process.read_until("the loop ends")
    process.send_signal(signal.SIGTERM)
    process.end_input()
    assert process.wait() == 128 + signal.SIGTERM


@pytest.mark.parametrize(
    ("name", "message"),
    [
        pytest.param("web", "'web' names no lifespan; expected module:attribute", id="no name"),
        pytest.param("web:other", "module 'web' has no 'other'", id="unknown"),
        pytest.param("web:nothing", "'web:nothing' is an int, no lifespan", id="no function"),
        pytest.param("web:a b", "'a b' cannot be read", id="no expression"),
    ],
)
def test_one_that_cannot_be_found_is_3(start: Start, write: Write, name: str, message: str) -> None:
    write("web.py", WEB)
    process = start("-m", "asyncwsgi", "--port", "0", "--lifespan", name, "web:app")
    assert process.wait() == 3
    assert process.log.startswith(f"asyncwsgi: {message}")


def test_can_be_named_by_the_environment(start: Start, write: Write) -> None:
    write("web.py", WEB)
    process = start(
        "-m", "asyncwsgi", "--port", "0", "web:app",
        environment={"ASYNCWSGI_LIFESPAN": "web:lifespan"},
    )  # fmt: skip
    with connect(("127.0.0.1", int(process.urls()[0].rpartition(":")[2]))) as client:
        assert client.get().body == b"a pool"
    assert process.interrupt() == 0
