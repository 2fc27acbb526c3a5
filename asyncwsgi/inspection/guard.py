"""Who may ask the inspector's site for what.

It listens on the loopback interface alone, and that is no protection by itself: every page that the
user's browser shows can send requests there. What others must not be able to do is to read what is
kept, which has all that applications say and hear, or to have a request sent.

- A page of another origin cannot read an answer, since none allows it to (no CORS), but it can send
  requests blindly, and embed what it gets. `Sec-Fetch-Site` and `Origin` are the browser's own word
  for where a request comes from; scripts cannot set them.
- A name of another's that resolves to 127.0.0.1 (DNS rebinding) would be the same origin for the
  browser. So `Host` has to be a name that only this machine has.
- Who sends requests without a browser, such as another user of this machine, has to know the key.
  It is in the fragment of the URL, which browsers send to nobody, and travels as a header of the
  page's own requests: neither the log, nor a history of requests, nor Referer has it. A page of
  another origin could not send such a header without asking before, which is never granted.

The page itself and its files are no secret, so that a link may lead to them.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Any, NamedTuple

HEADERS = (
    (
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; "
        # No text of this page can become markup or code, whatever its scripts are made to do.
        "require-trusted-types-for 'script'; trusted-types 'none'",
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cache-Control", "no-store"),
)
"""What every answer has, those of errors, too."""
_NAMES = ("127.0.0.1", "localhost", "[::1]")


class Refusal(NamedTuple):
    """Why a request is not answered."""

    status: int
    error: str


class Guard:
    """The rules, for a site at one port.

    Args:
        key: what requests for data have to know.
        port: at which it is served.
    """

    def __init__(self, key: str, port: int) -> None:
        self._key = key.encode()
        self._hosts = frozenset(f"{name}:{port}" for name in _NAMES)

    def refusal(self, environ: Mapping[str, Any], *, needs_key: bool) -> Refusal | None:
        """Why this request is not answered; None if it is.

        Args:
            environ: its.
            needs_key: whether it asks for more than the page itself.
        """
        host = environ.get("HTTP_HOST", "").lower()
        if host not in self._hosts:
            # RFC 9110 15.5.20.
            return Refusal(
                421,
                f"the header Host is {host!r}; expected one of {', '.join(sorted(self._hosts))}",
            )
        if not self._is_from_here(environ, host, needs_key=needs_key):
            return Refusal(
                403,
                "this request comes from a page of another site; open the URL that the start line "
                "of asyncwsgi shows",
            )
        if needs_key and not self._has_key(environ):
            return Refusal(
                403,
                "the key in the header X-Inspect-Key is missing or wrong; open the URL that the "
                "start line of asyncwsgi shows, with all that follows its '#'",
            )
        return None

    def _is_from_here(self, environ: Mapping[str, Any], host: str, *, needs_key: bool) -> bool:
        origin = environ.get("HTTP_ORIGIN")
        if origin is not None and origin != f"http://{host}":
            return False
        site = environ.get("HTTP_SEC_FETCH_SITE")
        if site in (None, "same-origin"):
            return True
        if needs_key:
            return False
        # A link leads here from the application's origin, or somebody has typed the URL.
        mode = environ.get("HTTP_SEC_FETCH_MODE")
        is_navigation = mode == "navigate" and environ["REQUEST_METHOD"] == "GET"
        is_page = environ["PATH_INFO"] == "/"
        return site == "none" or (is_navigation and is_page)

    def _has_key(self, environ: Mapping[str, Any]) -> bool:
        given = environ.get("HTTP_X_INSPECT_KEY", "").encode("latin-1")
        return hmac.compare_digest(given, self._key)
