"""Puts a script into HTML as it passes by. Pure: blocks of bytes go in, and blocks come out.

The script stands behind the end of the document, where HTML's parser takes it for the last element
of the body (WHATWG HTML 13.2.6.4.22): no place within could be told from the same characters in a
string, a comment or a template, and nothing has to be held back to look for it. Only the beginning
is, until it is known whether it is that of a document; seldom more than the first block.

A body whose length was told is as long as was promised, with the script in it. If it comes in
blocks and one of the later ones has a policy that does not allow the script (a ``<meta>`` may state
it), spaces stand in its place.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable

LONGEST_BEGINNING = 4096
"""Bytes of white space and comments ahead of a document, at most."""
LONGEST_HEAD = 256 * 1024
"""Bytes in which a ``<meta>`` with a policy is looked for."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_IGNORED = re.compile(rb"(?:\s+|<!--.*?-->|<\?.*?>)*", re.DOTALL)
"""What may stand ahead of the doctype."""
_DOCUMENT = re.compile(rb"<(?:!doctype\s+html|html)[\s>]", re.IGNORECASE)
_STARTS = (b"<!doctype html ", b"<html ", b"<!--", b"<?")
_META = re.compile(rb"<meta\s[^>]*>", re.IGNORECASE)
_ATTRIBUTE = re.compile(rb"""([-a-z]+)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))""", re.IGNORECASE)
_FOREIGN_BASE = re.compile(rb"""<base\s[^>]*href\s*=\s*["']?\s*(?:https?:)?//""", re.IGNORECASE)


def begins_document(data: bytes) -> bool | None:
    """Whether `data` is the beginning of an HTML document; None: there is too little of it."""
    data = data.removeprefix(_BYTE_ORDER_MARK)
    ignored = _IGNORED.match(data)
    assert ignored is not None, "it may be empty"
    rest = data[ignored.end() :]
    if _DOCUMENT.match(rest):
        return True
    if len(data) > LONGEST_BEGINNING:
        return False
    normal = re.sub(rb"\s+", b" ", rest.lower())
    is_open = rest.startswith((b"<!--", b"<?"))
    is_short = any(start.startswith(normal) for start in _STARTS)
    return None if is_open or is_short else False


class Insertion:
    """One body on its way.

    Args:
        tag: the script, ASCII.
        length: that of the body, if it was told.
        allows: whether a policy, as text, lets the page have the script.
    """

    def __init__(self, tag: bytes, length: int | None, allows: Callable[[str], bool]) -> None:
        self._tag = tag
        self._length = length
        self._allows = allows
        self._size = 0
        self._held = b""
        """What has come, until it is known whether it is the beginning of a document."""
        self._head = b""
        """Where policies are looked for."""
        self._is_document: bool | None = None
        self._is_placed = False

    @property
    def has_begun(self) -> bool:
        """Whether the body is known to get the script."""
        return self._is_document is True

    @property
    def is_untouched(self) -> bool:
        """Whether nothing of the body has come yet."""
        return not self._head

    @property
    def new_length(self) -> int | None:
        """That of the body with the script, if its own was told."""
        return None if self._length is None else self._length + len(self._tag)

    def feed(self, block: bytes) -> bytes:
        """What is to be sent for a block; empty if it is held back."""
        if self._is_document is False or self._is_placed:
            return block
        self._head += block[: LONGEST_HEAD - len(self._head)]
        if self._is_document:
            return self._pass(block)
        self._held += block
        return self._decide()

    def end(self) -> bytes:
        """What is to be sent behind the last block."""
        if self._is_document is None:
            self._is_document = False
            return self._held
        if self._is_document and not self._is_placed and self._length is None:
            return self._place()
        return b""

    def _decide(self) -> bytes:
        # Of a whole body nothing is to come, and what it says itself can be heeded.
        is_whole = self._length is not None and len(self._held) >= self._length
        self._is_document = begins_document(self._held)
        if self._is_document is None and not is_whole:
            return b""
        held, self._held = self._held, b""
        if not self._is_document or (is_whole and not self._may_stand()):
            self._is_document = False
            return held
        return self._pass(held)

    def _pass(self, block: bytes) -> bytes:
        before = self._size
        self._size += len(block)
        if self._length is None or self._size < self._length:
            return block
        # What an application sends beyond its length is cut behind the script, as it was before.
        room = self._length - before
        return block[:room] + self._place() + block[room:]

    def _place(self) -> bytes:
        self._is_placed = True
        if self._may_stand():
            return self._tag
        return b"" if self._length is None else b" " * len(self._tag)

    def _may_stand(self) -> bool:
        """Whether nothing within the page keeps the script from being loaded."""
        if _FOREIGN_BASE.search(self._head):
            return False  # the script's path would be one of another host
        return all(map(self._allows, _policies(self._head)))


def _policies(head: bytes) -> list[str]:
    """The policies that a page states itself."""
    found = []
    for meta in _META.findall(head):
        attributes = {
            name.lower(): next(filter(None, values), b"")
            for name, *values in _ATTRIBUTE.findall(meta)
        }
        if attributes.get(b"http-equiv", b"").strip().lower() == b"content-security-policy":
            found.append(html.unescape(attributes.get(b"content", b"").decode("latin-1")))
    return found
