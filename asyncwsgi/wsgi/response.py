"""What an application may send and when it leaves (PEP 3333, "The start_response() Callable").

Blocking code with one way out: what a `Responder` makes of head, blocks and end is handed to
an `Outlet`. The rules of HTTP that hold for every frontend are kept here: no body for HEAD, 204 and
304, neither more nor less than the Content-Length, no header that is the server's business. How a
response is framed, and what follows it on the connection, is the responder's. Knows nothing of
threads, sockets or the loop.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol

from asyncwsgi.errors import ApplicationError

Headers = list[tuple[str, str]]
ExcInfo = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]

_STATUS = re.compile(r"[2-9][0-9]{2} [\t\x20-\x7e\x80-\xff]*")
_SWITCH = re.compile(r"101 [\t\x20-\x7e\x80-\xff]*")
# RFC 9110 5.1 and 5.5; latin-1 as PEP 3333 demands.
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")

# RFC 9110 7.6.1 and PEP 3333, "Other HTTP Features": the server's business alone.
_HOP_BY_HOP = frozenset(
    {
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "trailers",
        "transfer-encoding",
    }
)
_SPECIAL = frozenset({"connection", "content-length", "date", "keep-alive", "server", "upgrade"})

# Of these there is no last block: WHATWG HTML 9.2 (server-sent events), and the pictures that
# cameras push. Whoever waits for their end waits for ever.
_ENDLESS_TYPES = frozenset({"text/event-stream", "multipart/x-mixed-replace"})

# Up to this size a block is copied behind its head; beyond it the copy costs more than it saves.
JOINED_SIZE = 64 * 1024
# From this size on, a file is worth the way to the loop and back, on which the kernel sends it.
SENT_FILE_SIZE = 64 * 1024

# RFC 9110 6.4.1: no content for 204 and 304; 15.3.6: nor for 205.
_WITHOUT_CONTENT = frozenset({"204", "205", "304"})

# Statuses and names repeat from response to response; those that passed are remembered. Bounded,
# since an application may make them up. What is known of a status is whether it may have content;
# of a name "", or the special name it is.
_MOST_REMEMBERED = 1024
_statuses: dict[str, bool] = {}
_names: dict[str, str] = {}


class Responder(Protocol):
    """Turns a response into what its frontend sends: bytes, or messages that have a size.

    Made by the frontend for one response, and used in the worker thread. Its methods return what
    is to be sent, in order; for whoever transmits it, it is a thing with a length.
    """

    def start(
        self,
        status: str,
        headers: Headers,
        special: Mapping[str, str],
        *,
        is_open_ended: bool,
        block: bytes,
    ) -> Any:
        """The head, and the first block of the body behind it, unless that is empty.

        Args:
            status: as ``200 OK``.
            headers: all of them, checked; the responder may change the list.
            special: those among them that concern the server, by lower-case name: Connection,
                Content-Length, Date, Keep-Alive, Server, Upgrade.
            is_open_ended: a body follows whose length no header tells.
        """

    def block(self, data: bytes) -> Any:
        """A further block of the body; never empty."""

    def end(self) -> Any:
        """The end of a complete response; empty if nothing has to be said."""


class Outlet(Protocol):
    """What takes a response on its way to the client."""

    def transmit(self, data: Any) -> None:
        """Send what the responder made, in order; may block, and raises if the client is gone."""

    def can_send_file(self) -> bool:
        """Whether the kernel may send the file that the application has returned, as it is."""


class Response:
    """The response of one application call.

    Args:
        method: the request's method; HEAD gets no body.
        responder: makes of it what is sent.
        outlet: takes that.
    """

    __slots__ = (
        "_has_body", "_headers", "_is_single", "_length", "_may_have_content", "_method",
        "_outlet", "_responder", "_sent_size", "_special", "_status", "_was_called",
        "excess_size", "head_was_sent", "is_finished", "is_truncated", "may_switch",
    )  # fmt: skip

    def __init__(self, method: str, responder: Responder, outlet: Outlet) -> None:
        self._method = method
        self._responder = responder
        self._outlet = outlet
        self._was_called = False
        self._status = ""
        self._may_have_content = True
        self._has_body = method != "HEAD"
        self._headers: Headers = []
        self._special: dict[str, str] = {}
        self._length: int | None = None
        self._is_single = False
        self._sent_size = 0
        self.may_switch = False
        """Whether the application may answer 101 (Switching Protocols): it has said who goes on."""
        self.head_was_sent = False
        self.is_finished = False
        """The last byte was handed over."""
        self.is_truncated = False
        """The application gave less than its Content-Length."""
        self.excess_size = 0
        """Bytes beyond the Content-Length that the application was seen to give; they are cut."""

    @property
    def status(self) -> int:
        """The status code; 0 before `start_response`."""
        return int(self._status[:3] or 0)

    @property
    def is_complete(self) -> bool:
        """Whether all of it was handed over, so that its client can tell that it is whole."""
        return self.is_finished and not self.is_truncated

    @property
    def headers(self) -> Sequence[tuple[str, str]]:
        """The headers of the response, checked."""
        return self._headers

    @property
    def is_endless(self) -> bool:
        """Whether its media type says that it has no end of its own, and nothing else is known."""
        if self._length is not None or not self._has_body or self.is_finished:
            return False
        types = [value for name, value in self._headers if name.lower() == "content-type"]
        return any(t.partition(";")[0].strip().lower() in _ENDLESS_TYPES for t in types)

    def start_response(
        self, status: str, headers: Headers, /, exc_info: ExcInfo | None = None
    ) -> Callable[[bytes], object]:
        """PEP 3333's ``start_response``; `exc_info` also by its name, as other servers take it.

        Raises:
            ApplicationError: status or headers are not what PEP 3333 and RFC 9110 allow, or it is
                called twice without `exc_info`.
        """
        if exc_info is not None:
            try:
                self._raise_if_too_late(exc_info)
            finally:
                exc_info = None  # PEP 3333: no reference cycle with the traceback
        elif self._was_called:
            raise ApplicationError(
                "start_response() was called twice; PEP 3333 allows that only with exc_info"
            )
        self._was_called = True
        status, may_have_content = _check_status(status, may_switch=self.may_switch)
        # A new list: PEP 3333 lets the server change it, but apps keep lists of their own.
        checked, special = _check_headers(headers)
        if "upgrade" in special:
            _check_upgrade(status, special["upgrade"])
        self._length = _content_length(special.get("content-length"))
        self._special = special
        self._headers = checked
        self._take_status(status, may_have_content)
        return self._write

    def _raise_if_too_late(self, exc_info: ExcInfo) -> None:
        try:
            if self.head_was_sent:
                if exc_info[1] is None:
                    raise ApplicationError("start_response() got no exception in exc_info")
                raise exc_info[1].with_traceback(exc_info[2])
        finally:
            del exc_info  # this frame is in that traceback

    def expect_single_block(self) -> None:
        """Say that the iterable has exactly one block, so that its size is the body's."""
        self._is_single = True

    def send(self, block: bytes) -> bool:
        """Send a block of the body. False: the body is complete, what follows is dropped.

        A response whose body is complete has ended: what the application does or raises from then
        on changes nothing for its client.
        """
        if type(block) is not bytes:
            block = _plain_bytes(block)
        if not block:
            return not self.is_finished
        if self._length is not None:
            block = self._without_excess(block, self._length)
        if not self.head_was_sent:
            self._send_head_with(block)
        elif block and self._has_body:
            self._sent_size += len(block)
            self._outlet.transmit(self._responder.block(block))
        return self._goes_on()

    def send_head(self) -> bool:
        """Send the head ahead of a body of unknown blocks. False: there is no body to follow."""
        if not self.head_was_sent:
            self._is_single = False
            self._outlet.transmit(self._start(b""))
        return self._goes_on()

    def sent_file_size(self, size: int) -> int:
        """How much of a file of `size` bytes the kernel shall send; 0: it is to be read."""
        length = size if self._length is None else min(size, self._length)
        if length < SENT_FILE_SIZE or self.head_was_sent or not self._has_body:
            return 0
        return length if self._outlet.can_send_file() else 0

    def start_file(self, size: int) -> None:
        """Send the head ahead of a file that has `size` bytes, and that the kernel is to send."""
        if self._length is None:
            self._add_length(size)
        else:
            self.excess_size = max(0, size - self._length)
        self._outlet.transmit(self._start(b""))

    def file_was_sent(self, size: int) -> bool:
        """Say that the kernel has sent `size` bytes. False: the body is complete."""
        self._sent_size += size
        return self._goes_on()

    def finish(self) -> None:
        """End the response; the head leaves now if nothing else took it along."""
        if self.is_finished:
            return
        if not self.head_was_sent:
            if self._length is None and self._has_body:
                self._add_length(0)
            self._outlet.transmit(self._start(b""))
        self.is_truncated = self._has_body and self._sent_size < (self._length or 0)
        if not self.is_truncated and (end := self._responder.end()):
            self._outlet.transmit(end)
        self.is_finished = True

    def fail(
        self, status: str, body: bytes, *, content_type: str = "text/plain; charset=utf-8"
    ) -> None:
        """Answer with an error in place of what the application had begun."""
        self._take_status(*_check_status(status))
        # What the request has left behind, such as a body that nobody read, is not known.
        self._headers = [("Content-Type", content_type)]
        self._special = {"connection": "close"}
        self._length = None
        self._is_single = True
        self.send(body)
        self.finish()

    def abandon(self) -> None:
        """Send nothing of it from now on: the client is answered in another way."""
        self._outlet = _Nobody()
        self.head_was_sent = self.is_finished = True

    @property
    def missing_size(self) -> int:
        """Bytes by which a finished body falls short of its Content-Length."""
        return (self._length or 0) - self._sent_size

    def _take_status(self, status: str, may_have_content: bool) -> None:
        self._status = status
        self._may_have_content = may_have_content
        # RFC 9110 6.4.1: no content for HEAD.
        self._has_body = may_have_content and self._method != "HEAD"

    def _goes_on(self) -> bool:
        length = self._length
        if not self._has_body or (length is not None and self._sent_size >= length):
            self.finish()
        return not self.is_finished

    def _without_excess(self, block: bytes, length: int) -> bytes:
        room = length - self._sent_size
        if len(block) <= room or not self._has_body:
            return block
        self.excess_size += len(block) - room
        return block[:room]

    def _write(self, data: bytes, /) -> None:
        """PEP 3333's ``write``."""
        if type(data) is not bytes:
            data = _plain_bytes(data)
        if not self._has_body or self._length is None:
            if self.is_finished and self._has_body:
                raise ApplicationError("the response has ended; nothing can be written any more")
            room = len(data)
        else:
            room = self._length - self._sent_size
        self._is_single = False
        self.send(data[:room])
        if len(data) > room:
            raise ApplicationError(
                f"write() was given {len(data)} bytes, {len(data) - room} of them beyond the "
                f"Content-Length of {self._length}"
            )

    def _send_head_with(self, block: bytes) -> None:
        """Send the head and the first block at once: one crossing for a small response."""
        if self._is_single and self._length is None and self._may_have_content:
            self._add_length(len(block))
        if not self._has_body:
            self._outlet.transmit(self._start(b""))
        elif len(block) <= JOINED_SIZE:
            head = self._start(block)
            self._sent_size = len(block)
            self._outlet.transmit(head)
        else:
            self._outlet.transmit(self._start(b""))
            self._sent_size = len(block)
            self._outlet.transmit(self._responder.block(block))

    def _start(self, block: bytes) -> Any:
        if not self._status:
            raise ApplicationError("the application has not called start_response() with success")
        if not self._may_have_content and self._status[:3] != "304":
            # RFC 9110 8.6: no Content-Length in a 1xx and a 204. 15.3.6: a 205 says that it has no
            # content.
            self._headers = [h for h in self._headers if h[0].lower() != "content-length"]
            if self._status[:3] == "205":
                self._add_length(0)
        self.head_was_sent = True
        return self._responder.start(
            self._status,
            self._headers,
            self._special,
            is_open_ended=self._length is None and self._has_body,
            block=block,
        )

    def _add_length(self, size: int) -> None:
        self._length = size
        self._headers.append(("Content-Length", str(size)))


class _Nobody:
    """The outlet of a response that was abandoned."""

    def transmit(self, data: Any) -> None:
        pass

    def can_send_file(self) -> bool:
        return False


# What is checked is what is sent. A subclass of str or bytes may have methods of its own, and the
# checks, the framing and the formatting of a head would call them: an Enum of str formats as its
# member's name, not as its value; a __format__ could add a line that no check has seen, a __len__
# tell another length than is sent. So whatever comes from the application is made an instance of
# str or bytes itself before anything else is asked of it. The methods that do so are called on
# these types, read the characters, and run no code of the subclass.


def _plain_str(text: Any) -> str | None:
    """`text` as a str of no subclass; None if it is no str at all."""
    try:
        return str.__str__(text)
    except TypeError:
        return None


def _plain_bytes(block: Any) -> bytes:
    """`block` as bytes of no subclass."""
    try:
        return bytes.__bytes__(block)
    except TypeError:
        raise ApplicationError(
            f"the application yielded a {type(block).__name__}; PEP 3333 wants bytes"
        ) from None


def _check_status(status: object, *, may_switch: bool = False) -> tuple[str, bool]:
    """The status as it is sent, and whether it may have content."""
    if type(status) is str and (known := _statuses.get(status)) is not None:
        return status, known
    plain = _plain_str(status)
    if plain is None:
        raise ApplicationError(
            f"start_response() got a {type(status).__name__} status; PEP 3333 wants str"
        )
    if may_switch and _SWITCH.fullmatch(plain):
        return plain, False
    if not _STATUS.fullmatch(plain):
        raise ApplicationError(
            f"start_response() got the status {plain!r}; expected a final status such as '200 OK'"
        )
    may_have_content = plain[:3] not in _WITHOUT_CONTENT
    if len(_statuses) < _MOST_REMEMBERED:
        _statuses[plain] = may_have_content
    return plain, may_have_content


def _check_headers(headers: object) -> tuple[Headers, dict[str, str]]:
    """The headers as they are sent; the special ones by lower-case name, joined if they repeat."""
    if not isinstance(headers, list):
        raise ApplicationError(
            f"start_response() got headers as {type(headers).__name__}; PEP 3333 wants a list"
        )
    checked: Headers = []
    special: dict[str, str] = {}
    for header in headers:
        if type(header) is not tuple:
            raise ApplicationError("start_response() got headers that are no tuples of two str")
        try:
            name, value = header
        except ValueError as error:
            raise ApplicationError(
                f"start_response() got headers that are no tuples of two str: {error}"
            ) from None
        if type(name) is not str or type(value) is not str:
            name, value = header = _plain_header(name, value, len(checked))
        known = _names.get(name)
        if known is None:
            known = _check_name(name)
        if known:
            special[known] = f"{special[known]},{value}" if known in special else value
        if not (value.isascii() and value.isprintable()):  # as nearly all are
            _check_value(name, value)
        checked.append(header)
    return checked, special


def _plain_header(name: object, value: object, index: int) -> tuple[str, str]:
    plain_name, plain_value = _plain_str(name), _plain_str(value)
    if plain_name is None:
        raise ApplicationError(f"header name {name!r} is {type(name).__name__}; PEP 3333 wants str")
    if plain_value is None:
        raise ApplicationError(
            "start_response() got headers that are no tuples of two str: sequence item "
            f"{index}: expected str instance, {type(value).__name__} found"
        )
    return plain_name, plain_value


def _check_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ApplicationError(f"header name {name!r} is not a token (RFC 9110 5.1)")
    lower = name.lower()
    if lower in _HOP_BY_HOP:
        raise ApplicationError(f"header {name!r} is hop-by-hop; PEP 3333 leaves it to the server")
    known = lower if lower in _SPECIAL else ""
    if len(_names) < _MOST_REMEMBERED:
        _names[name] = known
    return known


def _check_upgrade(status: str, value: str) -> None:
    # RFC 9110 7.8 and 15.5.22: the application's say is which protocol it goes on with, or would.
    if status[:3] not in ("101", "426"):
        raise ApplicationError(
            f"header 'Upgrade' ({value!r}) is hop-by-hop; PEP 3333 leaves it to the server, but "
            "for a status of 426"
        )


def _check_value(name: str, value: str) -> None:
    if not _VALUE.fullmatch(value):
        raise ApplicationError(
            f"header {name!r} has the value {value!r}; expected latin-1 without control "
            "characters (RFC 9110 5.5)"
        )


def _content_length(value: str | None) -> int | None:
    if value is None:
        return None
    if not (value.isascii() and value.isdigit()):
        raise ApplicationError(f"Content-Length {value!r} is no number of bytes")
    return int(value)
