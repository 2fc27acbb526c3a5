"""Bodies as they are kept: the first bytes of them, masked, and the size of all.

Adding to one is done where requests are served, and so takes a reference and no more. What is sent
for it is made later (see `asyncwsgi.inspection.records`).
"""

from __future__ import annotations

import base64
import zlib

from asyncwsgi.inspection.masking import mask_body

KEPT_SIZE = 64 * 1024
"""Bytes of each body that are kept."""
_GZIP_OR_ZLIB = zlib.MAX_WBITS | 32


class KeptBody:
    """The beginning of a body. One thread adds, at a time."""

    __slots__ = ("_kept_size", "_pieces", "size")

    def __init__(self) -> None:
        self.size = 0
        """Bytes of all of it so far."""
        self._kept_size = 0
        self._pieces: list[bytes] = []

    def add(self, data: bytes) -> None:
        """Keep what there is room for."""
        size = len(data)
        self.size += size
        room = KEPT_SIZE - self._kept_size
        if room > 0:
            if size > room:
                data, size = data[:room], room
            self._pieces.append(data)
            self._kept_size += size

    def add_size(self, size: int) -> None:
        """Count what passes here unseen."""
        self.size += size

    @property
    def kept(self) -> bytes:
        """What is kept of it."""
        return b"".join(self._pieces)

    def as_json(self, content_type: str, coding: str, *, keeps_secrets: bool) -> str:
        """What is reported, as JSON.

        Args:
            content_type: the value of its header field.
            coding: that of Content-Encoding.
            keeps_secrets: whether it is reported as it is.
        """
        data = self.kept
        shown = data if keeps_secrets else masked(data, content_type, coding)
        is_cut = self.size > len(data) or (not shown and len(data) > 0)
        text = base64.b64encode(shown).decode("ascii")
        return f'{{"size":{self.size},"data":"{text}","is_cut":{"true" if is_cut else "false"}}}'


def masked(data: bytes, content_type: str, coding: str) -> bytes:
    """`data` without secrets; empty where nobody can tell."""
    if not coding or coding.strip().lower() == "identity":
        return mask_body(data, content_type)
    if coding.strip().lower() not in ("gzip", "deflate", "x-gzip"):
        return b""
    decoder = zlib.decompressobj(_GZIP_OR_ZLIB)
    try:
        plain = decoder.decompress(data, 4 * KEPT_SIZE)
    except zlib.error:
        return b""
    # What was coded stays so, as it was sent; with a hole in it that cannot be.
    is_read = not decoder.unconsumed_tail and not decoder.unused_data
    return data if is_read and mask_body(plain, content_type) == plain else b""
