"""examples/async_proxy.py, run as its docstring says, in front of a server of the test."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pytest

from tests.client import reserved_port
from tests.conftest import Serve
from tests.examples.programs import EXAMPLES, Program

if TYPE_CHECKING:
    from wsgiref.types import StartResponse

FILE = str(EXAMPLES / "async_proxy.py")


class Upstream:
    """Answers with what it was asked for, and knows its clients' ports."""

    def __init__(self) -> None:
        self.ports: list[str] = []

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        self.ports.append(environ["REMOTE_PORT"])
        start_response(
            "202 Accepted", [("Content-Type", "text/plain"), ("X-Two", "a"), ("X-Two", "b")]
        )
        return [f"{environ['PATH_INFO']}?{environ['QUERY_STRING']}".encode()]


def proxy(upstream: str) -> Program:
    return Program(
        "-m", "asyncwsgi", "--port", "0", "--lifespan", f"{FILE}:upstream", f"{FILE}:app",
        UPSTREAM=upstream,
    )  # fmt: skip


@pytest.fixture
def upstream() -> Upstream:
    return Upstream()


def test_status_headers_and_body_are_those_of_the_upstream(
    serve: Serve, upstream: Upstream
) -> None:
    with proxy(serve(upstream).url) as program, program.connect() as client:
        reply = client.get("/a/b?c=d")
        assert (reply.status, reply.body) == (202, b"/a/b?c=d")
        assert [value for name, value in reply.headers if name.lower() == "x-two"] == ["a", "b"]


def test_all_requests_share_one_connection_to_the_upstream(
    serve: Serve, upstream: Upstream
) -> None:
    # Possible only because each view runs on the loop that opened the connection.
    with proxy(serve(upstream).url) as program, program.connect() as client:
        assert [client.get(f"/{n}").body for n in range(5)] == [f"/{n}?".encode() for n in range(5)]
        assert len(upstream.ports) == 5
        assert len(set(upstream.ports)) == 1
        assert program.interrupt() == 0
        assert "Traceback" not in program.log


def test_without_an_upstream_it_is_a_bad_gateway() -> None:
    with (
        reserved_port() as port,
        proxy(f"http://127.0.0.1:{port}") as program,
        program.connect() as client,
    ):
        assert client.get().status == 502
