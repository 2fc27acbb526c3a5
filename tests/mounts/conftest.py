"""Mounts that are closed when their test is over."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any
from wsgiref.validate import validator

import pytest
import pytest_asyncio

from asyncwsgi.asgi import WSGIApp

Mounting = Callable[..., WSGIApp]


@pytest.fixture
def nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks whether clients have left, however long a busy machine takes for a request."""
    monkeypatch.setattr("asyncwsgi.mounts.lifecycle.LOOK_INTERVAL", 3600.0)


@pytest_asyncio.fixture
async def mount() -> AsyncIterator[Mounting]:
    """Makes mounts; the application is checked by `wsgiref.validate` unless told not to."""
    async with AsyncExitStack() as stack:

        def make(application: Any, *, validate: bool = True, **options: Any) -> WSGIApp:
            app = WSGIApp(validator(application) if validate else application, **options)
            stack.push_async_callback(app.aclose)
            return app

        yield make
