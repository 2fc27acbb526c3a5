"""A pytest plugin: what a test client sends goes to a live server, and its answer comes from there.

The server serves one application, which calls the one that the client was made for. Over the wire
goes what HTTP can carry; the rest of a test's environ (URL scheme, mount point, addresses, keys of
its own) is put back on the other side, and so is the very exception that the application raised.

Each coroutine that Flask runs for a request is written down, with whose loop it ran on.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import io
import itertools
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextvars import ContextVar
from functools import wraps
from http.client import HTTPConnection, IncompleteRead
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import flask
import pytest
import werkzeug.test
from conformance_ours import write  # type: ignore[import-not-found]
from werkzeug.datastructures import Headers
from werkzeug.wsgi import get_current_url

import asyncwsgi

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

TIMEOUT = 10.0
SAFE = "/:@!$&'()*+,;=~-._%"
OF_THE_CONNECTION = {"connection", "date", "server", "transfer-encoding"}
OF_THE_REQUEST = {
    "CONTENT_LENGTH", "CONTENT_TYPE", "PATH_INFO", "QUERY_STRING", "RAW_URI", "REQUEST_METHOD",
    "REQUEST_URI", "SERVER_PROTOCOL", "wsgi.file_wrapper", "wsgi.input", "wsgi.multiprocess",
    "wsgi.multithread", "wsgi.run_once", "wsgi.version",
}  # fmt: skip


class Call:
    """One request of a test client: what does not go over the wire, and what comes back so."""

    def __init__(self, application: WSGIApplication, environ: WSGIEnvironment) -> None:
        self.application = application
        self.environ = {
            key: value
            for key, value in environ.items()
            if key not in OF_THE_REQUEST and not key.startswith("HTTP_")
        }
        self.error: BaseException | None = None
        self.is_over = threading.Event()
        """Set when the application was closed: tests look at what teardown has done."""


calls: dict[str, Call] = {}
numbers = itertools.count()
loops: list[asyncio.AbstractEventLoop] = []
"""That of the live server."""
options: dict[str, Any] = {}
"""More of the live server; for other plugins."""
is_served: ContextVar[bool] = ContextVar("is_served", default=False)
"""Whether the live server called: tests also call applications themselves."""


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """What the live server serves."""
    is_served.set(True)
    call = calls[environ.pop("HTTP_X_CALL")]
    mount = call.environ.get("SCRIPT_NAME", "")
    if mount and environ["PATH_INFO"].startswith(mount):
        environ["PATH_INFO"] = environ["PATH_INFO"][len(mount) :]
    environ.update(call.environ)
    if "werkzeug.debug.preserve_context" in environ and environ.get("CONTENT_LENGTH"):
        # `with client:` lets the test read the form after the response.
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        environ["wsgi.input"] = io.BytesIO(body)
    try:
        return Blocks(call.application(environ, start_response), call)
    except BaseException as error:
        call.error = error
        call.is_over.set()
        start_response("500 Raised", [("Content-Length", "0")], sys.exc_info())
        return []


class Blocks:
    """The blocks of an application that keep what it raises for the test."""

    def __init__(self, blocks: Iterable[bytes], call: Call) -> None:
        self._blocks = blocks
        self._iterator = iter(blocks)
        self._call = call

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            return next(self._iterator)
        except StopIteration:
            raise
        except BaseException as error:
            self._call.error = error
            raise StopIteration from None

    def close(self) -> None:
        try:
            if hasattr(self._blocks, "close"):
                self._blocks.close()
        except BaseException as error:
            self._call.error = self._call.error or error
        finally:
            self._call.is_over.set()


def send(
    port: int, wsgi_application: WSGIApplication, environ: WSGIEnvironment
) -> tuple[list[bytes], str, Headers]:
    """Send the request of `environ` to the live server; what `run_wsgi_app` would return."""
    number = str(next(numbers))
    call = calls[number] = Call(wsgi_application, environ)
    body = environ["wsgi.input"].read()
    if environ["wsgi.input"].seekable():
        environ["wsgi.input"].seek(0)  # the client sends it again for 307 and 308
    connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    with contextlib.closing(connection):
        connection.putrequest(
            environ["REQUEST_METHOD"], target_of(environ),
            skip_host=True, skip_accept_encoding=True,
        )  # fmt: skip
        for name, value in headers_of(environ):
            connection.putheader(name, value)
        if environ.get("CONTENT_LENGTH") or body:
            connection.putheader("Content-Length", str(len(body)))
        connection.putheader("X-Call", number)
        connection.endheaders(body or None)
        response = connection.getresponse()
        try:
            data = response.read()
        except IncompleteRead as error:
            data = error.partial
    assert call.is_over.wait(TIMEOUT), "the application was not closed"
    del calls[number]
    write("asyncwsgi")
    if call.error is not None:
        raise call.error
    headers = [(k, v) for k, v in response.getheaders() if k.lower() not in OF_THE_CONNECTION]
    return [data], f"{response.status} {response.reason}", Headers(headers)


def target_of(environ: WSGIEnvironment) -> str:
    path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    target = quote(path.encode("latin-1"), safe=SAFE) or "/"
    if query := environ.get("QUERY_STRING"):
        target += f"?{quote(query.encode('latin-1'), safe=SAFE + '?')}"
    return target


def headers_of(environ: WSGIEnvironment) -> Iterator[tuple[str, str]]:
    for key, value in environ.items():
        if key.startswith("HTTP_"):
            yield key[5:].replace("_", "-").title(), value
    if environ.get("CONTENT_TYPE"):
        yield "Content-Type", environ["CONTENT_TYPE"]


@contextlib.asynccontextmanager
async def note_loop() -> AsyncIterator[None]:
    """The lifespan of the live server."""
    loops.append(asyncio.get_running_loop())
    yield


ensure_sync = flask.Flask.ensure_sync


def ensure_sync_and_note(self: flask.Flask, func: Callable[..., Any]) -> Callable[..., Any]:
    """As Flask's, which is asked for every function that may be a coroutine function."""
    if not inspect.iscoroutinefunction(func):
        return ensure_sync(self, func)

    @wraps(func)
    async def noted(*args: Any, **options: Any) -> Any:
        if is_served.get():
            write("own loop" if asyncio.get_running_loop() in loops else "foreign loop")
        return await func(*args, **options)

    return ensure_sync(self, noted)


flask.Flask.ensure_sync = ensure_sync_and_note  # type: ignore[method-assign]


@contextlib.contextmanager
def serving() -> Iterator[int]:
    """Serve the application above; the port. Other plugins put another server in its place."""
    with asyncwsgi.serve_in_thread(
        application, port=0, access_log=False, lifespan=note_loop, **options
    ) as server:
        yield server.port


@pytest.fixture(scope="session", autouse=True)
def live_server() -> Iterator[None]:
    """Serve, and have every client of the session send its requests there."""
    # Not the module's run_wsgi_app: applications call that themselves, by Response.force_type().
    in_process = werkzeug.test.Client.run_wsgi_app
    with serving() as port:

        def over_the_wire(
            client: Any, environ: WSGIEnvironment, buffered: bool = False
        ) -> tuple[list[bytes], str, Headers]:
            client._add_cookies_to_wsgi(environ)
            answer = send(port, client.application, environ.copy())
            url = urlsplit(get_current_url(environ))
            cookies = answer[2].getlist("Set-Cookie")
            client._update_cookies_from_response(url.hostname or "localhost", url.path, cookies)
            return answer

        werkzeug.test.Client.run_wsgi_app = over_the_wire  # type: ignore[assignment,method-assign]
        yield
        werkzeug.test.Client.run_wsgi_app = in_process  # type: ignore[method-assign]
