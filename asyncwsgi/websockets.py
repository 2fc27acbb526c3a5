"""WebSockets whose handlers are coroutines on the server's loop, opened by ordinary views.

The handshake is a request as any other: the view runs in a worker thread, may look at the session,
and may refuse. Then its thread is free, and the loop runs the handler.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Coroutine, Iterable, Sequence
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, overload

try:
    from asyncwsgi.frontends.websocket import (
        Handler,
        WebSocketConnection,
        WebSocketOptions,
        serve_websocket,
    )
except ModuleNotFoundError as error:
    if error.name is None or error.name.partition(".")[0] != "wsproto":
        raise
    raise ModuleNotFoundError(
        "WebSockets want wsproto, which is not installed; pip install wsproto (the extra "
        "`websockets` does)",
        name="wsproto",
    ) from None
from asyncwsgi.frontends.upgrade import WEBSOCKET_OFFER, UpgradeOffer
from asyncwsgi.http1.deflate import agree
from asyncwsgi.wsgi.handshake import Refusal, check_handshake, is_token

if TYPE_CHECKING:
    from wsgiref.types import StartResponse

__all__ = ["WebSocket", "WebSocketConnection", "websocket"]

P = ParamSpec("P")
View = Callable[Concatenate[WebSocketConnection, P], Coroutine[Any, Any, object]]

_OURS = "asyncwsgi.disconnected"
"""A key that every environ of this server has."""


class WebSocket:
    """A WSGI application that opens a WebSocket; views of Flask can return it as it is.

    Args:
        handler: a coroutine function, called on the server's loop with a `WebSocketConnection`, in
            a copy of the view's Context. The WebSocket is closed when it returns.
        origins: of pages that may open it besides the server's own, as browsers write them
            (``https://example.org``); ``*`` is any.
        subprotocols: those that are spoken; the first that the client names is chosen.
        options: see `asyncwsgi.frontends.websocket.WebSocketOptions`.

    Raises:
        TypeError: `handler` is no coroutine function, or an option is unknown.
        ValueError: an option that cannot be.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        origins: Collection[str] = (),
        subprotocols: Sequence[str] = (),
        **options: Any,
    ) -> None:
        if not inspect.iscoroutinefunction(handler):
            raise TypeError(
                f"WebSocket() got {handler!r}; it wants a coroutine function, 'async def "
                "handler(ws)'"
            )
        self._terms = _Terms(origins, subprotocols, options)
        self._handler = handler

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        return self._terms.answer(environ, start_response, self._handler)


class _Terms:
    """On what terms WebSockets are opened, whoever handles them."""

    def __init__(
        self, origins: Collection[str], subprotocols: Sequence[str], options: dict[str, Any]
    ) -> None:
        if isinstance(origins, str) or isinstance(subprotocols, str):
            raise TypeError("origins and subprotocols of a WebSocket are lists of str, not a str")
        for name in subprotocols:
            if not is_token(name):
                raise ValueError(f"subprotocol {name!r} is not a token (RFC 9110 5.6.2)")
        self._origins = tuple(origins)
        self._subprotocols = tuple(subprotocols)
        self._options = WebSocketOptions(**options)

    def answer(
        self, environ: dict[str, Any], start_response: StartResponse, handler: Handler
    ) -> Iterable[bytes]:
        """Answer a request: 101, or why not."""
        if _OURS not in environ:
            return _refuse(start_response, _ELSEWHERE)
        handshake = check_handshake(environ, origins=self._origins, subprotocols=self._subprotocols)
        if isinstance(handshake, Refusal):
            return _refuse(start_response, handshake)
        headers = [("Upgrade", "websocket"), ("Sec-WebSocket-Accept", handshake.accept)]
        if handshake.subprotocol is not None:
            headers.append(("Sec-WebSocket-Protocol", handshake.subprotocol))
        agreement = None
        if self._options.compression:
            agreement = agree(environ.get("HTTP_SEC_WEBSOCKET_EXTENSIONS", ""))
        if agreement is not None:
            headers.append(("Sec-WebSocket-Extensions", str(agreement)))
        offer: UpgradeOffer | None = environ.get(WEBSOCKET_OFFER)
        start = functools.partial(
            serve_websocket,
            handler=handler,
            context=copy_context(),
            name=_name_of(handler),
            subprotocol=handshake.subprotocol,
            agreement=agreement,
            options=self._options,
        )
        if offer is None or not offer.take(start):
            return _refuse(start_response, _ELSEWHERE)
        start_response("101 Switching Protocols", headers)
        return []


@overload
def websocket(view: View[P], /) -> Callable[P, WebSocket]: ...


@overload
def websocket(
    *, origins: Collection[str] = ..., subprotocols: Sequence[str] = ..., **options: Any
) -> Callable[[View[P]], Callable[P, WebSocket]]: ...


def websocket(view: Any = None, /, **options: Any) -> Any:
    """Decorates an ``async def`` view that is the handler of a WebSocket.

    It is called on the server's loop, with the `WebSocketConnection` before its own arguments. What
    stands below the decorator of the route is a plain view, which opens the WebSocket; so whatever
    is to be asked before goes in between, as with any other view::

        @app.route("/chat/<room>", websocket=True)
        @login_required
        @asyncwsgi.websocket
        async def chat(ws, room): ...

    Args:
        view: a coroutine function.
        options: see `WebSocket`.

    Raises:
        TypeError: `view` is no coroutine function, or an option is unknown.
        ValueError: an option that cannot be.
    """
    if view is None:
        WebSocket(_nobody, **options)  # says what is wrong with them where they stand
        return functools.partial(websocket, **options)
    if not inspect.iscoroutinefunction(view):
        raise TypeError(
            f"websocket() got {view!r}; it decorates coroutine functions, 'async def view(ws)'"
        )

    @functools.wraps(view)
    def open_websocket(*args: Any, **kwargs: Any) -> WebSocket:
        async def handler(ws: WebSocketConnection) -> None:
            await view(ws, *args, **kwargs)

        return WebSocket(functools.wraps(view)(handler), **options)

    return open_websocket


async def _nobody(ws: WebSocketConnection) -> None:
    """Handles no WebSocket."""


_ELSEWHERE = Refusal(
    "501 Not Implemented",
    "this server cannot serve asyncwsgi.WebSocket; run the program by asyncwsgi ('asyncwsgi "
    "app:app', or app.run() with asyncwsgi.serving), and without anything in between that answers "
    "for it",
)


def _refuse(start_response: StartResponse, refusal: Refusal) -> Iterable[bytes]:
    body = f"{refusal.reason}\n".encode()
    headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
    start_response(refusal.status, [*headers, *refusal.headers])
    return [body]


def _name_of(handler: Any) -> str:
    while isinstance(handler, functools.partial):
        handler = handler.func
    name = getattr(handler, "__qualname__", type(handler).__qualname__)
    return f"{getattr(handler, '__module__', '?')}.{name}"
