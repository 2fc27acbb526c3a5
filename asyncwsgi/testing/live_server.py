"""A server for the length of a test."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote, urlencode

from asyncwsgi.connections.http import HttpConnection
from asyncwsgi.running import ServerThread
from asyncwsgi.server.server import Server
from asyncwsgi.testing.recording import extend, record
from asyncwsgi.testing.records import RECORDED_BODY_SIZE, Journal, RecordedRequest, Wanted

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

    from asyncwsgi.bridge.exchange import Exchange

GRACEFUL_TIMEOUT = 2.0
"""Seconds that requests in flight get when a test is over."""
WAIT_TIMEOUT = 10.0
"""Seconds that a test waits for a request."""


class LiveServer(ServerThread):
    """Serves `application` from a thread of its own: a context manager, ready on entry.

    ``with`` and ``async with`` both do; the server never runs on the loop of the test. It records
    what arrives and what the application raises, and stops without waiting for idle clients.

    Args:
        application: the WSGI application.
        server_class: what serves it.
        recorded_body_size: bytes of each request body that are kept.
        options: those of `asyncwsgi.Config`; without ``bind`` and ``port`` it takes a free port of
            127.0.0.1.

    Raises:
        ConfigError: options that cannot be served, or a `server_class` that is built from
            factories instead of classes.
    """

    __test__ = False

    def __init__(
        self,
        application: WSGIApplication,
        *,
        server_class: type[Server] = Server,
        recorded_body_size: int = RECORDED_BODY_SIZE,
        **options: Any,
    ) -> None:
        if "bind" not in options:
            options.setdefault("port", 0)
        options.setdefault("graceful_timeout", GRACEFUL_TIMEOUT)
        super().__init__(server_class(application, **options))
        # A browser opens connections ahead of requests; no test is to wait for those.
        self.server.arrival_timeout = 0.0
        self.server.connection_class = extend(self.server.connection_class, PromptConnection)
        self._journal = Journal(recorded_body_size)
        end_recording = record(self.server, self._journal)
        self.ended.add_done_callback(lambda _: end_recording())

    @property
    def app(self) -> WSGIApplication:
        """The application that is served."""
        return self.server.application

    def url_for(self, path: str = "/", /, **query: Any) -> str:
        """The URL of `path`, with `query` as its query string; a list repeats its key."""
        url = self.url + quote(path, safe="/%:@!$&'()*+,;=-._~")
        return f"{url}?{urlencode(query, doseq=True)}" if query else url

    # What it has recorded. From any thread, also when it has stopped.

    @property
    def requests(self) -> tuple[RecordedRequest, ...]:
        """The requests that arrived, oldest first, also those that are still being answered.

        A client may have its response a moment before its request counts as finished;
        `wait_for_request` waits for that.
        """
        return self._journal.requests

    @property
    def errors(self) -> tuple[BaseException, ...]:
        """What the application raised, in order; also what Flask or Django made a 500 of.

        Includes what streaming bodies and background tasks have raised; that a client left, or
        sent a broken body, is no error of the application.
        """
        return self._journal.errors

    def raise_errors(self) -> None:
        """Raise what the application raised, with a note that names the request.

        Raises:
            Exception: the only error.
            BaseExceptionGroup: there is more than one; an `ExceptionGroup`, unless one of them is
                a `SystemExit` or the like.
        """
        self._journal.raise_errors()

    def forget(self) -> None:
        """Forget all requests and errors so far, and whatever requests in flight will tell."""
        self._journal.forget()

    def wait_for_request(
        self,
        path: str | None = None,
        *,
        method: str | None = None,
        matching: Callable[[RecordedRequest], bool] | None = None,
        timeout: float = WAIT_TIMEOUT,
    ) -> RecordedRequest:
        """Wait until a request has been answered; two waits return two requests.

        Returns:
            The oldest finished request that matches and that no wait has returned before.

        Args:
            path: its decoded path; or its target as it was sent, with the query.
            method: its method.
            matching: called in this thread with finished requests; true for the right one.
            timeout: seconds.

        Raises:
            TimeoutError: there is none; the message says what arrived instead.
            RuntimeError: there is none, and the server has stopped.
        """
        return self._journal.wait(Wanted(path, method, matching), timeout)

    async def await_request(
        self,
        path: str | None = None,
        *,
        method: str | None = None,
        matching: Callable[[RecordedRequest], bool] | None = None,
        timeout: float = WAIT_TIMEOUT,
    ) -> RecordedRequest:
        """As `wait_for_request`, without blocking the asyncio loop that runs the test."""
        return await self._journal.wait_on_loop(Wanted(path, method, matching), timeout)

    # For tests that are coroutines.

    async def aclose(self) -> None:
        """As `close`, without blocking the running loop. It goes on if this is cancelled.

        Raises what ended the server's loop, if it was not this; no errors of the application.
        """
        if self._thread.ident is not None:
            self._started.add_done_callback(lambda _: self.shutdown())
            await _settled(self.ended)
        self.close()

    async def __aenter__(self) -> Self:
        self._thread.start()
        try:
            await _settled(self._started)
        except BaseException:
            # Cancelled: it stops as soon as it has started.
            self._started.add_done_callback(lambda _: self.shutdown())
            raise
        if (failure := self._started.exception()) is not None:
            await self.aclose()
            raise failure
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()


class PromptConnection(HttpConnection):
    """Leaves an idle TLS client without waiting for its part of the leave-taking."""

    def close_if_idle(self) -> None:
        was_open = not self._client.is_closing
        super().close_if_idle()
        if was_open:
            self._leave()

    def exchange_ended(self, exchange: Exchange) -> None:
        was_open = not self._client.is_closing
        super().exchange_ended(exchange)
        # A client that was promised the connection does not look for its end, either.
        if was_open and exchange.keep_alive and self._bridge.is_draining:
            self._leave()

    def _leave(self) -> None:
        client = self._client
        if client.is_tls and client.is_closing and not client.unsent_size:
            # Behind our close_notify. Theirs comes when they next use the connection.
            asyncio.get_running_loop().call_soon(self.abort)


async def _settled(future: concurrent.futures.Future[Any]) -> None:
    """Wait until `future` is done, whatever it came to; it is not cancelled with the waiter."""
    done: concurrent.futures.Future[None] = concurrent.futures.Future()

    def settle(_: object) -> None:
        if done.set_running_or_notify_cancel():
            done.set_result(None)

    future.add_done_callback(settle)
    await asyncio.wrap_future(done)
