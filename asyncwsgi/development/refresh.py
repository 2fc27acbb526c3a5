"""Has open pages load themselves again when what they show has changed.

A small script in each page hears of it by an event stream. Both are answered here, at paths of the
server's own; which pages get the script is for `refresh_policy` and `refresh_script` to say.

What a page shows has a *state*: which code has made it, and how many templates and static files had
changed since that code began to serve. Both numbers only grow. A page knows the state in which it
was made, so it hears of a newer one even if it was not connected when that came: while the old
process had gone and the new one did not serve yet, say.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from asyncwsgi.coroutines.stream import close_iterator, encode
from asyncwsgi.development.refresh_policy import policy_allows, shows_page, takes_script
from asyncwsgi.development.refresh_script import Insertion
from asyncwsgi.development.template_caches import forget_templates
from asyncwsgi.event_stream import EventStream
from asyncwsgi.wsgi.async_body import AsyncBody

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication

STREAM_PATH = "/-/refresh"
SCRIPT_PATH = "/-/refresh.js"
CLOSE_TIMEOUT = 1.0
"""Seconds that streams get to end, before the server cuts them."""

_SCRIPT = Path(__file__).with_name("refresh.js")
# Nobody else's pages shall learn by them that this server is here.
_SAME_ORIGIN = ("Cross-Origin-Resource-Policy", "same-origin")

Headers = list[tuple[str, str]]


class State(NamedTuple):
    """What pages show; of two, the one with a larger number is newer."""

    code: int = 0
    files: int = 0


class Refresh:
    """WSGI middleware that puts the script into pages, and answers the script and its stream."""

    def __init__(self, application: WSGIApplication) -> None:
        self.application = application
        self.state = State()
        """That of the pages which are made now. Set from the loop, read by worker threads."""
        self._queues: set[asyncio.Queue[str | None]] = set()
        """Of the streams; None ends one."""
        self._open: set[object] = set()
        """The bodies of those whose last byte was not sent yet."""
        self._is_closed = False
        self._one_has_ended: Callable[[], object] | None = None
        self._stream = EventStream(lambda _: self._events(), headers=[_SAME_ORIGIN])

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path in (STREAM_PATH, SCRIPT_PATH):
            return self._answer(path, environ, start_response)
        if not shows_page(environ):
            return self.application(environ, start_response)
        page = _Page(start_response, self._tag(environ), _origin(environ))
        return page.body(self.application(environ, page.start_response))

    # On the loop.

    def begin(self, code: int, files: int) -> None:
        """Know which code is served, and how often templates and static files have changed."""
        self.state = State(code, files)

    def files_changed(self, files: int, stylesheets: Iterable[str] = ()) -> None:
        """Tell browsers that templates or static files have changed.

        Args:
            files: how often they have by now.
            stylesheets: the names of those that have, if none but stylesheets have this time.
        """
        forget_templates()
        self.state = state = State(self.state.code, files)
        message = _message(state, stylesheets)
        for queue in self._queues:
            queue.put_nowait(message)

    async def close(self) -> None:
        """End the streams, so that browsers turn to whoever serves next.

        A stream that has ended is a response like any other; one that the server cuts would be an
        error in the browser's console.
        """
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._one_has_ended = partial(_set_from_thread, ended, loop)
        self._is_closed = True
        for queue in self._queues:
            queue.put_nowait(None)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT):
                while self._open:
                    ended.clear()
                    await ended.wait()

    async def _events(self) -> AsyncIterator[str]:
        queue: asyncio.Queue[str | None] = asyncio.Queue()
        self._queues.add(queue)
        try:
            message: str | None = _message(self.state)
            while message is not None and not self._is_closed:
                yield message
                message = await queue.get()
        finally:
            self._queues.discard(queue)

    # In worker threads.

    def _answer(
        self, path: str, environ: dict[str, Any], start_response: StartResponse
    ) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] != "GET":
            return _refuse(HTTPStatus.METHOD_NOT_ALLOWED, start_response, ("Allow", "GET"))
        if environ.get("HTTP_SEC_FETCH_SITE") == "cross-site":
            return _refuse(HTTPStatus.FORBIDDEN, start_response)
        if path == STREAM_PATH:
            if self._is_closed:
                # An empty one, which no drain has to cut: the browser asks again.
                start_response("200 OK", [*self._stream.headers.items(), ("Content-Length", "0")])
                return []
            return self._counted(self._stream(environ, start_response))
        script = _SCRIPT.read_bytes()
        headers = [
            ("Content-Type", "text/javascript; charset=utf-8"),
            ("Content-Length", str(len(script))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            _SAME_ORIGIN,
        ]
        start_response("200 OK", headers)
        return [script]

    def _counted(self, body: Iterable[bytes]) -> Iterable[bytes]:
        counted = _Closing(body, self._ended)
        self._open.add(counted)
        return counted

    def _ended(self, body: object) -> None:
        self._open.discard(body)
        # `close` looks for what is open behind having set this: one of the two sees the other.
        if (told := self._one_has_ended) is not None:
            told()

    def _tag(self, environ: dict[str, Any]) -> bytes:
        # PEP 3333: SCRIPT_NAME is the path's bytes as latin-1.
        path = quote(environ.get("SCRIPT_NAME", "").encode("latin-1")) + SCRIPT_PATH
        code, files = self.state
        return f'<script async src="{path}" data-state="{code}.{files}"></script>\n'.encode()


class _Page:
    """The response to one request that loads a page."""

    def __init__(self, start_response: StartResponse, tag: bytes, origin: str) -> None:
        self._start_response = start_response
        self._tag = tag
        self._origin = origin
        self._status = ""
        self._headers: Headers = []
        self._insertion: Insertion | None = None
        self._was_started = False

    def start_response(
        self, status: str, headers: Headers, /, exc_info: Any = None
    ) -> Callable[[bytes], object]:
        """PEP 3333's ``start_response``."""
        # The head is checked at once, where the application can see what is wrong with it.
        write = self._start_response(status, headers, exc_info)
        self._was_started = True
        self._insertion = None
        if not takes_script(status, headers, self._origin):
            return write
        self._status, self._headers = status, headers
        self._insert(_content_length(headers))
        return partial(self._write, write)

    def body(self, blocks: Iterable[bytes]) -> Iterable[bytes]:
        """What the server shall iterate over."""
        if not self._was_started:
            return _Body(self, blocks)  # a generator, which starts its response when it is run
        if self._insertion is None:
            return blocks  # itself: a file is sent by the kernel
        if isinstance(blocks, list | tuple) and all(type(block) is bytes for block in blocks):
            return [self._whole(b"".join(blocks))]
        return _Body(self, blocks)

    def feed(self, block: bytes) -> bytes:
        """What is to be sent for a block."""
        insertion = self._insertion
        if insertion is None or not isinstance(block, bytes):  # the server says what is wrong
            return block
        has_begun = insertion.has_begun
        block = insertion.feed(block)
        if insertion.has_begun and not has_begun and insertion.new_length is not None:
            self._start_again(insertion.new_length)
        return block

    def end(self) -> bytes:
        """What is to be sent behind the last block."""
        return b"" if self._insertion is None else self._insertion.end()

    def before_offer(self) -> bytes:
        """What is to be sent ahead of an async body."""
        if self._insertion is None or self._insertion.new_length is None:
            return b""
        # The head leaves with the offer, and its length would not be right any more.
        return self._insertion.end()

    def _whole(self, body: bytes) -> bytes:
        assert self._insertion is not None
        if self._insertion.new_length is None and self._insertion.is_untouched:
            self._insert(len(body))
        return self.feed(body) + self.end()

    def _insert(self, length: int | None) -> None:
        policy = partial(policy_allows, origin=self._origin)
        self._insertion = Insertion(self._tag, length, policy)

    def _start_again(self, length: int) -> None:
        # PEP 3333: with exc_info, start_response() takes the place of what it was told before.
        headers = [h for h in self._headers if h[0].lower() != "content-length"]
        headers.append(("Content-Length", str(length)))
        self._start_response(self._status, headers, (None, None, None))

    def _write(self, write: Callable[[bytes], object], data: bytes, /) -> None:
        write(self.feed(data))


class _Body:
    """The application's iterable, with the script; empty blocks say that none is to come yet."""

    def __init__(self, page: _Page, blocks: Iterable[bytes]) -> None:
        self._page = page
        self._blocks = blocks

    def __iter__(self) -> Iterator[bytes]:
        is_offered = False
        for block in self._blocks:
            if isinstance(block, AsyncBody) and not is_offered:
                yield self._page.before_offer()
                block.blocks = _AsyncBlocks(self._page, block.blocks)
                is_offered = True
            # Should the offer not be taken, what passes here has passed there.
            yield block if is_offered else self._page.feed(block)
        if not is_offered:
            yield self._page.end()

    def close(self) -> None:
        close = getattr(self._blocks, "close", None)
        if close is not None:
            close()


class _AsyncBlocks:
    """The blocks of an async body, with the script."""

    def __init__(self, page: _Page, blocks: AsyncIterator[bytes | str]) -> None:
        self._page = page
        self._blocks = blocks
        self._has_ended = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._has_ended:
            raise StopAsyncIteration
        try:
            block = await anext(self._blocks)
        except StopAsyncIteration:
            self._has_ended = True
            return self._page.end()
        return self._page.feed(encode(block))

    async def aclose(self) -> None:
        await close_iterator(self._blocks)


class _Closing:
    """An iterable of which somebody hears that it was closed."""

    def __init__(self, blocks: Iterable[bytes], closed: Callable[[object], None]) -> None:
        self._blocks = blocks
        self._closed = closed

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._blocks)

    def close(self) -> None:
        try:
            self._blocks.close()  # type: ignore[attr-defined]
        finally:
            self._closed(self)


def _set_from_thread(event: asyncio.Event, loop: asyncio.AbstractEventLoop) -> None:
    async def set_event() -> None:
        event.set()

    setting = set_event()
    try:
        asyncio.run_coroutine_threadsafe(setting, loop)
    except RuntimeError:  # it has been closed
        setting.close()


def hide_from_access_log() -> None:
    """Have the access log leave out the requests that are the server's own."""
    logging.getLogger("asyncwsgi.access").addFilter(_is_of_application)


def _is_of_application(record: logging.LogRecord) -> bool:
    path = str(getattr(record, "target", "")).partition("?")[0]
    return not path.endswith((STREAM_PATH, SCRIPT_PATH))


def _message(state: State, stylesheets: Iterable[str] = ()) -> str:
    return json.dumps({**state._asdict(), "stylesheets": sorted(stylesheets)})


def _origin(environ: dict[str, Any]) -> str:
    return f"{environ['wsgi.url_scheme']}://{environ.get('HTTP_HOST', '')}"


def _content_length(headers: Headers) -> int | None:
    values = [value for name, value in headers if name.lower() == "content-length"]
    return int(values[-1]) if values else None


def _refuse(
    status: HTTPStatus, start_response: StartResponse, *headers: tuple[str, str]
) -> Iterable[bytes]:
    body = f"{status.value} {status.phrase}\n".encode()
    plain = [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))]
    start_response(body[:-1].decode(), [*plain, *headers])
    return [body]
