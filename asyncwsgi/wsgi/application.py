"""One call of a WSGI application: call, iterate, close (PEP 3333, "The Server/Gateway Side")."""

from __future__ import annotations

import inspect
from functools import partial
from typing import TYPE_CHECKING, Any

from asyncwsgi.words import with_article
from asyncwsgi.wsgi.async_body import AsyncBody
from asyncwsgi.wsgi.file_wrapper import FilePart, FileWrapper
from asyncwsgi.wsgi.suspended_call import SuspendedCall

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from wsgiref.types import WSGIApplication

    from asyncwsgi.wsgi.response import Response


def why_no_application(candidate: object) -> str | None:
    """What keeps `candidate` from being a WSGI application, as far as it can be told by looking.

    The rest of a sentence that begins with its name; None: it may be one.
    """
    if not callable(candidate):
        return f"is {with_article(type(candidate))}, no WSGI application; expected a callable"
    for function in (candidate, type(candidate).__call__):
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            # PEP 3333 wants an iterable of it at once.
            return (
                "is asynchronous, as ASGI applications are, and this server calls WSGI "
                "applications; give it one, or run this under an ASGI server"
            )
    return None


def run_application(
    application: WSGIApplication, environ: dict[str, Any], response: Response
) -> SuspendedCall | None:
    """Send what `application` answers to `environ` through `response`.

    Returns what is left to be done if the body goes on elsewhere. Raises whatever the application
    raises, after its iterable was closed.
    """
    blocks = application(environ, response.start_response)
    suspended = None
    try:
        if _is_single(blocks):
            response.expect_single_block()
        if type(blocks) is FileWrapper:
            suspended = _hand_over(blocks, response)
        if suspended is None:
            suspended = _send(blocks, iter(blocks), response)
    finally:
        if suspended is None:
            _close(blocks)
    return suspended


def _hand_over(wrapper: FileWrapper, response: Response) -> SuspendedCall | None:
    """Let the kernel send a file, if it can and is worth it; None: it has to be read."""
    remaining = wrapper.remaining_size()
    size = response.sent_file_size(remaining)
    part = wrapper.part(size) if size else None
    if part is None:
        return None
    try:
        response.start_file(remaining)
    except BaseException:
        part.close()
        raise
    return SuspendedCall(
        part, partial(_resume, response), wrapper, _rest_of_file(wrapper, part, response)
    )


def _rest_of_file(wrapper: FileWrapper, part: FilePart, response: Response) -> Iterator[bytes]:
    """What the kernel has not sent.

    Mostly that is nothing. Not every file system can send; a file may have been cut, or its disk
    may fail: then reading it says so where the application's errors are answered for.
    """
    if response.file_was_sent(part.sent_size):
        wrapper.skip(part.sent_size)
        yield from wrapper


def _resume(
    response: Response, blocks: Iterable[bytes], rest: Iterator[bytes]
) -> SuspendedCall | None:
    suspended = None
    try:
        suspended = _send(blocks, rest, response)
    finally:
        if suspended is None:
            _close(blocks)
    return suspended


def _send(
    blocks: Iterable[bytes], iterator: Iterator[bytes], response: Response
) -> SuspendedCall | None:
    for block in iterator:
        if not response.send(block):
            # Once more, now that the last byte is on its way: a generator runs to its end, with
            # what it does behind its last yield (a traceback is logged, a transaction committed).
            # No further: to HEAD it may have much to say that nobody gets.
            response.send(next(iterator, b""))
            break
        if not block and isinstance(block, AsyncBody) and not block.is_void:
            if not response.send_head():
                break
            block.is_taken = True
            return SuspendedCall(block, partial(_resume, response), blocks, iterator)
    response.finish()
    return None


def _close(blocks: Iterable[bytes]) -> None:
    # PEP 3333: close() is called however the iteration ended.
    close = getattr(blocks, "close", None)
    if close is not None:
        close()


def _is_single(blocks: Iterable[bytes]) -> bool:
    # PEP 3333, "Handling the Content-Length Header": len() can be relied on where there is one.
    try:
        return len(blocks) == 1  # type: ignore[arg-type]
    except TypeError:
        return False
