"""The supervisor of ``--reload`` and its children, from within one process."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from asyncwsgi.config import Config
from asyncwsgi.development.options import Development
from asyncwsgi.supervision.channel import Channel, encode
from asyncwsgi.supervision.process import start_child
from asyncwsgi.supervision.service import Service
from asyncwsgi.supervision.sharing import SharedListeners
from asyncwsgi.supervision.supervisor import Supervisor
from tests.client import TIMEOUT


class ToldOfChanges:
    """In the place of the watch: it tells of two changes as soon as the first child is started, and
    ends the program when the last one has ended, which is where a cure would be looked for."""

    def __init__(self, _: object, changed: Callable[[set[str]], None]) -> None:
        for name in ("one.py", "two.py"):
            asyncio.get_running_loop().call_soon(changed, {f"/{name}"})

    def watch(self, _: object, since: float) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    def close(self) -> None: ...


def have_children_run(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    command = [sys.executable, "-c", code]
    monkeypatch.setattr("asyncwsgi.supervision.process.child_command", lambda *_: command)


def blocked_signals() -> set[int]:
    return set(signal.pthread_sigmask(signal.SIG_BLOCK, ()))


def test_children_that_start_at_once_leave_no_signal_blocked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("asyncwsgi.reloading.reloader.Watcher", ToldOfChanges)
    have_children_run(monkeypatch, "pass")

    async def supervise() -> int:
        service = Service("app", Config(graceful_timeout=1.0), Development(reload=True))
        return await Supervisor(service, SharedListeners((), (), ())).run()

    before = blocked_signals()
    try:
        assert asyncio.run(supervise()) == 0
        assert blocked_signals() == before
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


async def test_a_later_command_gives_a_child_no_more_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    have_children_run(monkeypatch, "import signal; signal.pause()")
    child = start_child(Service("app", Config(graceful_timeout=0)), [], str(tmp_path))
    asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, child.reap)
    try:
        child.has_imported = True
        child.serve([])
        monkeypatch.setattr("asyncwsgi.supervision.process.EXIT_TIMEOUT", 0)
        child.stop(has_successor=True)
        monkeypatch.setattr("asyncwsgi.supervision.process.EXIT_TIMEOUT", 1000)
        child.stop(has_successor=False)
        child.abort()
        async with asyncio.timeout(TIMEOUT):
            assert await child.wait() == -signal.SIGKILL
    finally:
        child.kill()
        child.close()


async def test_a_message_of_which_a_part_has_come_before_the_end_is_none() -> None:
    ours, theirs = socket.socketpair()
    channel = await Channel.open(ours)
    with theirs:
        theirs.sendall(encode({"event": "imported"}) + encode({"event": "failed"})[:-1])
    assert [message["event"] async for message in channel.messages()] == ["imported"]
    channel.close()
