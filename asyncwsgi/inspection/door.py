"""``/-/inspect`` on the application's own port: the way to the inspector, for who has it at hand.

It is answered with a redirect to the inspector's URL, whose fragment is the key. So the question is
who can read that fragment, and the answer has to be: the address bar alone.

- Scripts of the application's origin cannot. A `fetch` that follows the redirect meets another
  origin, which allows it nothing (no CORS), and one that does not follow (``redirect: "manual"``)
  gets an opaque response, without a Location. A service worker of the application gets the same for
  a navigation that it passes on. A window or a frame that was sent here is of the inspector's
  origin then, which `location` may not be read of, and which forbids to be framed. Referer, the
  reports of CSP and the entries of performance timelines have no fragment, or the URL from before.
- Scripts of other origins cannot either, for the same reasons. They are not even redirected, nor
  is anything but a navigation of a whole page: `Sec-Fetch-Site`, `-Mode` and `-Dest` are the
  browser's, which no script can set. Who sends none of them is no browser that needs a redirect.
- Other machines cannot connect to the inspector, and shall not learn its key. A request of theirs
  may come from the loopback interface all the same, by a proxy or a tunnel. So it counts for one
  that came by a proxy if it has any header that proxies write, if a name stands in Host that is not
  this machine's own (tunnels leave the public one there, and DNS rebinding its own), and always at
  a Unix socket. Where a proxy is expected (a uwsgi listener, the PROXY protocol, options of
  forwarding headers), nobody is led.

Whoever is not redirected is the application's: for all others this path does not exist.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from asyncwsgi.trusted_peers import address_of

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication

    from asyncwsgi.config import Config

PATH = "/-/inspect"

_PROXY_KEY = re.compile(
    # Via and Forwarded (RFC 9110 7.6.3, RFC 7239), X-Forwarded-*, and what single products add.
    r"HTTP_(?:VIA|(?:X_)?FORWARDED.*|X_ORIGINAL_.*|X_ENVOY_.*|CF_.*|CDN_LOOP|.*REAL_IP"
    r"|.*CLIENT_?IP|.*REMOTE_(?:ADDR|IP)|.*CONNECTING_IP|.*PROXY.*)"
)
_HOST = re.compile(r"(?:localhost|.+\.localhost|127(?:\.[0-9]{1,3}){3}|\[::1\])(?::[0-9]{1,5})?")
"""Names that no DNS gives to another machine (RFC 6761 6.3)."""


class Door:
    """WSGI middleware that knows the way to the inspector.

    Args:
        application: who is asked for all else.
        url: the inspector's, with its key.
    """

    def __init__(self, application: WSGIApplication, url: str) -> None:
        self._application = application
        self._url = url

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] != PATH or not may_be_led(environ):
            return self._application(environ, start_response)
        start_response(
            "302 Found",
            [
                ("Location", self._url),
                ("Content-Length", "0"),
                ("Cache-Control", "no-store"),
                ("Referrer-Policy", "no-referrer"),
            ],
        )
        return []


def with_door(application: WSGIApplication, url: str, config: Config) -> WSGIApplication:
    """`application` with the way to the inspector.

    Without it where an environ would not tell what came by a proxy, since what the proxy says was
    taken out of it, or taken for the truth.
    """
    by_proxies = (
        config.proxy_protocol,
        config.strip_forwarded,
        config.forwarded_allow_ips,
        any(bind.startswith("uwsgi") for bind in config.bind),
    )
    return Door(application, url) if url and not any(by_proxies) else application


def may_be_led(environ: Mapping[str, Any]) -> bool:
    """Whether a request is a navigation of a browser that runs on this machine."""
    return _is_navigation(environ) and _is_of_this_machine(environ)


def _is_navigation(environ: Mapping[str, Any]) -> bool:
    return (
        environ["REQUEST_METHOD"] == "GET"
        and environ.get("HTTP_SEC_FETCH_SITE") in ("none", "same-origin")
        and environ.get("HTTP_SEC_FETCH_MODE") == "navigate"
        and environ.get("HTTP_SEC_FETCH_DEST") == "document"
    )


def _is_of_this_machine(environ: Mapping[str, Any]) -> bool:
    # A Unix socket's peer has no address.
    try:
        is_loopback = address_of(environ.get("REMOTE_ADDR", "")).is_loopback
    except ValueError:
        return False
    host = environ.get("HTTP_HOST", "").lower()
    return (
        is_loopback
        and _HOST.fullmatch(host) is not None
        and not any(_PROXY_KEY.fullmatch(key) for key in environ)
    )
