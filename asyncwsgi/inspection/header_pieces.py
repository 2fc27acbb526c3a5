"""Headers as pieces of JSON, without secrets.

Lines repeat from request to request, and so does nearly all that is sent of them. What was made of
one is kept; bounded, since clients and applications make them up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from json.encoder import encode_basestring_ascii as quoted
from typing import TYPE_CHECKING

from asyncwsgi.inspection.masking import mask_field

if TYPE_CHECKING:
    from asyncwsgi.http1.head import HeaderFields

_MOST_LINES = 1024
_LONGEST_LINE = 512
"""Characters of a line that is kept."""
_MOST_FIELDS = 64


class Headers:
    """Those of one request: the fields of its head; or pairs, where it came otherwise."""

    __slots__ = ("_pairs", "fields")

    def __init__(
        self, fields: HeaderFields | None, pairs: Sequence[tuple[str, str]] | None = None
    ) -> None:
        self.fields = fields
        self._pairs = pairs

    @property
    def pairs(self) -> Sequence[tuple[str, str]]:
        """Names as sent, and values."""
        if self._pairs is None:
            lines = () if self.fields is None else self.fields.lines
            self._pairs = [(line.name.decode("latin-1"), line.text) for line in lines]
        return self._pairs

    def value(self, name: str) -> str:
        """The value of the field with this lower-case name; empty without one."""
        return next((value for key, value in self.pairs if key.lower() == name), "")


@dataclass(frozen=True, slots=True)
class RequestHeaders:
    """What is told of those of a request; each as JSON."""

    fields: HeaderFields | None
    piece: str
    """All of them."""
    host: str
    replay_of: str
    """Empty for none."""


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """What is told of one."""

    status: str
    reason: str
    piece: str
    """All headers, as JSON."""
    content_type: str
    coding: str


class HeaderPieces:
    """Makes them, for one server. On the loop.

    Args:
        keeps_secrets: whether they tell secrets.
    """

    def __init__(self, *, keeps_secrets: bool) -> None:
        self._keeps_secrets = keeps_secrets
        self._lines: dict[str, str] = {}
        self._fields: dict[int, RequestHeaders] = {}

    def of_request(self, headers: Headers) -> RequestHeaders:
        """The headers of a request."""
        fields = headers.fields
        if fields is None or not fields.recurs:
            return self._made(headers)
        # Requests with the same headers on one connection share one object.
        known = self._fields.get(id(fields))
        if known is None:
            if len(self._fields) >= _MOST_FIELDS:
                self._fields.clear()
            # It holds the object, so that no other has its identity.
            known = self._fields[id(fields)] = self._made(headers)
        return known

    def of_response(self, head: bytes) -> ResponseHead:
        """The head of a response, as it was sent."""
        first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
        _, status, reason = first.split(" ", 2)
        content_type = coding = ""
        pieces = []
        known = self._lines
        for line in lines:
            piece = known.get(line)
            pieces.append(self._learn(line) if piece is None else piece)
            if line[:8].lower() == "content-":
                name, _, value = line.partition(": ")
                if name.lower() == "content-type":
                    content_type = value
                elif name.lower() == "content-encoding":
                    coding = value
        return ResponseHead(status, quoted(reason), f"[{','.join(pieces)}]", content_type, coding)

    def _made(self, headers: Headers) -> RequestHeaders:
        pieces = [self._piece(name, value) for name, value in headers.pairs]
        replay_of = headers.value("asyncwsgi-replay-of")
        return RequestHeaders(
            headers.fields,
            f"[{','.join(pieces)}]",
            quoted(headers.value("host")),
            quoted(replay_of) if replay_of else "",
        )

    def _learn(self, line: str) -> str:
        name, _, value = line.partition(": ")
        piece = self._piece(name, value)
        if len(line) <= _LONGEST_LINE:
            if len(self._lines) >= _MOST_LINES:
                self._lines.clear()
            self._lines[line] = piece
        return piece

    def _piece(self, name: str, value: str) -> str:
        shown = value if self._keeps_secrets else mask_field(name, value)
        return f"[{quoted(name)},{quoted(shown)}]"
