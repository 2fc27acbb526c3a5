"""Worker threads and executors as a server uses them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from asyncwsgi.testing import HungApplication
from tests.apps import hello
from tests.client import TIMEOUT
from tests.conftest import Serve
from tests.http.helpers import ClientOf, Gate, Paths, messages
from tests.requests.helpers import worker_threads

if TYPE_CHECKING:
    from wsgiref.types import StartResponse


class TestWorkerThreads:
    def test_a_thread_starts_with_the_first_request_and_not_before(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        others = worker_threads()
        client = client_of(serve(hello))
        client.send(b"GET / HTTP/1.1\r\n")
        assert worker_threads() <= others
        client.send(b"Host: test\r\n\r\n")
        assert client.reply().status == 200
        assert len(worker_threads() - others) == 1

    def test_one_thread_does_for_one_client(self, serve: Serve, client_of: ClientOf) -> None:
        others = worker_threads()
        client = client_of(serve(hello))
        assert {client.get().status for _ in range(50)} == {200}
        assert len(worker_threads() - others) == 1

    def test_requests_run_in_as_many_threads_as_there_may_be(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        gate = Gate()
        server = serve(gate, threads=3)
        clients = [client_of(server) for _ in range(5)]
        for client in clients:
            client.request(target="/held")
        for _ in range(3):
            gate.wait_until_entered()
        assert not gate.entered.acquire(blocking=False)
        gate.open()
        assert [client.reply().status for client in clients] == [200] * 5

    def test_no_thread_is_left_when_the_server_has_stopped(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        others = worker_threads()
        gate = Gate()
        server = serve(gate)
        clients = [client_of(server) for _ in range(5)]
        for client in clients:
            client.request(target="/held")
            gate.wait_until_entered()
        gate.open()
        assert [client.reply().status for client in clients] == [200] * 5
        server.close()
        assert worker_threads() <= others

    def test_a_server_does_not_wait_for_an_application_that_hangs(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        others = worker_threads()
        gate = Gate()
        server = serve(gate, graceful_timeout=0)
        client = client_of(server)
        client.request(target="/held")
        gate.wait_until_entered()
        with pytest.raises(HungApplication):
            server.close()
        (thread,) = worker_threads() - others
        assert thread.daemon  # so the process can end
        gate.open()
        thread.join(TIMEOUT)
        assert not thread.is_alive()

    def test_idle_threads_end(self, serve: Serve, client_of: ClientOf) -> None:
        others = worker_threads()
        client = client_of(serve(hello, thread_idle_timeout=0.05))
        assert client.get().status == 200
        for thread in worker_threads() - others:
            thread.join(TIMEOUT)
        assert worker_threads() <= others
        assert client.get().status == 200


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2, thread_name_prefix="my-thread") as executor:
        yield executor


def thread_name(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [threading.current_thread().name.encode()]


class TestExecutor:
    def test_it_runs_the_application_in_place_of_worker_threads(
        self, serve: Serve, client_of: ClientOf, executor: ThreadPoolExecutor
    ) -> None:
        others = worker_threads()
        client = client_of(serve(thread_name, executor=executor))
        assert client.get().body.startswith(b"my-thread")
        assert client.get().body.startswith(b"my-thread")
        assert worker_threads() <= others

    def test_it_stays_its_owners_when_the_server_stops(
        self, serve: Serve, client_of: ClientOf, executor: ThreadPoolExecutor
    ) -> None:
        server = serve(hello, executor=executor)
        assert client_of(server).get().status == 200
        server.close()
        assert executor.submit(int, "7").result(TIMEOUT) == 7

    def test_servers_can_share_it(
        self, serve: Serve, client_of: ClientOf, executor: ThreadPoolExecutor
    ) -> None:
        servers = [serve(thread_name, executor=executor) for _ in range(2)]
        assert all(client_of(server).get().body.startswith(b"my-") for server in servers)

    def test_requests_beyond_the_queue_are_refused(
        self,
        serve: Serve,
        client_of: ClientOf,
        executor: ThreadPoolExecutor,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        gate = Gate()
        server = serve(gate, executor=executor, queue_size=2)
        clients = [client_of(server) for _ in range(2)]
        for client in clients:
            client.request(target="/held")
            gate.wait_until_entered()
        reply = client_of(server).get("/held")
        gate.open()
        assert (reply.status, reply.header("Retry-After")) == (503, "1")
        assert [client.reply().status for client in clients] == [200, 200]
        (line,) = messages(caplog.records)
        assert "2 requests are with the executor" in line

    def test_requests_are_refused_when_it_was_shut_down(
        self,
        serve: Serve,
        client_of: ClientOf,
        executor: ThreadPoolExecutor,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        app = Paths()
        client = client_of(serve(app, executor=executor))
        executor.shutdown()
        reply = client.get()
        assert (reply.status, reply.header("Retry-After")) == (503, "1")
        assert client.is_closed()
        assert app.calls == []
        (line,) = messages(caplog.records)
        assert "the executor takes no more requests" in line
        assert "traceback" not in line

    def test_a_request_that_it_cancels_is_answered(
        self, serve: Serve, client_of: ClientOf, executor: ThreadPoolExecutor
    ) -> None:
        # Executor.shutdown(cancel_futures=True): what waits will never run.
        gate = Gate()
        server = serve(gate, executor=executor)
        held = [client_of(server) for _ in range(2)]
        for client in held:
            client.request(target="/held")
            gate.wait_until_entered()
        waiting, refused = client_of(server), client_of(server)
        waiting.request(target="/waiting")
        refused.send(b"spam\r\n\r\n")
        assert refused.reply().status == 400  # so the loop has submitted the one before
        executor.shutdown(wait=False, cancel_futures=True)
        gate.open()
        assert [client.reply().status for client in held] == [200, 200]
        assert waiting.reply().status == 503
        assert waiting.is_closed()

    def test_a_request_is_answered_whose_thread_could_not_be_initialized(
        self, serve: Serve, client_of: ClientOf, caplog: pytest.LogCaptureFixture
    ) -> None:
        def fail() -> None:
            raise ValueError("spam")

        app = Paths()
        with ThreadPoolExecutor(1, initializer=fail) as executor:
            server = serve(app, executor=executor)
            for _ in range(2):  # the second finds it broken
                client = client_of(server)
                reply = client.get()
                assert (reply.status, reply.header("Retry-After")) == (503, "1")
                assert client.is_closed()
        assert app.calls == []
        of_server = [record for record in caplog.records if record.name == "asyncwsgi.server"]
        lines = messages(of_server)
        assert any("the executor has not run a request: BrokenThreadPool(" in x for x in lines)
        assert any("the executor takes no more requests: A thread init" in x for x in lines)

    def test_a_request_that_was_refused_is_not_run_later(
        self, serve: Serve, client_of: ClientOf, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # A ThreadPoolExecutor queues a job first, and then starts a thread for it.
        app = Paths()
        gate = Gate(app)
        with ThreadPoolExecutor(2, thread_name_prefix="my-thread") as executor:
            server = serve(gate, executor=executor)
            held = client_of(server)
            held.request(target="/held")
            gate.wait_until_entered()
            with monkeypatch.context() as patched:
                patched.setattr(threading.Thread, "start", refuse_to_start)
                assert client_of(server).get("/refused").status == 503
            gate.open()
            assert held.reply().status == 200
            assert client_of(server).get("/served").status == 200
        assert app.calls == ["GET /held", "GET /served"]

    def test_a_request_that_was_refused_and_is_run_all_the_same_is_answered(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        class Undecided(ThreadPoolExecutor):
            def submit(self, function: Any, /, *args: Any, **options: Any) -> Any:
                super().submit(function, *args, **options).result(TIMEOUT)
                raise RuntimeError("can't start new thread")

        with Undecided(1) as executor:
            client = client_of(serve(Paths(), executor=executor))
            assert [client.get(path).body for path in ("/one", "/two")] == [b"/one", b"/two"]

    def test_a_request_is_answered_whatever_its_submission_raises(
        self, serve: Serve, client_of: ClientOf, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Full(Executor):
            def submit(self, function: Any, /, *args: Any, **options: Any) -> Any:
                raise queue.Full("the pool has 7 tasks")

        assert client_of(serve(Paths(), executor=Full())).get().status == 503
        (line,) = messages(caplog.records)
        assert "the executor takes no more requests: the pool has 7 tasks" in line
        assert "traceback" not in line


def refuse_to_start(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")
