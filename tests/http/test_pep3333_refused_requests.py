"""Requests that are none: answered with a status, and the application never sees them."""

from __future__ import annotations

import pytest

from tests.apps import hello
from tests.conftest import Serve
from tests.http.staging import GET, ClientOf, Recorder

REFUSED = [
    pytest.param(b"spam\r\n\r\n", 400, id="no request line"),
    pytest.param(b"GET /\r\n\r\n", 400, id="HTTP/0.9"),
    pytest.param(b"G@T / HTTP/1.1\r\nHost: test\r\n\r\n", 400, id="malformed method"),
    pytest.param(b"GET spam HTTP/1.1\r\nHost: test\r\n\r\n", 400, id="relative target"),
    pytest.param(b"GET /\0 HTTP/1.1\r\nHost: test\r\n\r\n", 400, id="NUL in the target"),
    pytest.param(b"GET / HTTP/1.1\r\n\r\n", 400, id="no Host"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, id="two Hosts"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: test\r\nX Y: 1\r\n\r\n", 400, id="malformed name"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: test\r\nX : 1\r\n\r\n", 400, id="space before colon"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: test\r\nspam\r\n\r\n", 400, id="no colon"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: test\r\nX: \0\r\n\r\n", 400, id="NUL in a value"),
    pytest.param(
        b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: +4\r\n\r\nspam", 400, id="bad length"
    ),
    pytest.param(
        b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nspam!",
        400,
        id="two lengths",
    ),
    pytest.param(
        b"GET /" + b"a" * 2000 + b" HTTP/1.1\r\nHost: test\r\n\r\n", 414, id="long target"
    ),
    pytest.param(
        b"GET / HTTP/1.1\r\nHost: test\r\nX: " + b"a" * 9000 + b"\r\n\r\n", 431, id="large head"
    ),
    pytest.param(
        b"GET / HTTP/1.1\r\nHost: test\r\n" + b"X: a\r\n" * 50 + b"\r\n", 431, id="many headers"
    ),
    pytest.param(b"GET / HTTP/2.0\r\nHost: test\r\n\r\n", 505, id="another version"),
    pytest.param(
        b"POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: gzip\r\n\r\n", 501, id="coding"
    ),
]


@pytest.mark.parametrize(("request_", "status"), REFUSED)
def test_a_bad_request_is_refused_without_the_application(
    request_: bytes,
    status: int,
    serve: Serve,
    client_of: ClientOf,
    caplog: pytest.LogCaptureFixture,
) -> None:
    application = Recorder()
    server = serve(application, max_target_size=1000, max_head_size=8000, max_headers=40)
    client = client_of(server)
    client.send(request_ + GET)
    assert client.reply().status == status
    assert client.is_closed()
    assert application.environs == []
    [record] = caplog.records
    assert (record.name, record.exc_info) == ("asyncwsgi.server", None)
    assert "\n" not in record.getMessage()


def test_a_good_request_before_a_bad_one_is_answered(serve: Serve, client_of: ClientOf) -> None:
    application = Recorder()
    client = client_of(serve(application))
    client.send(GET + b"spam\r\n\r\n" + GET)
    assert [client.reply().status, client.reply().status] == [200, 400]
    assert client.is_closed()
    assert len(application.environs) == 1


def test_a_bad_request_troubles_no_other_connection(serve: Serve, client_of: ClientOf) -> None:
    server = serve(hello)
    good, bad = client_of(server), client_of(server)
    assert good.get().status == 200
    bad.send(b"spam\r\n\r\n")
    assert bad.reply().status == 400
    assert good.get().status == 200
