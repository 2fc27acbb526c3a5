"""Names of README.md's fragments."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import requests

import asyncwsgi

__all__ = ["app", "asyncwsgi", "fetch_orders", "pytest", "requests", "served", "something_else"]

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIApplication


def app(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    status = "201 Created" if environ["REQUEST_METHOD"] == "POST" else "200 OK"
    start_response(status, [("Content-Length", "2")])
    return [b"{}"]


@pytest.fixture(name="app")
def served() -> WSGIApplication:
    return app


async def something_else() -> None:
    pass


async def fetch_orders(url: str) -> object:
    """A client that tries three times."""
    for _ in range(2):
        try:
            return await asyncio.to_thread(requests.get, f"{url}/orders", timeout=30)
        except requests.RequestException:
            pass
    return await asyncio.to_thread(requests.get, f"{url}/orders", timeout=30)
