"""The event loops that a server of its own process, or of its own thread, may run on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from asyncwsgi.clock import clock
from asyncwsgi.config import Loop
from asyncwsgi.errors import ConfigError
from asyncwsgi.greenlets import patching_library

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def loop_factory(loop: Loop) -> LoopFactory:
    """What makes event loops of the kind asked for.

    Raises:
        ConfigError: uvloop is asked for and not installed, or would keep greenlets from running.
    """
    if loop == "asyncio":
        return _new_asyncio_loop
    if library := patching_library():
        if loop == "uvloop":
            raise ConfigError(
                f"loop is 'uvloop', which waits in C, and {library} has patched this process: its "
                "greenlets would not run meanwhile; take loop 'asyncio', which it has patched, too"
            )
        return _new_asyncio_loop
    try:
        import uvloop
    except ImportError:
        if loop == "uvloop":
            raise ConfigError(
                "loop is 'uvloop', which is not installed; install it or take loop 'asyncio'"
            ) from None
        return _new_asyncio_loop
    return uvloop.new_event_loop


def _new_asyncio_loop() -> asyncio.AbstractEventLoop:
    """A loop of asyncio's own, by a clock that no test stops.

    asyncio asks `time.monotonic`, which freezegun and others replace for the application. A loop
    whose clock stands still has no timers any more, nor has it timeouts; uvloop has a clock in C.
    """
    loop = asyncio.new_event_loop()
    loop.time = clock.monotonic  # type: ignore[method-assign]
    return loop
