"""A Flask application whose page shows live what anyone says, by server-sent events.

Run it with one worker thread, which is enough for any number of listeners,

    asyncwsgi --threads 1 examples/event_stream.py

open http://127.0.0.1:8000 in some tabs of a browser, or try

    curl -N http://127.0.0.1:8000/events
    curl -d text=hello http://127.0.0.1:8000/say
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

from flask import Flask, request

from asyncwsgi import Event, EventStream

REMEMBERED = 100
"""Events that a client which was away gets when it is back."""
PAGE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Events on asyncwsgi</title>
<style>
  :root { color-scheme: light dark; }
  body { margin: 3rem auto; max-width: 40rem; padding: 0 1rem; font: 1rem/1.5 system-ui; }
  form { display: flex; gap: .6rem; }
  input { flex: 1; font: inherit; padding: .3rem .5rem; }
</style>
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
    item.textContent = JSON.parse(event.data).text;
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


class Board:
    """Events for all who listen. Views speak in worker threads, listeners wait on the loop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._events: deque[tuple[int, Event]] = deque(maxlen=REMEMBERED)
        self._count = 0
        self._listeners: dict[asyncio.Event, asyncio.AbstractEventLoop] = {}

    def say(self, text: str) -> None:
        """Tell everyone. From any thread."""
        with self._lock:
            self._count += 1
            self._events.append((self._count, Event({"text": text}, id=self._count)))
            for news, loop in self._listeners.items():
                loop.call_soon_threadsafe(news.set)

    async def listen(self, last_event_id: str | None) -> AsyncIterator[Event]:
        """What was said after the event of that id, and what will be."""
        seen = int(last_event_id) if last_event_id and last_event_id.isdecimal() else 0
        news = asyncio.Event()
        with self._lock:
            self._listeners[news] = asyncio.get_running_loop()
        try:
            while True:
                news.clear()
                with self._lock:
                    missed = [(number, event) for number, event in self._events if number > seen]
                for number, event in missed:
                    yield event
                    seen = number
                await news.wait()
        finally:
            # The client has left, or the server stops.
            with self._lock:
                del self._listeners[news]


app = Flask(__name__)
board = Board()


@app.get("/")
def index() -> str:
    return PAGE


@app.get("/events")
def events() -> Any:
    return EventStream(board.listen)


@app.post("/say")
def say() -> tuple[str, int]:
    board.say(request.form["text"])
    return "", 204
