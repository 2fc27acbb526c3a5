"""Requests that were kept, as they are sent once more."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from asyncwsgi.inspection.failed import Failed
from asyncwsgi.inspection.outgoing import outgoing
from tests.inspection.samples import body, entry


def test_it_is_the_request_without_its_framing() -> None:
    headers = [
        ["Host", "shop.example"], ["Connection", "close"], ["Transfer-Encoding", "chunked"],
        ["Content-Length", "3"], ["Expect", "100-continue"], ["Upgrade", "websocket"],
        ["Asyncwsgi-Replay-Of", "7-9"], ["X-Two", "a"], ["x-two", "b"],
    ]  # fmt: skip
    kept = entry(method="POST", request_headers=headers, request_body=body(b"a=1"))
    request = outgoing(kept, {}, is_masked=True)
    assert request.headers == (("Host", "shop.example"), ("X-Two", "a"), ("x-two", "b"))
    assert request.body == b"a=1"
    assert request.has_body
    assert not request.objection


def test_edits_take_the_place_of_what_was_kept() -> None:
    edits = {"method": "PUT", "target": "/x", "headers": [["A", "b"]], "body": "AAE="}
    request = outgoing(entry(), edits, is_masked=True)
    assert request[:4] == ("PUT", "/x", (("A", "b"),), b"\0\1")


class TestSecrets:
    def test_headers_that_were_masked_are_left_out_and_named(self) -> None:
        headers = [["Cookie", "***"], ["Referer", "http://a/?token=***"], ["Accept", "*/*"]]
        request = outgoing(entry(request_headers=headers), {}, is_masked=True)
        assert request.headers == (("Accept", "*/*"),)
        assert request.left_out == ("Cookie", "Referer")

    @pytest.mark.parametrize(
        "fields",
        [
            pytest.param({"request_body": body(b"password=***")}, id="in its body"),
            pytest.param({"target": "/?token=***"}, id="in its target"),
        ],
    )
    def test_a_request_is_not_itself_without_them(self, fields: dict[str, Any]) -> None:
        kept = entry(**fields)
        assert "masked" in outgoing(kept, {}, is_masked=True).objection
        assert not outgoing(kept, {}, is_masked=False).objection
        edits = {"target": kept["target"], "body": base64.b64encode(b"password=new").decode()}
        assert not outgoing(kept, edits, is_masked=True).objection

    def test_where_nothing_is_masked_stars_are_stars(self) -> None:
        request = outgoing(entry(request_headers=[["X", "***"]]), {}, is_masked=False)
        assert request.headers == (("X", "***"),)
        assert request.left_out == ()


@pytest.mark.parametrize(
    "kept",
    [
        pytest.param(body(b"abc", size=9, is_cut=True), id="it was cut"),
        pytest.param(body(b"abc", size=9), id="some of it was dropped"),
    ],
)
def test_of_a_body_that_was_not_kept_whole_it_says_so(kept: dict[str, Any]) -> None:
    request = outgoing(entry(request_body=kept), {}, is_masked=True)
    assert request.objection == "only 3 of the 9 bytes of its body were kept"


@pytest.mark.parametrize(
    "edits",
    [
        pytest.param({"target": "http://evil.example/"}, id="another server's"),
        pytest.param({"target": "evil.example:443"}, id="a server"),
        pytest.param({"target": "*"}, id="the server as a whole"),
        pytest.param({"target": "/a HTTP/1.1\r\nHost: x"}, id="a second line"),
        pytest.param({"target": "/\u00e9"}, id="no ASCII"),
        pytest.param({"target": ""}, id="empty"),
        pytest.param({"target": 7}, id="a number"),
        pytest.param({"method": "GET /"}, id="a method with a space"),
        pytest.param({"method": ""}, id="no method"),
        pytest.param({"headers": {"A": "b"}}, id="headers as an object"),
        pytest.param({"headers": [["A"]]}, id="a header without a value"),
        pytest.param({"headers": [["A", 7]]}, id="a number for a value"),
        pytest.param({"headers": [["A:", "b"]]}, id="a colon in a name"),
        pytest.param({"headers": [["A", "b\r\nC: d"]]}, id="a second header in a value"),
        pytest.param({"headers": [["A", "b\0"]]}, id="NUL in a value"),
        pytest.param({"headers": [["A", "\u20ac"]]}, id="no latin-1"),
        pytest.param({"body": "%"}, id="no base64"),
        pytest.param({"body": [1]}, id="a list for a body"),
        pytest.param({"body": None}, id="null for a body"),
    ],
)
def test_what_no_request_can_have_is_refused(edits: dict[str, Any]) -> None:
    with pytest.raises(Failed) as failed:
        outgoing(entry(), edits, is_masked=True)
    assert failed.value.status == 400
