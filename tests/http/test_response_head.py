"""The head of a response on the wire.

What an application may send is the response's affair (see tests/wsgi); here it is what a client
gets of it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from enum import Enum
from typing import TYPE_CHECKING

import pytest

from tests.conftest import Serve
from tests.http.helpers import ClientOf, Environ, answer
from tests.http.wire import PLAIN, read_head

if TYPE_CHECKING:
    from wsgiref.types import StartResponse

DATE = re.compile(rb"Date: [A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT")


def test_it_is_sent_as_the_application_gave_it_and_signed(
    serve: Serve, client_of: ClientOf
) -> None:
    # PEP 3333, "Unicode Issues": strings are bytes in latin-1.
    headers = [("X-B", "1"), ("Set-Cookie", "a=1"), ("x-a", "\xe9\xff"), ("Set-Cookie", "b=2")]
    client = client_of(serve(answer(lambda: [b"spam"], [*headers, *PLAIN], "200 \xe9 ok")))
    client.request()
    *lines, date, framing = read_head(client)
    assert lines == [
        b"HTTP/1.1 200 \xe9 ok", b"X-B: 1", b"Set-Cookie: a=1", b"x-a: \xe9\xff",
        b"Set-Cookie: b=2", b"Content-Type: text/plain", b"Server: asyncwsgi",
    ]  # fmt: skip
    assert DATE.fullmatch(date)
    assert framing == b"Transfer-Encoding: chunked"


def test_an_enum_of_str_is_sent_as_its_value(serve: Serve, client_of: ClientOf) -> None:
    class Kind(str, Enum):  # noqa: UP042 - unlike a StrEnum it formats as "Kind.JSON"
        STATUS = "200 Fine"
        JSON = "application/json"

    application = answer(lambda: [b"spam"], [("Content-Type", Kind.JSON)], Kind.STATUS)
    # Not validated: wsgiref's validator accepts no subclass of str.
    client = client_of(serve(application, validate=False))
    client.request()
    head = read_head(client)
    assert head[0] == b"HTTP/1.1 200 Fine"
    assert b"Content-Type: application/json" in head


@pytest.mark.parametrize("name", ["Date", "Server"])
def test_the_application_may_sign_it_itself(serve: Serve, client_of: ClientOf, name: str) -> None:
    client = client_of(serve(answer(lambda: [b"spam"], [*PLAIN, (name, "spam")])))
    assert client.get().header(name) == "spam"


def test_that_of_an_error_handler_takes_its_place(serve: Serve, client_of: ClientOf) -> None:
    # PEP 3333: with exc_info, start_response() may be called until the head has left.
    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        old = [("X-Old", "1"), ("Content-Length", "99"), ("Date", "then"), ("Connection", "close")]
        start_response("200 OK", [*PLAIN, *old])
        yield b""
        try:
            raise LookupError("spam")
        except LookupError:
            start_response("404 Not Found", [*PLAIN, ("X-Late", "yes")], sys.exc_info())
        yield b"spam"

    client = client_of(serve(application))
    for _ in range(2):  # the old "Connection: close" is gone, too
        reply = client.get()
        assert (reply.status, reply.reason, reply.body) == (404, "Not Found", b"spam")
        assert (reply.header("X-Late"), reply.header("X-Old")) == ("yes", None)
        assert reply.header("Date") != "then"
