"""Werkzeug's server classes with an asyncio loop in the place of theirs.

Everything but the loop is inherited: binding, the attributes, the banner, the messages.
"""

from __future__ import annotations

import contextlib
import socketserver
import threading
import warnings
from typing import TYPE_CHECKING, Any

import werkzeug.serving

from asyncwsgi.running import ServerThread
from asyncwsgi.serving.loop_server import CallingThread, LoopServer
from asyncwsgi.serving.overrides import TransportOverrideWarning, transport_overrides

if TYPE_CHECKING:
    from asyncwsgi.serving.client_socket import ClientSocket


class BaseWSGIServer(werkzeug.serving.BaseWSGIServer):
    """Runs the application in the thread that calls `serve_forever`, one request at a time.

    The loop runs in a thread of its own; here as in `ThreadedWSGIServer` it belongs to the server.
    """

    graceful_timeout = 1.0
    """Seconds that requests in flight get when the server stops."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lock = threading.Lock()
        self._was_shut_down = False
        self._is_on_werkzeugs_loop = False
        self._thread: ServerThread | None = None
        has_threads = self.multithread or isinstance(self, socketserver.ThreadingMixIn)
        self._calling_thread = None if has_threads else CallingThread()
        self._passed_on: BaseException | None = None

    def serve_forever(self, poll_interval: float = 0.5) -> None:
        """Serve until `shutdown` is called, or Ctrl+C is pressed in the main thread.

        Args:
            poll_interval: seconds between looks at signals, on systems that interrupt no waiting.
        """
        if overrides := transport_overrides(self):
            self._serve_on_werkzeugs_loop(overrides, poll_interval)
            return
        try:
            thread = self._start()
            if thread is not None:
                self._wait(thread, poll_interval)
        except KeyboardInterrupt:
            pass
        finally:
            self._stop()
            self.server_close()
        if self._passed_on is not None and not isinstance(self._passed_on, KeyboardInterrupt):
            raise self._passed_on

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
        # Werkzeug closes a server that could not bind, before it is one.
        thread: ServerThread | None = getattr(self, "_thread", None)
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
                self._passed_on = passed_on
                return
            details = (type(passed_on), passed_on, passed_on.__traceback__)
            threading.excepthook(threading.ExceptHookArgs((*details, threading.current_thread())))

    def _serve_on_werkzeugs_loop(self, overrides: list[str], poll_interval: float) -> None:
        names = ", ".join(overrides)
        warnings.warn(
            f"{names} overrides the transport, which is asyncwsgi's own; this server runs on "
            "Werkzeug's loop instead. Override a hook such as make_environ or log_request",
            TransportOverrideWarning,
            stacklevel=3,
        )
        with self._lock:
            if self._was_shut_down:
                self.server_close()
                return
            self._is_on_werkzeugs_loop = True
        super().serve_forever(poll_interval)

    def _start(self) -> ServerThread | None:
        """Start to serve; None if it was shut down before."""
        with self._lock:
            if self._was_shut_down:
                return None
            thread = ServerThread(LoopServer(self, self._calling_thread))
            thread.start()
            self._thread = thread
            return thread

    def _wait(self, thread: ServerThread, poll_interval: float) -> None:
        if self._calling_thread is None:
            while not thread.ended.done():
                with contextlib.suppress(TimeoutError):
                    thread.ended.result(poll_interval)
            return
        calling_thread = self._calling_thread
        thread.ended.add_done_callback(lambda _: calling_thread.wake())
        calling_thread.work(
            lambda: thread.ended.done() or self._passed_on is not None, poll_interval
        )

    def _stop(self) -> None:
        thread = self._thread
        if thread is None:
            return
        thread.shutdown()
        if self._calling_thread is not None and not thread.ended.done():
            # Nobody is left to run what waits.
            thread.abort()
            self._calling_thread.shutdown(cancel_futures=True)
        try:
            thread.close()
        except KeyboardInterrupt:
            thread.abort()
            thread.close()


class ThreadedWSGIServer(BaseWSGIServer, werkzeug.serving.ThreadedWSGIServer):
    """Runs the application in worker threads."""
