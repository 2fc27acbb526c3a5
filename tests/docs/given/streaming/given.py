"""Names of docs/streaming.md's fragments."""

from __future__ import annotations

import gc
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any
from urllib.request import Request, urlopen

import django  # type: ignore[import-untyped]
from django.conf import settings  # type: ignore[import-untyped]
from django.core.wsgi import get_wsgi_application  # type: ignore[import-untyped]
from django.http import HttpRequest, HttpResponseBase, StreamingHttpResponse  # type: ignore[import-untyped]
from django.urls import path  # type: ignore[import-untyped]
from flask import Flask, Response, request

import asyncwsgi
from asyncwsgi import Event, EventStream
from asyncwsgi.testing import LiveServer

__all__ = [
    "Event",
    "EventStream",
    "Response",
    "StreamingHttpResponse",
    "app",
    "asyncwsgi",
    "board",
    "feed",
    "gc",
    "news",
    "request",
    "work_a_little",
]

app = Flask(__name__)
works = threading.Event()


class Feed:
    async def subscribe(self, symbol: str) -> AsyncIterator[int]:
        assert symbol == "EGGS"
        yield 12
        yield 13


class Board:
    async def subscribe(self, after: str | None) -> AsyncIterator[Any]:
        yield SimpleNamespace(title="Spam", id=int(after or 0) + 1)


feed, board = Feed(), Board()


async def news(last_event_id: str | None) -> AsyncIterator[str]:
    yield f"after {last_event_id}"


def work_a_little() -> bool:
    works.set()
    time.sleep(0.01)
    return True


def check_prices(_: object) -> None:
    with LiveServer(app) as server, urlopen(server.url_for("/prices", symbol="EGGS")) as response:
        assert response.read() == b"12\n13\n"


def check_events(_: object) -> None:
    with LiveServer(app) as server:
        again = Request(server.url_for("/events"), headers={"Last-Event-ID": "6"})
        with urlopen(again) as response:
            assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
            assert response.read() == b':\n\nevent: story\nid: 7\ndata: {"title": "Spam"}\n\n'


def check_story_events(view: Callable[[HttpRequest], HttpResponseBase]) -> None:
    class Project:
        urlpatterns = (path("events", view),)

    settings.configure(ROOT_URLCONF=Project, ALLOWED_HOSTS=["*"])
    django.setup()
    with (
        LiveServer(get_wsgi_application()) as server,
        urlopen(server.url_for("/events")) as response,
    ):
        assert response.read() == b":\n\ndata: after None\n\n"


def check_report(_: object) -> None:
    with LiveServer(app) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(b"POST /reports HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n")
            assert works.wait(30)
        server.wait_for_request("/reports", timeout=30)
