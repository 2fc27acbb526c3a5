"""Heads and framing of responses as bytes (RFC 9112)."""

from __future__ import annotations

from http import HTTPStatus

import h11
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asyncwsgi.http1.encoder import CONTINUE, ResponseEncoder, own_response
from tests.http1.receiving import receive

DATE = "Sun, 06 Nov 1994 08:49:37 GMT"


def encode(
    encoder: ResponseEncoder,
    *blocks: bytes,
    length: int | None = None,
    status: str = "200 OK",
    keep_alive: bool = True,
) -> bytes:
    """A whole response; open-ended if it has no length."""
    headers = [] if length is None else [("Content-Length", str(length))]
    head = encoder.head(
        status, headers, is_open_ended=length is None, date=DATE, keep_alive=keep_alive
    )
    return head + b"".join(map(encoder.block, blocks)) + encoder.end()


class TestHead:
    def test_status_line_and_headers_come_as_they_were_given(self) -> None:
        headers = [("X-B", "1"), ("Set-Cookie", "a=1"), ("x-a", ""), ("Set-Cookie", "b=2")]
        head = ResponseEncoder("1.1").head(
            "404 Not Found", headers, is_open_ended=False, date=DATE, keep_alive=True
        )
        assert head == (
            b"HTTP/1.1 404 Not Found\r\n"
            b"X-B: 1\r\nSet-Cookie: a=1\r\nx-a: \r\nSet-Cookie: b=2\r\n"
            b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n"
        )

    def test_without_a_date_there_is_no_date_header(self) -> None:
        head = ResponseEncoder("1.1").head(
            "200 OK", [], is_open_ended=False, date="", keep_alive=True
        )
        assert head == b"HTTP/1.1 200 OK\r\n\r\n"

    def test_it_is_latin_1(self) -> None:
        head = ResponseEncoder("1.1").head(
            "200 \xe9", [("X-A", "\x80\xff")], is_open_ended=False, date="", keep_alive=True
        )
        assert head == b"HTTP/1.1 200 \xe9\r\nX-A: \x80\xff\r\n\r\n"

    def test_a_client_of_http_1_0_is_told_the_version_of_the_server(self) -> None:
        # RFC 9110 2.5: "a version equal to the highest version to which the server is conformant
        # that has a major version less than or equal to the one received in the request".
        head = ResponseEncoder("1.0").head(
            "200 OK", [], is_open_ended=False, date="", keep_alive=False
        )
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")


class TestPersistence:
    def test_a_connection_that_is_kept_needs_no_word(self) -> None:
        encoder = ResponseEncoder("1.1")
        assert b"Connection" not in encode(encoder, length=0)
        assert encoder.keep_alive

    def test_a_connection_that_cannot_be_kept_is_closed_with_notice(self) -> None:
        encoder = ResponseEncoder("1.1")
        data = encode(encoder, b"spam", length=4, keep_alive=False)
        assert b"\r\nConnection: close\r\n\r\n" in data
        assert not encoder.keep_alive
        assert not receive(data).keep_alive


class TestFraming:
    def test_a_known_length_needs_no_framing(self) -> None:
        data = encode(ResponseEncoder("1.1"), b"spam", b"eggs", length=8)
        assert data.endswith(b"\r\n\r\nspameggs")
        received = receive(data)
        assert (received.body, received.keep_alive) == (b"spameggs", True)
        assert received.header(b"transfer-encoding") is None

    def test_an_open_end_is_chunked_to_http_1_1(self) -> None:
        data = encode(ResponseEncoder("1.1"), b"spam", b"x" * 26)
        assert data == (
            b"HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
            b"4\r\nspam\r\n1a\r\nxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n0\r\n\r\n"
        )
        assert receive(data).keep_alive

    def test_an_open_end_closes_the_connection_to_http_1_0(self) -> None:
        # RFC 9112 6.1: "A server MUST NOT send a response containing Transfer-Encoding unless the
        # corresponding request indicates HTTP/1.1".
        encoder = ResponseEncoder("1.0")
        data = encode(encoder, b"spam", b"eggs")
        assert data == (
            b"HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
            b"Connection: close\r\n\r\nspameggs"
        )
        assert not encoder.keep_alive
        assert receive(data).body == b"spameggs"

    def test_no_chunk_is_a_body_too(self) -> None:
        received = receive(encode(ResponseEncoder("1.1")))
        assert (received.body, received.keep_alive) == (b"", True)

    def test_chunks_without_their_end_are_not_a_whole_body(self) -> None:
        data = encode(ResponseEncoder("1.1"), b"spam").removesuffix(b"0\r\n\r\n")
        with pytest.raises(h11.RemoteProtocolError, match="without sending complete"):
            receive(data)

    def test_a_block_larger_than_any_buffer_is_one_chunk(self) -> None:
        block = b"x" * (1024 * 1024)
        data = encode(ResponseEncoder("1.1"), block)
        assert data.endswith(b"\r\n\r\n100000\r\n" + block + b"\r\n0\r\n\r\n")

    @settings(deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(st.binary(min_size=1)))
    def test_a_client_puts_the_blocks_together_again(self, blocks: list[bytes]) -> None:
        behind = b"HTTP/1.1 200 OK"
        received = receive(encode(ResponseEncoder("1.1"), *blocks) + behind)
        assert (received.body, received.rest) == (b"".join(blocks), behind)


class TestRefusal:
    def test_it_is_a_whole_response(self) -> None:
        assert own_response(400, date=DATE) == (
            b"HTTP/1.1 400 Bad Request\r\n"
            b"Content-Type: text/plain; charset=utf-8\r\nContent-Length: 16\r\n"
            b"Server: asyncwsgi\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nConnection: close\r\n\r\n"
            b"400 Bad Request\n"
        )

    @pytest.mark.parametrize("status", [400, 408, 413, 414, 431, 501, 503, 505])
    def test_a_client_understands_each(self, status: int) -> None:
        received = receive(own_response(status, date=DATE))
        phrase = HTTPStatus(status).phrase.encode()
        assert (received.status, received.reason) == (status, phrase)
        assert received.body == b"%d %b\n" % (status, phrase)
        assert not received.keep_alive

    def test_it_takes_headers_along(self) -> None:
        received = receive(own_response(503, date=DATE, headers=[("Retry-After", "1")]))
        assert received.header(b"retry-after") == b"1"


def test_continue_is_an_informational_response_and_no_more() -> None:
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("Host", "test")]))
    client.receive_data(CONTINUE)
    event = client.next_event()
    assert isinstance(event, h11.InformationalResponse)
    assert (event.status_code, event.headers.raw_items()) == (100, [])
    assert client.trailing_data == (b"", False)
