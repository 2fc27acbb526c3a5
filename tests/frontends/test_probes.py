"""Whether the server lives and is ready, as its loop answers whoever looks from outside."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from asyncwsgi import Server
from asyncwsgi.frontends.probes import prefers_html
from asyncwsgi.testing import LiveServer
from tests.apps import Held, echo, hello
from tests.client import Client, connect
from tests.conftest import Serve
from tests.server.helpers import FOREVER, aget, connected, refuses

PATHS: dict[str, Any] = {"health_path": "/-/health", "ready_path": "/-/ready"}

ClientOf = Callable[[LiveServer], Client]


@pytest.mark.parametrize("path", PATHS.values())
class TestAPath:
    def test_is_answered_while_every_thread_is_busy(
        self, path: str, serve: Serve, client_of: ClientOf
    ) -> None:
        held = Held()
        server = serve(held, threads=1, queue_size=1, **PATHS)
        client_of(server).request()
        held.wait_until_entered()
        try:
            assert client_of(server).get(path).status == 200
        finally:
            held.release()

    def test_is_the_applications_without_the_option(
        self, path: str, serve: Serve, client_of: ClientOf
    ) -> None:
        assert client_of(serve(hello)).get(path).body == b"Hello, world!"

    def test_has_no_access_line(
        self, path: str, serve: Serve, client_of: ClientOf, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO, "asyncwsgi")
        server = serve(hello, **PATHS)
        client_of(server).get(f"{path}?from=kubelet")
        client_of(server).get("/counted")
        server.close()
        lines = [r.getMessage() for r in caplog.records if r.name == "asyncwsgi.access"]
        assert ["/counted" in line for line in lines] == [True]

    def test_says_which_methods_it_knows(
        self, path: str, serve: Serve, client_of: ClientOf
    ) -> None:
        reply = client_of(serve(echo, **PATHS)).post(path, b"x" * 100_000)
        assert (reply.status, reply.header("Allow")) == (405, "GET, HEAD")

    def test_is_answered_to_head_without_a_body(
        self, path: str, serve: Serve, client_of: ClientOf
    ) -> None:
        client = client_of(serve(hello, **PATHS))
        client.request("HEAD", path)
        assert client.read_all().endswith(b"\r\n\r\n")

    def test_ends_its_connection(self, path: str, serve: Serve, client_of: ClientOf) -> None:
        client = client_of(serve(hello, **PATHS))
        assert client.get(path).header("Connection") == "close"
        assert client.read_all() == b""


BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


class TestWhoAsks:
    @pytest.mark.parametrize(
        ("accept", "expected"),
        [
            pytest.param(BROWSER, True, id="a browser"),
            pytest.param("TEXT/HTML", True, id="in capitals"),
            pytest.param("*/*;q=0.9, text/html", True, id="by its weight"),
            pytest.param("*/*", False, id="curl"),
            pytest.param("", False, id="nothing"),
            pytest.param("application/json, text/html", False, id="JSON first"),
            pytest.param("text/html;q=0.5, text/plain", False, id="text rather"),
            pytest.param("text/html;q=0", False, id="not HTML"),
            pytest.param("text/html;q=spam", False, id="no weight"),
        ],
    )
    def test_prefers_html_if_it_has_that_before_anything_else(
        self, accept: str, expected: bool
    ) -> None:
        assert prefers_html(accept) == expected

    @pytest.mark.parametrize("path", PATHS.values())
    def test_a_browser_is_shown_a_page(self, path: str, serve: Serve, client_of: ClientOf) -> None:
        reply = client_of(serve(hello, **PATHS)).get(path, Accept=BROWSER)
        assert reply.status == 200
        assert reply.header("Content-Type") == "text/html; charset=utf-8"
        assert reply.header("Vary") == "Accept"
        assert b"--paper:" in reply.body
        assert b'<span class="badge good">200</span>' in reply.body

    def test_all_others_get_a_line_of_text(self, serve: Serve, client_of: ClientOf) -> None:
        reply = client_of(serve(hello, **PATHS)).get("/-/health", Accept="*/*")
        assert (reply.body, reply.header("Vary")) == (b"200 OK\n", "Accept")
        assert reply.header("Content-Type") == "text/plain; charset=utf-8"

    async def test_the_page_says_that_the_server_is_not_ready_any_more(self) -> None:
        async with Server(hello, port=0, **PATHS) as server:
            server.begin_shutdown(delay=FOREVER)
            with connect(server.addresses[0]) as client:
                reply = await asyncio.to_thread(client.get, "/-/ready", Accept=BROWSER)
        assert reply.status == 503
        assert b"This server stops" in reply.body


async def statuses(address: tuple[str, int] | str) -> list[int]:
    return [(await aget(address, path)).status for path in PATHS.values()]


class TestAStopWithADelay:
    async def test_serves_on_and_says_that_it_is_not_ready(self) -> None:
        async with Server(hello, port=0, **PATHS) as server:
            assert await statuses(server.addresses[0]) == [200, 200]
            server.begin_shutdown(delay=FOREVER)
            assert await statuses(server.addresses[0]) == [200, 503]
            assert (await aget(server.addresses[0], "/")).status == 200

    async def test_closes_the_listeners_when_it_is_over(self) -> None:
        async with Server(hello, port=0) as server:
            server.begin_shutdown(delay=0.01)
            await server.serve_forever()
            assert refuses(server.addresses[0])

    async def test_is_cut_short_by_a_second_one(self) -> None:
        async with Server(hello, port=0) as server:
            server.begin_shutdown(delay=FOREVER)
            server.begin_shutdown(delay=FOREVER)
            await server.serve_forever()

    async def test_stays_ready_if_a_successor_goes_on(self) -> None:
        held = Held()
        async with connected(held, **PATHS) as (server, kept):
            request = asyncio.create_task(aget(server.addresses[0], "/"))
            await asyncio.to_thread(held.wait_until_entered)
            server.begin_shutdown(has_successor=True)
            try:
                assert (await asyncio.to_thread(kept.get, "/-/ready")).status == 200
            finally:
                held.release()
            await request
