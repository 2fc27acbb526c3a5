"""wsgi.input: fed on the loop, read in a thread that waits."""

from __future__ import annotations

import contextlib
import gc
import io
import threading
import weakref
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, BinaryIO

import pytest

from asyncwsgi import Server
from asyncwsgi.errors import ClientDisconnected, RequestBodyError
from asyncwsgi.requests.request_body import RequestBody
from asyncwsgi.running import ServerThread
from tests.apps import hello
from tests.client import TIMEOUT, Client, connect
from tests.http.helpers import leavings
from tests.requests.helpers import in_thread

if TYPE_CHECKING:
    from wsgiref.types import StartResponse


class Body(RequestBody):
    """A body that counts what it tells."""

    def __init__(self, buffer_size: int = 1000) -> None:
        super().__init__(buffer_size, on_wait=self._note_wait, on_resume=self._note_room)
        self.waits = 0
        self.rooms = 0
        self.is_waiting = threading.Event()

    def _note_wait(self) -> None:
        self.waits += 1
        self.is_waiting.set()

    def _note_room(self) -> None:
        self.rooms += 1


def wait_for_reader(body: Body) -> None:
    assert body.is_waiting.wait(TIMEOUT), "nobody reads"


class TestReading:
    def test_a_reader_waits_for_the_first_bytes(self) -> None:
        body = Body()
        result = in_thread(lambda: body.read(10))
        wait_for_reader(body)
        assert not result.done()
        body.feed(b"spam")
        assert result.result(TIMEOUT) == b"spam"

    def test_a_reader_waits_until_it_has_what_it_asked_for(self) -> None:
        body = Body()
        stream = body.open()
        result = in_thread(lambda: stream.read(10))
        wait_for_reader(body)
        body.feed(b"spam ")
        body.feed(b"egg")
        assert not result.done()
        body.feed(b"s and more")
        assert result.result(TIMEOUT) == b"spam eggs "

    def test_bytes_come_out_in_the_order_they_went_in(self) -> None:
        body = Body()
        fed = [bytes([n % 256]) * (n % 7) for n in range(1, 2000)]
        stream = body.open()
        result = in_thread(lambda: list(iter(lambda: stream.read(100), b"")))
        for block in filter(None, fed):
            body.feed(block)
        body.finish()
        assert b"".join(result.result(TIMEOUT)) == b"".join(fed)

    def test_the_end_wakes_a_reader(self) -> None:
        body = Body()
        result = in_thread(lambda: body.open().read())
        wait_for_reader(body)
        body.finish()
        assert result.result(TIMEOUT) == b""

    def test_the_end_stays_the_end(self) -> None:
        body = Body()
        stream = io.BufferedReader(body)
        body.feed(b"spam")
        body.finish()
        assert [stream.read(4), stream.read(4), stream.read(), stream.readline()] == [
            b"spam", b"", b"", b"",
        ]  # fmt: skip

    def test_a_block_can_be_read_in_pieces(self) -> None:
        body = Body()
        body.feed(b"spam and eggs")
        assert [body.read(4), body.read(5), body.read(100)] == [b"spam", b" and ", b"eggs"]


READINGS = [
    pytest.param(lambda stream: stream.read(), b"one\ntwo\nthree", id="read()"),
    pytest.param(lambda stream: stream.read(-1), b"one\ntwo\nthree", id="read(-1)"),
    pytest.param(lambda stream: stream.read(6), b"one\ntw", id="read(6)"),
    pytest.param(lambda stream: stream.read(0), b"", id="read(0)"),
    pytest.param(lambda stream: stream.readline(), b"one\n", id="readline()"),
    pytest.param(lambda stream: stream.readline(2), b"on", id="readline(2)"),
    pytest.param(lambda stream: stream.readline(20), b"one\n", id="readline(20)"),
    pytest.param(lambda stream: stream.readlines(), [b"one\n", b"two\n", b"three"], id="readlines"),
    pytest.param(lambda stream: stream.readlines(5), [b"one\n", b"two\n"], id="readlines(5)"),
    pytest.param(lambda stream: list(stream), [b"one\n", b"two\n", b"three"], id="iteration"),
]


class TestStream:
    """PEP 3333, "Input and Error Streams": the methods of a file, whatever way the bytes came."""

    @pytest.mark.parametrize(("read", "expected"), READINGS)
    def test_of_a_body_that_arrived_whole(
        self, read: Callable[[BinaryIO], object], expected: object
    ) -> None:
        body = Body()
        body.feed(b"one\ntw")
        body.feed(b"o\nthree")
        body.finish()
        assert read(body.open()) == expected
        assert body.waits == 0

    @pytest.mark.parametrize(("read", "expected"), READINGS)
    def test_of_a_body_that_arrives_byte_by_byte(
        self, read: Callable[[BinaryIO], object], expected: object
    ) -> None:
        body = Body()
        stream = body.open()
        result = in_thread(lambda: read(stream))
        for byte in b"one\ntwo\nthree":
            body.feed(bytes([byte]))
        body.finish()
        assert result.result(TIMEOUT) == expected

    def test_a_line_is_there_when_its_end_has_come(self) -> None:
        body = Body()
        stream = body.open()
        result = in_thread(stream.readline)
        wait_for_reader(body)
        body.feed(b"spam\nand")
        assert result.result(TIMEOUT) == b"spam\n"


class TestWaiting:
    def test_the_first_wait_is_told_once(self) -> None:
        body = Body()
        result = in_thread(lambda: io.BufferedReader(body).read())
        wait_for_reader(body)
        for _ in range(10):
            body.feed(b"spam")
        body.finish()
        assert result.result(TIMEOUT) == b"spam" * 10
        assert body.waits == 1

    def test_a_second_wait_is_not_told(self) -> None:
        body = Body()
        for block in (b"spam", b"eggs"):
            result = in_thread(lambda: body.read(4))
            while not body.is_awaited:
                assert not result.done()
            body.feed(block)
            assert result.result(TIMEOUT) == block
        assert body.waits == 1

    def test_bytes_that_are_there_are_not_waited_for(self) -> None:
        body = Body()
        body.feed(b"spam")
        assert body.read(4) == b"spam"
        assert (body.waits, body.is_awaited) == (0, False)

    def test_of_two_that_begin_to_wait_at_once_one_tells(self) -> None:
        # The client would be sent a second 100 (Continue), or one of the readers an error.
        class Racing(Body):
            """Has both readers look before either goes on."""

            def __init__(self) -> None:
                self._both = threading.Barrier(2)
                self._has_met = threading.local()
                super().__init__()

            @property
            def _on_wait(self) -> Callable[[], None] | None:
                on_wait: Callable[[], None] | None = self.__dict__["on_wait"]
                if not hasattr(self._has_met, "before"):
                    self._has_met.before = True
                    self._both.wait(TIMEOUT)
                return on_wait

            @_on_wait.setter
            def _on_wait(self, on_wait: Callable[[], None] | None) -> None:
                self.__dict__["on_wait"] = on_wait

        body = Racing()
        results = [in_thread(lambda: body.read(4)) for _ in range(2)]
        wait_for_reader(body)
        body.feed(b"spam")
        body.feed(bytes(1024))
        assert sorted(result.result(TIMEOUT) for result in results) == [bytes(4), b"spam"]
        assert body.waits == 1

    def test_what_one_is_given_wakes_another_who_waits_for_more(self) -> None:
        body = Body()
        whole = in_thread(body.collect)
        wait_for_reader(body)
        part = in_thread(lambda: body.read(4))
        while body._waiting < 2:
            assert {whole.done(), part.done()} == {False}
        body.feed(b"spam")
        assert part.result(TIMEOUT) == b"spam"
        assert body.is_awaited  # by the one who waits for the whole
        body.finish()
        assert whole.result(TIMEOUT)

    def test_a_wait_shows_until_bytes_come(self) -> None:
        body = Body()
        result = in_thread(lambda: body.read(4))
        wait_for_reader(body)
        body.feed(b"spam")
        assert result.result(TIMEOUT) == b"spam"
        assert not body.is_awaited

    def test_the_loop_is_not_held_while_the_wait_is_told(self) -> None:
        # on_wait sends the 100, and what sends may wait for the client to read.
        fed = threading.Event()
        told = threading.Event()
        waited: list[bool] = []

        def on_wait() -> None:
            told.set()
            waited.append(fed.wait(TIMEOUT / 5))

        body = RequestBody(1000, on_wait=on_wait, on_resume=lambda: None)
        result = in_thread(lambda: body.read(4))
        assert told.wait(TIMEOUT)
        body.feed(b"spam")
        fed.set()
        assert result.result(TIMEOUT) == b"spam"
        assert waited == [True]


class TestRoom:
    def test_it_is_full_from_its_size_on(self) -> None:
        body = Body(buffer_size=4)
        states = []
        for block in (b"sp", b"a", b"m", b"s"):
            body.feed(block)
            states.append(body.is_full)
        assert states == [False, False, True, True]

    def test_room_is_told_once_when_half_of_it_is_read(self) -> None:
        body = Body(buffer_size=8)
        body.feed(b"spameggs")
        rooms = []
        for _ in range(8):
            body.read(1)
            rooms.append(body.rooms)
        assert rooms == [0, 0, 0, 1, 1, 1, 1, 1]

    def test_room_is_told_again_after_it_was_full_again(self) -> None:
        body = Body(buffer_size=4)
        for _ in range(3):
            body.feed(b"spam")
            body.read(4)
        assert (body.rooms, body.is_full) == (3, False)

    def test_there_is_nothing_to_tell_if_it_was_never_full(self) -> None:
        body = Body(buffer_size=5)
        for _ in range(3):
            body.feed(b"spam")
            body.read(4)
        assert body.rooms == 0

    def test_a_byte_alone_can_be_all_the_room(self) -> None:
        body = Body(buffer_size=1)
        for byte in (b"a", b"b"):
            body.feed(byte)
            assert body.is_full
            assert body.read(10) == byte
        assert body.rooms == 2


class TestFailure:
    def test_a_reader_gets_what_came_and_then_the_failure(self) -> None:
        body = Body()
        body.feed(b"spam")
        body.fail(ConnectionResetError("gone"))
        assert body.read(10) == b"spam"
        for _ in range(2):
            with pytest.raises(ConnectionResetError, match="gone"):
                body.read(10)

    def test_a_failure_wakes_a_reader(self) -> None:
        body = Body()
        result = in_thread(lambda: body.open().read(10))
        wait_for_reader(body)
        body.fail(ConnectionResetError("gone"))
        with pytest.raises(ConnectionResetError, match="gone"):
            result.result(TIMEOUT)

    @pytest.mark.parametrize("read", [io.BufferedReader.read, io.BufferedReader.readline])
    def test_a_failure_is_never_taken_for_the_end(
        self, read: Callable[[io.BufferedReader], bytes]
    ) -> None:
        body = Body()
        body.feed(b"spam")
        body.fail(ConnectionResetError("gone"))
        with pytest.raises(ConnectionResetError):
            read(io.BufferedReader(body))

    def test_a_failure_is_told_whole_to_each_reader(self) -> None:
        body = Body()
        body.fail(RequestBodyError(413, "too large"))
        errors = []
        for _ in range(2):
            with pytest.raises(RequestBodyError, match="too large") as raised:
                body.read(10)
            errors.append(raised.value)
        assert [(error.status, error.reason) for error in errors] == [(413, "too large")] * 2
        assert errors[0] is not errors[1]  # each knows the frames of its reader

    def test_a_complete_body_cannot_fail(self) -> None:
        body = Body()
        body.feed(b"spam")
        body.finish()
        body.fail(ConnectionResetError("gone"))
        assert [body.read(10), body.read(10)] == [b"spam", b""]

    def test_the_first_failure_is_the_one(self) -> None:
        body = Body()
        body.fail(ConnectionResetError("first"))
        body.fail(ConnectionResetError("second"))
        with pytest.raises(ConnectionResetError, match="first"):
            body.read(1)


class Request:
    """What a body's callbacks lead to: it knows the body, and the body knows it."""

    def __init__(self) -> None:
        self.body = RequestBody(1000, on_wait=self.note, on_resume=self.note)
        self.body.feed(bytes(2000))

    def note(self) -> None:
        """Nobody counts here."""


def read_and_fail(request: Request) -> None:
    request.body.fail(RequestBodyError(400, "spam"))
    with contextlib.suppress(RequestBodyError):
        while request.body.read(1500):
            pass


class TestMemory:
    @pytest.mark.parametrize(
        "end",
        [
            pytest.param(lambda request: request.body.finish(), id="complete"),
            pytest.param(lambda request: request.body.fail(OSError("gone")), id="failed"),
            pytest.param(read_and_fail, id="read until it failed"),
        ],
    )
    def test_a_body_at_its_end_needs_no_collector(self, end: Callable[[Request], None]) -> None:
        gc.disable()
        try:
            request = Request()
            remains = weakref.ref(request.body)
            end(request)
            del request
            assert remains() is None
        finally:
            gc.enable()

    def test_what_arrived_whole_is_held_once(self) -> None:
        body = Body()
        for block in (bytes(1024), b"spam"):
            body.feed(block)
        body.finish()
        assert len(body.open().read()) == 1028
        assert body.read(10) == b""

    @leavings
    @pytest.mark.parametrize("is_caught", [True, False], ids=["caught", "raised"])
    def test_an_upload_that_breaks_off_while_it_is_read_needs_no_collector(
        self, leave: Callable[[Client], None], is_caught: bool
    ) -> None:
        bodies: list[weakref.ref[RequestBody]] = []
        is_read, is_gone = threading.Event(), threading.Event()

        class WatchedBody(RequestBody):
            def __init__(self, *args: Any, **options: Any) -> None:
                super().__init__(*args, **options)
                bodies.append(weakref.ref(self, lambda _: is_gone.set()))

        class WatchedServer(Server):
            request_body_class = WatchedBody

        def application(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
            environ["wsgi.input"].read(4)
            is_read.set()
            try:
                environ["wsgi.input"].read(1000)
            except OSError:
                if not is_caught:
                    raise
            return hello(environ, start_response)

        gc.disable()
        try:
            # Not one that records what is raised.
            with ServerThread(WatchedServer(application, port=0)) as server:
                with connect(server.addresses[0]) as client:
                    client.send(
                        b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1000\r\n"
                        b"Expect: 100-continue\r\n\r\nspam"
                    )
                    assert is_read.wait(TIMEOUT)
                    leave(client)
                assert is_gone.wait(TIMEOUT)
        finally:
            gc.enable()
        assert [body() for body in bodies] == [None]


class TestCollecting:
    """What a worker thread does before a coroutine that may read the body runs on the loop."""

    def test_waits_for_all_of_it(self) -> None:
        body = Body(10)
        result = in_thread(body.collect)
        wait_for_reader(body)
        body.feed(bytes(100))
        assert (body.is_full, result.done()) == (False, False)
        body.finish()
        assert result.result(TIMEOUT)
        assert (body.rooms, body.is_awaited) == (1, False)

    def test_asks_for_nothing_if_it_is_there(self) -> None:
        body = Body(10)
        body.feed(b"spam")
        body.finish()
        assert in_thread(body.collect).result(TIMEOUT)
        assert (body.waits, body.rooms) == (0, 0)

    def test_never_waits_on_the_loop(self) -> None:
        body = Body()
        body.feed(b"spam")
        assert body.collect()
        assert (body.waits, body.rooms) == (0, 0)

    @pytest.mark.parametrize(("buffered", "held"), [(10, 100), (1000, 1000)])
    def test_gives_up_on_what_is_too_large_to_be_held(
        self, monkeypatch: pytest.MonkeyPatch, buffered: int, held: int
    ) -> None:
        monkeypatch.setattr("asyncwsgi.requests.request_body.COLLECTED_SIZE", 100)
        body = Body(buffered)
        result = in_thread(body.collect)
        wait_for_reader(body)
        body.feed(bytes(held - 1))
        assert (body.is_full, result.done()) == (False, False)
        body.feed(b"1")
        assert body.is_full
        assert not result.result(TIMEOUT)

    def test_ends_with_a_body_that_fails(self) -> None:
        body = Body()
        result = in_thread(body.collect)
        wait_for_reader(body)
        body.fail(OSError("lost"))
        assert result.result(TIMEOUT)
        with pytest.raises(OSError, match="lost"):
            body.read(1)


class Source:
    """Has bytes to be read as long as nothing else is said."""

    def __init__(self, *pieces: bytes, size: int | None = None) -> None:
        self._pieces = list(pieces)
        self.left_size = sum(map(len, pieces)) if size is None else size
        self.waits = 0
        self.reads = 0

    def read_into(self, view: memoryview) -> int:
        self.reads += 1
        if not self._pieces:
            return -1
        piece = self._pieces.pop(0)
        view[: len(piece)] = piece
        self.left_size -= len(piece)
        return len(piece)

    def wait(self) -> None:
        self.waits += 1


class Seen(Body):
    """Sees what arrives."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = b""

    def arrived(self, data: bytes | memoryview) -> None:
        self.seen += data


class TestSource:
    """The rest of a body may be read by who reads the body."""

    @pytest.fixture
    def body(self) -> Seen:
        body = Seen()
        body.feed(b"held" * 250)
        assert body.is_full
        return body

    def test_it_is_read_when_what_is_held_was(self, body: Seen) -> None:
        source = Source(b"spam", b"eggs")
        body.read_from(source)
        assert body.read(1000) == b"held" * 250
        assert (source.reads, body.rooms) == (0, 0)
        assert body.read(1000) == b"spam"
        assert (body.rooms, body.is_complete) == (0, False)
        assert body.read(1000) == b"eggs"
        assert (body.rooms, body.is_complete) == (1, True)
        assert body.read(1000) == b""
        assert body.seen == b"held" * 250 + b"spameggs"
        assert body.received_size == 1008

    def test_when_it_has_no_more_the_body_is_fed_again(self, body: Seen) -> None:
        source = Source(b"spam", size=8)
        body.read_from(source)
        assert [body.read(1000), body.read(1000)] == [b"held" * 250, b"spam"]
        read = in_thread(lambda: body.read(1000))
        wait_for_reader(body)
        assert (source.waits, body.rooms) == (1, 1)
        body.feed(b"eggs")
        assert read.result(TIMEOUT) == b"eggs"

    @pytest.mark.parametrize("end", ["fail", "discard"])
    def test_behind_the_end_of_its_request_it_is_not_touched(self, body: Seen, end: str) -> None:
        source = Source(b"of another request")
        body.read_from(source)
        body.read(1000)
        if end == "fail":
            body.fail(ClientDisconnected("gone"))
        else:
            body.discard()
        body.read_from(source)
        with pytest.raises(ClientDisconnected):
            body.read(1000)
        assert source.reads == 0

    def test_a_body_that_sees_what_it_is_fed_takes_none(self) -> None:
        class Feeds(RequestBody):
            def feed(self, data: bytes) -> None:
                super().feed(data)

        assert (Seen.takes_source, Feeds.takes_source) == (True, False)


class TestEmptiness:
    """Whoever counts what a body holds is told once, when it holds nothing any more."""

    @pytest.fixture
    def body(self) -> Body:
        return Body()

    @pytest.fixture
    def told(self, body: Body) -> list[str]:
        told: list[str] = []
        body.on_emptied = lambda: told.append("empty")
        return told

    def test_a_whole_body_is_empty_when_it_is_opened(self, body: Body, told: list[str]) -> None:
        body.feed(b"spam")
        body.finish()
        assert (told, body.size) == ([], 4)
        assert body.open().read() == b"spam"
        assert (told, body.size) == (["empty"], 0)

    def test_another_when_its_last_byte_is_read(self, body: Body, told: list[str]) -> None:
        stream = body.open()
        body.feed(b"spam")
        assert stream.read(4) == b"spam"
        assert told == []
        body.feed(b"eggs")
        body.finish()
        assert told == []
        assert stream.read() == b"eggs"
        assert told == ["empty"]

    def test_or_when_it_turns_out_that_no_byte_follows(self, body: Body, told: list[str]) -> None:
        stream = body.open()
        body.feed(b"spam")
        assert stream.read(4) == b"spam"
        body.finish()
        assert told == ["empty"]

    def test_or_when_its_request_is_over(self, body: Body, told: list[str]) -> None:
        stream = body.open()
        body.feed(b"spam")
        body.discard()
        body.discard()
        assert (told, body.size) == (["empty"], 0)
        with pytest.raises(ClientDisconnected, match="the request is over"):
            stream.read(1)

    def test_a_whole_one_that_is_thrown_away_does_not_seem_to_have_ended(self, body: Body) -> None:
        stream = io.BufferedReader(body)
        body.feed(b"spam")
        body.finish()
        body.discard()
        with pytest.raises(ClientDisconnected, match="the request is over"):
            stream.read()
