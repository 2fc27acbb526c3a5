"""A process notices that it imports something while it serves."""

from __future__ import annotations

import asyncio
import importlib
import os
import time
from collections.abc import AsyncIterator

import pytest

from asyncwsgi.reloading.imports import LateImports
from tests.client import TIMEOUT


class Looks:
    def __init__(self) -> None:
        self.times: asyncio.Queue[float] = asyncio.Queue()
        self.imports = LateImports(self.times.put_nowait)

    async def next(self) -> float:
        async with asyncio.timeout(TIMEOUT):
            return await self.times.get()


@pytest.fixture
async def looks(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Looks]:
    monkeypatch.setattr("asyncwsgi.reloading.imports.DELAY", 0)
    looks = Looks()
    yield looks
    looks.imports.close()


async def test_a_look_follows_each_search_for_a_module_from_any_thread(looks: Looks) -> None:
    for _ in range(2):
        before = time.time()
        with pytest.raises(ImportError):
            await asyncio.to_thread(importlib.import_module, "there_is_none")
        while await looks.next() < before:
            pass  # others may have imported something, too


async def test_a_search_while_one_is_awaited_is_followed_by_another(
    looks: Looks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asyncwsgi.reloading.imports.DELAY", 0.01)
    looks.imports.find_spec("one")
    for _ in range(5):
        await asyncio.sleep(0)  # it is awaited now
    looks.imports.find_spec("two")
    await looks.next()
    await looks.next()
    assert looks.times.empty()


async def test_what_is_known_already_is_not_searched(looks: Looks) -> None:
    importlib.import_module("asyncwsgi.reloading.imports")
    for _ in range(3):
        await asyncio.sleep(0)
    assert looks.times.empty()


async def test_a_fork_leaves_the_loop_alone(looks: Looks, monkeypatch: pytest.MonkeyPatch) -> None:
    parent = os.getppid()
    monkeypatch.setattr("os.getpid", lambda: parent)
    looks.imports.find_spec("one")
    for _ in range(3):
        await asyncio.sleep(0)
    assert looks.times.empty()


async def test_the_end_of_the_loop_ends_no_import(looks: Looks) -> None:
    loop = asyncio.new_event_loop()

    async def make() -> LateImports:
        return LateImports(looks.times.put_nowait)

    imports = await asyncio.to_thread(loop.run_until_complete, make())
    loop.close()
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("there_is_none")
    imports.close()
    imports.close()
