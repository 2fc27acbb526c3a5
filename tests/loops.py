"""The loops that a server can run on here."""

from __future__ import annotations

from importlib.util import find_spec

from asyncwsgi.config import Loop

LOOPS: tuple[Loop, ...] = ("asyncio", "uvloop") if find_spec("uvloop") else ("asyncio",)
