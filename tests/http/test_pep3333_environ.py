"""PEP 3333, "environ Variables" and "Input and Error Streams" (errors), over real sockets."""

from __future__ import annotations

import io
import ssl
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trustme

from tests.client import connect
from tests.conftest import Serve
from tests.http.staging import GET, PLAIN, ClientOf, Environ, Recorder

if TYPE_CHECKING:
    from wsgiref.types import StartResponse


def environ_of(serve: Serve, client_of: ClientOf, request: bytes) -> Environ:
    """The environ that the application gets for `request`."""
    application = Recorder()
    client = client_of(serve(application))
    client.send(request)
    assert client.reply().status == 200
    return application.environs[0]


def test_the_environ_is_a_plain_dict(serve: Serve, client_of: ClientOf) -> None:
    # PEP 3333: it "must be a builtin Python dictionary (not a subclass, ...".
    assert type(environ_of(serve, client_of, GET)) is dict


def test_what_the_application_does_to_its_environ_does_not_reach_the_next_request(
    serve: Serve, client_of: ClientOf
) -> None:
    seen: list[set[str]] = []

    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        seen.append(set(environ))
        environ.clear()
        environ["left.behind"] = "spam"
        start_response("200 OK", PLAIN)
        return []

    client = client_of(serve(application))
    # The same bytes twice: heads that the parser knows already are the ones that could be shared.
    client.get()
    client.get()
    assert seen[0] == seen[1]
    assert "left.behind" not in seen[1]


def test_each_request_has_an_environ_of_its_own(serve: Serve, client_of: ClientOf) -> None:
    application = Recorder()
    client = client_of(serve(application))
    client.get()
    client.get()
    first, second = application.environs
    assert first is not second


def test_the_method_is_that_of_the_request(serve: Serve, client_of: ClientOf) -> None:
    environ = environ_of(serve, client_of, b"PATCH / HTTP/1.1\r\nHost: test\r\n\r\n")
    assert environ["REQUEST_METHOD"] == "PATCH"


def test_server_name_and_port_are_those_of_the_listener(serve: Serve, client_of: ClientOf) -> None:
    application = Recorder()
    server = serve(application)
    client_of(server).get()
    environ = application.environs[0]
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == ("127.0.0.1", str(server.port))


def test_server_name_and_port_are_never_empty_on_a_unix_socket(
    serve: Serve, client_of: ClientOf, tmp_path: Path
) -> None:
    # PEP 3333: "SERVER_NAME and SERVER_PORT are required strings and must never be empty."
    application = Recorder()
    client_of(serve(application, bind=f"unix:{tmp_path / 'socket'}")).get()
    environ = application.environs[0]
    assert all(
        isinstance(environ[key], str) and environ[key] for key in ("SERVER_NAME", "SERVER_PORT")
    )


@pytest.mark.parametrize(
    ("target", "path"),
    [
        pytest.param("/", "/", id="root"),
        pytest.param("/spam/eggs", "/spam/eggs", id="plain"),
        pytest.param("/a%20b", "/a b", id="percent-encoding is decoded"),
        pytest.param("/a%2Fb", "/a/b", id="an encoded slash is decoded"),
        pytest.param("/a%252Fb", "/a%2Fb", id="decoded once, not twice"),
        pytest.param("/a+b%20c", "/a+b c", id="plus is no space in a path"),
        pytest.param("/%80%FF", "/\x80\xff", id="any byte as its latin-1 character"),
        pytest.param("/%E2%82%AC", "/\xe2\x82\xac", id="UTF-8 as the latin-1 of its bytes"),
        pytest.param("/a%3Fb?c", "/a?b", id="an encoded question mark belongs to the path"),
        pytest.param("http://test/a%20b?c", "/a b", id="the path of an absolute-form target"),
    ],
)
def test_path_info_is_the_decoded_path(
    target: str, path: str, serve: Serve, client_of: ClientOf
) -> None:
    request = f"GET {target} HTTP/1.1\r\nHost: test\r\n\r\n".encode()
    environ = environ_of(serve, client_of, request)
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("", path)


@pytest.mark.parametrize(
    ("target", "path"),
    [
        pytest.param("/mount/spam", "/spam", id="below the mount"),
        pytest.param("/mount/", "/", id="the mount with a slash"),
        pytest.param("/mount", "", id="the mount itself"),
        pytest.param("/mounted", "/mounted", id="another path that begins alike"),
    ],
)
def test_script_name_is_the_path_at_which_the_application_is_mounted(
    target: str, path: str, serve: Serve, client_of: ClientOf
) -> None:
    application = Recorder()
    client_of(serve(application, root_path="/mount")).get(target)
    environ = application.environs[0]
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("/mount", path)


@pytest.mark.parametrize(
    ("target", "query"),
    [
        pytest.param("/?a=%2F+%20&b=%80", "a=%2F+%20&b=%80", id="as it was sent"),
        pytest.param("/?a?b", "a?b", id="a second question mark belongs to it"),
        pytest.param("/", "", id="empty without a question mark"),
        pytest.param("/?", "", id="empty behind a question mark"),
    ],
)
def test_the_query_string_is_not_decoded(
    target: str, query: str, serve: Serve, client_of: ClientOf
) -> None:
    request = f"GET {target} HTTP/1.1\r\nHost: test\r\n\r\n".encode()
    assert environ_of(serve, client_of, request)["QUERY_STRING"] == query


def test_content_type_and_length_have_keys_without_http(serve: Serve, client_of: ClientOf) -> None:
    application = Recorder()
    client_of(serve(application)).post(body=b"spam", Content_Type="text/spam; a=b")
    environ = application.environs[0]
    assert (environ["CONTENT_TYPE"], environ["CONTENT_LENGTH"]) == ("text/spam; a=b", "4")
    assert not {"HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH"} & set(environ)


def test_a_chunked_request_has_no_content_length(serve: Serve, client_of: ClientOf) -> None:
    # RFC 9112 6.3: Transfer-Encoding overrides Content-Length; whoever read that many bytes would
    # read too few or wait for ever.
    application = Recorder()
    client = client_of(serve(application))
    client.send(
        b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 99\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"4\r\nspam\r\n0\r\n\r\n"
    )
    assert client.reply().status == 200
    assert "CONTENT_LENGTH" not in application.environs[0]
    # RFC 9112 6.1: the server MUST close after a request with both, which may be smuggling.
    assert client.is_closed()


@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
def test_server_protocol_is_the_version_of_the_request(
    version: str, serve: Serve, client_of: ClientOf
) -> None:
    request = f"GET / {version}\r\nHost: test\r\n\r\n".encode()
    assert environ_of(serve, client_of, request)["SERVER_PROTOCOL"] == version


@pytest.mark.parametrize(
    ("lines", "key", "value"),
    [
        pytest.param(b"Accept: a/b\r\n", "HTTP_ACCEPT", "a/b", id="one word"),
        pytest.param(b"x-SPAM-Eggs: 1\r\n", "HTTP_X_SPAM_EGGS", "1", id="hyphens and case"),
        pytest.param(b"X-A: 1\r\nX-B: 0\r\nX-A: 2\r\n", "HTTP_X_A", "1, 2", id="repeated"),
        # RFC 6265 4.2.1: the cookies of one header are separated by "; ".
        pytest.param(b"Cookie: a=1\r\nCookie: b=2\r\n", "HTTP_COOKIE", "a=1; b=2", id="cookies"),
        pytest.param(b"X-A: \xe9\xff\r\n", "HTTP_X_A", "\xe9\xff", id="bytes above ASCII"),
        pytest.param(b"X-A:\r\n", "HTTP_X_A", "", id="empty"),
    ],
)
def test_every_header_is_in_the_environ(
    lines: bytes, key: str, value: str, serve: Serve, client_of: ClientOf
) -> None:
    request = b"GET / HTTP/1.1\r\nHost: test\r\n" + lines + b"\r\n"
    assert environ_of(serve, client_of, request)[key] == value


@pytest.mark.parametrize(
    "lines",
    [b"X-User: good\r\nX_User: evil\r\n", b"X_User: evil\r\nX-User: good\r\n"],
    ids=["underscore last", "underscore first"],
)
def test_a_header_with_an_underscore_cannot_pass_for_one_with_a_hyphen(
    lines: bytes, serve: Serve, client_of: ClientOf
) -> None:
    request = b"GET / HTTP/1.1\r\nHost: test\r\n" + lines + b"\r\n"
    assert environ_of(serve, client_of, request)["HTTP_X_USER"] == "good"


def test_every_cgi_variable_is_a_string_of_bytes(serve: Serve, client_of: ClientOf) -> None:
    # PEP 3333, "Unicode Issues": strings of code points up to 255.
    every_byte = bytes(range(0x80, 0x100))
    request = (
        b"POST /%00%80%ff?%ff HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n"
        b"Content-Type: " + every_byte + b"\r\nX-Spam: " + every_byte + b"\r\n\r\n"
    )
    environ = environ_of(serve, client_of, request)
    for key, value in environ.items():
        if "." not in key:
            assert type(value) is str
            assert max(value, default="") <= "\xff"


def test_the_wsgi_version_is_1_0(serve: Serve, client_of: ClientOf) -> None:
    version = environ_of(serve, client_of, GET)["wsgi.version"]
    assert type(version) is tuple
    assert version == (1, 0)


def test_the_url_scheme_is_http(serve: Serve, client_of: ClientOf) -> None:
    assert environ_of(serve, client_of, GET)["wsgi.url_scheme"] == "http"


def test_the_url_scheme_is_https_over_tls(serve: Serve) -> None:
    authority = trustme.CA()
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server_side)
    client_side = ssl.create_default_context()
    authority.configure_trust(client_side)
    application = Recorder()
    server = serve(application, ssl_context=server_side)
    with connect(server.addresses[0], client_side) as client:
        client.get(Connection="close")
    assert application.environs[0]["wsgi.url_scheme"] == "https"


@pytest.mark.parametrize(("threads", "is_multithreaded"), [(1, False), (2, True)])
def test_the_environ_tells_how_the_application_is_run(
    threads: int, is_multithreaded: bool, serve: Serve, client_of: ClientOf
) -> None:
    application = Recorder()
    client_of(serve(application, threads=threads)).get()
    environ = application.environs[0]
    assert environ["wsgi.multithread"] is is_multithreaded
    assert environ["wsgi.multiprocess"] is False
    assert environ["wsgi.run_once"] is False


def test_dotted_keys_are_lower_case_and_prefixed(serve: Serve, client_of: ClientOf) -> None:
    # PEP 3333: server-defined variables "should be named using only lower-case letters, numbers,
    # dots, and underscores, and should be prefixed with a name that is unique".
    environ = environ_of(serve, client_of, GET)
    dotted = {key for key in environ if "." in key}
    assert dotted == {key.lower() for key in dotted}
    # Waitress's name for a client that has left is what programs look for.
    dotted.remove("waitress.client_disconnected")
    assert {key.partition(".")[0] for key in dotted} <= {"wsgi", "asyncwsgi"}


@pytest.mark.parametrize("name", ["wsgi.version", "WSGI.VERSION", "wsgi-version", "wsgi_version"])
def test_no_header_sets_a_wsgi_key(name: str, serve: Serve, client_of: ClientOf) -> None:
    request = f"GET / HTTP/1.1\r\nHost: test\r\n{name}: evil\r\n\r\n".encode()
    assert environ_of(serve, client_of, request)["wsgi.version"] == (1, 0)


def complain(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    errors = environ["wsgi.errors"]
    errors.write("spam \u20ac \U0001f40d\n")
    errors.writelines(["eggs\n", "ham\n"])
    errors.flush()
    start_response("200 OK", PLAIN)
    return []


def test_errors_are_written_to_the_standard_error_of_the_moment(
    serve: Serve, client_of: ClientOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = client_of(serve(complain))
    for _ in range(2):
        stderr = io.StringIO()
        monkeypatch.setattr(sys, "stderr", stderr)
        assert client.get().status == 200
        assert stderr.getvalue() == "spam \u20ac \U0001f40d\neggs\nham\n"
        assert not stderr.closed


def test_errors_take_any_character_whatever_the_locale(
    serve: Serve, client_of: ClientOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What CPython makes of standard error under LANG=C.
    written = io.BytesIO()
    stderr = io.TextIOWrapper(written, encoding="ascii", errors="backslashreplace")
    monkeypatch.setattr(sys, "stderr", stderr)
    assert client_of(serve(complain)).get().status == 200
    assert written.getvalue() == b"spam \\u20ac \\U0001f40d\neggs\nham\n"


def test_errors_can_be_written_without_a_standard_error(
    serve: Serve, client_of: ClientOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    # sys.stderr is None in a process started with descriptor 2 closed, and under pythonw.
    # PEP 3333: environ must contain "an output stream ... to which error output can be written".
    monkeypatch.setattr(sys, "stderr", None)
    assert client_of(serve(complain)).get().status == 200
