"""Names of docs/async.md's fragments."""

from __future__ import annotations

import threading
from urllib.parse import urlencode
from urllib.request import urlopen

from flask import Flask, request

from asyncwsgi import from_thread
from asyncwsgi.testing import LiveServer

__all__ = ["app", "fetch_forecast", "from_thread", "request", "send_mail"]

app = Flask(__name__)
sent = threading.Event()


async def fetch_forecast(place: str) -> str:
    return f"Rain in {place}."


async def send_mail(address: str) -> None:
    assert address == "me@example.com"
    sent.set()


def check_forecast(_: object) -> None:
    with LiveServer(app) as server, urlopen(server.url_for("/forecast")) as response:
        assert response.read() == b"Rain in Berlin."


def check_order(_: object) -> None:
    form = urlencode({"address": "me@example.com"}).encode()
    with LiveServer(app) as server:
        with urlopen(server.url_for("/orders"), form) as response:
            assert response.status == 202
        assert sent.wait(30)
