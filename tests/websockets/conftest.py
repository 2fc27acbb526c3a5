"""WebSockets are tested on every event loop there is: their transports differ."""

from __future__ import annotations

from tests.http.conftest import clock, serve, unix

__all__ = ["clock", "serve", "unix"]
