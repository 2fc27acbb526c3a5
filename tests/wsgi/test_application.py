"""One call of an application: called, iterated, closed (PEP 3333, "The Server/Gateway Side")."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, Any

import h11
import pytest

from asyncwsgi.errors import ApplicationError, ClientDisconnected
from asyncwsgi.http1.encoder import ResponseEncoder
from asyncwsgi.wsgi.application import run_application, why_no_application
from asyncwsgi.wsgi.async_body import AsyncBody
from asyncwsgi.wsgi.response import Headers, Response
from tests.wsgi.recording import PLAIN, Outlet, Recording, answer, length

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication

Environ = dict[str, Any]


class Blocks:
    """Blocks of a body that count what is done with them."""

    def __init__(self, blocks: Iterable[bytes] = (b"spam", b"eggs")) -> None:
        self._blocks = iter(blocks)
        self.taken = 0
        self.closings = 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        block = next(self._blocks)
        self.taken += 1
        return block

    def close(self) -> None:
        self.closings += 1


def returning(body: Any, status: str = "200 OK", headers: Headers = PLAIN) -> WSGIApplication:
    """An application that returns `body`."""

    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response(status, headers)
        return body  # type: ignore[no-any-return]

    return application


def failing(error: BaseException, *before: bytes) -> Iterator[bytes]:
    """A body that ends with an exception."""
    yield from before
    raise error


class TestCall:
    def test_it_gets_environ_and_start_response_by_position(self) -> None:
        seen: list[tuple[Any, ...]] = []

        def application(*args: Any) -> Iterable[bytes]:
            seen.append(args)
            args[1]("200 OK", PLAIN)
            return []

        environ: Environ = {"spam": "eggs"}
        recording = Recording()
        run_application(application, environ, recording)
        [(first, second)] = seen
        assert first is environ
        assert second == recording.start_response

    def test_start_response_may_be_called_by_the_first_iteration(self) -> None:
        def application(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
            start_response("200 OK", PLAIN)
            yield b"spam"

        assert answer(application).received().body == b"spam"

    def test_start_response_may_be_called_by_the_last_iteration(self) -> None:
        def application(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
            yield b""
            start_response("200 OK", PLAIN)

        assert answer(application).received().status == 200

    @pytest.mark.parametrize("body", [[], [b""], [b"spam"]], ids=["no block", "empty", "a block"])
    def test_without_start_response_nothing_is_sent(self, body: list[bytes]) -> None:
        recording = Recording()
        with pytest.raises(AssertionError, match="start_response"):
            run_application(lambda environ, start_response: body, {}, recording)
        assert recording.transmitted == []

    def test_with_start_response_behind_the_first_block_nothing_is_sent(self) -> None:
        def application(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
            yield b"spam"
            start_response("200 OK", PLAIN)

        recording = Recording()
        with pytest.raises(AssertionError, match="start_response"):
            run_application(application, {}, recording)
        assert recording.transmitted == []

    def test_what_was_written_precedes_what_is_returned(self) -> None:
        def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
            write = start_response("200 OK", PLAIN)
            write(b"spam ")
            return [b"eggs"]

        assert answer(application).received().body == b"spam eggs"


class NewIterable:
    """Iterable the proper way."""

    def __iter__(self) -> Iterator[bytes]:
        return iter([b"spam", b"eggs"])


class OldIterable:
    """Iterable the old way."""

    def __getitem__(self, index: int) -> bytes:
        return [b"spam", b"eggs"][index]


class BadLength(list[bytes]):
    """Has a __len__ that cannot be asked."""

    def __len__(self) -> int:
        raise TypeError("spam")


class TestIteration:
    @pytest.mark.parametrize(
        "make",
        [
            pytest.param(lambda: [b"spam", b"eggs"], id="list"),
            pytest.param(lambda: (b"spam", b"eggs"), id="tuple"),
            pytest.param(lambda: {b"spam": 1, b"eggs": 2}, id="dict"),
            pytest.param(lambda: (block for block in (b"spam", b"eggs")), id="generator"),
            pytest.param(lambda: iter([b"spam", b"eggs"]), id="iterator"),
            pytest.param(lambda: map(bytes, [b"spam", b"eggs"]), id="map"),
            pytest.param(lambda: NewIterable(), id="object with __iter__"),
            pytest.param(lambda: OldIterable(), id="object with __getitem__"),
            pytest.param(lambda: BadLength([b"spam", b"eggs"]), id="length that cannot be asked"),
            pytest.param(lambda: [b"", b"spam", b"", b"eggs", b""], id="with empty blocks"),
        ],
    )
    def test_every_kind_of_iterable_is_a_body(self, make: Callable[[], Any]) -> None:
        recording = answer(returning(make()))
        assert recording.received().body == b"spameggs"
        assert recording.keep_alive

    @pytest.mark.parametrize(
        "make",
        [
            pytest.param(list, id="list"),
            pytest.param(tuple, id="tuple"),
            pytest.param(lambda: iter([]), id="iterator"),
            pytest.param(lambda: (block for block in list[bytes]()), id="generator"),
            pytest.param(lambda: [b""], id="an empty block"),
            pytest.param(lambda: b"", id="bytes"),
        ],
    )
    def test_every_kind_of_empty_iterable_is_an_empty_body(self, make: Callable[[], Any]) -> None:
        received = answer(returning(make())).received()
        assert (received.status, received.body) == (200, b"")
        assert received.header(b"content-length") == b"0"

    def test_nothing_else_of_the_iterable_is_touched(self) -> None:
        touched: list[str] = []

        class Shy:
            def __getattribute__(self, name: str) -> Any:
                touched.append(name)
                return object.__getattribute__(self, name)

            def __iter__(self) -> Iterator[bytes]:
                return iter([b"spam"])

        assert answer(returning(Shy())).received().body == b"spam"
        assert touched == ["close"]

    @pytest.mark.parametrize("body", [None, 4, object()], ids=["None", "a number", "an object"])
    def test_what_is_no_iterable_fails(self, body: Any) -> None:
        recording = Recording()
        with pytest.raises(TypeError, match="iterable"):
            run_application(returning(body), {}, recording)
        assert recording.transmitted == []

    @pytest.mark.parametrize(
        "body",
        ["spam", ["spam"], [bytearray(b"spam")], [None], b"spam"],
        ids=["str", "list of str", "list of bytearray", "list of None", "bytes"],
    )
    def test_what_does_not_give_bytes_fails(self, body: Any) -> None:
        # Iteration over bytes gives numbers.
        recording = Recording()
        with pytest.raises(ApplicationError, match="bytes"):
            run_application(returning(body), {}, recording)
        assert recording.transmitted == []

    def test_each_block_is_handed_over_before_the_next_is_asked_for(self) -> None:
        recording = Recording()
        wires: list[bytes] = []

        def produce() -> Iterator[bytes]:
            for block in (b"one", b"two", b"three"):
                yield block
                wires.append(recording.wire)

        run_application(returning(produce()), {}, recording)
        assert [wire.rpartition(b"\r\n\r\n")[2] for wire in wires] == [
            b"3\r\none\r\n",
            b"3\r\none\r\n3\r\ntwo\r\n",
            b"3\r\none\r\n3\r\ntwo\r\n5\r\nthree\r\n",
        ]

    def test_an_empty_block_sends_nothing_and_goes_on(self) -> None:
        recording = Recording()
        wires: list[bytes] = []

        def produce() -> Iterator[bytes]:
            yield b""
            wires.append(recording.wire)
            yield b"spam"

        run_application(returning(produce()), {}, recording)
        assert wires == [b""]
        assert recording.received().body == b"spam"


class TestLength:
    @pytest.mark.parametrize("body", [[b"spam"], (b"spam",)], ids=["list", "tuple"])
    def test_the_only_block_gives_the_content_length(self, body: Any) -> None:
        received = answer(returning(body)).received()
        assert received.header(b"content-length") == b"4"

    @pytest.mark.parametrize("body", [[b"spam", b"eggs"], iter([b"spam"])], ids=["two", "iterator"])
    def test_other_blocks_do_not(self, body: Any) -> None:
        received = answer(returning(body)).received()
        assert received.header(b"content-length") is None

    def test_the_only_block_does_not_behind_a_write(self) -> None:
        def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
            start_response("200 OK", PLAIN)(b"spam ")
            return [b"eggs"]

        received = answer(application).received()
        assert received.header(b"content-length") is None
        assert received.body == b"spam eggs"

    def test_the_only_block_does_behind_an_empty_write(self) -> None:
        def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
            start_response("200 OK", PLAIN)(b"")
            return [b"eggs"]

        assert answer(application).received().body == b"eggs"

    def test_one_block_is_asked_for_beyond_the_content_length_and_all_beyond_it_is_cut(
        self,
    ) -> None:
        # PEP 3333: "the server should ... stop iterating over the response when enough data has
        # been sent".
        blocks = Blocks([b"spam", b"eggs", b"ham", b"never asked for"])
        recording = answer(returning(blocks, headers=length(6)))
        assert recording.received().body == b"spameg"
        assert (blocks.taken, blocks.closings) == (3, 1)
        assert recording.excess_size == len(b"gs" + b"ham")
        assert recording.keep_alive

    @pytest.mark.parametrize(
        ("method", "status", "headers"),
        [
            pytest.param("GET", "200 OK", length(4), id="length"),
            pytest.param("HEAD", "200 OK", PLAIN, id="HEAD"),
            pytest.param("GET", "204 No Content", PLAIN, id="204"),
            pytest.param("GET", "205 Reset Content", PLAIN, id="205"),
            pytest.param("GET", "304 Not Modified", PLAIN, id="304"),
        ],
    )
    def test_a_generator_runs_the_code_behind_its_last_yield_when_all_was_sent(
        self, method: str, status: str, headers: Headers
    ) -> None:
        sent: list[bytes] = []

        def application(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
            start_response(status, headers)
            yield b"spam"
            sent.append(recording.wire)

        recording = Recording(method)
        run_application(application, {}, recording)
        assert sent == [recording.wire]
        assert recording.is_complete
        assert not recording.excess_size

    def test_without_a_body_an_iterable_is_not_run_through(self) -> None:
        blocks = Blocks([b"spam"] * 9)
        recording = answer(returning(blocks), "HEAD")
        assert (blocks.taken, blocks.closings, recording.excess_size) == (2, 1, 0)

    def test_what_fails_behind_the_last_byte_leaves_a_whole_response(self) -> None:
        recording = Recording()
        body = failing(ValueError("behind"), b"spam")
        with pytest.raises(ValueError, match="behind"):
            run_application(returning(body, headers=length(4)), {}, recording)
        assert recording.is_complete
        assert recording.received().body == b"spam"

    def test_fewer_bytes_than_the_content_length_are_no_whole_response(self) -> None:
        blocks = Blocks()
        recording = answer(returning(blocks, headers=length(9)))
        assert (recording.is_truncated, recording.missing_size) == (True, 1)
        assert not recording.keep_alive
        assert blocks.closings == 1
        with pytest.raises(h11.RemoteProtocolError):
            recording.received()


class TestClose:
    """PEP 3333: close() "must [be called] upon completion of the current request, whether the
    request was completed normally, or terminated early"."""

    @pytest.mark.parametrize("version", ["1.1", "1.0"])
    @pytest.mark.parametrize(
        ("method", "status", "headers"),
        [
            pytest.param("GET", "200 OK", PLAIN, id="a whole body"),
            pytest.param("GET", "200 OK", length(8), id="a whole body of a known length"),
            pytest.param("GET", "200 OK", length(3), id="too long a body"),
            pytest.param("GET", "200 OK", length(99), id="too short a body"),
            pytest.param("HEAD", "200 OK", PLAIN, id="HEAD"),
            pytest.param("GET", "204 No Content", PLAIN, id="204"),
            pytest.param("GET", "304 Not Modified", PLAIN, id="304"),
        ],
    )
    def test_it_is_called_once_behind_every_response(
        self, method: str, status: str, headers: Headers, version: str
    ) -> None:
        blocks = Blocks()
        recording = answer(returning(blocks, status, headers), method, version)
        assert recording.is_finished
        assert blocks.closings == 1

    @pytest.mark.parametrize("body", [[], [b""]], ids=["no block", "an empty block"])
    def test_it_is_called_once_behind_an_empty_response(self, body: list[bytes]) -> None:
        blocks = Blocks(body)
        answer(returning(blocks))
        assert blocks.closings == 1

    def test_it_is_called_behind_the_last_byte(self) -> None:
        recording = Recording()
        at_close: list[tuple[bytes, bool]] = []

        class Noting(Blocks):
            def close(self) -> None:
                at_close.append((recording.wire, recording.is_finished))

        run_application(returning(Noting()), {}, recording)
        assert at_close == [(recording.wire, True)]

    @pytest.mark.parametrize(
        "error",
        [
            LookupError("spam"), ClientDisconnected("gone"), SystemExit(1), KeyboardInterrupt(),
            GeneratorExit(), BaseException("spam"),
        ],
        ids=lambda error: type(error).__name__,
    )  # fmt: skip
    @pytest.mark.parametrize("before", [[], [b"spam"]], ids=["at first", "in the body"])
    def test_it_is_called_once_when_iteration_fails(
        self, error: BaseException, before: list[bytes]
    ) -> None:
        blocks = Blocks(failing(error, *before))
        recording = Recording()
        with pytest.raises(type(error)) as raised:
            run_application(returning(blocks), {}, recording)
        assert raised.value is error
        assert blocks.closings == 1
        assert not recording.is_finished

    def test_it_is_called_once_when_iter_fails(self) -> None:
        class Stubborn(Blocks):
            def __iter__(self) -> Iterator[bytes]:
                raise LookupError("spam")

        blocks = Stubborn()
        with pytest.raises(LookupError):
            answer(returning(blocks))
        assert blocks.closings == 1

    def test_it_is_called_once_when_len_fails(self) -> None:
        class Stubborn(Blocks):
            def __len__(self) -> int:
                raise LookupError("spam")

        blocks = Stubborn()
        with pytest.raises(LookupError):
            answer(returning(blocks))
        assert blocks.closings == 1

    def test_it_is_called_once_when_a_block_is_refused(self) -> None:
        blocks = Blocks([b"spam", "eggs"])  # type: ignore[list-item]
        with pytest.raises(ApplicationError):
            answer(returning(blocks))
        assert blocks.closings == 1

    def test_it_is_called_once_without_start_response(self) -> None:
        blocks = Blocks()
        with pytest.raises(ApplicationError):
            answer(lambda environ, start_response: blocks)
        assert blocks.closings == 1

    @pytest.mark.parametrize("count", [0, 1])
    def test_it_is_called_once_when_the_client_has_left(self, count: int) -> None:
        blocks = Blocks()
        with pytest.raises(ClientDisconnected):
            run_application(returning(blocks), {}, response_to_who_leaves(count))
        assert (blocks.taken, blocks.closings) == (count + 1, 1)

    def test_it_is_called_once_when_the_client_leaves_at_the_end(self) -> None:
        blocks = Blocks()
        with pytest.raises(ClientDisconnected):
            run_application(returning(blocks), {}, response_to_who_leaves(2))
        assert (blocks.taken, blocks.closings) == (2, 1)

    @pytest.mark.parametrize("error", [LookupError("spam"), SystemExit(1), StopIteration()])
    def test_there_is_nothing_to_call_when_the_call_fails(self, error: BaseException) -> None:
        def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
            start_response("200 OK", PLAIN)
            raise error

        recording = Recording()
        with pytest.raises(type(error)) as raised:
            run_application(application, {}, recording)
        assert raised.value is error
        assert recording.transmitted == []

    def test_what_it_raises_comes_behind_a_whole_response(self) -> None:
        class Careless(Blocks):
            def close(self) -> None:
                super().close()
                raise LookupError("spam")

        blocks = Careless()
        recording = Recording()
        with pytest.raises(LookupError):
            run_application(returning(blocks), {}, recording)
        assert blocks.closings == 1
        assert recording.received().body == b"spameggs"
        assert recording.keep_alive

    def test_it_is_that_of_the_iterable_and_not_of_its_iterator(self) -> None:
        inner = Blocks()

        class Outer:
            closings = 0

            def __iter__(self) -> Iterator[bytes]:
                return inner

            def close(self) -> None:
                self.closings += 1

        outer = Outer()
        answer(returning(outer))
        assert (outer.closings, inner.closings) == (1, 0)

    def test_a_generator_is_closed_where_it_stands(self) -> None:
        events: list[str] = []

        def produce() -> Iterator[bytes]:
            try:
                yield b"spam"
                yield b"eggs"
            finally:
                events.append("closed")

        answer(returning(produce(), headers=length(2)))
        assert events == ["closed"]

    def test_it_may_be_none(self) -> None:
        class Odd(Blocks):
            close: Callable[[], None] = None  # type: ignore[assignment]

        assert answer(returning(Odd())).received().body == b"spameggs"


def response_to_who_leaves(count: int) -> Response:
    """A response to a client that leaves behind `count` blocks."""
    return Response("GET", ResponseEncoder("1.1"), Outlet(count))


class TestFailures:
    """What an exception leaves behind."""

    def test_before_the_head_nothing_was_sent(self) -> None:
        recording = Recording()
        with pytest.raises(LookupError):
            run_application(returning(failing(LookupError("spam"), b"")), {}, recording)
        assert not recording.head_was_sent
        assert recording.transmitted == []

    @pytest.mark.parametrize(
        ("version", "headers"),
        [
            pytest.param("1.1", PLAIN, id="chunked"),
            pytest.param("1.1", length(9), id="with a length"),
            pytest.param("1.0", length(9), id="with a length to HTTP/1.0"),
        ],
    )
    def test_behind_the_head_the_response_is_visibly_cut(
        self, version: str, headers: Headers
    ) -> None:
        recording = Recording(version=version)
        body = failing(LookupError("spam"), b"spam")
        with pytest.raises(LookupError):
            run_application(returning(body, headers=headers), {}, recording)
        assert recording.head_was_sent
        assert not recording.is_finished
        assert not recording.keep_alive
        with pytest.raises(h11.RemoteProtocolError, match="without sending complete"):
            recording.received()

    def test_exc_info_behind_the_head_ends_the_application(self) -> None:
        def application(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
            start_response("200 OK", PLAIN)
            yield b"spam"
            try:
                raise LookupError("eggs")
            except LookupError:
                start_response("500 Oops", PLAIN, sys.exc_info())
            yield b"never"

        recording = Recording()
        with pytest.raises(LookupError, match="eggs"):
            run_application(application, {}, recording)
        assert b"never" not in recording.wire
        assert not recording.keep_alive


class TestHandOver:
    """A body that goes on elsewhere."""

    @staticmethod
    def offer() -> AsyncBody:
        async def blocks() -> AsyncIterator[bytes]:
            yield b"never asked for"

        return AsyncBody(blocks(), Context())

    def test_the_head_leaves_and_nothing_is_closed(self) -> None:
        blocks = Blocks([self.offer(), b"spam"])
        response = Recording()
        suspended = run_application(returning(blocks), {}, response)
        assert suspended is not None
        assert isinstance(suspended.body, AsyncBody)
        assert suspended.body.is_taken
        assert response.wire.endswith(b"Transfer-Encoding: chunked\r\n\r\n")
        assert (blocks.taken, blocks.closings) == (1, 0)

    def test_the_rest_is_sent_and_closed(self) -> None:
        blocks = Blocks([self.offer(), b"spam"])
        response = Recording()
        suspended = run_application(returning(blocks), {}, response)
        assert suspended is not None
        assert suspended.resume() is None
        assert response.wire.endswith(b"\r\n\r\n4\r\nspam\r\n0\r\n\r\n")
        assert blocks.closings == 1

    def test_a_cut_takes_no_block(self) -> None:
        blocks = Blocks([self.offer(), b"spam"])
        response = Recording()
        suspended = run_application(returning(blocks), {}, response)
        assert suspended is not None
        with pytest.raises(ClientDisconnected):
            suspended.resume(is_cut=True)
        assert (blocks.taken, blocks.closings, response.is_finished) == (1, 1, False)

    def test_without_a_body_nothing_is_handed_over(self) -> None:
        blocks = Blocks([self.offer()])
        assert run_application(returning(blocks), {}, Recording("HEAD")) is None
        assert blocks.closings == 1

    def test_a_void_offer_is_an_empty_block(self) -> None:
        offer = self.offer()
        offer.is_void = True
        response = Recording()
        assert run_application(returning(Blocks([offer, b"spam"])), {}, response) is None
        assert b"spam" in response.wire

    def test_it_stays_itself_when_bytes_are_made_of_it(self) -> None:
        offer = self.offer()
        assert bytes(offer) is offer
        assert offer == b""


class ASGI:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...

    async def method(self, scope: Any, receive: Any, send: Any) -> None: ...


async def generator(_environ: Environ, _start_response: StartResponse) -> AsyncIterator[bytes]:
    yield b""


class OldStyle:
    """PEP 3333: an application may be a class, whose instances are iterated."""

    def __init__(self, environ: Environ, start_response: StartResponse) -> None: ...

    def __iter__(self) -> Iterator[bytes]:
        return iter([b""])


class TestWhatCannotBeOne:
    @pytest.mark.parametrize(
        "application",
        [
            pytest.param(ASGI.method, id="a coroutine function"),
            pytest.param(ASGI(), id="an object whose calls are awaited"),
            pytest.param(ASGI().method, id="a method that is a coroutine function"),
            pytest.param(partial(ASGI.method, ASGI()), id="a part of a coroutine function"),
            pytest.param(generator, id="an async generator function"),
        ],
    )
    def test_what_is_asynchronous(self, application: Any) -> None:
        assert "is asynchronous, as ASGI applications are" in str(why_no_application(application))

    def test_what_cannot_be_called(self) -> None:
        expected = "is a str, no WSGI application; expected a callable"
        assert why_no_application("app") == expected

    @pytest.mark.parametrize("application", [answer, OldStyle, partial(answer)])
    def test_all_else_may_be_one(self, application: Any) -> None:
        assert why_no_application(application) is None
