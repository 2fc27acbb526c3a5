"""A log that cannot be written: standard error is a pipe, and it is full."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import IO, Any, cast

import pytest

from asyncwsgi import log_writer
from asyncwsgi.log_writer import WRITE_SIZE, LogWriter, writer_for
from tests.client import TIMEOUT, connect
from tests.doors.conftest import Start, Write
from tests.doors.processes import Process
from tests.loops import LOOPS

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="pipes are otherwise there")

APP = """
import logging, os, sys, threading

logger = logging.getLogger("application")
logger.addHandler(logging.StreamHandler())
logger.propagate = False
WAITS = threading.Event()


def write(environ):
    WAITS.set()
    print("a line", file=environ["wsgi.errors"])


def write_to_output(environ):
    os.dup2(2, 1)  # 2>&1
    WAITS.set()
    print("a line", flush=True)


def log(environ):
    WAITS.set()
    logger.error("a line")


def wait_for_it(environ):
    WAITS.wait()


def hello(environ):
    pass


async def warn():
    logging.getLogger("a.library").warning("without a handler, on the loop")


def warn_on_loop(environ):
    import asyncwsgi.from_thread
    asyncwsgi.from_thread.run(warn)


def fork(environ):
    child = os.fork()
    if not child:
        logging.getLogger("asyncwsgi.server").warning("of the child")
        os._exit(0)
    os.waitpid(child, 0)


def app(environ, start_response):
    globals().get(environ["PATH_INFO"].strip("/"), hello)(environ)
    start_response("200 OK", [("Content-Length", "0")])
    return []
"""
RUN = """
import asyncwsgi, sys, web
sys.exit(asyncwsgi.run(web.app, bind=sys.argv[1], loop=sys.argv[2], graceful_timeout=0.1))
"""
GEVENT = """
import warnings
warnings.simplefilter("ignore")  # it warns, on standard error, if it comes late
from gevent import monkey
monkey.patch_all()
"""
DOORS = {
    "command line": ("-m", "asyncwsgi", "web:app"),
    "reload": ("-m", "asyncwsgi", "--reload", "web:app"),
    "run": ("-c", RUN),
}


@dataclass
class Pipe:
    """One that is full, with nobody who reads it."""

    reader: IO[bytes]
    writer: int

    def read_until(self, text: bytes) -> tuple[bytes, bytes]:
        """All up to the line with `text`, and that line."""
        read: list[bytes] = []
        for line in self.reader:
            if text in line:
                return b"".join(read), line
            read.append(line)
        raise AssertionError(f"there is no {text!r}")

    def close_writer(self) -> None:
        """Leave it to the program alone."""
        os.close(self.writer)
        self.writer = -1


@pytest.fixture
def full_pipe() -> Iterator[Pipe]:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        while True:
            os.write(writer, b"\n")
    except BlockingIOError:
        os.set_blocking(writer, True)
    with os.fdopen(reader, "rb") as file:
        pipe = Pipe(file, writer)
        yield pipe
        if pipe.writer >= 0:
            pipe.close_writer()


Serve = Callable[..., Process]


@pytest.fixture
def serve(start: Start, write: Write, listener: socket.socket, full_pipe: Pipe) -> Serve:
    """Serves through a door on the listener; its standard error is the pipe."""
    write("web.py", APP)

    def serve(*door: str, loop: str = "auto") -> Process:
        bind = f"fd://{listener.fileno()}"
        more = [bind, loop]
        if door[0] == "-m":
            more = ["--bind", bind, "--loop", loop, "--graceful-timeout", "0.1"]
        return start(
            *door,
            *more,
            descriptors=[listener.fileno()],
            errors=full_pipe.writer,
            environment={"PYTHONUNBUFFERED": ""},  # streams with locks, as they usually are
        )

    return serve


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("door", DOORS)
def test_requests_are_answered_and_a_signal_is_obeyed(
    serve: Serve, listener: socket.socket, full_pipe: Pipe, door: str, loop: str
) -> None:
    process = serve(*DOORS[door], loop=loop)
    with connect(listener.getsockname()) as client:
        assert [client.get().status for _ in range(3)] == [200] * 3
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0
    assert os.get_blocking(full_pipe.writer)  # it is not this process's alone


@pytest.mark.parametrize("door", [("-c", GEVENT + RUN), ("-m", "asyncwsgi", "web:app")])
def test_so_they_are_where_gevent_has_one_thread_for_all(
    serve: Serve, write: Write, listener: socket.socket, door: tuple[str, ...]
) -> None:
    write("web.py", GEVENT + APP)
    process = serve(*door)
    with connect(listener.getsockname()) as client:
        assert [client.get().status for _ in range(3)] == [200] * 3
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0


def test_a_logger_without_a_handler_does_not_hold_the_loop(
    serve: Serve, listener: socket.socket
) -> None:
    serve(*DOORS["command line"])
    with connect(listener.getsockname()) as client:
        assert client.get("/warn_on_loop").status == 200


@pytest.mark.parametrize("view", ["/write", "/write_to_output", "/log"])
@pytest.mark.parametrize("door", DOORS)
def test_a_view_that_writes_to_it_waits_alone_and_does_not_hold_up_the_end(
    serve: Serve, listener: socket.socket, door: str, view: str
) -> None:
    process = serve(*DOORS[door])
    with (
        connect(listener.getsockname()) as waiting,
        connect(listener.getsockname()) as client,
    ):
        waiting.request("GET", view)
        assert client.get("/wait_for_it").status == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0


def test_a_process_that_cannot_say_why_it_does_not_serve_ends_all_the_same(serve: Serve) -> None:
    assert serve("-m", "asyncwsgi", "nosuch:app").wait() == 3


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_what_is_lost_is_counted_and_told_when_it_is_read_again(
    serve: Serve, listener: socket.socket, full_pipe: Pipe, log_format: str
) -> None:
    process = serve("-m", "asyncwsgi", "--log-format", log_format, "web:app")
    full_pipe.close_writer()
    target, number = f"/{'x' * 8000}", 400
    with connect(listener.getsockname()) as client:
        for _ in range(number):
            assert client.get(target).status == 200
        before, told = full_pipe.read_until(b"lost while standard error could not be written")
        if log_format == "json":
            message = json.loads(told)["message"]
        else:
            message = told.decode().partition(" WARNING ")[2]
        found = re.match(r"(\d+) log lines were lost while", message)
        assert found is not None, message
        assert client.get("/after").status == 200
        between, _ = full_pipe.read_until(b"/after")
        assert (before + between).count(f'"GET {target}'.encode()) + int(found[1]) == number
        process.send_signal(signal.SIGTERM)
        full_pipe.read_until(b"stopping")
        assert process.wait() == 0


@pytest.mark.parametrize("end", ["print('behind', file=sys.stderr)", "raise ValueError('behind')"])
def test_what_a_program_writes_when_it_was_served_comes_behind_the_log(
    start: Start, write: Write, end: str
) -> None:
    write("web.py", APP)
    process = start("-c", f"import asyncwsgi, sys, web\nasyncwsgi.run(web.app, port=0)\n{end}")
    with process.connect() as client:
        assert client.get().status == 200
    process.read_until('"GET / HTTP/1.1" 200')
    process.interrupt()
    _, behind = re.split(r"stopping; \d requests? in flight\n", process.log)
    assert behind.startswith(("behind", "Traceback"))
    assert behind.endswith("behind\n")


def test_what_is_logged_when_the_log_was_finished_is_written(start: Start, write: Write) -> None:
    write("web.py", APP)
    process = start(
        "-c",
        """if True:
        import asyncwsgi, atexit, logging, web
        atexit.register(logging.getLogger("asyncwsgi.server").warning, "the last line")
        asyncwsgi.run(web.app, port=0)
        """,
    )
    process.urls()
    process.interrupt()
    assert process.log.endswith("the last line\n")


@pytest.mark.parametrize("door", ["command line", "run"])
def test_a_child_that_a_view_forks_writes_its_own_lines(
    start: Start, write: Write, listener: socket.socket, door: str
) -> None:
    write("web.py", APP)
    more = [f"fd://{listener.fileno()}", "auto"]
    if door == "command line":
        more = ["--bind", more[0]]
    process = start(*DOORS[door], *more, descriptors=[listener.fileno()])
    with connect(listener.getsockname()) as client:
        assert client.get("/fork").status == 200
        process.interrupt()
    assert process.log.count("of the child") == 1
    assert process.log.count('"GET /fork') == 1


class File(io.RawIOBase):
    """Standard error that does as it is told."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.results: list[int | Exception | None] = []
        """Of the next writes; then all of each is written."""
        self.gate = threading.Event()
        self.gate.set()
        self.is_waiting = threading.Event()

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int | None:  # type: ignore[override]
        self.is_waiting.set()
        assert self.gate.wait(TIMEOUT)
        result = self.results.pop(0) if self.results else len(data)
        if isinstance(result, Exception):
            raise result
        self.written.append(bytes(data[: result or 0]))
        return result

    @property
    def lines(self) -> list[str]:
        return b"".join(self.written).decode().splitlines()


@pytest.fixture
def file() -> File:
    return File()


@pytest.fixture
def writer(file: File) -> LogWriter:
    buffer = io.BufferedWriter(cast("io.FileIO", file))
    stream = io.TextIOWrapper(buffer, "utf-8", line_buffering=True)
    writer = writer_for(stream, "{} lost\n".format)
    assert writer is not None
    return writer


def test_each_thread_has_its_lines_in_their_order(writer: LogWriter, file: File) -> None:
    def write(name: int) -> None:
        for number in range(1000):
            writer.write(f"{name} {number}\n")

    threads = [threading.Thread(target=write, args=[name]) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert writer.drain()
    for name in range(4):
        own = [line for line in file.lines if line.startswith(f"{name} ")]
        assert own == [f"{name} {number}" for number in range(1000)]


def test_a_line_that_is_logged_while_another_is_put_waits_for_nobody(
    writer: LogWriter, file: File
) -> None:
    class Line(str):
        """A signal's handler runs in the middle of what its thread does, and may log."""

        __slots__ = ()

        def __len__(self) -> int:
            if threading.current_thread() is thread:
                writer.write("of a handler\n")
            return 1

    thread = threading.Thread(target=writer.write, args=[Line("of the thread\n")], daemon=True)
    thread.start()
    thread.join(TIMEOUT)
    assert not thread.is_alive()
    assert writer.drain()
    assert set(file.lines) == {"of a handler", "of the thread"}


@pytest.mark.parametrize("step", range(1, 11))
def test_a_handler_may_log_between_any_two_steps_of_a_thread_that_puts_a_line(
    writer: LogWriter, file: File, step: int
) -> None:
    steps = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal steps
        if frame.f_code.co_filename == log_writer.__file__ and event == "line":
            steps += 1
            if steps == step:
                writer.write("of a handler\n")
        return trace

    def put() -> None:
        sys.settrace(trace)
        writer.write("of the thread\n")

    thread = threading.Thread(target=put)
    thread.start()
    thread.join()
    assert writer.drain()
    assert sorted(file.lines) == ["of a handler", "of the thread"]


def test_lines_that_wait_are_written_whole_and_many_at_a_time(
    writer: LogWriter, file: File
) -> None:
    file.gate.clear()
    writer.write("first\n")
    assert file.is_waiting.wait(TIMEOUT)
    for number in range(1000):
        writer.write(f"{number:06}\n")
    file.gate.set()
    assert writer.drain()
    assert file.lines == ["first", *(f"{number:06}" for number in range(1000))]
    assert all(data.endswith(b"\n") and len(data) <= WRITE_SIZE for data in file.written)
    assert len(file.written) == 3


def test_a_line_that_cannot_be_written_costs_that_line_and_is_told(
    writer: LogWriter, file: File
) -> None:
    file.results = [OSError("no space left on device")]
    writer.write("too much\n")
    assert writer.drain()
    writer.write("back again\n")
    assert writer.drain()
    assert file.lines == ["1 lost", "back again"]


def test_a_line_goes_on_where_a_write_has_ended(writer: LogWriter, file: File) -> None:
    # None: standard error was made non-blocking by somebody who shares it, and is full.
    file.results = [2, None, 1]
    writer.write("a line\n")
    assert writer.drain()
    assert file.lines == ["a line"]


def test_what_is_said_while_the_interpreter_ends_waits_for_no_thread(
    start: Start, write: Write
) -> None:
    write(
        "last.py",
        """
        import logging
        import sys

        from asyncwsgi.config import Config
        from asyncwsgi.log_setup import configure_logging


        class Last:
            # Each would wait for ten seconds.
            def __del__(self, say=logging.getLogger("asyncwsgi.server").error):
                for number in range(6):
                    say("last words %d", number)


        configure_logging(Config())
        sys.modules["kept until the interpreter ends"] = Last()
        """,
    )
    process = start("last.py")
    assert process.wait() == 0
    assert process.log.count("last words") == 6
