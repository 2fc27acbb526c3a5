"""Subclasses that override the transport itself run on Werkzeug's loop, and hear that they do."""

from __future__ import annotations

import functools
import socket
import threading
from typing import Any

import pytest

from asyncwsgi.serving import (
    BaseWSGIServer,
    ForkingMixIn,
    ThreadedWSGIServer,
    TransportOverrideWarning,
    WSGIRequestHandler,
)
from asyncwsgi.serving.overrides import transport_overrides
from tests.client import connect
from tests.serving.apps import hello


def no_op(self: Any, *args: Any, **kwargs: Any) -> None:
    pass


@pytest.mark.parametrize(
    "name",
    [
        "handle", "handle_one_request", "run_wsgi", "parse_request",
        "send_response", "send_response_only", "send_header", "end_headers", "flush_headers",
        "send_error", "handle_expect_100", "do_GET", "__init__",
    ],
)  # fmt: skip
def test_a_handlers_transport_is_found(name: str) -> None:
    handler = type("Handler", (WSGIRequestHandler,), {name: no_op})
    with ThreadedWSGIServer("127.0.0.1", 0, hello, handler) as server:
        assert transport_overrides(server) == [f"Handler.{name}"]


def test_a_patch_of_one_server_is_found() -> None:
    with ThreadedWSGIServer("127.0.0.1", 0, hello) as server:
        setattr(server, "process_request", no_op)  # noqa: B010 - mypy knows its type
        assert transport_overrides(server) == ["ThreadedWSGIServer.process_request"]


class Reading(WSGIRequestHandler):
    def setup(self) -> None:
        super().setup()
        self.rfile = self.rfile  # or what decodes it


class Wrapping(WSGIRequestHandler):
    def setup(self) -> None:
        def wrap(sock: Any) -> Any:
            return sock

        self.request = wrap(self.request)
        super().setup()


class Inheriting(Wrapping):
    def setup(self) -> None:
        super().setup()


def announced(function: Any) -> Any:
    @functools.wraps(function)
    def wrapper(*args: Any) -> None:
        function(*args)

    return wrapper


class Decorated(WSGIRequestHandler):
    @announced
    def finish(self) -> None:
        self.connection.sendall(b"bye")
        super().finish()


class Flushing(WSGIRequestHandler):
    def finish(self) -> None:
        list(map(lambda _: self.wfile.flush(), "once"))  # noqa: C417 - code within the code
        super().finish()


class Delegating(WSGIRequestHandler):
    def setup(self) -> None:
        super().setup()
        self.prepare()

    def prepare(self) -> None:
        self.connection.getpeername()


class Unreadable(WSGIRequestHandler):
    setup = functools.partialmethod(no_op)


@pytest.mark.parametrize(
    ("handler", "name"),
    [
        (Reading, "setup"), (Wrapping, "setup"), (Inheriting, "setup"), (Decorated, "finish"),
        (Flushing, "finish"), (Delegating, "setup"), (Unreadable, "setup"),
    ],
)  # fmt: skip
def test_what_uses_the_socket_around_a_request_is_found(
    handler: type[WSGIRequestHandler], name: str
) -> None:
    with ThreadedWSGIServer("127.0.0.1", 0, hello, handler) as server:
        assert transport_overrides(server) == [f"{handler.__name__}.{name}"]


class Naming(WSGIRequestHandler):
    @announced
    def setup(self) -> None:
        self.timeout = 5  # type: ignore[misc]
        super().setup()
        self.name_thread(f"request of {self.client_address[0]}")

    def finish(self) -> None:
        super().finish()
        self.name_thread("idle")

    def name_thread(self, name: str) -> None:
        threading.current_thread().name = name


def test_what_only_names_its_thread_is_none() -> None:
    with ThreadedWSGIServer("127.0.0.1", 0, hello, Naming) as server:
        assert transport_overrides(server) == []


@pytest.mark.parametrize(
    "name",
    [
        "get_request", "verify_request", "process_request", "process_request_thread",
        "finish_request", "shutdown_request", "close_request", "service_actions",
        "_handle_request_noblock",
    ],
)  # fmt: skip
def test_a_servers_transport_is_found(name: str) -> None:
    server_class = type("Mine", (ThreadedWSGIServer,), {name: no_op})
    server = server_class("127.0.0.1", 0, hello)
    found = transport_overrides(server)
    server.socket.close()
    assert found == [f"Mine.{name}"]


@pytest.mark.parametrize(
    "name",
    ["make_environ", "log_request", "log", "log_message", "log_error", "address_string",
     "port_integer", "version_string", "date_time_string", "connection_dropped"],
)  # fmt: skip
def test_a_hook_is_none(name: str) -> None:
    handler = type("Handler", (WSGIRequestHandler,), {name: no_op})
    with ThreadedWSGIServer("127.0.0.1", 0, hello, handler) as server:
        assert transport_overrides(server) == []


@pytest.mark.parametrize("server_class", [BaseWSGIServer, ThreadedWSGIServer])
def test_werkzeugs_own_classes_override_nothing(server_class: type[BaseWSGIServer]) -> None:
    with server_class("127.0.0.1", 0, hello) as server:
        assert transport_overrides(server) == []


def test_a_server_that_forks_is_found() -> None:
    class Forking(ForkingMixIn, BaseWSGIServer):
        pass

    with Forking("127.0.0.1", 0, hello) as server:
        assert "Forking(ForkingMixIn)" in transport_overrides(server)


def test_a_patch_of_werkzeugs_class_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    original = WSGIRequestHandler.send_header

    @functools.wraps(original)
    def patched(self: WSGIRequestHandler, keyword: str, value: str) -> None:
        original(self, keyword, value)

    monkeypatch.setattr(WSGIRequestHandler, "send_header", patched)
    with ThreadedWSGIServer("127.0.0.1", 0, hello) as server:
        assert transport_overrides(server) == ["WSGIRequestHandler.send_header"]


@pytest.mark.parametrize("server_class", [BaseWSGIServer, ThreadedWSGIServer])
def test_it_is_honoured_and_named(
    server_class: type[BaseWSGIServer], warned: list[tuple[str, type[Warning]]]
) -> None:
    class Stamping(WSGIRequestHandler):
        def end_headers(self) -> None:
            self.send_header("X-Stamp", "yes")
            super().end_headers()

    server = server_class("127.0.0.1", 0, hello, Stamping)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    with connect(("127.0.0.1", server.port)) as client:
        assert client.get().header("X-Stamp") == "yes"
    server.shutdown()
    thread.join()
    ((message, category),) = warned
    assert category is TransportOverrideWarning
    assert "Stamping.end_headers overrides the transport" in message


def test_it_is_honoured_for_one_request_too(warned: list[tuple[str, type[Warning]]]) -> None:
    class Stamping(WSGIRequestHandler):
        def end_headers(self) -> None:
            self.send_header("X-Stamp", "yes")
            super().end_headers()

    server = ThreadedWSGIServer("127.0.0.1", 0, hello, Stamping)
    with server, connect(("127.0.0.1", server.port)) as client:
        client.request()
        server.handle_request()
        assert client.reply().header("X-Stamp") == "yes"
    assert len(warned) == 1


def test_a_server_that_chooses_its_clients_does(
    warned: list[tuple[str, type[Warning]]],
) -> None:
    class Closed(ThreadedWSGIServer):
        def verify_request(self, request: Any, client_address: Any) -> bool:
            return False

    server = Closed("127.0.0.1", 0, hello)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    with connect(("127.0.0.1", server.port)) as client:
        assert client.is_closed()
    server.shutdown()
    thread.join()
    assert warned


def test_shut_down_before_it_serves_it_serves_nothing(
    warned: list[tuple[str, type[Warning]]],
) -> None:
    class Own(WSGIRequestHandler):
        def handle(self) -> None:
            raise AssertionError("nobody is served")

    server = ThreadedWSGIServer("127.0.0.1", 0, hello, Own)
    server.shutdown()
    server.serve_forever()
    assert server.socket.fileno() == -1


def test_the_socket_is_as_werkzeug_wants_it() -> None:
    with ThreadedWSGIServer("127.0.0.1", 0, hello) as server:
        assert server.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
