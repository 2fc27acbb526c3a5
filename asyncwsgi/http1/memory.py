"""Header lines that h11 has accepted before, so that it need not read them again.

Clients repeat their headers, and parsing them is the largest single cost of a small request. From
one request to the next most lines stay what they were and a few differ: a trace id, a cookie, a
length. So lines are remembered one by one, and of the next head h11 is asked about the new ones.

Why that is safe: what RFC 9112 5 asks of a header line it asks of that line's bytes, and h11 looks
at nothing else. Bytes that it has accepted once it would accept again, with the same name and the
same value. A new line is judged by h11 itself; the only thing that is decided here is where a line
ends and where its name does, and so a line has to be of the plainest kind (`_PLAIN_LINE`), between
two CRLF. What concerns the head as a whole is no property of a line and is judged for each head
anew: exactly one Host, at most one Content-Length, no Transfer-Encoding, the limits. A head that
is otherwise is neither refused nor repaired here: h11's own parser reads all of it, as if there
were no memory, so that whatever is refused is refused there.

Who remembers what: a line that is known is faster than one that is not, and that would tell a
client what others have sent. So a server's connections share only lines whose names say that their
values are no secret (`_PUBLIC_NAMES`). Any other line is known to its connection alone, which keeps
those of its last head: a trace id drives nothing out, and no password outlives its connection. Of a
head with large headers (`_OWN_SIZE`, `_MOST_OWN`) nothing is kept, since idle connections are many.
"""

from __future__ import annotations

import re
from typing import cast

import h11

from asyncwsgi.http1.head import HeaderFields, HeaderLine, is_host

# Of the headers that a connection keeps.
_OWN_SIZE = 4096
_MOST_OWN = 40

# Of each generation of the lines that are shared.
_MOST_SHARED = 256
_SHARED_SIZE = 32 * 1024
_LONGEST_SHARED = 512

# The site, and what clients say of their programs and of the form of messages. Not who they are,
# where they come from, or what they want; no Sec-WebSocket-Protocol, in which some send a token.
_PUBLIC_NAMES = frozenset(
    {
        b"accept", b"accept-charset", b"accept-encoding", b"accept-language", b"cache-control",
        b"connection", b"content-type", b"dnt", b"host", b"keep-alive", b"pragma", b"priority",
        b"sec-ch-ua", b"sec-ch-ua-mobile", b"sec-ch-ua-platform", b"sec-fetch-dest",
        b"sec-fetch-mode", b"sec-fetch-site", b"sec-fetch-user", b"sec-gpc", b"te",
        b"upgrade-insecure-requests", b"user-agent", b"x-forwarded-proto", b"x-requested-with",
    }
)  # fmt: skip

# A token, a colon, and no control character but the tab (RFC 9110 5.5). h11 lets some more pass.
_PLAIN_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):([\t -~\x80-\xff]*)")

Lines = dict[bytes, HeaderLine]


class SharedLines:
    """The lines that all connections of a server know.

    In two generations: when the newer one is full it becomes the older, whose lines are forgotten
    unless they have been met meanwhile. So lines that never come again drive out none that does.
    """

    __slots__ = ("_older", "_size", "newer")

    def __init__(self) -> None:
        self.newer: Lines = {}
        self._older: Lines = {}
        self._size = 0

    def recall(self, raw: bytes) -> HeaderLine | None:
        """The line of these bytes, if either generation knows it."""
        line = self.newer.get(raw)
        if line is None and (line := self._older.get(raw)) is not None:
            self._add(raw, line)
        return line

    def offer(self, raw: bytes, line: HeaderLine) -> None:
        """Remember a line, if its name says that it holds no secret."""
        if line.name.lower() in _PUBLIC_NAMES and len(raw) <= _LONGEST_SHARED:
            self._add(raw, line)

    def _add(self, raw: bytes, line: HeaderLine) -> None:
        if len(self.newer) >= _MOST_SHARED or self._size + len(raw) > _SHARED_SIZE:
            self._older, self.newer, self._size = self.newer, {}, 0
        self.newer[raw] = line
        self._size += len(raw)


class HeaderMemory:
    """What one connection knows: the lines that are shared, and those of its last head."""

    __slots__ = ("_max_headers", "_shared", "last_block", "last_fields")

    def __init__(self, shared: SharedLines, max_headers: int) -> None:
        self._shared = shared
        self._max_headers = max_headers
        self.last_block = b""
        """The headers of the last head that was not too large to be kept."""
        self.last_fields: HeaderFields | None = None
        """Its fields, and those of every head with the same block."""

    def fields_of(self, block: bytes) -> HeaderFields | None:
        """The fields of a block of headers; None if h11's parser has to read the head.

        The block begins with the CRLF of the request line and ends with the empty line.
        """
        raws = _lines_of(block)
        if len(raws) > self._max_headers:
            return None
        lines = list(map(self._shared.newer.get, raws))
        if None in lines and not self._complete(raws, lines):
            return None
        fields = HeaderFields(cast("list[HeaderLine]", lines))
        if fields.host_count != 1 or fields.has_repeated_length:
            return None
        if len(block) <= _OWN_SIZE and len(raws) <= _MOST_OWN:
            self.last_block, self.last_fields = block, fields
        return fields

    def _complete(self, raws: list[bytes], lines: list[HeaderLine | None]) -> bool:
        """Fill in the lines that are None; False if h11's parser has to read them."""
        shared, own = self._shared, self._own_lines()
        new: list[int] = []
        headers: list[tuple[bytes, bytes]] = []
        for index, raw in enumerate(raws):
            if lines[index] is None:
                lines[index] = own.get(raw) or shared.recall(raw)
            if lines[index] is None:
                header = _split(raw)
                if header is None:
                    return False
                new.append(index)
                headers.append(header)
        accepted = _accepted(headers) if headers else []
        if len(accepted) < len(new):
            return False
        for index, line in zip(new, accepted, strict=True):
            lines[index] = line
            shared.offer(raws[index], line)
        return True

    def _own_lines(self) -> Lines:
        # Made when it is wanted: as a dict it would take as much again while the connection idles.
        if self.last_fields is None:
            return {}
        lines = self.last_fields.lines
        return {raw: lines[index] for index, raw in enumerate(_lines_of(self.last_block))}


def _lines_of(block: bytes) -> list[bytes]:
    return block[2:-4].split(b"\r\n")  # without the CRLF before them, and the two behind


def _split(raw: bytes) -> tuple[bytes, bytes] | None:
    """Name and value of a plain line; None if h11's parser has to read it."""
    plain = _PLAIN_LINE.fullmatch(raw)
    if plain is None:
        return None
    name, value = plain[1], plain[2].strip(b" \t")
    lower = name.lower()
    if lower == b"transfer-encoding" or (lower == b"host" and not is_host(value)):
        return None
    return name, value


def _accepted(headers: list[tuple[bytes, bytes]]) -> list[HeaderLine]:
    """These lines as h11 takes them; fewer if it refuses one, or leaves out what is repeated."""
    try:
        # Trailers are header lines, too, and the event that has them is the only one that judges
        # lines by themselves. A Request asks for a Host, too, and takes twice as long.
        event = h11.EndOfMessage(headers=headers)
    except h11.LocalProtocolError:
        return []
    return [HeaderLine(name, value) for name, value in event.headers.raw_items()]
