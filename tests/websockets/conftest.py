"""WebSockets are tested on every event loop there is: their transports differ."""

from __future__ import annotations

from tests.doors.conftest import start
from tests.http.conftest import clock, serve
from tests.reloading.conftest import project

__all__ = ["clock", "project", "serve", "start"]
