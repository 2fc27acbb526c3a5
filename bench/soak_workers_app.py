"""What the soak of several workers serves: each request leaves a line when it begins and ends.

The file named by SOAK_RECORD gets ``TIME begin|end PID ID``, in one write each.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wsgiref.types import StartResponse

BLOCK = b"x" * 16_384
LARGE_BLOCKS = 100
_record = os.open(os.environ["SOAK_RECORD"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)


class _Body:
    """Says when the request is over, however that comes."""

    def __init__(self, blocks: Iterable[bytes], number: str) -> None:
        self._blocks = iter(blocks)
        self._number = number

    def __iter__(self) -> Iterator[bytes]:
        return self._blocks

    def close(self) -> None:
        _write("end", self._number)


def app(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    number = environ["HTTP_X_NUMBER"]
    _write("begin", number)
    try:
        blocks = _answer(environ, start_response)
    except BaseException:  # the client has left before its body was there
        _write("end", number)
        raise
    return _Body(blocks, number)


def _answer(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    match environ["PATH_INFO"]:
        case "/echo":
            blocks = [environ["wsgi.input"].read()]
        case "/wait":
            time.sleep(0.2)
            blocks = [b"waited"]
        case "/large":
            blocks = [BLOCK] * LARGE_BLOCKS
        case path:
            blocks = [path.encode("latin-1")]
    size = sum(map(len, blocks))
    start_response(
        "200 OK", [("Content-Type", "application/octet-stream"), ("Content-Length", str(size))]
    )
    return blocks


def _write(event: str, number: str) -> None:
    os.write(_record, f"{time.monotonic():.3f} {event} {os.getpid()} {number}\n".encode())
