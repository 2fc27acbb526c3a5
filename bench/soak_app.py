"""What the soak serves: small answers, an echo, a large download and an endless one.

And one that fits the buffers, for `hostile.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wsgiref.types import StartResponse

BLOCK = b"x" * 16_384
LARGE_BLOCKS = 100
BUFFERED_SIZE = 200_000


def app(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    match environ["PATH_INFO"]:
        case "/echo":
            body = environ["wsgi.input"].read()
            return _answer(start_response, len(body), [body])
        case "/large":
            return _answer(start_response, LARGE_BLOCKS * len(BLOCK), _blocks(LARGE_BLOCKS))
        case "/buffered":
            return _answer(start_response, BUFFERED_SIZE, [bytes(BUFFERED_SIZE)])
        case "/endless":
            return _answer(start_response, None, _blocks(1_000_000))
        case path:
            return _answer(start_response, len(path), [path.encode("latin-1")])


def _answer(
    start_response: StartResponse, size: int | None, body: Iterable[bytes]
) -> Iterable[bytes]:
    headers = [("Content-Type", "application/octet-stream")]
    if size is not None:
        headers.append(("Content-Length", str(size)))
    start_response("200 OK", headers)
    return body


def _blocks(count: int) -> Iterator[bytes]:
    for _ in range(count):
        yield BLOCK
