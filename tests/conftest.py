"""Fixtures that serve an application for real: sockets, threads, loop."""

from __future__ import annotations

import logging
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Protocol
from wsgiref.validate import validator

import pytest

from asyncwsgi import Server
from asyncwsgi.testing import LiveServer
from tests.client import TIMEOUT, Client, connect

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

pytest_plugins = ["pytester"]

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Shells start what runs in the background so, and programs of the tests would be as deaf.
    signal.signal(signal.SIGINT, signal.default_int_handler)

if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    # nohup starts what it runs so; a server then takes it that the end of its terminal is no end.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


class Serve(Protocol):
    """Starts a server on a free port of 127.0.0.1 (or where `bind` says) in a thread of its own."""

    def __call__(
        self,
        application: WSGIApplication,
        *,
        validate: bool = True,
        server_class: type[Server] = Server,
        **options: Any,
    ) -> LiveServer: ...


def _is_no_word_of_the_watch(record: logging.LogRecord) -> bool:
    return record.module != "watch"


@pytest.fixture(autouse=True)
def _caplog_without_the_watch(caplog: pytest.LogCaptureFixture) -> None:
    """On a busy machine any coroutine may seem to hold its loop, also one of an earlier test.

    Tests that want to hear of it have a handler of their own.
    """
    caplog.handler.addFilter(_is_no_word_of_the_watch)


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the server cuts gets as long as a busy machine may need to notice it."""
    monkeypatch.setattr("asyncwsgi.server.server.CUT_TIMEOUT", TIMEOUT)
    monkeypatch.setattr("asyncwsgi.testing.leaks.check.PATIENCE", TIMEOUT)


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Servers for one test; the application is checked by `wsgiref.validate` unless told not to."""
    with ExitStack() as stack:

        def start(
            application: WSGIApplication,
            *,
            validate: bool = True,
            server_class: type[Server] = Server,
            **options: Any,
        ) -> LiveServer:
            app = validator(application) if validate else application
            # So that a busy machine's pauses are not taken for requests that hang.
            options.setdefault("graceful_timeout", TIMEOUT)
            return stack.enter_context(LiveServer(app, server_class=server_class, **options))

        yield start


def serve_on(loop: str, serve: Serve) -> Serve:
    """As `serve`, on a loop of the kind that is named."""

    def start(
        application: WSGIApplication,
        *,
        validate: bool = True,
        server_class: type[Server] = Server,
        **options: Any,
    ) -> LiveServer:
        options.setdefault("loop", loop)
        return serve(application, validate=validate, server_class=server_class, **options)

    return start


@pytest.fixture
def client_of() -> Iterator[Callable[[LiveServer], Client]]:
    """Connections to servers, closed when the test ends."""
    with ExitStack() as stack:
        yield lambda server: stack.enter_context(connect(server.addresses[0]))


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A listening socket on 127.0.0.1; its clients wait until somebody is given it."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        yield sock


@pytest.fixture
def taken(listener: socket.socket) -> int:
    """A port of 127.0.0.1 on which another program listens."""
    port: int = listener.getsockname()[1]
    return port
