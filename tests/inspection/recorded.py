"""A server that records for the inspector, and what it has reported, as the supervisor keeps it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from typing import Any

from asyncwsgi import Server
from asyncwsgi.inspection.entries import Entry
from asyncwsgi.inspection.recording import Recorder, record
from asyncwsgi.inspection.store import Store
from tests.client import TIMEOUT

Matching = Callable[[Entry], object]


class Reports:
    """An outlet that keeps what it is given. Tests wait for it in their own thread."""

    def __init__(self) -> None:
        self.largest_size = 1024 * 1024
        self.congested = False
        self.looks = threading.Semaphore(0)
        """Released whenever it is asked whether it is congested."""
        self.messages: list[dict[str, Any]] = []
        """All, as they came."""
        self._store = Store()
        self._changed = threading.Condition()

    @property
    def is_congested(self) -> bool:
        self.looks.release()
        return self.congested

    def send_encoded(self, messages: list[str]) -> None:
        with self._changed:
            for text in messages:
                message = json.loads(text)
                assert len(text) < self.largest_size
                self.messages.append(message)
                if message["event"] == "inspected":
                    self._store.take(int(message["id"].partition("-")[0]), message)
            self._changed.notify_all()

    def entry(self, target: str, matching: Matching = lambda entry: entry["duration"]) -> Entry:
        """That of the request for `target`, once it is `matching`: ended, unless told else."""
        found: list[Entry] = []

        def is_there() -> bool:
            known = [self._store.entry(one["id"]) for one in self._store.summaries()]
            found[:] = [one for one in known if one and one["target"] == target and matching(one)]
            return bool(found)

        with self._changed:
            assert self._changed.wait_for(is_there, TIMEOUT), self._store.summaries()
        return found[0]

    def wait_for(self, event: str) -> dict[str, Any]:
        """The first message with this event."""

        def named() -> list[dict[str, Any]]:
            return [message for message in self.messages if message["event"] == event]

        with self._changed:
            assert self._changed.wait_for(named, TIMEOUT)
            return named()[0]


class Recorded:
    """Makes servers record, and has their reports."""

    def __init__(self) -> None:
        self.reports = Reports()
        self.recorder: Recorder | None = None
        self.keeps_secrets = False
        self.loop: asyncio.AbstractEventLoop | None = None

    @property
    def server_class(self) -> type[Server]:
        """What records from its start."""
        recorded = self

        class RecordingServer(Server):
            async def start(self) -> None:
                recorded.recorder = record(
                    self, recorded.reports, keeps_secrets=recorded.keeps_secrets
                )
                recorded.loop = asyncio.get_running_loop()
                await super().start()

        return RecordingServer

    def close(self) -> None:
        """Listen no more to what is the process'. While the server runs, on its loop."""
        recorder, self.recorder = self.recorder, None
        if recorder is None or self.loop is None:
            return

        async def close() -> None:
            recorder.close()

        if self.loop.is_running():
            asyncio.run_coroutine_threadsafe(close(), self.loop).result(TIMEOUT)
        else:
            recorder.close()


def marks_of(entry: Entry) -> list[str]:
    """The names of its marks."""
    return [mark["name"] for mark in entry["marks"]]
