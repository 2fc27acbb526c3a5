"""PEP 3333, "environ Variables" and "Input and Error Streams": what a served application gets.

How a request becomes an environ is told in tests/wsgi; here it is what the server adds to that.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pytest

from asyncwsgi.version import __version__
from tests.conftest import Serve
from tests.http.helpers import ClientOf, Environ, Recorder
from tests.http.wire import PLAIN

if TYPE_CHECKING:
    from wsgiref.types import StartResponse


def test_the_environ_describes_the_request(
    serve: Serve, client_of: ClientOf, where: dict[str, Any]
) -> None:
    application = Recorder()
    client = client_of(serve(application, root_path="/mount", **where))
    client.send(
        b"PUT /mount/a%20b?c=%20d HTTP/1.1\r\nHost: spam:8080\r\nContent-Type: text/spam; a=b\r\n"
        b"Content-Length: 4\r\nX-Spam: \xe9\r\nX_Spam: evil\r\nx-spam: eggs\r\n\r\nspam"
    )
    assert client.reply().status == 200
    [environ] = application.environs
    # PEP 3333: it "must be a builtin Python dictionary (not a subclass, ...".
    assert type(environ) is dict
    cgi = {key: value for key, value in environ.items() if "." not in key}
    assert cgi == {
        "GATEWAY_INTERFACE": "CGI/1.1",
        "SERVER_SOFTWARE": f"asyncwsgi/{__version__}",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REQUEST_METHOD": "PUT",
        "REQUEST_URI": "/mount/a%20b?c=%20d",
        "RAW_URI": "/mount/a%20b?c=%20d",
        "SCRIPT_NAME": "/mount",
        "PATH_INFO": "/a b",
        "QUERY_STRING": "c=%20d",
        "CONTENT_TYPE": "text/spam; a=b",
        "CONTENT_LENGTH": "4",
        "HTTP_HOST": "spam:8080",
        "HTTP_X_SPAM": "\xe9, eggs",
        **{key: environ[key] for key in environ if key.startswith(("SERVER_", "REMOTE_"))},
    }
    assert environ["wsgi.version"] == (1, 0)
    assert environ["wsgi.url_scheme"] == "http"
    # PEP 3333: "should be named using only lower-case letters, numbers, dots, and underscores,
    # and should be prefixed with a name that is unique". Waitress's name for a client that has
    # left is what programs look for.
    assert environ.keys() - cgi.keys() == {
        "wsgi.version", "wsgi.url_scheme", "wsgi.input", "wsgi.errors", "wsgi.multithread",
        "wsgi.multiprocess", "wsgi.run_once", "wsgi.file_wrapper",
        "asyncwsgi.disconnected", "waitress.client_disconnected", "werkzeug.socket",
    }  # fmt: skip


def test_the_addresses_are_those_of_the_connection(serve: Serve, client_of: ClientOf) -> None:
    application = Recorder()
    server = serve(application)
    client = client_of(server)
    client.get()
    [environ] = application.environs
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == ("127.0.0.1", str(server.port))
    host, port = client.sock.getsockname()
    assert (environ["REMOTE_ADDR"], environ["REMOTE_PORT"]) == (host, str(port))


def test_the_addresses_of_a_unix_socket_are_those_that_are_always_required(
    serve: Serve, client_of: ClientOf, unix: dict[str, Any]
) -> None:
    # PEP 3333: "SERVER_NAME and SERVER_PORT are required strings and must never be empty."
    application = Recorder()
    client_of(serve(application, **unix)).get()
    [environ] = application.environs
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == ("localhost", "80")
    assert (environ["REMOTE_ADDR"], "REMOTE_PORT" in environ) == ("", False)


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
