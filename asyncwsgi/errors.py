"""Every exception that asyncwsgi raises on purpose.

A message says what happened, what was expected and, where there is one, the cure.
"""

from __future__ import annotations


class AsyncWSGIError(Exception):
    """The base of every error of this package."""


class ConfigError(AsyncWSGIError, ValueError):
    """An option, or a combination of options, that cannot be served."""


class AppImportError(AsyncWSGIError, ImportError):
    """The application named on the command line cannot be found, imported or called."""


class BindError(AsyncWSGIError, OSError):
    """A listener cannot be opened: the address is taken, unknown or not ours to use."""


class LifespanError(AsyncWSGIError):
    """The server's lifespan could not be entered; the cause is what it raised."""


class WorkersBusy(AsyncWSGIError):
    """Every worker thread is busy and the queue before them is full."""


class RequestRefused(AsyncWSGIError):
    """A request that the server answers itself; the application never sees it.

    `status` is the HTTP status code to answer with, `reason` the sentence for the log.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class RequestBodyError(AsyncWSGIError, OSError):
    """Raised by ``wsgi.input`` when the rest of the request body cannot be had.

    `status` is what the client is told if the application lets the error pass before its
    response has begun: 400 (malformed or cut short), 408 (too slow) or 413 (too large).
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class ClientDisconnected(AsyncWSGIError, ConnectionError):
    """The client has gone away: nothing can be read from it or written to it any more."""


class ConnectionClosed(AsyncWSGIError, ConnectionError):
    """A WebSocket is closed: no more messages come, and none can be sent.

    `code` and `reason` are those of the first Close frame, whoever has sent it; 1005 if it had no
    code, 1006 if the connection ended without one.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"the WebSocket is closed with {code}" + (f": {reason}" if reason else ""))
        self.code = code
        self.reason = reason


class ApplicationError(AsyncWSGIError, AssertionError):
    """The application broke PEP 3333.

    An `AssertionError` too, because PEP 3333's reference code asserts its rules and programs
    (Werkzeug's debugger, for one) rely on being told that way.
    """


class ResponseCut(AsyncWSGIError):
    """Raised to the server in which an application is mounted: a response ends before it is whole.

    Only the end of the connection can tell its client.
    """
