"""Request bodies: of each request its own, and known to both ends by its name and size."""

from __future__ import annotations

import random

_USUAL = 2 * 1024
_LARGE = 32 * 1024
_HUGE = 400 * 1024


def body_of(request: str, size: int) -> bytes:
    """The body of the request of that name."""
    return random.Random(request).randbytes(size)


def choose_size(choice: random.Random) -> int:
    """Of one request's body: mostly small, some larger than what is held until a thread reads."""
    (bound,) = choice.choices((_USUAL, _LARGE, _HUGE), (85, 12, 3))
    return choice.randrange(bound)


def chunked(body: bytes, choice: random.Random) -> bytes:
    """The body in chunks."""
    chunks = []
    while body:
        size = choice.randrange(1, len(body) + 1)
        chunks.append(b"%x\r\n%b\r\n" % (size, body[:size]))
        body = body[size:]
    return b"".join(chunks) + b"0\r\n\r\n"
