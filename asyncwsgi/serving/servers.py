"""Werkzeug's server classes with an asyncio loop in the place of theirs.

Everything but the loop is inherited: binding, the attributes, the banner, the messages.
"""

from __future__ import annotations

import atexit
import concurrent.futures
import contextlib
import functools
import selectors
import socket
import socketserver
import threading
import warnings
from typing import TYPE_CHECKING, Any, Self

import werkzeug.serving

from asyncwsgi.calling_thread import CallingThread
from asyncwsgi.running import ServerThread
from asyncwsgi.serving.loop_server import LoopServer, OneRequestServer
from asyncwsgi.serving.overrides import TransportOverrideWarning, transport_overrides

if TYPE_CHECKING:
    from asyncwsgi.frontends.client_socket import ClientSocket


CUT_TIMEOUT = 2.0
"""Seconds that the loop gets to end after a second Ctrl+C."""
POLL_INTERVAL = 0.5
"""Seconds between looks at signals, as socketserver has it."""


class BaseWSGIServer(werkzeug.serving.BaseWSGIServer):
    """Runs the application in the thread that calls `serve_forever`, one request at a time.

    The loop runs in a thread of its own; here as in `ThreadedWSGIServer` it belongs to the server.
    """

    graceful_timeout = 1.0
    """Seconds that requests in flight get when the server stops."""
    _lock: threading.RLock
    _was_shut_down: bool
    _is_on_werkzeugs_loop: bool
    _thread: ServerThread | None

    def __new__(cls, *_: Any, **__: Any) -> Self:
        # Not in __init__(): Werkzeug's closes a server that cannot bind, and programs call that of
        # the class by its name, `werkzeug.serving.BaseWSGIServer.__init__(self, ...)`, whichever
        # class the name means by then (see `install`).
        server = super().__new__(cls)
        server._lock = threading.RLock()  # handlers of signals call in the thread that holds it
        server._was_shut_down = False
        server._is_on_werkzeugs_loop = False
        server._thread = None
        return server

    def serve_forever(self, poll_interval: float = POLL_INTERVAL) -> None:
        """Serve until `shutdown` is called, or Ctrl+C is pressed in the main thread.

        Args:
            poll_interval: seconds between looks at signals, on systems that interrupt no waiting.
        """
        if self._has_own_transport():
            self._serve_on_werkzeugs_loop(poll_interval)
            return
        atexit.register(self._drain_at_exit)
        try:
            thread = self._start()
            if thread is not None:
                self._run(thread, poll_interval)
        except KeyboardInterrupt:
            pass
        finally:
            atexit.unregister(self._drain_at_exit)
            self.server_close()

    def handle_request(self) -> None:
        """Wait for one client and answer one request of it.

        Waits no longer than the timeout of the socket or `timeout`, whichever is less, and calls
        `handle_timeout` then. With threads it does not wait for the answer.
        """
        if self._has_own_transport():
            super().handle_request()
            return
        if not self._wait_for_client():
            self.handle_timeout()
            return
        try:
            # Of a TLS socket, too: the handshake is the loop's affair.
            client, _ = socket.socket.accept(self.socket)
        except OSError:
            return  # it has left
        thread = ServerThread(OneRequestServer(self, self._calling_thread, client))
        thread.start()
        if self._calling_thread is not None:
            self._run(thread, POLL_INTERVAL)

    def shutdown(self) -> None:
        """Stop accepting; return when that is done. Requests in flight get `graceful_timeout`.

        From any thread, also from a view. Called before `serve_forever`, it makes that return at
        once.
        """
        with self._lock:
            self._was_shut_down = True
            thread = self._thread
        if self._is_on_werkzeugs_loop:
            super().shutdown()
        elif thread is not None:
            thread.stop_accepting()
            thread.shutdown()

    def server_close(self) -> None:
        """Close the listening socket, and stop serving if that has not happened yet."""
        with self._lock:  # clients may have been answered by a thread that is not known yet
            thread = self._thread
        if thread is not None:
            thread.shutdown()
        super().server_close()

    def pass_on(self, error: BaseException, client: ClientSocket) -> None:
        """Let what an application raised leave the server. In the thread that ran it.

        Out of `serve_forever` if that is the thread, else to `threading.excepthook`.
        """
        try:
            try:
                raise error
            except Exception:
                self.handle_error(client, client.client_address)
        except BaseException as passed_on:
            if self._calling_thread is not None:
                self._calling_thread.leave(passed_on)
                return
            details = (type(passed_on), passed_on, passed_on.__traceback__)
            threading.excepthook(threading.ExceptHookArgs((*details, threading.current_thread())))

    @functools.cached_property
    def _calling_thread(self) -> CallingThread | None:
        has_threads = self.multithread or isinstance(self, socketserver.ThreadingMixIn)
        return None if has_threads else CallingThread()

    def _drain_at_exit(self) -> None:
        """Answer what is in flight before the interpreter freezes the threads that do it.

        Werkzeug's reloader ends a process so, by `sys.exit` beside the thread that serves. Kept
        connections would be reset under requests that are on their way. The next process accepts on
        the same listener.
        """
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.shutdown(has_successor=True)
            concurrent.futures.wait({thread.ended}, timeout=self.graceful_timeout + CUT_TIMEOUT)

    def _has_own_transport(self) -> bool:
        """Whether Werkzeug's loop has to serve, which is warned of."""
        overrides = transport_overrides(self)
        if overrides:
            warnings.warn(
                f"{', '.join(overrides)} overrides the transport, which is asyncwsgi's own; this "
                "server runs on Werkzeug's loop instead. Override a hook such as make_environ or "
                "log_request",
                TransportOverrideWarning,
                stacklevel=3,
            )
        return bool(overrides)

    def _serve_on_werkzeugs_loop(self, poll_interval: float) -> None:
        with self._lock:
            self._is_on_werkzeugs_loop = not self._was_shut_down
        if self._is_on_werkzeugs_loop:
            super().serve_forever(poll_interval)
        else:
            self.server_close()

    def _start(self) -> ServerThread | None:
        """Start to serve; None if it was shut down before."""
        with self._lock:
            if self._was_shut_down:
                return None
            thread = ServerThread(LoopServer(self, self._calling_thread))
            thread.start()
            self._thread = thread
            if self._was_shut_down or self.fileno() < 0:
                thread.shutdown()  # the handler of a signal said so meanwhile
            return thread

    def _wait_for_client(self) -> bool:
        timeouts = [t for t in (self.socket.gettimeout(), self.timeout) if t is not None]
        with selectors.DefaultSelector() as selector:
            selector.register(self.fileno(), selectors.EVENT_READ)
            return bool(selector.select(min(timeouts, default=None)))

    def _run(self, thread: ServerThread, poll_interval: float) -> None:
        """Wait until `thread` has served, or do its work; raise what a view has let out."""
        try:
            self._wait(thread, poll_interval)
        finally:
            self._stop(thread)

    def _wait(self, thread: ServerThread, poll_interval: float) -> None:
        if self._calling_thread is None:
            while not thread.ended.done():
                with contextlib.suppress(TimeoutError):
                    thread.ended.result(poll_interval)
            return
        calling_thread = self._calling_thread
        thread.ended.add_done_callback(lambda _: calling_thread.wake())
        calling_thread.work(thread.ended.done, poll_interval)

    def _stop(self, thread: ServerThread) -> None:
        thread.shutdown()
        if self._calling_thread is not None and not thread.ended.done():
            # Nobody is left to run what waits.
            thread.abort()
            self._calling_thread.shutdown(cancel_futures=True)
        try:
            thread.close()
        except KeyboardInterrupt:
            thread.abort()
            # A coroutine may hold the loop, which then hears of nothing.
            concurrent.futures.wait({thread.ended}, timeout=CUT_TIMEOUT)


class ThreadedWSGIServer(BaseWSGIServer, werkzeug.serving.ThreadedWSGIServer):
    """Runs the application in worker threads."""
