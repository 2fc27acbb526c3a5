"""How a body is framed: what a client can tell of its end, and whether the connection is kept."""

from __future__ import annotations

import h11
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asyncwsgi.wsgi.response import Headers
from tests.http1.receiving import receive
from tests.wsgi.recording import PLAIN, Recording, length, started


class TestFraming:
    def test_a_length_of_the_application_frames_the_body(self) -> None:
        response = started(headers=length(8))
        assert response.send(b"spam")
        assert not response.send(b"eggs")
        response.finish()
        assert response.received().body == b"spameggs"
        assert response.received().header(b"transfer-encoding") is None
        assert response.keep_alive

    def test_the_only_block_is_the_length(self) -> None:
        response = started()
        response.expect_single_block()
        response.send(b"spam")
        response.finish()
        received = response.received()
        assert (received.header(b"content-length"), received.body) == (b"4", b"spam")
        assert response.keep_alive

    def test_the_only_block_is_not_the_length_if_the_application_gave_one(self) -> None:
        response = started(headers=length(3))
        response.expect_single_block()
        response.send(b"spam")
        response.finish()
        assert response.received().header(b"content-length") == b"3"
        assert response.received().body == b"spa"

    def test_the_only_block_is_not_the_length_behind_a_write(self) -> None:
        response = Recording()
        write = response.start_response("200 OK", PLAIN)
        response.expect_single_block()
        write(b"spam ")
        response.send(b"eggs")
        response.finish()
        assert response.received().body == b"spam eggs"
        assert response.received().header(b"content-length") is None

    def test_no_block_is_a_length_of_nothing(self) -> None:
        response = started()
        response.finish()
        assert response.received().header(b"content-length") == b"0"
        assert response.keep_alive

    def test_without_a_length_the_body_is_chunked_to_http_1_1(self) -> None:
        response = started()
        for block in (b"spam", b"", b"eggs"):
            assert response.send(block)
        response.finish()
        assert response.wire.endswith(b"\r\n\r\n4\r\nspam\r\n4\r\neggs\r\n0\r\n\r\n")
        assert response.received().header(b"transfer-encoding") == b"chunked"
        assert response.keep_alive

    def test_without_a_length_the_body_ends_with_the_connection_to_http_1_0(self) -> None:
        response = started(version="1.0")
        for block in (b"spam", b"", b"eggs"):
            assert response.send(block)
        response.finish()
        received = response.received()
        assert received.header(b"transfer-encoding") is None
        assert received.header(b"connection") == b"close"
        assert response.wire.endswith(b"\r\n\r\nspameggs")
        assert not response.keep_alive

    def test_a_response_that_is_not_finished_keeps_nothing(self) -> None:
        response = started(headers=length(4))
        response.send(b"spa")
        assert not response.is_finished
        assert not response.keep_alive
        response.send(b"m")
        assert response.is_finished
        assert response.keep_alive

    @pytest.mark.parametrize("headers", [PLAIN, length(4)])
    def test_a_205_says_that_it_has_no_content(self, headers: Headers) -> None:
        # RFC 9110 15.3.6.
        response = started("205 Reset Content", headers)
        assert not response.send(b"spam")
        assert response.wire.lower().count(b"content-length: 0\r\n") == 1
        assert response.wire.lower().count(b"content-length") == 1
        assert response.wire.endswith(b"\r\n\r\n")

    def test_an_unfinished_chunked_body_is_visibly_cut(self) -> None:
        response = started()
        response.send(b"spam")
        with pytest.raises(h11.RemoteProtocolError, match="without sending complete"):
            response.received()
        assert not response.keep_alive


class TestContentLength:
    """PEP 3333, "Handling the Content-Length Header"."""

    @pytest.mark.parametrize(
        "blocks",
        [[b"spam!"], [b"sp", b"am!"], [b"spam", b"!"], [b"", b"spam!", b"!"]],
        ids=["at once", "in the second block", "behind it", "twice"],
    )
    def test_what_is_beyond_it_is_dropped(self, blocks: list[bytes]) -> None:
        response = started(headers=length(4))
        for block in blocks:
            response.send(block)
        response.finish()
        assert response.received().body == b"spam"
        assert response.received().rest == b""
        assert b"" not in response.transmitted
        assert response.keep_alive

    def test_the_application_is_told_when_it_is_reached(self) -> None:
        response = started(headers=length(5))
        assert response.send(b"spam")
        assert not response.send(b"!")

    def test_the_application_is_told_when_there_is_nothing_to_send(self) -> None:
        response = started(headers=length(0))
        assert not response.send(b"spam")
        response.finish()
        assert response.received().body == b""

    @pytest.mark.parametrize("size", [0, 2, 3], ids="{} bytes".format)
    def test_less_than_it_closes_the_connection(self, size: int) -> None:
        response = started(headers=length(4))
        response.send(b"spam"[:size])
        response.finish()
        assert (response.is_truncated, response.missing_size) == (True, 4 - size)
        assert not response.keep_alive
        with pytest.raises(h11.RemoteProtocolError, match="without sending complete"):
            response.received()

    def test_as_much_as_it_is_not_truncated(self) -> None:
        response = started(headers=length(4))
        response.send(b"spam")
        response.finish()
        assert (response.is_truncated, response.missing_size) == (False, 0)


class TestNoBody:
    """RFC 9110 6.4.1: HEAD, 204 and 304."""

    def test_head_has_the_headers_of_get(self) -> None:
        received = []
        for method in ("HEAD", "GET"):
            response = started(headers=[*length(4), ("X-A", "1")], method=method)
            response.send(b"spam")
            response.finish()
            received.append(response.received())
            assert response.keep_alive
        assert received[0].headers == received[1].headers
        assert [each.body for each in received] == [b"", b"spam"]

    def test_head_has_the_length_of_an_only_block(self) -> None:
        response = started(method="HEAD")
        response.expect_single_block()
        response.send(b"spam")
        response.finish()
        assert response.received().header(b"content-length") == b"4"
        assert response.wire.endswith(b"\r\n\r\n")

    def test_head_of_an_empty_body_promises_no_length(self) -> None:
        # An application may answer HEAD with no block because it is HEAD.
        response = started(method="HEAD")
        response.finish()
        assert response.received().header(b"content-length") is None
        assert response.keep_alive

    @pytest.mark.parametrize("version", ["1.1", "1.0"])
    def test_head_of_an_unknown_length_has_no_framing(self, version: str) -> None:
        response = started(method="HEAD", version=version)
        response.send(b"spam")
        response.finish()
        assert response.wire.endswith(b"\r\n\r\n")
        assert response.received().header(b"transfer-encoding") is None
        assert response.keep_alive

    def test_head_of_a_length_without_a_block_is_not_truncated(self) -> None:
        response = started(method="HEAD", headers=length(4))
        response.finish()
        assert response.received().header(b"content-length") == b"4"
        assert not response.is_truncated
        assert response.keep_alive

    @pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
    @pytest.mark.parametrize("is_single", [True, False], ids=["one block", "blocks"])
    def test_these_statuses_have_neither_body_nor_framing(
        self, status: str, is_single: bool
    ) -> None:
        response = started(status)
        if is_single:
            response.expect_single_block()
        assert not response.send(b"spam")
        response.finish()
        received = response.received()
        assert response.wire.endswith(b"\r\n\r\n")
        assert received.header(b"transfer-encoding") is None
        assert received.header(b"content-length") is None
        assert response.keep_alive

    @pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
    def test_these_statuses_need_no_block(self, status: str) -> None:
        response = started(status)
        response.finish()
        assert response.wire.endswith(b"\r\n\r\n")
        assert response.received().header(b"content-length") is None
        assert response.keep_alive

    @pytest.mark.parametrize("blocks", [[], [b"spam"]], ids=["no block", "a block"])
    def test_204_has_no_length_whatever_the_application_says(self, blocks: list[bytes]) -> None:
        # RFC 9110 8.6: "A server MUST NOT send a Content-Length header field in any response with
        # a status code of 1xx (Informational) or 204 (No Content)."
        response = started("204 No Content", [*PLAIN, ("content-LENGTH", "4")])
        for block in blocks:
            response.send(block)
        response.finish()
        assert response.received().header(b"content-length") is None
        assert response.wire.endswith(b"\r\n\r\n")
        assert response.keep_alive

    @pytest.mark.parametrize("blocks", [[], [b"spam"]], ids=["no block", "a block"])
    def test_304_has_the_length_of_what_it_stands_for(self, blocks: list[bytes]) -> None:
        # RFC 9110 8.6: "that would have been sent in the content of a 200 (OK) response".
        response = started("304 Not Modified", length(4))
        for block in blocks:
            response.send(block)
        response.finish()
        assert response.received().header(b"content-length") == b"4"
        assert response.wire.endswith(b"\r\n\r\n")
        assert not response.is_truncated
        assert response.keep_alive


BEHIND = b"HTTP/1.1 200 OK"


@settings(
    max_examples=500, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
@given(
    method=st.sampled_from(["GET", "HEAD"]),
    version=st.sampled_from(["1.1", "1.0"]),
    status=st.sampled_from(["200 OK", "204 No Content", "304 Not Modified", "404 Not Found"]),
    size=st.one_of(st.none(), st.integers(0, 12)),
    blocks=st.lists(st.binary(max_size=6), max_size=4),
)
def test_client_and_server_agree_on_every_end(
    method: str, version: str, status: str, size: int | None, blocks: list[bytes]
) -> None:
    recording = Recording(method, version, can_keep=version == "1.1")
    recording.start_response(status, PLAIN if size is None else length(size))
    if len(blocks) == 1:
        recording.expect_single_block()
    for block in blocks:
        if not recording.send(block):
            break
    recording.finish()
    has_body = method == "GET" and status[:3] not in ("204", "304")
    body = b"".join(blocks)[:size] if has_body else b""
    if has_body and size is not None and len(body) < size:
        assert not recording.keep_alive
        with pytest.raises(h11.RemoteProtocolError, match="without sending complete"):
            recording.received()
    elif recording.keep_alive:
        received = receive(recording.wire + BEHIND, method)
        assert (received.body, received.rest, received.keep_alive) == (body, BEHIND, True)
    else:
        assert version == "1.0"
        assert (recording.received().body, recording.received().keep_alive) == (body, False)
