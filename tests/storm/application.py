"""A Flask application that looks at every step whether all that it is given belongs together."""

from __future__ import annotations

import contextvars
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any

from flask import Flask, Response, g, request, session, stream_with_context

import asyncwsgi
from tests.storm.bodies import body_of
from tests.storm.crossing import Crossing

OWNER: contextvars.ContextVar[str] = contextvars.ContextVar("owner")
BLOCKS = 3

SYNC = ("sync", "sync-call", "sync-stream")
ON_LOOP = ("async", "async-stream", "async-view-stream")
KINDS = SYNC + ON_LOOP
STREAMS = tuple(kind for kind in KINDS if kind.endswith("stream"))


class Storm:
    """The application, and what it has seen.

    Each request names itself (`id`) and its client (`client`) in its query string, and the size of
    its body in a header. A view answers with the `id` once for each block that it sends.

    Args:
        local: holds what is of a request and its thread.
    """

    def __init__(self, local: Any = None) -> None:
        self.crossing = Crossing()
        self.mix_ups: list[str] = []
        self.steps: Counter[str] = Counter()
        """How many looks were taken at each step."""
        self.teardowns: Counter[tuple[str, str]] = Counter()
        """By request and function: how often it ran."""
        self.closings: Counter[str] = Counter()
        """By request: how often its response was closed."""
        self.loop_threads: set[int] = set()
        """Those in which coroutines ran."""
        self._local = threading.local() if local is None else local
        self._lock = threading.Lock()
        self.app = self._make_app()

    # What is looked at.

    def look(self, step: str, mine: str, *, in_thread: bool = True) -> None:
        """Everything that can be seen here belongs to the request called `mine`."""
        self.expect(step, mine, "request.args", request.args["id"])
        self.expect(step, mine, "request.headers", request.headers["X-Id"])
        self.expect(step, mine, "g", g.owner)
        self.expect(step, mine, "ContextVar", OWNER.get(None))
        self.expect(step, request.args["client"], "session", session["client"])
        if in_thread:
            self.look_at_thread(step, mine)
        else:
            with self._lock:
                self.loop_threads.add(threading.get_ident())

    def look_at_thread(self, step: str, mine: str) -> None:
        """This is the thread in which the request began, and no other began in it meanwhile."""
        self.expect(step, mine, "thread-local", self._local.owner)
        self.expect(step, g.thread, "thread", threading.get_ident())

    def read(self, step: str, mine: str) -> None:
        """The body of the request is the one that its client sent."""
        size = int(request.headers.get("X-Size", "0"))
        found = request.get_data()
        owner = mine if found == body_of(mine, size) else f"another, of {len(found)} bytes"
        self.expect(step, mine, f"body of {size} bytes", owner)

    def expect(self, step: str, expected: object, what: str, found: object) -> None:
        if found != expected:
            self.mix_ups.append(f"{step}: {what} is {found!r} in the request of {expected!r}")
        with self._lock:
            self.steps[step] += 1

    def tore_down(self, mine: str, function: str) -> None:
        with self._lock:
            self.teardowns[mine, function] += 1

    # Where it is looked at.

    def _make_app(self) -> Flask:
        app = Flask(__name__)
        app.secret_key = "for tests"
        app.before_request(self._before)
        app.after_request(self._after)
        app.teardown_request(self._teardown_request)
        app.teardown_appcontext(self._teardown_appcontext)
        views: dict[str, Any] = {
            "sync": self._sync,
            "sync-call": self._sync_call,
            "sync-stream": self._sync_stream,
            "async": self._async,
            "async-stream": self._async_stream,
            "async-view-stream": self._async_view_stream,
        }
        for kind in KINDS:
            app.add_url_rule(f"/{kind}", kind, views[kind], methods=["GET", "POST"])
        return app

    def _before(self) -> None:
        mine = request.args["id"]
        # Nothing is here yet: neither from the connection's last request nor from the thread's.
        self.expect("before", None, "ContextVar", OWNER.get(None))
        self.expect("before", [], "g", list(g))
        self.expect("before", None, "thread-local", getattr(self._local, "owner", None))
        self._local.owner = g.owner = mine
        g.thread = threading.get_ident()
        OWNER.set(mine)
        session.setdefault("client", request.args["client"])
        session["visits"] = session.get("visits", 0) + 1
        self.look("before", mine)

    def _after(self, response: Response) -> Response:
        mine = request.args["id"]
        self.look("after", mine)
        response.headers["X-Visits"] = str(session["visits"])

        @response.call_on_close
        def close() -> None:
            # Of an async stream in another thread: only the Context is the same.
            self.expect("close", mine, "ContextVar", OWNER.get(None))
            with self._lock:
                self.closings[mine] += 1
            if getattr(self._local, "owner", None) == mine:
                self._local.owner = None

        return response

    def _teardown_request(self, _: BaseException | None) -> None:
        self.look("teardown_request", request.args["id"])
        self.tore_down(request.args["id"], "teardown_request")

    def _teardown_appcontext(self, _: BaseException | None) -> None:
        mine = g.owner
        self.expect("teardown_appcontext", mine, "ContextVar", OWNER.get(None))
        self.look_at_thread("teardown_appcontext", mine)
        self.tore_down(mine, "teardown_appcontext")
        if request_is_handed_over(mine):
            self._local.owner = None  # its thread is free for others from here on

    # Views.

    def _sync(self) -> str:
        mine = request.args["id"]
        for number in range(BLOCKS):
            self.look(f"sync view {number}", mine)
            self.crossing.cross()
            self.read(f"sync view, body {number}", mine)
        self.look("sync view, end", mine)
        return f"{mine}\n" * BLOCKS

    def _sync_call(self) -> str:
        mine = request.args["id"]
        for number in range(BLOCKS):
            self.look(f"sync view with call {number}", mine)
            asyncwsgi.async_to_sync(self._called)(mine)
        self.look("sync view with calls, end", mine)
        return f"{mine}\n" * BLOCKS

    async def _called(self, mine: str) -> None:
        self.look("coroutine, before await", mine, in_thread=False)
        await self.crossing.cross_on_loop()
        self.read("coroutine, body", mine)
        self.look("coroutine, after await", mine, in_thread=False)

    def _sync_stream(self) -> Response:
        mine = request.args["id"]
        self.look("sync stream, view", mine)
        self.read("sync stream, body", mine)
        return Response(stream_with_context(self._blocks(mine)), mimetype="text/plain")

    def _blocks(self, mine: str) -> Iterator[str]:
        for number in range(BLOCKS):
            self.look(f"sync stream, before block {number}", mine)
            yield f"{mine}\n"
            self.look(f"sync stream, after block {number}", mine)
            self.crossing.cross()
        self.look("sync stream, end", mine)

    async def _async(self) -> str:
        mine = request.args["id"]
        for number in range(BLOCKS):
            self.look(f"async view, before await {number}", mine, in_thread=False)
            await self.crossing.cross_on_loop()
            self.read(f"async view, body {number}", mine)
        self.look("async view, after the last await", mine, in_thread=False)
        return f"{mine}\n" * BLOCKS

    def _async_stream(self) -> Response:
        mine = request.args["id"]
        self.look("async stream, view", mine)
        self.read("async stream, body", mine)
        return Response(asyncwsgi.stream(self._async_blocks(mine)), mimetype="text/plain")

    async def _async_view_stream(self) -> Response:
        mine = request.args["id"]
        self.look("async view of a stream", mine, in_thread=False)
        await self.crossing.cross_on_loop()
        self.read("async view of a stream, body", mine)
        self.look("async view of a stream, after await", mine, in_thread=False)
        return Response(asyncwsgi.stream(self._async_blocks(mine)), mimetype="text/plain")

    async def _async_blocks(self, mine: str) -> AsyncIterator[str]:
        for number in range(BLOCKS):
            self.look(f"async stream, before block {number}", mine, in_thread=False)
            yield f"{mine}\n"
            self.look(f"async stream, after block {number}", mine, in_thread=False)
            await self.crossing.cross_on_loop()
            self.look(f"async stream, after await {number}", mine, in_thread=False)


def request_is_handed_over(mine: str) -> bool:
    """Whether the loop iterates the body of this request, by its name."""
    return mine.split("/")[0] in ("async-stream", "async-view-stream")
