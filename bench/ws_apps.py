"""What echoes in `ws.py`, written as programs of each kind are; all answer `/user/ready`, too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import Flask
from flask_sock import Sock
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocketDisconnect

import asyncwsgi

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.websockets import WebSocket

    from asyncwsgi import WebSocketConnection

PATH = "/echo"

on_loop = Flask(__name__)


@on_loop.route(PATH, websocket=True)
@asyncwsgi.websocket
async def echo(ws: WebSocketConnection) -> None:
    async for message in ws:
        await ws.send(message)


in_thread = Flask(__name__)
# A client that asks for none has no compression anywhere; Pings are as frequent as the others'.
in_thread.config["SOCK_SERVER_OPTIONS"] = {"ping_interval": 20}


def echo_in_thread(ws: Any) -> None:
    while True:
        ws.send(ws.receive())


Sock(in_thread).route(PATH)(echo_in_thread)


def greet(name: str) -> str:
    return f"Hello, {name}!"


for app in (on_loop, in_thread):
    app.add_url_rule("/user/<name>", view_func=greet)


async def echo_of_starlette(ws: WebSocket) -> None:
    await ws.accept()
    try:
        while True:
            await ws.send_text(await ws.receive_text())
    except WebSocketDisconnect:
        pass


async def greet_of_starlette(request: Request) -> Response:
    return PlainTextResponse(greet(request.path_params["name"]))


starlette = Starlette(
    routes=[
        WebSocketRoute(PATH, echo_of_starlette),
        Route("/user/{name}", greet_of_starlette),
    ]
)
