"""All that a server's loop runs for the application: calls, background tasks, asgiref's tasks."""

from __future__ import annotations

import asyncio

from asyncwsgi.coroutines.asgiref_loop import AsgirefLoop
from asyncwsgi.coroutines.background import Background
from asyncwsgi.coroutines.loop_calls import LoopCalls
from asyncwsgi.coroutines.watch import LoopWatch
from asyncwsgi.requests.mailbox import Mailbox


class LoopWork:
    """Made on the loop; threads use `calls` and `background`.

    Args:
        mailbox: the way to the loop.
        has_async_views: whether coroutines that asgiref runs for the application, such as Flask's
            async views, run on this loop.
    """

    def __init__(self, mailbox: Mailbox, *, has_async_views: bool) -> None:
        self.watch = LoopWatch(mailbox)
        self.calls = LoopCalls(mailbox, self.watch)
        self.background = Background(mailbox, self.watch)
        self.home = AsgirefLoop(self.calls) if has_async_views else None

    async def drain(self, timeout: float, cut: asyncio.Event, cut_timeout: float) -> None:
        """Let background tasks end (see `Background.drain`); nothing runs afterwards."""
        await self.background.drain(timeout, cut, cut_timeout)
        self.close()

    def close(self) -> None:
        """Cancel what runs; callers that come later are told."""
        self.calls.close()
        self.background.close()
        self.watch.stop()
