"""A server for the length of a test."""

from __future__ import annotations

import asyncio
import concurrent.futures
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from secrets import token_hex
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote, urlencode

from asyncwsgi.errors import ConfigError
from asyncwsgi.running import ServerThread
from asyncwsgi.server.extending import extend
from asyncwsgi.server.server import Server
from asyncwsgi.testing.faults.connection import FaultyConnection
from asyncwsgi.testing.faults.faults import Faults
from asyncwsgi.testing.leaks.check import POLICIES, LeakCheck, LeakPolicy
from asyncwsgi.testing.live.connection import LiveConnection
from asyncwsgi.testing.live.recording import record
from asyncwsgi.testing.live.records import (
    RECORDED_BODY_SIZE,
    WAIT_TIMEOUT,
    Journal,
    RecordedRequest,
    Wanted,
)

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

    from asyncwsgi.testing.authority import Authority

GRACEFUL_TIMEOUT = 2.0
"""Seconds that requests in flight get when a test is over."""
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
        leaks: what happens when it is closed and requests, connections or threads are left:
            ``warn`` (`LeakWarning`), ``error`` (`LeakError`) or ``ignore``.
        owner: the test, to be named in such messages.
        spared_threads: how the names of threads begin that may be left: those of a pool, say, that
            the application keeps.
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
        leaks: LeakPolicy = "ignore",
        owner: str = "",
        spared_threads: Sequence[str] = (),
        **options: Any,
    ) -> None:
        if isinstance(spared_threads, str):
            raise ConfigError(
                f"spared_threads must be a list of names, got the text {spared_threads!r}"
            )
        if leaks not in POLICIES:
            raise ConfigError(f"leaks must be one of {', '.join(POLICIES)}, got {leaks!r}")
        if recorded_body_size < 0:
            raise ConfigError(
                f"recorded_body_size must be 0 bytes or more, got {recorded_body_size}"
            )
        self._authority = _authority(tls)
        if self._authority is not None:
            _exclude("tls", "ssl_context", options)
            options["ssl_context"] = self._authority.server_context()
        if unix_socket:
            _exclude("unix_socket", "bind", options)
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
        self._leak_check = LeakCheck(self, owner, spared_threads)
        self.leaks = leaks
        self._closing = threading.RLock()
        self._was_closed = False

    def _extend(self, server: Server) -> Callable[[], None]:
        # A browser opens connections ahead of requests; no test is to wait for those.
        server.arrival_timeout = 0.0
        for name in ("connection_class", "uwsgi_connection_class"):
            base = extend(getattr(server, name), LiveConnection)
            setattr(server, name, extend(base, FaultyConnection, faults=self.faults))
        return record(server, self._journal)

    # Life.

    def close(self) -> None:
        """Drain, and wait for the thread, but not for ever; then say what the test has left.

        Raises what ended the server's loop, if it was not this; no errors of the application. May
        be called more than once.

        Raises:
            HungApplication: a request did not end within ``graceful_timeout``, or the loop does
                not answer; the thread goes on.
            LeakError: something was left, and `leaks` is ``error``.
            RuntimeError: it was called on the server's own loop, for which it would wait.
        """
        if threading.current_thread() is self.thread:
            raise RuntimeError(
                "close() waits for the server's loop and cannot be called on it; call it in "
                "another thread, or call shutdown(), which does not wait"
            )
        if not self.was_started or self.started.exception() is not None:
            return
        if not (self.thread.is_alive() or self.ended.done()):
            return  # a fork has no threads but its own; the server is its parent's
        # Whoever comes second waits for the first, and hears nothing. Reentrant: a signal's
        # handler may close what its thread is closing.
        with self._closing:
            if not self._was_closed:
                self._was_closed = True
                self._close()

    def _close(self) -> None:
        try:
            self._leak_check.look()
        finally:
            self.shutdown()
        self._leak_check.wait()
        super().close()
        self._leak_check.report(self.leaks)

    async def aclose(self) -> None:
        """As `close`, without blocking the running asyncio loop. It goes on if it is cancelled."""
        loop = asyncio.get_running_loop()
        await asyncio.shield(loop.run_in_executor(None, self.close))

    def start_thread(self) -> None:
        if not self.was_started:
            self._leak_check.begin()
        super().start_thread()

    async def __aenter__(self) -> Self:
        self.start_thread()
        try:
            await _settled(self.started)
        except BaseException:
            self.shutdown()  # cancelled
            raise
        if (failure := self.started.exception()) is not None:
            await _settled(self.ended)
            self.thread.join()  # that was the last it had to do
            raise failure
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    # Where it is.

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
            return "https://localhost" if self.server.config.has_tls else "http://localhost"
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
        """The URL of `path`, with `query` as its query string; a list repeats its key.

        Raises:
            ConfigError: `path` does not begin with a slash, or has a query of its own.
        """
        if not path.startswith("/"):
            raise ConfigError(f"path {path!r} does not begin with a slash; expected one like '/a'")
        if "?" in path:
            raise ConfigError(
                f"path {path!r} has a question mark; give the query by name, as in "
                "url_for('/a', b=1), or write %3F if it belongs to the path"
            )
        url = self.url + quote(path, safe="/%:@!$&'()*+,;=-._~")
        return f"{url}?{urlencode(query, doseq=True)}" if query else url

    # What it has recorded. From any thread, also when it has stopped.

    @property
    def requests(self) -> tuple[RecordedRequest, ...]:
        """The requests that arrived, oldest first, also those that are still being answered.

        The last thousand; see `forget`.
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
    if tls and not hasattr(tls, "server_context"):
        raise ConfigError(
            f"tls must be True or an Authority, got {tls!r}; a context of your own is ssl_context"
        )
    return tls or None


def _exclude(name: str, option: str, options: dict[str, Any]) -> None:
    if option in options:
        raise ConfigError(f"{name} and {option} exclude each other; give one of them")


def _free_socket_path() -> Path:
    """Where no file is. The listener removes its own."""
    name = f"asyncwsgi-{token_hex(8)}"
    path = Path(tempfile.gettempdir(), name)
    return path if len(bytes(path)) <= LONGEST_SOCKET_PATH else Path("/tmp", name)
