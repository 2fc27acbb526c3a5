"""A pytest plugin: async views run by Flask's documented override; asgiref runs none of them."""

from __future__ import annotations

from typing import Any, NoReturn

import asgiref.sync
import flask

import asyncwsgi


def forbidden(*_args: Any, **_options: Any) -> NoReturn:
    raise AssertionError("asgiref was asked to run a coroutine")


asgiref.sync.async_to_sync = forbidden
flask.Flask.async_to_sync = staticmethod(asyncwsgi.async_to_sync)  # type: ignore[assignment,method-assign]
