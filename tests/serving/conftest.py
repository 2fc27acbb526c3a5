"""Werkzeug server objects that serve for the length of one test."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from wsgiref.validate import validator

import pytest
import werkzeug.serving

from asyncwsgi.serving import BaseWSGIServer, make_server
from tests.client import Client, connect
from tests.server.certificates import Certificates
from tests.server.helpers import FOREVER

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication


class Running:
    """A server object and the thread that serves it."""

    def __init__(self, server: werkzeug.serving.BaseWSGIServer) -> None:
        self.server = server
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._serve, name="caller")
        self.thread.start()

    def _serve(self) -> None:
        try:
            self.server.serve_forever(poll_interval=0.05)
        except BaseException as error:
            self.error = error

    def connect(self, **options: Any) -> Client:
        return connect(("127.0.0.1", self.server.port), **options)

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()


class Start(Protocol):
    """Serves an application from a thread; the arguments are those of `make_server`.

    Requests in flight are not cut when the server stops, unless a `graceful_timeout` says so: a
    machine that is busy takes longer over an answer than a server gives it.
    """

    def __call__(
        self,
        application: WSGIApplication,
        *,
        validate: bool = True,
        server_class: type[BaseWSGIServer] | None = None,
        threaded: bool = True,
        graceful_timeout: float = FOREVER,
        **options: Any,
    ) -> Running: ...


@pytest.fixture
def start() -> Iterator[Start]:
    with ExitStack() as stack:

        def serve(
            application: WSGIApplication,
            *,
            validate: bool = True,
            server_class: type[BaseWSGIServer] | None = None,
            threaded: bool = True,
            graceful_timeout: float = FOREVER,
            **options: Any,
        ) -> Running:
            app = validator(application) if validate else application
            server: werkzeug.serving.BaseWSGIServer
            if server_class is not None:
                server = server_class("127.0.0.1", 0, app, **options)
            else:
                server = make_server("127.0.0.1", 0, app, threaded=threaded, **options)
            if isinstance(server, BaseWSGIServer):
                server.graceful_timeout = graceful_timeout
            running = Running(server)
            stack.callback(running.close)
            return running

        yield serve


@pytest.fixture
def client_of() -> Iterator[Callable[[Running], Client]]:
    with ExitStack() as stack:
        yield lambda running: stack.enter_context(running.connect())


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    directory: Path = tmp_path_factory.mktemp("certificates")
    return Certificates(directory)


@pytest.fixture
def warned(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, type[Warning]]]:
    """What is warned of in other threads, where pytest does not look."""
    seen: list[tuple[str, type[Warning]]] = []

    def warn(message: str, category: type[Warning], **_: Any) -> None:
        seen.append((message, category))

    monkeypatch.setattr(warnings, "warn", warn)
    return seen
