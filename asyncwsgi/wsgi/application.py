"""One call of a WSGI application: call, iterate, close (PEP 3333, "The Server/Gateway Side")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import WSGIApplication

    from asyncwsgi.wsgi.response import Response


def run_application(
    application: WSGIApplication, environ: dict[str, Any], response: Response
) -> None:
    """Send what `application` answers to `environ` through `response`.

    Raises whatever the application raises, after its iterable was closed.
    """
    blocks = application(environ, response.start_response)
    try:
        _send(blocks, response)
    finally:
        # PEP 3333: close() is called however the iteration ended.
        close = getattr(blocks, "close", None)
        if close is not None:
            close()


def _send(blocks: Iterable[bytes], response: Response) -> None:
    if _is_single(blocks):
        response.expect_single_block()
    for block in blocks:
        if not response.send(block):
            break
    response.finish()


def _is_single(blocks: Iterable[bytes]) -> bool:
    # PEP 3333, "Handling the Content-Length Header": len() can be relied on where there is one.
    try:
        return len(blocks) == 1  # type: ignore[arg-type]
    except TypeError:
        return False
