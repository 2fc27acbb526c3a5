"""Pictures of pages, made small: PNG with a palette (PNG 11.2.2), since pages have few colours."""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MOST_COLOURS = 256
Colour = tuple[int, int, int]


def shrunk(png: bytes) -> bytes:
    """The same picture in 256 colours; others become the nearest of those.

    Args:
        png: of 8 bits for each of red, green and blue, as Chromium makes them.
    """
    rows = _decoded(png)
    pixels = [[(row[x], row[x + 1], row[x + 2]) for x in range(0, len(row), 3)] for row in rows]
    counts = Counter(pixel for row in pixels for pixel in row)
    palette = _palette(counts)
    index = {colour: _nearest(colour, palette) for colour in counts}
    return indexed(palette, [bytes(index[pixel] for pixel in row) for row in pixels])


def indexed(palette: Sequence[Colour], rows: Sequence[bytes]) -> bytes:
    """A PNG of pixels that are places in a palette."""
    header = struct.pack(">IIBBBBB", len(rows[0]), len(rows), 8, 3, 0, 0, 0)
    chunks = [
        _chunk(b"IHDR", header),
        _chunk(b"PLTE", b"".join(bytes(colour) for colour in palette)),
        _chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows), 9)),
        _chunk(b"IEND", b""),
    ]
    return SIGNATURE + b"".join(chunks)


def _palette(counts: Counter[Colour]) -> list[Colour]:
    """Half of them are most of the picture, and half are least like any before."""
    palette = [colour for colour, _ in counts.most_common(MOST_COLOURS // 2)]
    distances = {one: min(_distance(one, other) for other in palette) for one in counts}
    while len(palette) < min(MOST_COLOURS, len(counts)):
        added = max(distances, key=distances.__getitem__)
        palette.append(added)
        distances = {one: min(old, _distance(one, added)) for one, old in distances.items()}
    return palette


def _distance(one: Colour, other: Colour) -> int:
    return (one[0] - other[0]) ** 2 + (one[1] - other[1]) ** 2 + (one[2] - other[2]) ** 2


def _nearest(colour: Colour, palette: list[Colour]) -> int:
    return min(range(len(palette)), key=lambda i: _distance(colour, palette[i]))


def _chunk(kind: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = len(SIGNATURE)
    while position < len(png):
        (size,) = struct.unpack_from(">I", png, position)
        yield png[position + 4 : position + 8], png[position + 8 : position + 8 + size]
        position += size + 12


def _decoded(png: bytes) -> list[bytearray]:
    """Its rows, three bytes a pixel."""
    chunks = list(_chunks(png))
    header = next(data for kind, data in chunks if kind == b"IHDR")
    width, _, depth, colour_type = struct.unpack_from(">IIBB", header)
    assert (depth, colour_type) == (8, 2), "expected 8 bits for each of red, green and blue"
    data = zlib.decompress(b"".join(data for kind, data in chunks if kind == b"IDAT"))
    size = 3 * width
    rows = [bytearray(size)]  # above the first one all is 0
    for start in range(0, len(data), size + 1):
        line = bytearray(data[start + 1 : start + 1 + size])
        _unfilter(data[start], line, rows[-1])
        rows.append(line)
    return rows[1:]


def _unfilter(kind: int, line: bytearray, above: bytearray) -> None:
    """Undo a filter of PNG 9.2, in place."""
    for i, value in enumerate(line):
        left = line[i - 3] if i >= 3 else 0
        corner = above[i - 3] if i >= 3 else 0
        added = (0, left, above[i], (left + above[i]) // 2, _paeth(left, above[i], corner))[kind]
        line[i] = (value + added) & 0xFF


def _paeth(left: int, above: int, corner: int) -> int:
    estimate = left + above - corner
    return min((left, above, corner), key=lambda value: abs(estimate - value))
