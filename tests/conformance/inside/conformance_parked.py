"""A pytest plugin: requests that wait for coroutines are parked, on one thread."""

from __future__ import annotations

from conformance_wire import options  # type: ignore[import-not-found]

options.update(park_async_views=True, threads=1)
