"""What the supervisor has of the inspector: it is told what workers report, and serves a site.

All of it runs on the supervisor's loop, but for the site's threads. It outlives workers.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asyncwsgi.config import Config
from asyncwsgi.errors import BindError
from asyncwsgi.inspection.copying import copiers
from asyncwsgi.inspection.failed import Failed
from asyncwsgi.inspection.feed import Feed
from asyncwsgi.inspection.guard import Guard
from asyncwsgi.inspection.origin import Origin
from asyncwsgi.inspection.outgoing import outgoing
from asyncwsgi.inspection.replay import Replayer
from asyncwsgi.inspection.site import LARGEST_BODY, Site
from asyncwsgi.inspection.store import Store
from asyncwsgi.server.listeners import Listener, open_listeners
from asyncwsgi.server.server import Server
from asyncwsgi.server_log import logger
from asyncwsgi.version import __version__

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

    from asyncwsgi.supervision.service import Service

THREADS = 4
"""Of the site: an event stream takes none, a replay one until it is answered."""
INTERVAL = 1.0
"""Seconds between questions of what the worker does, while somebody looks."""
ANSWER_TIMEOUT = 2.0
"""Seconds that a worker gets to say where a request stands."""
LONGEST_STACK = 64 * 1024
_COUNTS = ("busy", "limit", "queued", "parked")


class Inspector:
    """Keeps what happens to requests, and shows it.

    Args:
        service: whose requests.
        listeners: where the application is served.
        ask: has a worker report what it does now: the one with this number, or whichever serves.
    """

    def __init__(
        self,
        service: Service,
        listeners: Sequence[Listener],
        ask: Callable[[int | None], object],
    ) -> None:
        self._ask = ask
        self._store = Store()
        self._key = secrets.token_urlsafe(32)
        self._answers: set[asyncio.Future[Mapping[str, Any]]] = set()
        """Of those who wait for what a worker does."""
        self._is_watched = asyncio.Event()
        self._asking: asyncio.Task[None] | None = None
        self._port = service.development.inspect_port
        self._origin = Origin.of(listeners, service.config)
        self._is_masked = not service.development.inspect_secrets
        self._replayer = Replayer(self._origin, _objection(service.config))
        self._store.on_begun = self._replayer.begun
        self._settings = {
            "version": __version__,
            "app": service.app,
            "origin": self._origin.url if self._origin else "",
            "editor": service.development.editor_link,
            "directory": str(Path.cwd()),
        }
        self._server: _SiteServer | None = None
        self.url = ""
        """That of its page, with the key; known once it is served."""

    async def start(self) -> None:
        """Serve the page.

        Raises:
            BindError: its port cannot be had.
        """
        listeners = _open(self._port)
        port = listeners[0].sock.getsockname()[1]
        copies = copiers(self._origin, is_masked=self._is_masked)
        site = Site(Guard(self._key, port), self._store, self, self._settings, copies)
        self._server = _SiteServer(site, listeners)
        self.url = f"http://127.0.0.1:{port}/#{self._key}"
        await self._server.start()
        self._asking = asyncio.create_task(self._keep_asking())

    def say_where(self) -> None:
        """Log the URL of the page."""
        logger.info("inspecting at %s", self.url)

    async def close(self) -> None:
        """Serve it no more; whoever looks is cut."""
        if self._asking is not None:
            self._asking.cancel()
        await self._replayer.close()
        if self._server is not None:
            await self._server.shutdown()

    # What the supervisor hears.

    def told(self, pid: int, message: Mapping[str, Any]) -> None:
        """Take what a worker says."""
        match message.get("event"):
            case "inspected":
                self._store.take(pid, message)
            case "inspected-dropped":
                self._store.dropped(message.get("count"))
            case "inspected-now":
                self._take_now(message)

    def worker_ended(self, pid: int) -> None:
        """Know that a worker has ended, however it did."""
        self._store.worker_ended(pid)

    def _take_now(self, message: Mapping[str, Any]) -> None:
        for answer in self._answers:
            if not answer.done():
                answer.set_result(message)
        threads = message.get("threads")
        if isinstance(threads, dict):
            counts = {name: count for name in _COUNTS if _is_count(count := threads.get(name))}
            self._store.say_now({"threads": counts})

    async def _keep_asking(self) -> None:
        """Ask what the worker does, once a second while somebody looks."""
        while True:
            await self._is_watched.wait()
            if not self._store.is_watched:
                self._is_watched.clear()
                continue
            self._ask(None)
            await asyncio.sleep(INTERVAL)

    # What the site has done on the loop.

    async def clear(self) -> None:
        """Forget all requests."""
        self._store.clear()

    async def subscribe(self) -> Feed:
        """What changes from now on."""
        self._is_watched.set()
        return self._store.subscribe()

    async def stack(self, entry_id: str) -> str | None:
        """Where a request stands at this moment; None if it is over, or its worker does not say."""
        pid = self._store.worker_of(entry_id)
        if pid is None:
            return None
        answer = asyncio.get_running_loop().create_future()
        self._answers.add(answer)
        try:
            self._ask(pid)
            message = await asyncio.wait_for(answer, ANSWER_TIMEOUT)
        except TimeoutError:
            return None
        finally:
            self._answers.discard(answer)
        stacks = message.get("stacks")
        text = stacks.get(entry_id) if isinstance(stacks, dict) else None
        return text[:LONGEST_STACK] if isinstance(text, str) else None

    async def replay(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Send a request once more."""
        entry_id = request.get("id")
        entry = self._store.entry(entry_id) if isinstance(entry_id, str) else None
        if entry is None:
            raise Failed(404, f"no request {entry_id!r} is kept; the oldest ones are forgotten")
        again = outgoing(entry, request, is_masked=self._is_masked)
        if again.objection:
            raise Failed(
                409,
                f"{again.objection}; edit the request before it is sent, or start with "
                "--inspect-secrets",
            )
        return await self._replayer.send(entry["id"], again)


class _SiteServer(Server):
    """Serves the page, on listeners that are there already."""

    def __init__(self, site: WSGIApplication, listeners: list[Listener]) -> None:
        config = Config(
            threads=THREADS,
            access_log=False,
            graceful_timeout=0,
            max_body_size=2 * LARGEST_BODY,  # what is a little too large hears of it by the site
            max_spool_size=2 * LARGEST_BODY,
        )
        super().__init__(site, config)
        self._opened = listeners

    def open_listeners(self) -> list[Listener]:
        return self._opened

    def _say_where(self) -> None:
        """The inspector does, with the key."""

    def _say_that_it_stops(self) -> None:
        """The application does."""


def _objection(config: Config) -> str:
    """Why nobody but a proxy can send the application requests."""
    if config.proxy_protocol:
        return "the application takes requests of proxies that speak the PROXY protocol alone"
    return ""


def _open(port: int) -> list[Listener]:
    try:
        return open_listeners(Config(bind=(f"127.0.0.1:{port}",)))
    except BindError as error:
        raise BindError(
            f"cannot show requests at port {port}: {error.__cause__}; choose another "
            "--inspect-port (0 takes a free one)"
        ) from error


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 53
