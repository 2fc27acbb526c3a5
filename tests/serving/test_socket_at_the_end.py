"""``werkzeug.socket``, first used in the moment in which its request ends."""

from __future__ import annotations

import socket
import threading
from typing import Any

import pytest

from asyncwsgi.requests.exchange import Exchange
from asyncwsgi.serving.installation import make_server
from tests.client import TIMEOUT, Client


def test_the_connection_is_the_next_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    sockets: list[Any] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        sockets.append(environ["werkzeug.socket"])
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"spam"]

    leave_thread = Exchange._leave_thread
    failures: list[dict[str, Any]] = []

    def leave(exchange: Exchange, *args: Any) -> None:
        if exchange.target != "/first":
            leave_thread(exchange, *args)
            return
        loop, held, go_on = exchange.dispatcher.tasks._loop, threading.Event(), threading.Event()
        loop.set_exception_handler(lambda _, context: failures.append(context))
        loop.call_soon_threadsafe(lambda: (held.set(), go_on.wait(TIMEOUT)))
        assert held.wait(TIMEOUT)
        leave_thread(exchange, *args)
        sockets[0].fileno()
        go_on.set()

    monkeypatch.setattr(Exchange, "_leave_thread", leave)
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        client = Client(socket.create_connection(("127.0.0.1", server.server_port)))
        assert [client.get(target).body for target in ("/first", "/second")] == [b"spam"] * 2
        client.close()
    finally:
        server.shutdown()
        thread.join(TIMEOUT)
        server.server_close()
    assert not failures
