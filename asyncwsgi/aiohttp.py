"""A WSGI application as a handler of aiohttp's server: `WSGIHandler`."""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from aiohttp import web
from multidict import CIMultiDict

from asyncwsgi.errors import ClientDisconnected, RequestRefused
from asyncwsgi.mounts.connection import MountConnection, answer_refused
from asyncwsgi.mounts.environs import request_head
from asyncwsgi.mounts.lifecycle import Mount, Mounted
from asyncwsgi.mounts.responder import Head, RawHeaders

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

__all__ = ["WSGIHandler"]


class WSGIHandler(Mounted):
    """A handler that runs a WSGI application in worker threads.

    ``app.router.add_route("*", "/shop/{path:.*}", WSGIHandler(flask_app))``: what the last variable
    of the route matches is PATH_INFO, and what stands before it SCRIPT_NAME. It begins to serve
    with its first request; ``app.cleanup_ctx.append(handler.cleanup_ctx)`` has it begin with the
    program and drain at its end.

    Args:
        application: the WSGI application.
        auto_decompress: as told to aiohttp's server, which decodes compressed request bodies unless
            ``AppRunner(app, auto_decompress=False)`` forbids it.
        root_path: SCRIPT_NAME, in place of what follows from the route.
        options: of `asyncwsgi.Config` those that are not the affair of aiohttp's server; see
            docs/mounting.md.

    Raises:
        ConfigError: options that cannot be served, or no WSGI application.
    """

    def __init__(
        self, application: WSGIApplication, *, auto_decompress: bool = True, **options: Any
    ) -> None:
        self._decodes = auto_decompress
        super().__init__(Mount(application, options, more_options=("root_path",)))
        # aiohttp takes a callable object only if it says that it is a coroutine function.
        if sys.version_info >= (3, 12):
            inspect.markcoroutinefunction(self)
        else:
            self._is_coroutine = asyncio.coroutines._is_coroutine  # type: ignore[attr-defined]

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        """Answer `request`.

        Raises:
            ResponseCut: the response has begun and does not come to its end.
            RuntimeError: the loop is another one than that of requests before.
            Exception: whatever the application raises.
        """
        service = self.mount.start()
        host = AiohttpHost(request)
        version = f"{request.version.major}.{request.version.minor}"
        try:
            service.check_open()
            head = request_head(request.method, request.raw_path, version, request.raw_headers)
        except RequestRefused as refused:
            await answer_refused(host, refused)
            return host.response
        environ = service.environs.build(
            head,
            script_name=self.mount.config.root_path or _script_name(request),
            scheme=request.scheme,
            server=host.server,
            client=host.client,
        )
        environ["aiohttp.request"] = request
        fields = head.fields
        is_decoded = self._decodes and _is_compressed(request)
        if is_decoded:
            # What these tell is of the body as it was sent.
            environ.pop("HTTP_CONTENT_ENCODING", None)
            environ.pop("CONTENT_LENGTH", None)
            environ["wsgi.input_terminated"] = True
        await MountConnection(service, host).serve(
            environ,
            version,
            has_body=request.body_exists,
            content_length=None if fields.is_chunked or is_decoded else fields.content_length,
            expects_continue=False,  # aiohttp has sent a 100 by now
        )
        return host.response

    async def cleanup_ctx(self, _: web.Application) -> AsyncIterator[None]:
        """For ``Application.cleanup_ctx``: serves as long as the application does."""
        async with self:
            yield


class AiohttpHost:
    """aiohttp's side of one request."""

    can_wait_for_client = False

    def __init__(self, request: web.Request) -> None:
        self._request = request
        self._content = request.content
        # What is returned if there is none: its client has left, and nobody gets it.
        self.response: web.StreamResponse = web.Response(status=400)

    @property
    def server(self) -> tuple[Any, ...] | None:
        """Host and port at which the client has arrived; None for a Unix socket."""
        return _tcp(self._of_transport("sockname"))

    @property
    def client(self) -> tuple[Any, ...] | None:
        """Host and port of the client, which middleware may have corrected; None if not known."""
        peer = _tcp(self._of_transport("peername"))
        remote = self._request.remote
        return (remote, peer[1] if peer is not None else 0) if remote else None

    def _of_transport(self, name: str) -> Any:
        transport = self._request.transport
        return None if transport is None else transport.get_extra_info(name)

    async def read(self) -> tuple[bytes, bool]:
        try:
            data = await self._content.readany()
        except Exception as error:
            if self.has_client_left():
                raise ClientDisconnected("the client left before its body was complete") from error
            raise RequestRefused(400, f"malformed request body: {error}") from error
        return data, not self._content.at_eof()

    async def start(self, head: Head, block: bytes, *, is_last: bool) -> None:
        response = self.response = _response(head, block if is_last else None)
        try:
            await response.prepare(self._request)
            if is_last:
                await response.write_eof()
            elif block:
                await response.write(block)
        except OSError as error:
            raise ClientDisconnected("the client left") from error

    async def write(self, block: bytes, *, is_last: bool) -> None:
        try:
            if is_last:
                await self.response.write_eof(block)
            else:
                await self.response.write(block)
        except OSError as error:
            raise ClientDisconnected("the client left") from error

    def has_client_left(self) -> bool:
        transport = self._request.transport
        return transport is None or transport.is_closing()

    async def wait_until_client_leaves(self) -> None:
        """It is asked."""


def _is_compressed(request: web.Request) -> bool:
    """Whether the request has a body that aiohttp may decode."""
    encoding = request.headers.get("Content-Encoding", "").lower()
    return encoding in ("gzip", "deflate", "br", "zstd") and request.body_exists


def _script_name(request: web.Request) -> str:
    """What stands before that which the last variable of the route has matched."""
    tail = next(reversed([*request.match_info.values()]), None)
    if tail is None:
        return ""
    # Which of the two aiohttp has matched depends on its version; they differ by "%2F". Old
    # releases of yarl know only the second.
    for path in (getattr(request.rel_url, "path_safe", ""), request.path):
        if path.endswith(tail):
            return path[: len(path) - len(tail)].rstrip("/")
    return ""


def _response(head: Head, body: bytes | None) -> web.StreamResponse:
    """A response with its whole body, or one to which blocks are written."""
    status, _, reason = head.status.partition(" ")
    headers = _headers(head.headers)
    wants_close = headers.pop("Connection", None) is not None
    options: Any = {"status": int(status), "reason": reason.strip() or None, "headers": headers}
    response = web.StreamResponse(**options) if body is None else web.Response(**options, body=body)
    if wants_close:
        response.force_close()
    return response


def _headers(raw: RawHeaders) -> CIMultiDict[str]:
    return CIMultiDict((name.decode("latin-1"), _text(value)) for name, value in raw)


def _text(value: bytes) -> str:
    # aiohttp sends it as UTF-8: bytes that are that arrive as they are, Latin-1 is converted.
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _tcp(address: Any) -> tuple[Any, ...] | None:
    return address if isinstance(address, tuple) and len(address) >= 2 else None
