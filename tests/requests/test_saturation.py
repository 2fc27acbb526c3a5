"""The warning that all worker threads are busy: once per episode, and it says what holds them."""

from __future__ import annotations

import asyncio
import logging
import queue
import re
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context
from types import SimpleNamespace
from typing import Any, cast

import pytest

from asyncwsgi import Config
from asyncwsgi.access_log import AccessLogger
from asyncwsgi.coroutines.body_iteration import BodyIteration
from asyncwsgi.coroutines.tasks import LoopTasks
from asyncwsgi.coroutines.watch import LoopWatch
from asyncwsgi.frontends.client_socket import ClientSocket
from asyncwsgi.http1.encoder import ResponseEncoder
from asyncwsgi.requests.dispatcher import Dispatcher
from asyncwsgi.requests.exchange import Exchange
from asyncwsgi.requests.mailbox import Mailbox
from asyncwsgi.requests.request_body import RequestBody
from asyncwsgi.requests.saturation import SaturationWatch
from asyncwsgi.requests.worker_threads import WorkerThreads
from asyncwsgi.wsgi.async_body import AsyncBody
from tests.apps import hello
from tests.client import TIMEOUT
from tests.conftest import Serve
from tests.http.helpers import ClientOf, Gate, messages
from tests.requests.helpers import broken_logging

NOW = 1000.0


class NoConnection:
    file_transport = None

    """Where the responses of these exchanges would go, if they were run."""

    def write(self, data: bytes | memoryview) -> bool:
        raise AssertionError("nothing is written here")

    def resume_reading(self) -> None:
        raise AssertionError("there is no body here")

    def response_ended(self, exchange: Exchange) -> None:
        raise AssertionError("no exchange ends here")

    def close(self) -> None:
        raise AssertionError("there is no connection here")

    def abort(self) -> None:
        raise AssertionError("there is no connection here")


class NoResponder(ResponseEncoder):
    """That of an exchange which is not run."""

    def __init__(self) -> None:
        super().__init__("1.1")

    def body_is_awaited(self) -> bytes:
        raise AssertionError("there is no body here")


@pytest.fixture
async def dispatcher() -> Dispatcher:
    mailbox = Mailbox(asyncio.get_running_loop())
    watch = LoopWatch(mailbox)
    return Dispatcher(
        hello,
        Config(),
        mailbox=mailbox,
        workers=WorkerThreads(mailbox, limit=2, queue_size=1, idle_timeout=60),
        tasks=LoopTasks(mailbox, watch),
        watch=watch,
        access_logger=AccessLogger(),
        request_body_class=RequestBody,
    )


@pytest.fixture
def all_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """These exchanges are not run; as if they were."""
    monkeypatch.setattr(WorkerThreads, "are_all_busy", True)


def exchange(
    dispatcher: Dispatcher,
    target: str,
    *,
    waited: float = 0.0,
    held: float = 0.0,
    method: str = "GET",
) -> Exchange:
    """A request that waits for its thread since `waited` seconds, or holds one since `held`."""
    environ = {
        "REQUEST_METHOD": method,
        "REQUEST_URI": target,
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
    }
    made = Exchange(dispatcher, NoConnection(), NoResponder(), environ)
    made.submitted_at = NOW - waited - held
    if held:
        made.started_at = NOW - held
    return made


class TestWatch:
    def test_it_says_who_waits_what_holds_the_threads_and_what_to_do(
        self, dispatcher: Dispatcher, caplog: pytest.LogCaptureFixture
    ) -> None:
        exchanges = [
            exchange(dispatcher, "/slow?secret=1", held=7.25),
            exchange(dispatcher, "/slow?secret=2", held=3.0),
            exchange(dispatcher, "/once", held=1.5, method="POST"),
            exchange(dispatcher, "/next", waited=1.5),
            exchange(dispatcher, "/after", waited=0.5),
        ]
        SaturationWatch(3).look(exchanges, NOW)
        (record,) = caplog.records
        assert (record.name, record.levelno) == ("asyncwsgi.server", logging.WARNING)
        line = record.getMessage()
        for part in (
            "all 3 worker threads are busy", "2 requests waiting",
            "GET /slow (2 threads, 7.2 s), POST /once (1 thread, ", "raise threads",
        ):  # fmt: skip
            assert part in line
        assert "secret" not in line
        assert "/next" not in line

    def test_it_says_that_open_websockets_hold_threads(
        self, dispatcher: Dispatcher, caplog: pytest.LogCaptureFixture
    ) -> None:
        chat = exchange(dispatcher, "/chat", held=60.0)
        chat.taken_socket = ClientSocket(cast("Any", None), chat)
        SaturationWatch(1).look([chat, exchange(dispatcher, "/next", waited=1.5)], NOW)
        assert "raise threads: each WebSocket whose library has taken its socket" in caplog.text

    def test_a_warning_that_cannot_be_written_stops_no_clock(self, dispatcher: Dispatcher) -> None:
        busy = [exchange(dispatcher, "/slow", held=2.0), exchange(dispatcher, "/next", waited=2.0)]
        with broken_logging("asyncwsgi.server") as was_asked:
            SaturationWatch(1).look(busy, NOW)
        assert was_asked.is_set()

    def test_it_names_the_five_that_hold_most(
        self, dispatcher: Dispatcher, caplog: pytest.LogCaptureFixture
    ) -> None:
        exchanges = [exchange(dispatcher, f"/{n}", held=1.0 + n) for n in range(7)]
        SaturationWatch(7).look([*exchanges, exchange(dispatcher, "/next", waited=2.0)], NOW)
        (line,) = messages(caplog.records)
        assert "/6 (1 thread" in line
        assert "3.0 s) and 2 more" in line
        assert "/1 " not in line

    def test_a_short_wait_is_not_worth_a_word(
        self, dispatcher: Dispatcher, caplog: pytest.LogCaptureFixture
    ) -> None:
        exchanges = [
            exchange(dispatcher, "/slow", held=100.0),
            exchange(dispatcher, "/next", waited=1.0),
        ]  # fmt: skip
        SaturationWatch(1).look(exchanges, NOW)
        assert messages(caplog.records) == []

    def test_busy_threads_are_not_worth_a_word_while_nobody_waits(
        self, dispatcher: Dispatcher, caplog: pytest.LogCaptureFixture
    ) -> None:
        SaturationWatch(1).look([exchange(dispatcher, "/slow", held=100.0)], NOW)
        assert messages(caplog.records) == []

    def test_a_wait_while_nothing_runs_is_the_machines(
        self, dispatcher: Dispatcher, caplog: pytest.LogCaptureFixture
    ) -> None:
        SaturationWatch(None).look([exchange(dispatcher, "/next", waited=2.0)], NOW)
        assert messages(caplog.records) == []

    async def test_a_wait_while_a_thread_is_free_is_the_machines(
        self, dispatcher: Dispatcher, caplog: pytest.LogCaptureFixture
    ) -> None:
        slow, following = (
            exchange(dispatcher, "/slow", held=2.0),
            exchange(dispatcher, "/next", waited=2.0),
        )
        dispatcher.exchanges = {slow, following}
        dispatcher.tick(NOW)
        assert messages(caplog.records) == []

    async def test_who_was_cut_and_has_not_noticed_holds_a_thread(
        self, dispatcher: Dispatcher, all_busy: None, caplog: pytest.LogCaptureFixture
    ) -> None:
        dispatcher.cut_exchanges = {exchange(dispatcher, "/events", held=9.0)}
        dispatcher.exchanges = {exchange(dispatcher, "/next", waited=2.0)}
        dispatcher.tick(NOW)
        (line,) = messages(caplog.records)
        assert "held by GET /events (1 thread, 9.0 s);" in line

    def test_it_warns_once_per_episode(
        self, dispatcher: Dispatcher, caplog: pytest.LogCaptureFixture
    ) -> None:
        watch = SaturationWatch(1)
        busy = [exchange(dispatcher, "/slow", held=2.0), exchange(dispatcher, "/next", waited=2.0)]
        for later in range(5):
            watch.look(busy, NOW + later)
        assert len(caplog.records) == 1
        watch.look([], NOW + 5)
        watch.look([exchange(dispatcher, "/quick", held=1.0)], NOW + 6)
        for later in range(5):
            watch.look(busy, NOW + 10 + later)
        assert len(caplog.records) == 2

    async def test_a_body_on_the_loop_holds_no_thread(
        self, dispatcher: Dispatcher, all_busy: None, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def blocks() -> AsyncIterator[bytes]:
            yield b""

        streamed = exchange(dispatcher, "/stream", held=100.0)
        offer = AsyncBody(blocks(), Context())
        streamed.iteration = BodyIteration(streamed, offer, dispatcher.watch)
        waiting = exchange(dispatcher, "/next", waited=2.0)
        dispatcher.exchanges = {streamed, exchange(dispatcher, "/slow", held=2.0), waiting}
        dispatcher.tick(NOW)
        (line,) = messages(caplog.records)
        assert "held by GET /slow (1 thread, 2.0 s);" in line

    async def test_a_parked_request_holds_a_thread_if_no_more_may_be_parked(
        self,
        dispatcher: Dispatcher,
        all_busy: None,
        caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        parked = exchange(dispatcher, "/parked", held=100.0)
        kept = exchange(dispatcher, "/kept", held=2.0)
        jobs = [
            SimpleNamespace(request=parked, keeps_thread=False),
            SimpleNamespace(request=kept, keeps_thread=True),
        ]
        monkeypatch.setattr(WorkerThreads, "parked", lambda _: jobs)
        dispatcher.exchanges = {parked, kept, exchange(dispatcher, "/next", waited=2.0)}
        dispatcher.tick(NOW)
        (line,) = messages(caplog.records)
        assert "held by GET /kept (1 thread, 2.0 s);" in line

    def test_where_requests_are_parked_it_says_that_more_may_be(
        self, dispatcher: Dispatcher, caplog: pytest.LogCaptureFixture
    ) -> None:
        exchanges = [
            exchange(dispatcher, "/slow", held=2.0),
            exchange(dispatcher, "/next", waited=2.0),
        ]
        SaturationWatch(1, parks=True).look(exchanges, NOW)
        assert "; raise threads or max_parked, or make" in caplog.text

    def test_the_cure_for_a_busy_executor_is_not_the_option_threads(
        self, dispatcher: Dispatcher, caplog: pytest.LogCaptureFixture
    ) -> None:
        # That option says nothing about an executor, which is its owner's.
        exchanges = [
            exchange(dispatcher, "/slow", held=2.0),
            exchange(dispatcher, "/next", waited=2.0),
        ]
        SaturationWatch(None).look(exchanges, NOW)
        (line,) = messages(caplog.records)
        assert "executor" in line
        assert "raise threads" not in line


class Records(logging.Handler):
    """Lets a test wait for a log record."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._records: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()

    def emit(self, record: logging.LogRecord) -> None:
        self._records.put(record)

    def wait(self) -> str:
        """The next message."""
        return self._records.get(timeout=TIMEOUT).getMessage()


@pytest.fixture
def records() -> Iterator[Records]:
    handler = Records()
    logger = logging.getLogger("asyncwsgi.server")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


# The shortest timeout sets the pace at which a server looks at its requests.
QUICK = 0.05


def test_a_server_whose_threads_are_all_busy_warns_once(
    serve: Serve, client_of: ClientOf, records: Records, caplog: pytest.LogCaptureFixture
) -> None:
    gate = Gate()
    server = serve(gate, threads=2, drain_timeout=QUICK)
    clients = [client_of(server) for _ in range(3)]
    for client in clients[:2]:
        client.request(target="/held?secret=1")
        gate.wait_until_entered()
    clients[2].request("POST", "/held/waiting")
    line = records.wait()
    assert "all 2 worker threads are busy" in line
    assert re.search(r"\b1 request waiting; held by GET /held \(2 threads, [0-9.]+ s\)", line)
    assert "raise threads" in line
    gate.open()
    assert [client.reply().status for client in clients] == [200] * 3
    server.close()
    assert [text for text in messages(caplog.records) if "busy" in text] == [line]


def test_a_server_whose_executor_is_busy_warns(
    serve: Serve, client_of: ClientOf, records: Records
) -> None:
    gate = Gate()
    with ThreadPoolExecutor(1) as executor:
        server = serve(gate, executor=executor, drain_timeout=QUICK)
        clients = [client_of(server) for _ in range(2)]
        clients[0].request(target="/held")
        gate.wait_until_entered()
        clients[1].request(target="/held/waiting")
        assert "held by GET /held (1 thread" in records.wait()
        gate.open()
        assert [client.reply().status for client in clients] == [200] * 2
