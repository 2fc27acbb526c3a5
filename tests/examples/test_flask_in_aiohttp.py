"""examples/flask_in_aiohttp.py: WebSockets of aiohttp and pages of Flask on one port."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from aiohttp import ClientSession, WSCloseCode, WSMsgType

from tests.client import TIMEOUT
from tests.examples.programs import Program, run_directly


@pytest.fixture
def program() -> Iterator[Program]:
    with run_directly("flask_in_aiohttp.py", "--port", "0") as program:
        yield program


@pytest_asyncio.fixture
async def session() -> AsyncIterator[ClientSession]:
    async with ClientSession() as session:
        yield session


async def test_listeners_of_aiohttp_hear_what_is_posted_to_flask(
    program: Program, session: ClientSession
) -> None:
    url = program.read_url()
    async with (
        session.ws_connect(f"{url}/listen") as first,
        session.ws_connect(f"{url}/listen") as second,
    ):
        assert await first.receive_str(timeout=TIMEOUT) == "1 here"
        assert await second.receive_str(timeout=TIMEOUT) == "2 here"
        async with session.post(f"{url}/say", data={"text": "spam"}) as response:
            assert await response.json() == {"heard_by": 2}
        heard = [await socket.receive_str(timeout=TIMEOUT) for socket in (first, second)]
        assert heard == ["spam", "spam"]


async def test_the_page_is_flasks(program: Program, session: ClientSession) -> None:
    url = program.read_url()
    async with session.get(url) as response:
        assert "/listen" in await response.text()


async def test_ctrl_c_ends_it_and_sends_listeners_home(
    program: Program, session: ClientSession
) -> None:
    url = program.read_url()
    async with session.ws_connect(f"{url}/listen") as socket:
        assert await socket.receive_str(timeout=TIMEOUT) == "1 here"
        ended = asyncio.create_task(asyncio.to_thread(program.interrupt))
        message = await socket.receive(timeout=TIMEOUT)
        assert (message.type, message.data) == (WSMsgType.CLOSE, WSCloseCode.GOING_AWAY)
        assert await ended == 0
    assert "Traceback" not in program.log
