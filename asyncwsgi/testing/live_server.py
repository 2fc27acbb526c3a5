"""A server for the length of a test."""

from __future__ import annotations

import asyncio
import concurrent.futures
import tempfile
from collections.abc import Callable
from pathlib import Path
from secrets import token_hex
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote, urlencode

from asyncwsgi.connections.http import HttpConnection
from asyncwsgi.running import ServerThread
from asyncwsgi.server.server import Server
from asyncwsgi.testing.extending import extend
from asyncwsgi.testing.faults import Faults
from asyncwsgi.testing.faulty_connection import FaultyConnection
from asyncwsgi.testing.recording import record
from asyncwsgi.testing.records import RECORDED_BODY_SIZE, Journal, RecordedRequest, Wanted

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

    from asyncwsgi.bridge.exchange import Exchange
    from asyncwsgi.testing.authority import Authority

GRACEFUL_TIMEOUT = 2.0
"""Seconds that requests in flight get when a test is over."""
WAIT_TIMEOUT = 10.0
"""Seconds that a test waits for a request."""
LONGEST_SOCKET_PATH = 103
"""Bytes that every system takes: macOS has room for 104 and Linux for 108, a NUL included."""


class LiveServer(ServerThread):
    """Serves `application` from a thread of its own: a context manager, ready on entry.

    ``with`` and ``async with`` both do; the server never runs on the loop of the test. It records
    what arrives and what the application raises, and stops without waiting for idle clients.

    Args:
        application: the WSGI application.
        server_class: what serves it.
        tls: serve HTTPS: with certificates of this authority, or, if True, of the one that the
            process shares. They name ``localhost``, ``127.0.0.1`` and ``::1``.
        unix_socket: listen on a Unix socket at a temporary path instead of a port.
        recorded_body_size: bytes of each request body that are kept.
        options: those of `asyncwsgi.Config`; without ``bind`` and ``port`` it takes a free port of
            127.0.0.1.

    Raises:
        ConfigError: options that cannot be served, or a `server_class` that is built from
            factories instead of classes; TLS without the package ``trustme``.
    """

    __test__ = False

    def __init__(
        self,
        application: WSGIApplication,
        *,
        server_class: type[Server] = Server,
        tls: bool | Authority = False,
        unix_socket: bool = False,
        recorded_body_size: int = RECORDED_BODY_SIZE,
        **options: Any,
    ) -> None:
        self._authority = _authority(tls)
        if self._authority is not None:
            options["ssl_context"] = self._authority.server_context()
        if unix_socket:
            options["bind"] = f"unix:{_free_socket_path()}"
        if "bind" not in options:
            options.setdefault("port", 0)
        options.setdefault("graceful_timeout", GRACEFUL_TIMEOUT)
        super().__init__(server_class(application, **options))
        self.faults = Faults()
        """Make it misbehave."""
        self._journal = Journal(recorded_body_size)
        end_recording = self._extend(self.server)
        self.ended.add_done_callback(lambda _: end_recording())

    def _extend(self, server: Server) -> Callable[[], None]:
        # A browser opens connections ahead of requests; no test is to wait for those.
        server.arrival_timeout = 0.0
        base = extend(server.connection_class, PromptConnection)
        server.connection_class = extend(base, FaultyConnection, mishaps=self.faults)
        return record(server, self._journal)

    @property
    def app(self) -> WSGIApplication:
        """The application that is served."""
        return self.server.application

    @property
    def url(self) -> str:
        """What the URLs of its clients begin with, without a slash at the end.

        Those that connect to a Unix socket want a host in there, too; it is ``localhost``.
        """
        if isinstance(self.addresses[0], str):
            config = self.server.config
            has_tls = config.ssl_context is not None or config.certfile is not None
            return "https://localhost" if has_tls else "http://localhost"
        return super().url

    @property
    def socket_path(self) -> str:
        """The path of the first Unix socket.

        Raises:
            LookupError: there is none.
        """
        for address in self.addresses:
            if isinstance(address, str):
                return address
        raise LookupError("this server listens on no Unix socket; start it with unix_socket=True")

    @property
    def authority(self) -> Authority:
        """Whom its clients have to trust.

        Raises:
            LookupError: it was started without `tls`.
        """
        if self._authority is None:
            raise LookupError("this server has no authority; start it with tls=True")
        return self._authority

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


def _authority(tls: bool | Authority) -> Authority | None:
    if tls is True:
        from asyncwsgi.testing.authority import shared_authority

        return shared_authority()
    return tls or None


def _free_socket_path() -> Path:
    """Where no file is. The listener removes its own."""
    name = f"asyncwsgi-{token_hex(8)}"
    path = Path(tempfile.gettempdir(), name)
    return path if len(bytes(path)) <= LONGEST_SOCKET_PATH else Path("/tmp", name)
