"""The system may refuse a thread below our limit: a container's pids.max, want of memory."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from asyncwsgi.errors import WorkersBusy
from tests.conftest import Serve
from tests.http.helpers import ClientOf, Gate, Paths, messages
from tests.requests.helpers import Pool


@pytest.fixture
def refuse_threads(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Have the system refuse worker threads from now on."""
    start = threading.Thread.start

    def start_unless_worker(thread: threading.Thread) -> None:
        if thread.name.startswith("asyncwsgi-worker-"):
            raise RuntimeError("can't start new thread")
        start(thread)

    return lambda: monkeypatch.setattr(threading.Thread, "start", start_unless_worker)


async def test_a_job_waits_for_the_threads_that_are_there(
    refuse_threads: Callable[[], None],
) -> None:
    pool = Pool()
    release = threading.Event()
    (held,) = await pool.hold(1, release)
    refuse_threads()
    job = pool.submit()
    release.set()
    await job.has_ended()
    assert job.thread == held.thread
    await pool.workers.stop()


async def test_without_any_thread_a_job_is_refused(refuse_threads: Callable[[], None]) -> None:
    pool = Pool()
    refuse_threads()
    with pytest.raises(WorkersBusy, match="can't start new thread"):
        pool.submit()
    await pool.workers.stop()


def test_a_request_is_refused_and_the_next_one_served(
    serve: Serve,
    client_of: ClientOf,
    refuse_threads: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = serve(Paths())
    client = client_of(server)
    refuse_threads()
    reply = client.get("/refused")
    assert (reply.status, reply.header("Retry-After")) == (503, "1")
    assert client.is_closed()
    (line,) = messages(caplog.records)
    assert "can't start new thread" in line
    assert "traceback" not in line
    monkeypatch.undo()
    assert client_of(server).get("/served").body == b"/served"


def test_pipelined_requests_are_served_by_the_threads_that_are_there(
    serve: Serve, client_of: ClientOf, refuse_threads: Callable[[], None]
) -> None:
    gate = Gate()
    server = serve(gate)
    held, client = client_of(server), client_of(server)
    held.request(target="/held")
    gate.wait_until_entered()
    refuse_threads()
    for target in ("/one", "/two"):
        client.request(target=target)
    gate.open()
    assert [client.reply().body for _ in range(2)] == [b"/one", b"/two"]
    assert held.reply().body == b"/held"
