"""stream() and EventStream in Flask: what the view's context had, and each hook once."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from flask import Flask, Response, g, request, session, stream_with_context, url_for

from asyncwsgi import EventStream, stream
from tests.client import TIMEOUT
from tests.conftest import Serve
from tests.http.helpers import ClientOf


class Shop:
    """An application that notes what happens in which order."""

    def __init__(self) -> None:
        self.app = app = Flask(__name__)
        app.secret_key = "secret"
        self.notes: list[str] = []
        self.ended = threading.Event()
        app.teardown_request(lambda _: self.notes.append("teardown_request"))
        app.teardown_appcontext(lambda _: self.notes.append("teardown_appcontext"))
        app.add_url_rule("/stream", view_func=self.stream)
        app.add_url_rule("/passed", view_func=self.passed_through)
        app.add_url_rule("/kept", view_func=self.kept)
        app.add_url_rule("/events", view_func=self.events)
        app.add_url_rule("/", view_func=lambda: "ordinary")

    async def blocks(self) -> AsyncIterator[str]:
        try:
            yield f"{request.args['q']} "
            yield f"{g.name} {session['name']} {url_for('stream')}"
        finally:
            self.notes.append("closed")

    def respond(self, body: Any, **options: Any) -> Response:
        g.name = "gee"
        session["name"] = "ses"
        response = Response(body, mimetype="text/plain", **options)
        response.call_on_close(self._end)
        return response

    def _end(self) -> None:
        self.notes.append("call_on_close")
        self.ended.set()

    def stream(self) -> Response:
        return self.respond(stream(self.blocks()))

    def passed_through(self) -> Response:
        return self.respond(stream(self.blocks()), direct_passthrough=True)

    def kept(self) -> Response:
        return self.respond(stream_with_context(stream(self.blocks())))

    def events(self) -> Any:
        g.name = "gee"

        async def events(last_event_id: str | None) -> AsyncIterator[Any]:
            yield {"q": request.args["q"], "g": g.name, "last": last_event_id}

        return EventStream(events)


BODY = b"eggs gee ses /stream"


@pytest.mark.parametrize("path", ["/stream", "/passed"])
def test_the_context_can_be_read_and_everything_happens_once(
    serve: Serve, client_of: ClientOf, path: str
) -> None:
    shop = Shop()
    client = client_of(serve(shop.app, validate=False, threads=1))
    reply = client.get(f"{path}?q=eggs")
    assert reply.body == BODY
    assert "session=" in (reply.header("Set-Cookie") or "")
    assert client.get("/missing").status == 404  # the one thread has done with the stream
    once = ["teardown_request", "teardown_appcontext", "closed"]
    if path == "/stream":  # Werkzeug calls nothing on close of a body that it passes through
        once.append("call_on_close")
    assert shop.notes == [*once, "teardown_request", "teardown_appcontext"]  # and those of the 404


def test_the_head_and_the_session_leave_before_the_first_block(
    serve: Serve, client_of: ClientOf
) -> None:
    go_on: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()

    async def blocks() -> AsyncIterator[str]:
        event, loop = asyncio.Event(), asyncio.get_running_loop()
        go_on.put(lambda: loop.call_soon_threadsafe(event.set))
        await event.wait()
        session["name"] = "too late"
        yield session["name"]

    shop = Shop()
    shop.app.add_url_rule("/waiting", "waiting", lambda: shop.respond(stream(blocks())))
    client = client_of(serve(shop.app, validate=False))
    client.request(target="/waiting")
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += client.read_line()
    assert b"Set-Cookie: session=" in head
    (teardown, *_) = shop.notes  # the view is over
    assert teardown == "teardown_request"
    go_on.get(timeout=TIMEOUT)()
    assert client.read(len(b"8\r\ntoo late\r\n0\r\n\r\n")) == b"8\r\ntoo late\r\n0\r\n\r\n"


def test_stream_with_context_keeps_the_teardown_for_the_end(
    serve: Serve, client_of: ClientOf
) -> None:
    shop = Shop()
    client = client_of(serve(shop.app, validate=False, threads=1))
    assert client.get("/kept?q=eggs").body == BODY
    assert shop.ended.wait(TIMEOUT)
    assert client.get().body == b"ordinary"
    ordinary = Shop()
    assert ordinary.app.test_client().get("/kept?q=eggs").data == BODY
    # Flask tears down as it does with its own generators: see examples/flask_app.py.
    assert shop.notes.count("closed") == shop.notes.count("call_on_close") == 1
    assert shop.notes[shop.notes.index("closed") + 1].startswith("teardown")


def test_the_test_client_gets_the_same(serve: Serve) -> None:
    shop = Shop()
    reply = shop.app.test_client().get("/stream?q=eggs")
    assert reply.data == BODY
    assert "session=" in reply.headers["Set-Cookie"]
    assert shop.notes == ["teardown_request", "teardown_appcontext", "closed"]
    reply.close()
    assert shop.notes[3:] == ["call_on_close"]


async def test_the_test_client_works_in_a_coroutine() -> None:
    assert Shop().app.test_client().get("/stream?q=eggs").data == BODY


def test_events_are_returned_from_a_view(serve: Serve, client_of: ClientOf) -> None:
    shop = Shop()
    reply = client_of(serve(shop.app, validate=False)).get("/events?q=1", Last_Event_ID="seven")
    assert reply.header("Content-Type") == "text/event-stream; charset=utf-8"
    assert reply.header("Cache-Control") == "no-store"
    assert reply.body == b':\n\ndata: {"q": "1", "g": "gee", "last": "seven"}\n\n'
    sent = shop.app.test_client().get("/events?q=1", headers={"Last-Event-ID": "seven"})
    assert sent.data == reply.body
