"""The applications of `parked.py`: views that wait for a second, or for another service.

In Flask as coroutine functions, for gevent as synchronous functions, and rewritten for Quart. Each
answers with what its client has named itself, so that no answer is taken for another's.
"""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
from flask import Flask, g, request

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVICE = os.environ.get("BENCH_SERVICE", "")
HAS_ONE_LOOP = "BENCH_ONE_LOOP" in os.environ
"""Whether all coroutines run on one loop, so that they can share a client of it."""
LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=None)
TIMEOUT = 120.0

flask_app = Flask(__name__)
inside = 0
"""Requests that wait now."""
_shared: httpx.AsyncClient | None = None


@contextmanager
def counted() -> Iterator[None]:
    global inside
    inside += 1
    try:
        yield
    finally:
        inside -= 1


async def ask_service(name: str) -> str:
    """The answer of the other service, which takes a second."""
    global _shared
    if not HAS_ONE_LOOP:
        async with httpx.AsyncClient(timeout=TIMEOUT) as client:
            return (await client.get(f"{SERVICE}/{name}")).text
    if _shared is None:
        _shared = httpx.AsyncClient(limits=LIMITS, timeout=TIMEOUT)
    return (await _shared.get(f"{SERVICE}/{name}")).text


@flask_app.get("/user/<name>")
def greet(name: str) -> str:
    return f"Hello, {name}!"


@flask_app.get("/inside")
def count() -> str:
    return str(inside)


@flask_app.get("/wait/<float:seconds>/<name>")
async def wait(seconds: float, name: str) -> str:
    g.name = name
    with counted():
        await asyncio.sleep(seconds)
    return f"{g.name} {request.path.rpartition('/')[2]}"


@flask_app.get("/call/<name>")
async def call(name: str) -> str:
    g.name = name
    return f"{g.name} {await ask_service(name)}"


@flask_app.get("/sync/wait/<float:seconds>/<name>")
def sync_wait(seconds: float, name: str) -> str:
    g.name = name
    with counted():
        time.sleep(seconds)
    return f"{g.name} {request.path.rpartition('/')[2]}"


def make_quart_app() -> Any:
    """The same program for an ASGI framework."""
    import quart  # type: ignore[import-not-found,unused-ignore]

    async def greet(name: str) -> str:
        return f"Hello, {name}!"

    async def count() -> str:
        return str(inside)

    async def wait(seconds: float, name: str) -> str:
        quart.g.name = name
        with counted():
            await asyncio.sleep(seconds)
        return f"{quart.g.name} {quart.request.path.rpartition('/')[2]}"

    async def call(name: str) -> str:
        quart.g.name = name
        return f"{quart.g.name} {await ask_service(name)}"

    app = quart.Quart(__name__)
    for rule, view in {
        "/user/<name>": greet,
        "/inside": count,
        "/wait/<float:seconds>/<name>": wait,
        "/call/<name>": call,
    }.items():
        app.add_url_rule(rule, view_func=view)
    return app
