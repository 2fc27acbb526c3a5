"""A chat by flask-sock and one by Flask-SocketIO; processes run copies of this file."""

from __future__ import annotations

import contextlib
import threading
from typing import Any

from flask import Flask
from flask_sock import Sock
from flask_socketio import SocketIO, emit

VERSION = "first"
PAGE = """<!doctype html>
<title>chat</title>
<ul id="said"></ul>
<form id="form"><input id="text" autocomplete="off"></form>
<script>
const ws = new WebSocket(location.href.replace("http", "ws") + "chat");
const said = document.getElementById("said");
ws.onopen = () => { document.title = "open"; };
ws.onclose = () => { document.title = "closed"; };
ws.onmessage = ({data}) => {
  const line = document.createElement("li");
  line.textContent = data;
  said.append(line);
};
document.getElementById("form").onsubmit = (event) => {
  event.preventDefault();
  ws.send(document.getElementById("text").value);
  document.getElementById("text").value = "";
};
</script>
"""


def make_app() -> Flask:
    """Fresh ones, for servers of one process."""
    app = Flask(__name__)
    sock = Sock(app)
    socketio = SocketIO(app, async_mode="threading")
    lock = threading.Lock()
    guests: list[Any] = []

    @app.get("/")
    def page() -> str:
        return PAGE

    @app.get("/version")
    def version() -> str:
        return VERSION

    @sock.route("/echo")  # type: ignore[untyped-decorator]
    def echo(ws: Any) -> None:
        while True:
            ws.send(ws.receive())

    @sock.route("/chat")  # type: ignore[untyped-decorator]
    def chat(ws: Any) -> None:
        with lock:
            guests.append(ws)
        try:
            while True:
                text = ws.receive()
                with lock:
                    for guest in guests:
                        with contextlib.suppress(Exception):  # it is leaving
                            guest.send(text)
        finally:
            with lock:
                guests.remove(ws)

    @socketio.on("say")  # type: ignore[untyped-decorator]
    def say(text: str) -> str:
        emit("said", text, broadcast=True, include_self=False)
        return text.upper()

    return app


app = make_app()
