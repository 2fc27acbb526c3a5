"""Server-sent events of any number of processes, on any number of machines, through Redis.

What one of them publishes is seen by the clients of all. Run Redis, then as many of these as you
like behind a proxy, each with some workers:

    asyncwsgi --workers 2 --lifespan redis_events:lifespan examples/redis_events.py

REDIS_URL says where Redis is, redis://localhost:6379 if nothing does. Open http://127.0.0.1:8000 in
some tabs of a browser, or try

    curl -N http://127.0.0.1:8000/events
    curl -d text=hello http://127.0.0.1:8000/say

A stream of Redis, and not its publish/subscribe, which forgets an event as soon as it is sent: a
client that is between two connections would miss it. Here the id of an event in the stream is its
id for the client, too, which sends it when it connects again, to whichever process it comes, and
gets what it has missed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

import redis.asyncio
import redis.exceptions
from flask import Flask, request

from asyncwsgi import Event, EventStream

URL = os.environ.get("REDIS_URL", "redis://localhost:6379")
STREAM = "events"
KEPT = 10_000
"""Events, about, that Redis keeps for clients which were away."""
RECENT = 1000
"""Events that each process keeps, so that those who follow need not ask Redis."""
BATCH = 100
RETRY = 500
"""Milliseconds that a browser waits before it connects again."""
PAGE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Events through Redis</title>
<h1>Say something</h1>
<form><input name="text" aria-label="Text" required autofocus><button>Say</button></form>
<p id="state">connecting</p>
<ul id="said"></ul>
<script>
  const said = document.getElementById("said"), state = document.getElementById("state");
  const events = new EventSource("/events");
  events.onopen = () => { state.textContent = "connected"; };
  events.onerror = () => { state.textContent = "connecting again"; };
  events.onmessage = (event) => {
    const item = document.createElement("li");
    item.textContent = event.data;
    said.prepend(item);
  };
  document.forms[0].onsubmit = (event) => {
    event.preventDefault();
    fetch("/say", {method: "POST", body: new FormData(event.target)});
    event.target.reset();
  };
</script>
</html>
"""

Id = tuple[int, int]
"""A stream's ids are numbers of two parts, which order them; as text they would not."""


def id_of(text: str) -> Id:
    time, _, number = text.partition("-")
    return int(time), int(number)


class Feed:
    """The stream, read once in this process for all of its clients. It belongs to one loop."""

    def __init__(self) -> None:
        self._recent: deque[tuple[Id, Event]] = deque()
        self._forgotten: Id = (0, 0)
        """What came behind it is in `_recent`."""
        self._newest: Id = (0, 0)
        self._news = asyncio.Event()

    async def open(self, client: Any) -> None:  # releases of redis type replies differently
        """Begin behind what is in the stream now."""
        self._client = client
        newest = await client.xrevrange(STREAM, count=1)
        if newest:
            self._forgotten = self._newest = id_of(newest[0][0])

    async def publish(self, text: str) -> None:
        """Tell the clients of all processes."""
        await self._client.xadd(STREAM, {"text": text}, maxlen=KEPT, approximate=True)

    async def follow(self) -> None:
        """Read what is new, for ever."""
        while True:
            try:
                last = "{}-{}".format(*self._newest)
                # It waits in Redis, by a connection of its own.
                streams = await self._client.xread({STREAM: last}, count=BATCH, block=5000)
            except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError):
                await asyncio.sleep(1)  # what Redis has kept is read when it is back
                continue
            for _, entries in streams:
                self._take(entries)

    def _take(self, entries: list[tuple[str, dict[str, str]]]) -> None:
        for entry in entries:
            self._recent.append(read_entry(entry))
        self._newest = self._recent[-1][0]
        while len(self._recent) > RECENT:
            self._forgotten, _ = self._recent.popleft()
        # Each one that waits has the event that it waits for; the next wait for another one.
        self._news.set()
        self._news = asyncio.Event()

    async def listen(self, last_event_id: str | None) -> AsyncIterator[Event]:
        """What was published after the event of that id, and what will be."""
        seen = self._newest
        if last_event_id and re.fullmatch(r"\d{1,19}-\d{1,19}", last_event_id):
            seen = id_of(last_event_id)
        # Without data it dispatches nothing. A client that loses its connection before the first
        # event comes back with this id, and misses none.
        yield Event(id="{}-{}".format(*seen), retry=RETRY)
        while True:
            news = self._news
            while events := await self._after(seen):
                for number, event in events:
                    yield event
                    seen = number
            await news.wait()

    async def _after(self, seen: Id) -> list[tuple[Id, Event]]:
        if seen >= self._forgotten:
            return [each for each in self._recent if each[0] > seen]
        least = "({}-{}".format(*seen)
        return [
            read_entry(entry) for entry in await self._client.xrange(STREAM, min=least, count=BATCH)
        ]


def read_entry(entry: tuple[str, dict[str, str]]) -> tuple[Id, Event]:
    number, fields = entry
    return id_of(number), Event(fields["text"], id=number)


feed = Feed()


@contextlib.asynccontextmanager
async def lifespan() -> AsyncIterator[None]:
    """Connects to Redis, in each worker for itself; one that cannot be reached ends the start."""
    async with redis.asyncio.from_url(URL, decode_responses=True) as client:
        await feed.open(client)
        following = asyncio.create_task(feed.follow())
        yield
        following.cancel()


app = Flask(__name__)


@app.get("/")
def index() -> str:
    return PAGE


@app.get("/events")
def events() -> Any:
    return EventStream(feed.listen)


@app.post("/say")
async def say() -> tuple[str, int]:
    await feed.publish(request.form["text"])
    return "", 204
