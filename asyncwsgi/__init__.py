"""asyncwsgi: an asyncio server for WSGI applications.

An event loop (uvloop where it exists) parses HTTP/1.1 with h11 and hands each request to a worker
thread that runs the application.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from asyncwsgi.version import __version__

if TYPE_CHECKING:
    from asyncwsgi import from_thread
    from asyncwsgi.config import Config
    from asyncwsgi.coroutines.cancellation import cancel_on_disconnect
    from asyncwsgi.coroutines.stream import stream
    from asyncwsgi.errors import (
        AppImportError,
        ApplicationError,
        AsyncWSGIError,
        BindError,
        ClientDisconnected,
        ConfigError,
        ConnectionClosed,
        LifespanError,
        RequestBodyError,
        RequestRefused,
        ResponseCut,
    )
    from asyncwsgi.event_stream import Event, EventStream
    from asyncwsgi.from_thread import async_to_sync
    from asyncwsgi.running import ServerThread, run, serve, serve_in_thread
    from asyncwsgi.server.server import Server
    from asyncwsgi.websockets import WebSocket, WebSocketConnection, websocket

__all__ = [
    "AppImportError",
    "ApplicationError",
    "AsyncWSGIError",
    "BindError",
    "ClientDisconnected",
    "Config",
    "ConfigError",
    "ConnectionClosed",
    "Event",
    "EventStream",
    "LifespanError",
    "RequestBodyError",
    "RequestRefused",
    "ResponseCut",
    "Server",
    "ServerThread",
    "WebSocket",
    "WebSocketConnection",
    "__version__",
    "async_to_sync",
    "cancel_on_disconnect",
    "from_thread",
    "run",
    "serve",
    "serve_in_thread",
    "stream",
    "websocket",
]

# Imported when first asked for: the flask command and pytest look at parts of this package at every
# start, and most of those starts need no server.
_HOMES = {
    "Config": "config",
    "Event": "event_stream",
    "EventStream": "event_stream",
    "Server": "server.server",
    "ServerThread": "running",
    "WebSocket": "websockets",
    "WebSocketConnection": "websockets",
    "async_to_sync": "from_thread",
    "cancel_on_disconnect": "coroutines.cancellation",
    "run": "running",
    "serve": "running",
    "serve_in_thread": "running",
    "stream": "coroutines.stream",
    "websocket": "websockets",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "from_thread":
        return import_module("asyncwsgi.from_thread")
    home = import_module(f"asyncwsgi.{_HOMES.get(name, 'errors')}")
    value = globals()[name] = getattr(home, name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


def load_ipython_extension(shell: Any) -> None:
    """Be loaded by ``%load_ext asyncwsgi`` (see `asyncwsgi.notebook`)."""
    import_module("asyncwsgi.notebook").load(shell)


def unload_ipython_extension(shell: Any) -> None:
    """Be unloaded by ``%unload_ext asyncwsgi``."""
    import_module("asyncwsgi.notebook").unload(shell)
