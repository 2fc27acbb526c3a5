"""A WSGI application as an ASGI application: `WSGIApp`, for FastAPI, Starlette and ASGI servers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from asyncwsgi.errors import ClientDisconnected, RequestRefused
from asyncwsgi.http1.head import RequestHead
from asyncwsgi.mounts.connection import MountConnection, answer_refused
from asyncwsgi.mounts.environs import BODYLESS, quoted, request_head
from asyncwsgi.mounts.lifecycle import Mount, Mounted
from asyncwsgi.mounts.responder import Head

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

__all__ = ["WSGIApp"]

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_NO_WEBSOCKETS = b"This WSGI application serves no WebSockets.\n"


class WSGIApp(Mounted):
    """An ASGI 3 application that runs a WSGI application in worker threads.

    Serve it by an ASGI server, or mount it: ``app.mount("/", WSGIApp(flask_app))``. It begins to
    serve with the lifespan of its server or, where a framework mounts it and keeps that to itself,
    with its first request, on whichever asyncio loop runs then. ``async with`` does it before, and
    drains at the end; `aclose` alone does the latter.

    Args:
        application: the WSGI application.
        options: of `asyncwsgi.Config` those that are not the affair of the ASGI server; see
            docs/mounting.md.

    Raises:
        ConfigError: options that cannot be served, or no WSGI application.
    """

    def __init__(self, application: WSGIApplication, **options: Any) -> None:
        super().__init__(Mount(application, options))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve what `scope` describes.

        Raises:
            ResponseCut: the response has begun and does not come to its end.
            RuntimeError: the loop is not asyncio's, or another one than that of requests before.
            ValueError: a kind of scope that is not known.
            Exception: whatever the application raises.
        """
        kind = scope["type"]
        if kind == "http":
            await self._serve_http(scope, receive, send)
        elif kind == "websocket":
            await _refuse_websocket(scope, receive, send)
        elif kind == "lifespan":
            await self._serve_lifespan(receive, send)
        else:
            raise ValueError(
                f"asyncwsgi.asgi.WSGIApp got a scope of the type {kind!r}; it serves 'http' and "
                "'lifespan', and refuses 'websocket'"
            )

    async def _serve_http(self, scope: Scope, receive: Receive, send: Send) -> None:
        service = self.mount.start()
        host = AsgiHost(receive, send)
        try:
            service.check_open()
            head, target = _request_head(scope)
        except RequestRefused as refused:
            await answer_refused(host, refused)
            return
        environ = service.environs.build(
            head,
            script_name=_script_name(scope),
            scheme=scope.get("scheme", "http"),
            server=scope.get("server"),
            client=scope.get("client"),
        )
        if target is not None:
            environ["REQUEST_URI"] = environ["RAW_URI"] = target
        environ["asgi.scope"] = scope
        fields = head.fields
        # RFC 9112 6.3: a request of HTTP/1 has a body if its headers say so; others may have one.
        has_body = fields.has_body or head.method not in BODYLESS
        await MountConnection(service, host).serve(
            environ,
            head.http_version,
            has_body=has_body,
            content_length=None if fields.is_chunked else fields.content_length,
            expects_continue=fields.expects_continue and fields.has_body,
        )

    async def _serve_lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                try:
                    self.mount.start()
                except RuntimeError as error:
                    await send({"type": "lifespan.startup.failed", "message": str(error)})
                    return
                await send({"type": "lifespan.startup.complete"})
            else:
                await self.aclose()
                await send({"type": "lifespan.shutdown.complete"})
                return


class AsgiHost:
    """The ASGI server's side of one request.

    Args:
        receive: gives what comes from the client.
        send: takes what goes to it.
    """

    can_wait_for_client = True

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send

    async def read(self) -> tuple[bytes, bool]:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnected("the client left before its body was complete")
        return message.get("body", b""), message.get("more_body", False)

    async def start(self, head: Head, block: bytes, *, is_last: bool) -> None:
        await self._send_message(
            {
                "type": "http.response.start",
                "status": int(head.status[:3]),
                "headers": head.headers,
            }
        )
        if block or is_last:
            await self.write(block, is_last=is_last)

    async def write(self, block: bytes, *, is_last: bool) -> None:
        await self._send_message(
            {"type": "http.response.body", "body": block, "more_body": not is_last}
        )

    def has_client_left(self) -> bool:
        return False  # it can only be waited for

    async def wait_until_client_leaves(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass  # the empty body of a request that has none, or what is left of one that was cut

    async def _send_message(self, message: Message) -> None:
        try:
            await self._send(message)
        except OSError as error:  # ASGI's HTTP spec 2.4
            raise ClientDisconnected("the client left") from error


def _request_head(scope: Scope) -> tuple[RequestHead, str | None]:
    """The head of a request; and its target as sent, if its path was changed on the way.

    ``path`` is decoded, and with it something may be lost; ``raw_path`` is optional, and who
    changes the path of a request on its way may leave it as it was.
    """
    path: str = scope["path"]
    raw = (scope.get("raw_path") or b"").partition(b"?")[0].decode("latin-1")
    query: bytes = scope.get("query_string") or b""
    rest = f"?{query.decode('latin-1')}" if query else ""
    is_same = raw == path or unquote(raw) == path
    target = raw if is_same and raw else quoted(path) or "/"
    version = scope.get("http_version", "1.1")
    head = request_head(scope["method"], target + rest, version, scope.get("headers", ()))
    return head, None if is_same or not raw else raw + rest


def _script_name(scope: Scope) -> str:
    root_path: str = scope.get("root_path") or ""
    return root_path.rstrip("/")


async def _refuse_websocket(scope: Scope, receive: Receive, send: Send) -> None:
    """Refuse the handshake: with a status and its reason where the server can, else with 403."""
    await receive()  # websocket.connect
    if "websocket.http.response" not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close", "code": 1000})
        return
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", b"%d" % len(_NO_WEBSOCKETS)),
    ]
    await send({"type": "websocket.http.response.start", "status": 501, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": _NO_WEBSOCKETS})
