"""stream() where no asyncwsgi serves: an ordinary iterable, with an event loop of its own."""

from __future__ import annotations

import asyncio
import contextvars
import io
import threading
from collections.abc import AsyncIterator, Iterable
from typing import TYPE_CHECKING, Any, ClassVar
from wsgiref.handlers import SimpleHandler
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest

from asyncwsgi import ApplicationError, EventStream, stream

if TYPE_CHECKING:
    from wsgiref.types import StartResponse

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")


class Body:
    """Three blocks, and what became of them."""

    def __init__(self) -> None:
        self.closings = 0
        self.loops: set[asyncio.AbstractEventLoop] = set()
        self.threads: set[threading.Thread] = set()

    async def blocks(self) -> AsyncIterator[bytes | str]:
        try:
            for block in (b"one ", "two ", b"three"):
                self.loops.add(asyncio.get_running_loop())
                self.threads.add(threading.current_thread())
                await asyncio.sleep(0)
                yield block
        finally:
            self.closings += 1


def test_one_loop_for_all_blocks_and_it_is_closed() -> None:
    body = Body()
    blocks = stream(body.blocks())
    assert list(blocks) == [b"one ", b"two ", b"three"]
    (loop,) = body.loops
    assert (loop.is_closed(), body.closings) == (True, 1)
    blocks.close()
    assert body.closings == 1
    assert list(blocks) == []


def test_it_is_closed_in_the_middle() -> None:
    body = Body()
    blocks = stream(body.blocks())
    next(blocks)
    blocks.close()
    (loop,) = body.loops
    assert (loop.is_closed(), body.closings) == (True, 1)


def test_closed_unused_it_runs_nothing() -> None:
    body = Body()
    stream(body.blocks()).close()
    assert (body.loops, body.closings) == (set(), 0)


def test_an_iterator_that_was_not_asked_is_closed_too() -> None:
    class Iterator:
        closings = 0

        def __aiter__(self) -> Iterator:
            return self

        async def __anext__(self) -> bytes:
            raise StopAsyncIteration

        async def aclose(self) -> None:
            self.closings += 1

    iterator = Iterator()
    stream(iterator).close()
    assert iterator.closings == 1


def test_steps_share_a_copy_of_the_context_in_which_it_was_made() -> None:
    async def blocks() -> AsyncIterator[str]:
        yield variable.get()
        variable.set("inside")
        yield variable.get()

    variable.set("made")
    body = stream(blocks())
    variable.set("later")
    assert list(body) == [b"made", b"inside"]
    assert variable.get() == "later"


def test_its_error_is_raised_and_the_loop_closed() -> None:
    body = Body()

    async def failing() -> AsyncIterator[Any]:
        async for block in body.blocks():
            yield block
            yield 1

    with pytest.raises(ApplicationError, match="a int; expected bytes or str"):
        list(stream(failing()))


def test_within_a_running_loop_it_has_a_thread() -> None:
    body = Body()

    async def main() -> list[bytes]:
        return list(stream(body.blocks()))

    before = set(threading.enumerate())
    assert asyncio.run(main()) == [b"one ", b"two ", b"three"]
    assert (body.closings, len(body.threads)) == (1, 1)
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize("is_checked", [False, True], ids=["wsgiref", "wsgiref.validate"])
def test_other_servers_send_it(is_checked: bool) -> None:
    body = Body()

    def app(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return stream(body.blocks())

    environ: dict[str, Any] = {"QUERY_STRING": ""}
    setup_testing_defaults(environ)
    output = io.BytesIO()
    served = validator(app) if is_checked else app
    SimpleHandler(io.BytesIO(), output, io.StringIO(), environ).run(served)
    assert output.getvalue().endswith(b"one two three")
    assert body.closings == 1


def test_an_event_stream_pings_there_too() -> None:
    async def events() -> AsyncIterator[str]:
        await go_on.wait()
        yield "spam"

    go_on = asyncio.Event()
    blocks = EventStream(events(), ping=0.001).body()
    assert [next(blocks), next(blocks), next(blocks)] == [b":\n\n"] * 3
    go_on.set()
    assert b"data: spam\n\n" in list(blocks)


def test_an_event_stream_may_never_ping() -> None:
    async def events() -> AsyncIterator[str]:
        for _ in range(100):
            await asyncio.sleep(0)
        yield "spam"

    assert list(EventStream(events(), ping=0).body()) == [b":\n\n", b"data: spam\n\n"]


class Numbers:
    """An iterator that is no generator, and has no end of its own."""

    def __init__(self) -> None:
        self.asked = 0
        self.closings = 0

    def __aiter__(self) -> Numbers:
        return self

    async def __anext__(self) -> bytes:
        self.asked += 1
        return b"%d" % self.asked

    async def aclose(self) -> None:
        self.closings += 1


def test_what_is_closed_is_not_asked_again() -> None:
    used, unused = Numbers(), Numbers()
    blocks = stream(used)
    assert next(blocks) == b"1"
    for body in (blocks, stream(unused)):
        body.close()
        body.close()
        assert list(body) == []
    assert (used.asked, used.closings) == (1, 1)
    assert (unused.asked, unused.closings) == (0, 1)


def test_an_iterator_that_cannot_be_closed_need_not_be() -> None:
    class Once:
        blocks: ClassVar = [b"spam"]

        def __aiter__(self) -> Once:
            return self

        async def __anext__(self) -> bytes:
            if not self.blocks:
                raise StopAsyncIteration
            return self.blocks.pop()

    assert list(stream(Once())) == [b"spam"]


def test_closed_unused_a_generator_needs_no_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    # HEAD, 204, 304: as many as there are requests.
    monkeypatch.setattr("asyncwsgi.coroutines.stream._PrivateLoop", None)
    stream(Body().blocks()).close()


def test_it_is_closed_while_it_waits_in_its_own_context() -> None:
    seen: list[str] = []

    async def waiting() -> AsyncIterator[bytes]:
        try:
            await asyncio.Event().wait()
            yield b""
        finally:
            await asyncio.sleep(0)
            seen.append(variable.get())

    variable.set("made")
    blocks = stream(waiting(), idle_block=b"idle", idle_timeout=0.001)
    variable.set("later")
    assert next(blocks) == b"idle"
    blocks.close()
    assert seen == ["made"]


def test_it_is_closed_between_blocks_in_its_own_context() -> None:
    seen: list[str] = []

    class Noting(Numbers):
        async def aclose(self) -> None:
            seen.append(variable.get())

    variable.set("made")
    blocks = stream(Noting())
    variable.set("later")
    next(blocks)
    blocks.close()
    assert seen == ["made"]
