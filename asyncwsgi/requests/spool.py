"""A request body whose size its client has not told: collected before the application is called.

CGI, and so PEP 3333, tells a body by its CONTENT_LENGTH. A chunked one has none, and most programs
take it for empty then: Django and Falcon do so without a word, Bottle refuses it. So the body is
read to its end first, in the worker thread, which may block on a disk as the loop may not; what
does not fit into memory goes to a temporary file.
"""

from __future__ import annotations

import tempfile
from io import BufferedIOBase
from typing import BinaryIO, cast

from asyncwsgi.errors import RequestBodyError

READ_SIZE = 64 * 1024


def spool(body: BufferedIOBase, *, memory_size: int, max_size: int) -> tuple[BinaryIO, int]:
    """Read `body` to its end into a file; that file, at its beginning, and its size.

    Args:
        memory_size: bytes from which on it is a file on disk.

    Raises:
        RequestBodyError: it is larger than `max_size` (413), or whatever reading it raises.
    """
    file = cast("BinaryIO", tempfile.SpooledTemporaryFile(max_size=memory_size))  # noqa: SIM115
    try:
        size = 0
        while block := body.read1(READ_SIZE):
            size += len(block)
            if size > max_size:
                reason = (
                    f"chunked request body of more than {max_size} bytes; raise max_spool_size, "
                    "or turn stream_chunked_bodies on"
                )
                raise RequestBodyError(413, reason)
            file.write(block)
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return file, size
