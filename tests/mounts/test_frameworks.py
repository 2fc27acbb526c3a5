"""In FastAPI and Starlette, whose mounts get no lifespan, and behind their middleware."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import fastapi
import flask
from fastapi.responses import PlainTextResponse
from starlette.middleware.base import BaseHTTPMiddleware

from asyncwsgi.asgi import WSGIApp
from tests.mounts.hosts import by_uvicorn, hosted


def shop() -> flask.Flask:
    app = flask.Flask("shop")

    @app.get("/item/<name>")
    async def item(name: str) -> str:
        return f"{name} at {flask.url_for('item', name=name)}"

    @app.get("/fails")
    def fails() -> str:
        raise LookupError("of the shop")

    @app.post("/form")
    def form() -> str:
        return flask.request.form["name"]

    app.config["PROPAGATE_EXCEPTIONS"] = True
    return app


def test_flask_mounted_in_fastapi() -> None:
    mounted = WSGIApp(shop())

    @contextlib.asynccontextmanager
    async def lifespan(_: fastapi.FastAPI) -> AsyncIterator[None]:
        async with mounted:
            yield

    app = fastapi.FastAPI(lifespan=lifespan)

    @app.get("/api")
    async def api() -> dict[str, str]:
        return {"who": "fastapi"}

    app.mount("/shop", mounted)
    with hosted(app, by_uvicorn) as served, served.connect() as client:
        assert client.get("/api").body == b'{"who":"fastapi"}'
        assert client.get("/shop/item/spam").body == b"spam at /shop/item/spam"
    assert not [t for t in threading.enumerate() if t.name.startswith("asyncwsgi-worker")]


def test_behind_middleware_that_wraps_receive_and_send() -> None:
    async def sign(request: Any, call_next: Any) -> Any:
        response = await call_next(request)
        response.headers["X-Signed"] = "yes"
        return response

    app = fastapi.FastAPI()
    app.add_middleware(BaseHTTPMiddleware, dispatch=sign)
    app.mount("/", WSGIApp(shop()))
    with hosted(app, by_uvicorn) as served, served.connect() as client:
        form = {"Content_Type": "application/x-www-form-urlencoded"}
        reply = client.post("/form", b"name=spam", **form)
        assert (reply.body, reply.header("X-Signed")) == (b"spam", "yes")


def test_an_error_of_the_application_reaches_the_handlers_of_the_framework() -> None:
    app = fastapi.FastAPI()

    @app.exception_handler(LookupError)
    async def teapot(_: fastapi.Request, error: Exception) -> PlainTextResponse:
        return PlainTextResponse(str(error), status_code=418)

    app.mount("/", WSGIApp(shop()))
    with hosted(app, by_uvicorn) as served, served.connect() as client:
        reply = client.get("/fails")
        assert (reply.status, reply.body) == (418, b"of the shop")


def test_a_websocket_is_refused_by_uvicorn() -> None:
    serving = partial(by_uvicorn, ws="wsproto")
    with hosted(WSGIApp(shop()), serving) as served, served.connect() as client:
        client.request(
            "GET", "/", Upgrade="websocket", Connection="Upgrade", Sec_WebSocket_Version="13",
            Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZQ==",
        )  # fmt: skip
        assert client.reply().status == 501
