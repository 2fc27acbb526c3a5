"""What README and docs/ show - messages, usage, a plan of the house - is what there is."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest

import asyncwsgi
from tests.client import TIMEOUT
from tests.docs.blocks import BLOCKS, Block
from tests.doors.conftest import Start, Write

PACKAGE = Path(asyncwsgi.__file__).parent

USAGE = "asyncwsgi [OPTIONS] [APP]"
START = "INFO asyncwsgi "
COMPLETION = 'eval "$(_ASYNCWSGI_COMPLETE='
FLOORS = "6  doors"
HELD_LOOP = "shop.views.report has held"
HUNG = "HungApplication: "


def shown(beginning: str) -> str:
    """The one block that begins so."""
    [text] = [block.source for block in BLOCKS if block.source.startswith(beginning)]
    return text


def pattern_of(text: str) -> str:
    """What finds `text` with other paths and numbers, and broken into other lines."""
    exact = re.escape(" ".join(text.split()))
    any_path = re.sub(r"[\w/\\.]*\.py", r"\\S*", exact)
    return re.sub(r"\d+(\\\.\d+)?", r"[\\d.]+", any_path).replace(r"\ ", r"\s+")


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "text"], ids=str)
def test_what_is_shown_is_looked_at_below(block: Block) -> None:
    assert block.source.startswith((USAGE, START, COMPLETION, FLOORS, HELD_LOOP, HUNG))


def test_the_usage(start: Start) -> None:
    process = start("-m", "asyncwsgi", "--help")
    assert process.wait() == 0
    assert process.output.startswith(f"Usage: {shown(USAGE)}")


def test_the_line_of_the_start(start: Start, write: Write) -> None:
    write("web.py", "def app(environ, start_response): ...")
    process = start("-m", "asyncwsgi", "--loop", "uvloop", "--port", "0", "web:app")
    assert re.search(pattern_of(shown(START)), process.read_until("listening on "))


def test_the_completion_of_shells(start: Start) -> None:
    for shell in re.findall("COMPLETE=(.*)_source", shown(COMPLETION)):
        variables = {"_ASYNCWSGI_COMPLETE": f"{shell}_source"}
        process = start("-m", "asyncwsgi", environment=variables)
        assert process.wait() == 0
        assert f"_ASYNCWSGI_COMPLETE={shell}_complete" in process.output


def test_the_plan_of_the_house_names_what_there_is() -> None:
    labels = {"doors", "ground", "pure"}
    named = set(re.findall(r"[a-z_]\w*", shown(FLOORS))) - labels
    paths = PACKAGE.rglob("*")
    assert named <= {path.stem for path in paths if path.suffix == ".py" or path.is_dir()}


def test_the_warning_that_a_view_holds_the_loop(start: Start, write: Write) -> None:
    write("shop/__init__.py", "")
    write(
        "shop/views.py",
        """
        import socket
        from flask import Flask

        app = Flask(__name__)

        @app.get("/<int:port>")
        async def report(port):
            with socket.create_connection(("127.0.0.1", port)) as service:
                return service.makefile("rb").read()
        """,
    )
    with socket.create_server(("127.0.0.1", 0)) as service:
        service.settimeout(TIMEOUT)
        process = start("-m", "asyncwsgi", "--port", "0", "shop.views:app")
        with process.connect() as client:
            client.request(target=f"/{service.getsockname()[1]}")
            answering, _ = service.accept()
            with answering:
                line = process.read_until("has held")
                answering.sendall(b"done")
            assert client.reply().body == b"done"
    assert re.search(pattern_of(shown(HELD_LOOP)), line)


def test_the_error_that_an_application_hangs(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makepyfile(
        app="""
        import threading

        entered, lock = threading.Event(), threading.Lock()
        lock.acquire()

        def report(environ, start_response):
            entered.set()
            lock.acquire()
            start_response("200 OK", [])
            return []
        """,
        test_report="""
        import socket

        import pytest
        from app import entered, lock, report

        @pytest.fixture
        def app():
            yield report
            lock.release()

        @pytest.mark.asyncwsgi(graceful_timeout=0.1)
        def test_pdf(asyncwsgi_server):
            with socket.create_connection(("127.0.0.1", asyncwsgi_server.port)) as client:
                client.sendall(b"GET /report HTTP/1.1\\r\\nHost: test\\r\\n\\r\\n")
                assert entered.wait(30)
        """,
    )
    result = pytester.runpytest_subprocess("-p", "asyncwsgi.testing.plugin", timeout=TIMEOUT)
    output = "\n".join(line.removeprefix("E ").strip() for line in result.outlines)
    assert re.search(pattern_of(shown(HUNG)), output), output
