"""asyncwsgi: an asyncio server for WSGI applications.

An event loop (uvloop where it exists) parses HTTP/1.1 with h11 and hands each request to a worker
thread that runs the application.
"""

from asyncwsgi.config import Config
from asyncwsgi.errors import (
    AppImportError,
    ApplicationError,
    AsyncWSGIError,
    BindError,
    ClientDisconnected,
    ConfigError,
    RequestBodyError,
    RequestRefused,
)
from asyncwsgi.running import ServerThread, run, serve, serve_in_thread
from asyncwsgi.server.server import Server
from asyncwsgi.version import __version__

__all__ = [
    "AppImportError",
    "ApplicationError",
    "AsyncWSGIError",
    "BindError",
    "ClientDisconnected",
    "Config",
    "ConfigError",
    "RequestBodyError",
    "RequestRefused",
    "Server",
    "ServerThread",
    "__version__",
    "run",
    "serve",
    "serve_in_thread",
]
