"""What is copied of a request is run, and sends that request: whatever there is in it."""

from __future__ import annotations

import json
import subprocess
import sys
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from asyncwsgi.inspection.copying import as_curl, as_httpx, as_test
from asyncwsgi.inspection.entries import Entry
from asyncwsgi.inspection.origin import Origin
from asyncwsgi.testing import LiveServer
from tests.apps import echo
from tests.client import TIMEOUT
from tests.inspection.samples import body, entry

PATIENCE = 10 * TIMEOUT
"""Seconds; some run dozens of tests."""
QUOTES = 'it\'s "quoted" `id` $(id) \\ $HOME !x; rm -rf'
UTF_8 = "Grüße €".encode().decode("latin-1")
TARGET = "/a'b\"$(id)`id`\\;|&%2F/../x/./?q=[1]&{2,3}^*~!#=%zz"

ENTRIES = {
    "plain": entry(target="/orders/7?page=2&q=a%20b"),
    "hostile target": entry(target=TARGET.replace("#", "")),
    "two slashes": entry(target="//evil.example/x"),
    "own headers": entry(
        request_headers=[
            ["Host", "shop.example"], ["User-Agent", "me"], ["Accept", "text/plain"],
            ["X-Quotes", QUOTES], ["X-Utf-8", UTF_8], ["X-Twice", "a"], ["X-Twice", "b"],
            ["X-Empty", ""],
        ]
    ),
    "another method": entry(method="M-SEARCH"),
    "HEAD": entry(method="HEAD"),
    "no body where there may be one": entry(method="POST"),
    "text": entry(method="POST", request_body=body(f"{QUOTES}\n\n'{UTF_8}'\n".encode())),
    "a name of a file": entry(method="POST", request_body=body(b"@/etc/passwd")),
    "an option": entry(method="POST", request_body=body(b"--output x")),
    "bytes": entry(method="PUT", request_body=body(bytes(range(256)) * 200)),
    "lines and tabs": entry(method="POST", request_body=body(b"a\r\nb\tc\r\n")),
    "what ends a paste": entry(method="POST", request_body=body(b"\x1b[201~\nid\n")),
    "text that runs backwards": entry(method="POST", request_body=body("\u202eabc".encode())),
    "a body of a GET": entry(request_body=body(b'{"a": 1}')),
    "a stream": entry(response_headers=[["Content-Type", "text/event-stream"]]),
}  # fmt: skip
each_entry = pytest.mark.parametrize(
    "kept", [pytest.param(kept, id=name) for name, kept in ENTRIES.items()]
)


@pytest.fixture
def server() -> Iterator[LiveServer]:
    with LiveServer(echo, recorded_body_size=1 << 20) as server:
        yield server


def run(*command: str, directory: Path, text: str = "") -> str:
    """What a program prints, which has to end well; `text` is its standard input."""
    data = text.encode()
    done = subprocess.run(
        command, cwd=directory, input=data, capture_output=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, (done.stdout + done.stderr).decode(errors="replace")
    return done.stdout.decode(errors="replace")


def expected(kept: Entry) -> tuple[str, str, bytes]:
    content = kept["request_body"]
    return kept["method"], kept["target"], b64decode(content["data"]) if content else b""


def check(server: LiveServer, kept: Entry) -> None:
    """Whether what arrived is what was kept."""
    (request,) = server.requests
    assert (request.method, request.target, request.body) == expected(kept)
    sent = [(name.lower(), value) for name, value in request.headers]
    for name, value in kept["request_headers"]:
        if name != "Host" or value == "shop.example":
            assert (name.lower(), value) in sent
    assert [value for name, value in sent if name == "x-twice"] in ([], ["a", "b"])


@each_entry
def test_a_command_for_curl(server: LiveServer, kept: Entry, tmp_path: Path) -> None:
    command = as_curl(kept, origin=Origin(("127.0.0.1", server.port), False), is_masked=True)
    run("sh", "-c", command, directory=tmp_path)
    check(server, kept)
    assert not list(tmp_path.iterdir())


@each_entry
def test_a_program_with_httpx(server: LiveServer, kept: Entry, tmp_path: Path) -> None:
    program = as_httpx(kept, origin=Origin(("127.0.0.1", server.port), False), is_masked=True)
    run(sys.executable, "-", directory=tmp_path, text=program)
    check(server, kept)


CONFTEST = """
import json
import pytest
from pathlib import Path

def app(environ, start_response):
    seen = {
        "method": environ["REQUEST_METHOD"],
        "target": environ["RAW_URI"],
        "body": list(environ["wsgi.input"].read()),
        "headers": {k: v for k, v in environ.items() if k.startswith("HTTP_X")},
    }
    with Path("seen").open("a") as file:
        file.write(json.dumps(seen) + "\\n")
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "0")])
    return []

@pytest.fixture(name="app")
def the_app():
    return app
"""


def test_tests_for_pytest(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    for number, kept in enumerate(ENTRIES.values()):
        text = as_test(kept, origin=Origin(("127.0.0.1", 8000), False), is_masked=True)
        compile(text, "copied", "exec")
        (tmp_path / f"test_{number:02}.py").write_text(text)
    pytest_options = ("-q", "-p", "no:cacheprovider", "-p", "no:randomly")
    output = run(sys.executable, "-m", "pytest", *pytest_options, directory=tmp_path)
    assert f"{len(ENTRIES)} passed" in output
    seen = [json.loads(line) for line in (tmp_path / "seen").read_text().splitlines()]
    arrived = [(one["method"], one["target"], bytes(one["body"])) for one in seen]
    assert arrived == [expected(kept) for kept in ENTRIES.values()]
    assert {"HTTP_X_QUOTES": QUOTES, "HTTP_X_TWICE": "a,b"}.items() <= {
        name: value.replace(", ", ",") for one in seen for name, value in one["headers"].items()
    }.items()


def test_a_test_says_what_the_status_was() -> None:
    text = as_test(entry(status=404), origin=Origin(("127.0.0.1", 8000), False), is_masked=True)
    assert text == (
        "import httpx\n"
        "\n"
        "\n"
        "def test_get_orders(asyncwsgi_server):\n"
        "    with httpx.Client() as client:\n"
        "        response = client.request(\n"
        "            'GET',\n"
        "            asyncwsgi_server.url + '/orders?page=2',\n"
        "        )\n"
        "    assert response.status_code == 404\n"
    )


class TestElsewhere:
    def test_over_tls(self, tmp_path: Path) -> None:
        with LiveServer(echo, tls=True) as server:
            origin = Origin(("127.0.0.1", server.port), True)
            run("sh", "-c", as_curl(entry(), origin=origin, is_masked=True), directory=tmp_path)
            check(server, entry())
            server.forget()
            program = as_httpx(entry(), origin=origin, is_masked=True)
            run(sys.executable, "-", directory=tmp_path, text=program)
            check(server, entry())

    def test_at_a_unix_socket(self, tmp_path: Path) -> None:
        with LiveServer(echo, unix_socket=True) as server:
            origin = Origin(server.socket_path, False)
            run("sh", "-c", as_curl(entry(), origin=origin, is_masked=True), directory=tmp_path)
            check(server, entry())
            server.forget()
            program = as_httpx(entry(), origin=origin, is_masked=True)
            run(sys.executable, "-", directory=tmp_path, text=program)
            check(server, entry())


class TestNotes:
    """What is not as it was is said, by what may be run, too."""

    KEPT = entry(
        method="POST",
        request_headers=[["Cookie", "***"], ["X-Bytes", "\xff\xfe"]],
        request_body=body(b"abc", size=100_000, is_cut=True),
    )

    def test_for_a_shell(self, server: LiveServer, tmp_path: Path) -> None:
        origin = Origin(("127.0.0.1", server.port), False)
        command = as_curl(self.KEPT, origin=origin, is_masked=True)
        assert command.startswith(
            ": 'left out, since they were masked: Cookie'\n"
            ": 'left out, since a shell cannot hold them: X-Bytes'\n"
            ": 'not as it was: only 3 of the 100000 bytes of its body were kept'\n"
        )
        run("sh", "-c", command, directory=tmp_path)
        assert server.requests[0].header("Cookie") is None
        assert server.requests[0].body == b"abc"

    @pytest.mark.parametrize("way", [as_httpx, as_test])
    def test_for_python(self, way: Any) -> None:
        text = way(self.KEPT, origin=Origin(("127.0.0.1", 8000), False), is_masked=True)
        assert "# Left out, since they were masked: Cookie\n" in text
        assert "# Not as it was: only 3 of the 100000 bytes of its body were kept\n" in text
        assert r"('X-Bytes', b'\xff\xfe')" in text
