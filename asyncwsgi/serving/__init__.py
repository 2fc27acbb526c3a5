"""`werkzeug.serving` on an asyncio loop: the same names, the same behaviour, another loop.

``from asyncwsgi.serving import run_simple`` is the whole migration of a program; `install` is for
programs that are not to be changed. Needs Werkzeug (the extra ``werkzeug``).
"""

from __future__ import annotations

from typing import Any

try:
    import werkzeug.serving
except ModuleNotFoundError as error:
    if error.name != "werkzeug":
        raise
    raise ModuleNotFoundError(
        "asyncwsgi.serving is Werkzeug's server on another loop, and Werkzeug is not installed; "
        "install it: pip install werkzeug (the extra `werkzeug` does)",
        name=error.name,
    ) from None
from werkzeug.serving import (
    LISTEN_QUEUE,
    DechunkedInput,
    ForkingMixIn,
    ForkingWSGIServer,
    WSGIRequestHandler,
    af_unix,
    can_fork,
    connection_dropped_errors,
    generate_adhoc_ssl_context,
    generate_adhoc_ssl_pair,
    get_interface_ip,
    get_sockaddr,
    is_running_from_reloader,
    is_ssl_error,
    load_ssl_context,
    make_ssl_devcert,
    select_address_family,
)

from asyncwsgi.serving.installation import install, make_server, run_simple, uninstall
from asyncwsgi.serving.overrides import TransportOverrideWarning
from asyncwsgi.serving.servers import BaseWSGIServer, ThreadedWSGIServer

__all__ = [
    "LISTEN_QUEUE",
    "BaseWSGIServer",
    "DechunkedInput",
    "ForkingMixIn",
    "ForkingWSGIServer",
    "ThreadedWSGIServer",
    "TransportOverrideWarning",
    "WSGIRequestHandler",
    "af_unix",
    "can_fork",
    "connection_dropped_errors",
    "generate_adhoc_ssl_context",
    "generate_adhoc_ssl_pair",
    "get_interface_ip",
    "get_sockaddr",
    "install",
    "is_running_from_reloader",
    "is_ssl_error",
    "load_ssl_context",
    "make_server",
    "make_ssl_devcert",
    "run_simple",
    "select_address_family",
    "uninstall",
]


def __getattr__(name: str) -> Any:
    # What else werkzeug.serving has, such as the private helpers that programs import.
    return getattr(werkzeug.serving, name)
