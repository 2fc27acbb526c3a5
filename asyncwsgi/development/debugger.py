"""Werkzeug's debugger around an application, and who may use it."""

from __future__ import annotations

import re
import secrets
from collections.abc import Generator, Iterable, Iterator
from ipaddress import IPv6Address
from typing import TYPE_CHECKING, Any, NamedTuple, cast

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication

    from werkzeug.debug import DebuggedApplication

    from asyncwsgi.config import Config

_IPV6_HOST = re.compile(r"\[([^]]*)\](?::\d*)?")
"""An IPv6 address in the header Host (RFC 3986 3.2.2)."""
PAGES = "/-/debugger/"
"""Below it are the pages that were shown for exceptions, for who comes later."""
SHOWN = "asyncwsgi.debugger"
"""Of the environ: what was shown for this request, a `Shown`."""
MOST_PAGES = 20
_FAILED = "asyncwsgi.debugger.failed"


class Shown(NamedTuple):
    """An exception, and the path of its page."""

    error: Exception
    path: str


def has_werkzeug() -> bool:
    """Whether there is a debugger."""
    try:
        import werkzeug.debug  # noqa: F401
    except ImportError:
        return False
    return True


def with_debugger(application: WSGIApplication, config: Config) -> WSGIApplication:
    """`application` below Werkzeug's debugger, for who names one of the hosts that are served."""
    return _debugged(application, config)


def for_trusted_hosts(
    shown: WSGIApplication, application: WSGIApplication, config: Config
) -> WSGIApplication:
    """What serves `shown` to those who may use the debugger, and `application` to all others."""
    is_trusted = _debugged(application, config).check_host_trust

    def choose(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        return (shown if is_trusted(environ) else application)(environ, start_response)

    return choose


def _debugged(application: WSGIApplication, config: Config) -> DebuggedApplication:
    from werkzeug.debug import DebuggedApplication

    # As werkzeug.serving.run_simple does: who chose the host may debug there.
    hosts = [config.host] if not config.bind else _hosts(config.bind)
    addresses = {_ipv6_address(host) for host in ("::1", *hosts)} - {None}

    class Debugged(DebuggedApplication):
        def check_host_trust(self, environ: dict[str, Any]) -> bool:
            # Werkzeug reads a trusted host up to its first colon, where its port would be.
            literal = _IPV6_HOST.fullmatch(environ.get("HTTP_HOST", ""))
            is_ours = literal is not None and _ipv6_address(literal[1]) in addresses
            return is_ours or super().check_host_trust(environ)

        def debug_application(
            self, environ: dict[str, Any], start_response: StartResponse
        ) -> Iterator[bytes]:
            if environ["PATH_INFO"].startswith(PAGES) and self.check_host_trust(environ):
                return pages.show(environ["PATH_INFO"], start_response)
            blocks = super().debug_application(environ, start_response)
            return pages.kept(environ, cast("Generator[bytes]", blocks))

    pages = _Pages()
    debugged = Debugged(_noticing(application), evalex=True)
    debugged.trusted_hosts += hosts
    return debugged


class _Pages:
    """The pages that the debugger has shown last. Worker threads share them.

    A page names the frames that Werkzeug keeps, so it debugs as well later, and elsewhere, as it
    did in the response to a script that has thrown it away.
    """

    def __init__(self) -> None:
        self._pages: dict[str, list[bytes]] = {}

    def kept(self, environ: dict[str, Any], blocks: Generator[bytes]) -> Iterator[bytes]:
        """Pass a response on; keep it if it is one for an exception."""
        page: list[bytes] | None = None
        try:
            for block in blocks:
                if page is None and _FAILED in environ:
                    # Before it is sent, since whoever has it may ask for it again.
                    page = []
                    environ[SHOWN] = Shown(environ.pop(_FAILED), self._keep(page))
                if page is not None:
                    page.append(block)
                yield block
        finally:
            blocks.close()

    def _keep(self, page: list[bytes]) -> str:
        path = f"{PAGES}{secrets.token_urlsafe(8)}"
        self._pages[path] = page
        # Another thread may have dropped the same one.
        for old in list(self._pages)[:-MOST_PAGES]:
            self._pages.pop(old, None)
        return path

    def show(self, path: str, start_response: StartResponse) -> Iterator[bytes]:
        """Answer with the page of this path."""
        page = self._pages.get(path)
        status = "200 OK" if page else "404 Not Found"
        headers = [("Content-Type", "text/html; charset=utf-8"), ("Cache-Control", "no-store")]
        start_response(status, headers)
        yield from page or [
            b"The process that kept this exception has ended, or others came since."
        ]


def _noticing(application: WSGIApplication) -> WSGIApplication:
    """`application`; the environ says by what a request has failed."""

    def call(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        __traceback_hide__ = True  # Werkzeug shows no such frame
        blocks: Any = None
        try:
            blocks = application(environ, start_response)
            yield from blocks
        except Exception as error:
            environ[_FAILED] = error
            raise
        finally:
            if hasattr(blocks, "close"):
                blocks.close()

    return call


def _ipv6_address(host: str) -> IPv6Address | None:
    try:
        return IPv6Address(host)
    except ValueError:
        return None


def _hosts(binds: tuple[str, ...]) -> list[str]:
    # Behind uwsgi:// there is a proxy; how browsers call that one, nobody has said here.
    others = ("unix:", "fd:", "uwsgi://", "uwsgi+")
    addresses = [bind for bind in binds if not bind.startswith(others)]
    return [address.rpartition(":")[0].strip("[]") for address in addresses]
