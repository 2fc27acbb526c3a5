"""A chat room: Flask-SocketIO in its threading mode, on the server of asyncwsgi."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from flask import Flask, Response, jsonify
from flask_socketio import SocketIO, emit

import asyncwsgi.serving

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

app = Flask(__name__)
socketio = SocketIO(app, async_mode="threading")


class CountPeers:
    """Counts the requests and the connections that they came on."""

    def __init__(self, application: WSGIApplication) -> None:
        self._application = application
        self._lock = threading.Lock()
        self.peers: list[str] = []

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        with self._lock:
            self.peers.append(str(environ["REMOTE_PORT"]))
        return self._application(environ, start_response)


counted = CountPeers(app.wsgi_app)
app.wsgi_app = counted  # type: ignore[method-assign]


@app.get("/peers")
def peers() -> Response:
    return jsonify(requests=len(counted.peers), connections=len(set(counted.peers)))


@socketio.on("say")  # type: ignore[untyped-decorator]
def say(text: str) -> str:
    emit("said", text, broadcast=True, include_self=False)
    return text.upper()


@socketio.on("count")  # type: ignore[untyped-decorator]
def count(most: int) -> None:
    socketio.start_background_task(send_numbers, most)


def send_numbers(most: int) -> None:
    for number in range(most):
        socketio.emit("number", number)


if __name__ == "__main__":
    asyncwsgi.serving.install()
    socketio.run(app, host="127.0.0.1", port=0, allow_unsafe_werkzeug=True)
