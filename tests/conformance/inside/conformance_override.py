"""A pytest plugin: Flask's documented override runs async views on the server's loop; asgiref may not."""

from __future__ import annotations

from typing import Any, NoReturn

import asgiref.sync
import flask

import asyncwsgi


def forbidden(*_args: Any, **_options: Any) -> NoReturn:
    raise AssertionError("asgiref was asked to run a coroutine")


asgiref.sync.async_to_sync = forbidden  # type: ignore[assignment,misc]
flask.Flask.async_to_sync = staticmethod(asyncwsgi.async_to_sync)  # type: ignore[assignment,method-assign]
