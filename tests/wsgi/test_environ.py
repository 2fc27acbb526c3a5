"""Request heads into environs, without sockets (PEP 3333, "environ Variables")."""

from __future__ import annotations

import io
import string
import sys
from typing import Any
from wsgiref.util import request_uri
from wsgiref.validate import check_environ  # type: ignore[attr-defined]

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asyncwsgi.errors import RequestRefused
from asyncwsgi.http1.head import RequestHead
from asyncwsgi.http1.parser import RequestParser
from asyncwsgi.version import __version__
from asyncwsgi.wsgi.environ import EnvironBuilder, address_keys, server_environ

Environ = dict[str, Any]

LOCAL, PEER = ("192.0.2.1", 8000), ("198.51.100.7", 4321)


def builder(
    root_path: str = "", *, multithread: bool = True, local: Any = LOCAL, peer: Any = PEER
) -> EnvironBuilder:
    """Makes the environs of a connection from `peer` to `local`."""
    return EnvironBuilder(
        {
            **server_environ(root_path=root_path, multithread=multithread),
            **address_keys(local, peer),
            "wsgi.url_scheme": "http",
        }
    )


def head(data: bytes, parser: RequestParser | None = None) -> RequestHead:
    parser = parser or RequestParser()
    parser.receive(data)
    result = parser.next_event()
    assert isinstance(result, RequestHead)
    return result


def request(
    lines: bytes = b"", target: str = "/", method: str = "GET", version: str = "HTTP/1.1"
) -> bytes:
    line = f"{method} {target} {version}\r\nHost: test\r\n"
    return line.encode("ascii") + lines + b"\r\n"


def environ_of(data: bytes, root_path: str = "") -> Environ:
    return builder(root_path).build(head(data))


class TestServersKeys:
    def test_they_are_those_of_the_server(self) -> None:
        assert (
            server_environ(root_path="/mount", multithread=False).items()
            >= {
                "GATEWAY_INTERFACE": "CGI/1.1",
                "SERVER_SOFTWARE": f"asyncwsgi/{__version__}",
                "SCRIPT_NAME": "/mount",
                "wsgi.version": (1, 0),
                "wsgi.multithread": False,
                "wsgi.multiprocess": False,
                "wsgi.run_once": False,
            }.items()
        )

    @pytest.mark.parametrize("multithread", [True, False])
    def test_multithread_is_truthful(self, multithread: bool) -> None:
        environ = builder(multithread=multithread).build(head(request()))
        assert environ["wsgi.multithread"] is multithread

    def test_the_version_is_a_tuple(self) -> None:
        assert type(environ_of(request())["wsgi.version"]) is tuple

    def test_dotted_keys_are_lower_case_and_prefixed(self) -> None:
        # PEP 3333: "should be named using only lower-case letters, numbers, dots, and underscores,
        # and should be prefixed with a name that is unique to the defining server or gateway".
        dotted = {key for key in environ_of(request()) if "." in key}
        assert dotted == {
            "wsgi.version", "wsgi.url_scheme", "wsgi.errors", "wsgi.multithread",
            "wsgi.multiprocess", "wsgi.run_once", "wsgi.file_wrapper",
        }  # fmt: skip


class TestAddresses:
    def test_tcp_sockets_name_themselves(self) -> None:
        assert address_keys(("192.0.2.1", 8000), ("198.51.100.7", 4321)) == {
            "SERVER_NAME": "192.0.2.1",
            "SERVER_PORT": "8000",
            "REMOTE_ADDR": "198.51.100.7",
            "REMOTE_PORT": "4321",
        }

    def test_ipv6_sockets_name_themselves(self) -> None:
        keys = address_keys(("2001:db8::1", 8000, 0, 0), ("2001:db8::7", 4321, 0, 0))
        assert keys["SERVER_PORT"] == "8000"
        assert (keys["REMOTE_ADDR"], keys["REMOTE_PORT"]) == ("2001:db8::7", "4321")

    def test_the_server_s_name_makes_a_url_without_a_host(self) -> None:
        # RFC 3875 4.1.14: server-name = hostname | ipv4-address | ( "[" ipv6-address "]" ).
        # PEP 3333, "URL Reconstruction": SERVER_NAME stands for a missing HTTP_HOST.
        made = builder(local=("2001:db8::1", 8000, 0, 0))
        environ = made.build(head(b"GET /spam HTTP/1.0\r\n\r\n"))
        assert request_uri(environ) == "http://[2001:db8::1]:8000/spam"

    @pytest.mark.parametrize(
        ("local", "peer"),
        [
            pytest.param("/run/spam.sock", "", id="a path"),
            pytest.param("/run/spam.sock", "/run/eggs.sock", id="two paths"),
            pytest.param(b"\0spam", b"", id="an abstract name"),
            pytest.param("", "", id="no name"),
            pytest.param(None, None, id="nothing"),
        ],
    )
    def test_unix_sockets_have_the_names_that_are_always_required(
        self, local: object, peer: object
    ) -> None:
        # PEP 3333: "SERVER_NAME and SERVER_PORT ... can never be empty strings".
        keys = address_keys(local, peer)
        assert keys == {"SERVER_NAME": "localhost", "SERVER_PORT": "80", "REMOTE_ADDR": ""}

    def test_a_client_that_left_at_once_has_no_address(self) -> None:
        keys = address_keys(LOCAL, None)
        assert (keys["SERVER_NAME"], keys["REMOTE_ADDR"]) == ("192.0.2.1", "")
        assert "REMOTE_PORT" not in keys

    def test_they_are_in_the_environ(self) -> None:
        assert environ_of(request()).items() >= address_keys(LOCAL, PEER).items()


class TestRequestLine:
    def test_the_method_is_that_of_the_request(self) -> None:
        assert environ_of(request(method="PATCH"))["REQUEST_METHOD"] == "PATCH"

    @pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
    def test_the_protocol_is_that_of_the_request(self, version: str) -> None:
        assert environ_of(request(version=version))["SERVER_PROTOCOL"] == version

    @pytest.mark.parametrize(
        ("target", "path", "query"),
        [
            pytest.param("/", "/", "", id="root"),
            pytest.param("/spam/eggs", "/spam/eggs", "", id="path"),
            pytest.param("//spam//", "//spam//", "", id="doubled slashes"),
            pytest.param("/a/../b/.", "/a/../b/.", "", id="dots"),
            pytest.param("/a%20b", "/a b", "", id="percent-encoding"),
            pytest.param("/a%2Fb%2fc", "/a/b/c", "", id="encoded slashes"),
            pytest.param("/a%252Fb", "/a%2Fb", "", id="encoded percent sign"),
            pytest.param("/a%zz%", "/a%zz%", "", id="percent signs that encode nothing"),
            pytest.param("/a+b", "/a+b", "", id="plus"),
            pytest.param("/%00", "/\0", "", id="NUL"),
            pytest.param("/%80%ff", "/\x80\xff", "", id="bytes beyond ASCII"),
            pytest.param("/caf%C3%A9", "/caf\xc3\xa9", "", id="UTF-8"),
            pytest.param("/a;b=c", "/a;b=c", "", id="path parameters"),
            pytest.param("/a?b=c", "/a", "b=c", id="query"),
            pytest.param("/?", "/", "", id="empty query"),
            pytest.param("/?a?b", "/", "a?b", id="question mark in a query"),
            pytest.param("/?a=%2F+%20%80", "/", "a=%2F+%20%80", id="query stays encoded"),
            pytest.param("/a%3Fb?c", "/a?b", "c", id="encoded question mark"),
            pytest.param("http://h/a%20b?c%20d", "/a b", "c%20d", id="absolute-form"),
            pytest.param("http://h", "/", "", id="absolute-form, no path"),
            pytest.param("http://h?a=/b", "/", "a=/b", id="absolute-form, query alone"),
            pytest.param("http://h/?a?b", "/", "a?b", id="absolute-form, question marks"),
            pytest.param("http://h//a", "//a", "", id="absolute-form, doubled slash"),
            pytest.param("http://h/a?b#c", "/a", "b", id="absolute-form, fragment"),
            pytest.param("http://h#c", "/", "", id="absolute-form, fragment alone"),
            pytest.param("http://h/a;b", "/a;b", "", id="absolute-form, parameters"),
            pytest.param("http://h/http://x/?y", "/http://x/", "y", id="absolute-form, a URL"),
            pytest.param("HTTPS://h/a", "/a", "", id="absolute-form, another scheme"),
        ],
    )
    def test_path_and_query_are_those_of_the_target(
        self, target: str, path: str, query: str
    ) -> None:
        environ = environ_of(request(target=target))
        assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("", path)
        assert environ["QUERY_STRING"] == query

    def test_the_server_as_a_whole_is_its_root(self) -> None:
        environ = environ_of(request(target="*", method="OPTIONS"))
        assert (environ["PATH_INFO"], environ["QUERY_STRING"]) == ("/", "")

    @pytest.mark.parametrize("target", ["/a%20b?c%20d", "http://h/a%20b?c#d"])
    def test_the_target_is_there_as_it_was_sent(self, target: str) -> None:
        environ = environ_of(request(target=target))
        assert (environ["REQUEST_URI"], environ["RAW_URI"]) == (target, target)

    def test_the_target_of_the_whole_server_is_an_asterisk(self) -> None:
        assert environ_of(request(target="*", method="OPTIONS"))["REQUEST_URI"] == "*"

    @pytest.mark.parametrize(
        ("target", "host"),
        [
            pytest.param("/", "test", id="origin-form"),
            pytest.param("http://other/", "other", id="absolute-form"),
            pytest.param("http://other:8080?a", "other:8080", id="absolute-form, port"),
            pytest.param("http://[2001:db8::1]:80", "[2001:db8::1]:80", id="absolute-form, IPv6"),
        ],
    )
    def test_the_host_of_the_target_goes_before_that_of_the_header(
        self, target: str, host: str
    ) -> None:
        # RFC 9112 3.2.2: "the origin server MUST ignore the received Host header field (if any)".
        assert environ_of(request(target=target))["HTTP_HOST"] == host


class TestRootPath:
    @pytest.mark.parametrize(
        ("target", "path"),
        [
            pytest.param("/mount/spam", "/spam", id="below it"),
            pytest.param("/mount/", "/", id="with a slash"),
            pytest.param("/mount", "", id="itself"),
            pytest.param("/mount?a", "", id="itself with a query"),
            pytest.param("/mo%75nt/spam", "/spam", id="encoded"),
            pytest.param("/mounted", "/mounted", id="a path that begins alike"),
            pytest.param("/spam", "/spam", id="taken off by the proxy"),
            pytest.param("/", "/", id="taken off by the proxy, root"),
            pytest.param("http://h/mount/spam", "/spam", id="absolute-form"),
            pytest.param("/mount/mount/spam", "/mount/spam", id="taken off once"),
        ],
    )
    def test_it_is_taken_off_the_path(self, target: str, path: str) -> None:
        environ = environ_of(request(target=target), "/mount")
        assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("/mount", path)
        assert environ["REQUEST_URI"] == target

    @pytest.mark.parametrize("root_path", ["/caf\xe9", "/\u20ac"], ids=["latin-1", "beyond it"])
    def test_it_is_bytes_in_disguise_like_the_path(self, root_path: str) -> None:
        # PEP 3333, "A Note On String Types": code points that are bytes, here of UTF-8.
        disguised = root_path.encode().decode("latin-1")
        encoded = "".join(f"%{ord(c):02X}" if c > "~" else c for c in disguised)
        environ = environ_of(request(target=f"{encoded}/spam"), root_path)
        assert environ["SCRIPT_NAME"] == disguised
        assert environ["PATH_INFO"] == "/spam"


class TestHeaders:
    @pytest.mark.parametrize(
        ("lines", "key", "value"),
        [
            pytest.param(b"Accept: a/b\r\n", "HTTP_ACCEPT", "a/b", id="one word"),
            pytest.param(b"x-SPAM-Eggs: 1\r\n", "HTTP_X_SPAM_EGGS", "1", id="hyphens and case"),
            pytest.param(b"A:\r\n", "HTTP_A", "", id="empty"),
            pytest.param(b"A: \x80\xe9\xff\r\n", "HTTP_A", "\x80\xe9\xff", id="beyond ASCII"),
            pytest.param(b"A: 1\r\n 2\r\n", "HTTP_A", "1 2", id="folded"),
            pytest.param(b"A: 1\r\nB: 0\r\na: 2\r\nA: 3\r\n", "HTTP_A", "1, 2, 3", id="repeated"),
            pytest.param(b"A:\r\nA: 1\r\n", "HTTP_A", ", 1", id="repeated behind an empty one"),
            # RFC 6265 4.2.1 and RFC 9113 8.2.3: cookies are separated by "; ".
            pytest.param(b"Cookie: a=1\r\nCOOKIE: b=2\r\n", "HTTP_COOKIE", "a=1; b=2", id="Cookie"),
            pytest.param(b"Content-Type: a/b; c=d\r\n", "CONTENT_TYPE", "a/b; c=d", id="type"),
            pytest.param(b"content-length: 5\r\n", "CONTENT_LENGTH", "5", id="length"),
            pytest.param(b"Content-Length: 0\r\n", "CONTENT_LENGTH", "0", id="no length"),
            pytest.param(
                b"Content-Length: 5\r\nContent-Length: 5\r\n", "CONTENT_LENGTH", "5", id="lengths"
            ),
            pytest.param(b"Content-Length: 5, 5\r\n", "CONTENT_LENGTH", "5", id="list of lengths"),
            pytest.param(b"Content-Encoding: br\r\n", "HTTP_CONTENT_ENCODING", "br", id="encoding"),
        ],
    )
    def test_every_header_has_a_key(self, lines: bytes, key: str, value: str) -> None:
        assert environ_of(request(lines))[key] == value

    def test_type_and_length_have_no_other_key(self) -> None:
        environ = environ_of(request(b"Content-Type: a/b\r\nContent-Length: 5\r\n"))
        assert not {"HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH"} & set(environ)

    def test_no_type_and_no_length_have_no_key(self) -> None:
        assert not {"CONTENT_TYPE", "CONTENT_LENGTH"} & set(environ_of(request()))

    @pytest.mark.parametrize(
        "name", ["X_User", "x_user", "X-User_", "Content_Length", "Content_Type", "_", "HTTP_HOST"]
    )
    def test_a_header_with_an_underscore_is_dropped(self, name: str) -> None:
        # X_User would have the key of X-User, which a proxy may have set or removed.
        environ = environ_of(request(f"{name}: evil\r\n".encode()))
        assert environ.keys() == environ_of(request()).keys()
        assert "evil" not in environ.values()

    @pytest.mark.parametrize("lines", [b"X-A: 1\r\nX_A: 2\r\n", b"X_A: 2\r\nX-A: 1\r\n"])
    def test_a_header_with_an_underscore_does_not_join_another(self, lines: bytes) -> None:
        assert environ_of(request(lines))["HTTP_X_A"] == "1"

    @pytest.mark.parametrize("name", ["wsgi.url_scheme", "wsgi.input", "WSGI.errors", "wsgi-input"])
    def test_no_header_sets_a_key_of_the_server(self, name: str) -> None:
        plain = environ_of(request())
        environ = environ_of(request(f"{name}: evil\r\n".encode()))
        assert environ.items() >= plain.items()

    def test_names_without_number_are_no_different(self) -> None:
        # What is remembered of names is bounded; what is not remembered is worked out each time.
        for number in range(2000):
            key = f"HTTP_X_{number}"
            assert environ_of(request(f"X-{number}: 1\r\n".encode()))[key] == "1"
        assert environ_of(request(b"x-nEw: 1\r\n"))["HTTP_X_NEW"] == "1"
        environ = environ_of(request(b"x-nEw_eR: 1\r\ncOnTeNt-TyPe: a/b\r\n"))
        assert environ["CONTENT_TYPE"] == "a/b"
        assert "HTTP_X_NEW_ER" not in environ


class TestChunkedBody:
    def test_it_has_an_end_and_no_length(self) -> None:
        environ = environ_of(request(b"Transfer-Encoding: chunked\r\n", method="POST"))
        assert environ["wsgi.input_terminated"] is True
        # The server, which has decoded it, says its length when it knows it.
        assert not {"CONTENT_LENGTH", "HTTP_TRANSFER_ENCODING"} & environ.keys()

    @pytest.mark.parametrize("is_first", [True, False], ids=["length first", "length last"])
    def test_a_length_beside_it_is_dropped(self, is_first: bool) -> None:
        # RFC 9112 6.3: "the Transfer-Encoding overrides the Content-Length".
        lines = [b"Transfer-Encoding: chunked\r\n", b"Content-Length: 5\r\n"]
        lines.sort(reverse=not is_first)
        environ = environ_of(request(b"".join(lines), method="POST"))
        assert "CONTENT_LENGTH" not in environ

    @pytest.mark.parametrize("lines", [b"", b"Content-Length: 5\r\n", b"Content-Length: 0\r\n"])
    def test_no_other_body_is_said_to_have_an_end(self, lines: bytes) -> None:
        assert "wsgi.input_terminated" not in environ_of(request(lines, method="POST"))


class TestErrors:
    def test_they_go_to_the_standard_error_of_the_moment(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made, parsed = builder(), head(request())
        for _ in range(2):
            stderr = io.StringIO()
            monkeypatch.setattr(sys, "stderr", stderr)
            assert made.build(parsed)["wsgi.errors"] is stderr

    def test_they_can_be_written_without_a_standard_error(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # sys.stderr is None under pythonw and in a process that was started without it.
        monkeypatch.setattr(sys, "stderr", None)
        errors = environ_of(request())["wsgi.errors"]
        errors.write("spam \u20ac\n")
        errors.writelines(["eggs\n"])
        errors.flush()


class TestIsolation:
    """Requests of one connection share what does not change, and nothing else."""

    def test_each_request_has_a_dict_of_its_own(self) -> None:
        made, parsed = builder(), head(request())
        first, second = made.build(parsed), made.build(parsed)
        assert type(first) is type(second) is dict
        assert first is not second
        assert first == second

    def test_what_an_application_does_to_it_is_gone(self) -> None:
        made, parser = builder(), RequestParser()
        expected = made.build(head(request(b"A: 1\r\n"), parser)).copy()
        for _ in range(3):
            environ = made.build(head(request(b"A: 1\r\n"), parser))
            assert environ == expected
            environ.clear()
            environ["spam"] = "eggs"

    def test_nothing_of_a_request_reaches_the_next(self) -> None:
        made, parser = builder("/mount"), RequestParser()
        sent = [
            request(b"A: 1\r\nCookie: a=b\r\n", "http://other/mount/spam?eggs", "POST"),
            request(target="/mount/ham"),
            request(target="/mount"),
            request(b"Content-Length: 0\r\n", "/?a", "PUT"),
            request(target="*", method="OPTIONS"),
            request(target="http://third/"),
            request(),
        ]
        built = [made.build(head(data, parser)) for data in sent]
        alone = [environ_of(data, "/mount") for data in sent]
        assert built == alone


METHODS = st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
VISIBLE = string.ascii_letters + string.digits + string.punctuation
TOKEN = string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~"
AUTHORITIES = st.one_of(
    st.text(string.ascii_letters + string.digits + "-._~!$&'()*+,;=%:@[]", max_size=12),
    st.text("0123456789abcdef:.", max_size=12).map("[{}]".format),
)
TARGETS = st.one_of(
    st.text(VISIBLE).map("/{}".format),
    st.builds("http://{}{}".format, AUTHORITIES, st.sampled_from(["", "/", "?", "#", "/a?b#c"])),
    st.just("*"),
)
LINES = st.builds(
    lambda name, value: name.encode("ascii") + b":" + value + b"\r\n",
    st.text(TOKEN, min_size=1, max_size=8),
    st.binary(max_size=8).map(lambda value: value.translate(None, bytes(range(32)) + b"\x7f")),
)


@settings(
    max_examples=500, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
@given(METHODS, TARGETS, st.lists(LINES, max_size=5), st.sampled_from(["", "/mount"]))
def test_whatever_the_parser_accepts_has_a_valid_environ(
    method: str, target: str, lines: list[bytes], root_path: str
) -> None:
    try:
        parsed = head(request(b"".join(lines), target, method))
    except RequestRefused:
        return
    environ = builder(root_path).build(parsed)
    environ["wsgi.input"] = io.BytesIO()
    check_environ(environ)
    for key, value in environ.items():
        if "." not in key:
            assert type(value) is str
            assert max(value, default="") <= "\xff"
