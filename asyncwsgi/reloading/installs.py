"""Tells that something was installed, for code that cannot be imported without it.

What is installed is not watched: it is a lot, and hardly ever changes. But where an import fails,
the cure may be to install something, and not to change the code. Every installer makes or removes
a directory beside the others then, which changes the time of the directory that holds them all; so
one look at that is enough, and only while somebody waits for it.
"""

from __future__ import annotations

import asyncio
import site
import sysconfig
from collections.abc import Callable

from asyncwsgi.reloading.versions import Stamp, stamp

INTERVAL = 1.0
"""Seconds between looks. An installer has ended when nothing has changed from one to the next."""


class Installs:
    """Calls back when an installer has ended. In a running loop.

    Args:
        ended: called once for each `watch`.
    """

    def __init__(self, ended: Callable[[], None]) -> None:
        self._ended = ended
        self._task: asyncio.Task[None] | None = None

    def watch(self) -> None:
        """Watch from now on, if it is not done already."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._watch(_stamps()))

    def stop(self) -> None:
        """Watch no more."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _watch(self, known: dict[str, Stamp | None]) -> None:
        before = known
        # What is going on is not over: an installer takes its time for one package after the other.
        while (found := _stamps()) == known or found != before:
            before = found
            await asyncio.sleep(INTERVAL)
        self._task = None
        self._ended()


def _stamps() -> dict[str, Stamp | None]:
    paths = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    paths.update(site.getsitepackages(), [site.getusersitepackages()])
    return {path: stamp(path) for path in paths}
