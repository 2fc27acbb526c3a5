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
        "handle", "handle_one_request", "setup", "finish", "run_wsgi", "parse_request",
        "send_response", "send_response_only", "send_header", "end_headers", "flush_headers",
        "send_error", "handle_expect_100", "do_GET", "__init__",
    ],
)  # fmt: skip
def test_a_handlers_transport_is_found(name: str) -> None:
    handler = type("Handler", (WSGIRequestHandler,), {name: no_op})
    with ThreadedWSGIServer("127.0.0.1", 0, hello, handler) as server:
        assert transport_overrides(server) == [f"Handler.{name}"]


@pytest.mark.parametrize(
    "name",
    [
        "get_request", "verify_request", "process_request", "process_request_thread",
        "finish_request", "shutdown_request", "close_request", "service_actions",
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


@pytest.fixture
def warned(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, type[Warning]]]:
    """What is warned of in other threads, where pytest does not look."""
    import warnings

    seen: list[tuple[str, type[Warning]]] = []

    def warn(message: str, category: type[Warning], **_: Any) -> None:
        seen.append((message, category))

    monkeypatch.setattr(warnings, "warn", warn)
    return seen


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
