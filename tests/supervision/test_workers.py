"""``asyncwsgi --workers N``: several processes serve, and are replaced."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from tests.client import connect
from tests.reloading.conftest import has_ended
from tests.reloading.test_clients import ask_on_fresh_connections, ask_on_kept_connections
from tests.supervision.conftest import Workers

CLIENTS = 4
REPLACEMENTS = 3


class TestWorkers:
    def test_as_many_serve_as_were_asked_for(self, workers: Workers) -> None:
        workers.serve(3)
        assert len(workers.pids(3)) == 3
        assert workers.get("/multiprocess").body == b"True"

    @pytest.mark.parametrize("options", [[], ["--preload"]], ids=["started", "forked"])
    def test_their_log_lines_name_them(self, workers: Workers, options: list[str]) -> None:
        workers.serve(1, *options)
        pid = workers.get().body.decode()
        assert f" [{pid}] INFO " in workers.process.read_until("GET / HTTP/1.1")

    def test_one_that_dies_is_replaced(self, workers: Workers) -> None:
        workers.serve(2)
        dead, other = workers.pids(2)
        os.kill(dead, signal.SIGKILL)
        workers.process.read_until(f"worker {dead} was killed by SIGKILL")
        workers.wait_until_served()
        pids = workers.pids(2)
        assert len(pids) == 2
        assert other in pids
        assert dead not in pids

    def test_a_first_import_that_fails_ends_all_at_once(self, workers: Workers) -> None:
        workers.write_broken()
        workers.project.start("--workers", "3")
        assert workers.process.wait() == 3
        assert workers.process.log.count("Traceback") == 1

    def test_if_none_can_be_started_any_more_the_error_says_so(self, workers: Workers) -> None:
        workers.serve(1, in_haste=True)
        (pid,) = workers.pids(1)
        workers.write_broken()
        os.kill(pid, signal.SIGKILL)
        assert workers.process.wait() == 3
        assert "no worker can be started, and none is left; giving up" in workers.process.log
        assert workers.process.log.count("another worker is started in") > 1

    def test_the_death_of_the_supervisor_ends_them(self, workers: Workers) -> None:
        workers.serve(2)
        pids = workers.pids(2)
        workers.signal(signal.SIGKILL)
        assert all(map(has_ended, pids))


class TestSignals:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_one_ends_all_behind_the_request_in_flight(
        self, workers: Workers, number: signal.Signals
    ) -> None:
        pipe = workers.make_pipe()
        workers.serve(2, "--graceful-timeout", "30")
        pids = workers.pids(2)
        with connect(workers.project.address) as client:
            client.request("GET", "/held")
            workers.process.read_until("the application was entered")
            workers.process.send_signal_to_group(number)
            workers.process.read_until("stopping; ")
            pipe.open("w").close()
            assert client.reply().status == 200
        assert workers.process.wait() == 0
        assert all(map(has_ended, pids))

    def test_a_second_cuts(self, workers: Workers) -> None:
        workers.make_pipe()
        workers.serve(2, "--graceful-timeout", "30")
        with connect(workers.project.address) as client:
            client.request("GET", "/held")
            workers.process.read_until("the application was entered")
            workers.signal(signal.SIGTERM)
            workers.process.read_until("stopping; 1 request in flight")
            workers.signal(signal.SIGTERM)
            assert client.read_all() == b""
        assert workers.process.wait() == 128 + signal.SIGTERM

    def test_sigttin_and_sigttou_change_how_many_serve(self, workers: Workers) -> None:
        workers.serve(1)
        before = workers.pids(1)
        workers.signal(signal.SIGTTIN)
        workers.wait_until_served()
        pids = workers.pids(2)
        assert pids > before
        workers.signal(signal.SIGTTOU)
        workers.process.read_until("stopping; ")
        (ended,) = pids - before
        assert has_ended(ended)  # the newest
        workers.signal(signal.SIGTTOU)
        workers.process.read_until("now 1 worker")
        assert workers.pids(1) == before

    def test_sigusr1_prints_what_each_does(self, workers: Workers) -> None:
        pipe = workers.make_pipe()
        workers.serve(2)
        with connect(workers.project.address) as client:
            client.request("GET", "/held?a=b")
            with pipe.open("w"):  # who opens the other end is there
                workers.signal(signal.SIGUSR1)
                workers.process.read_until("1 connection (1 responding), 1 request in flight")
                head = workers.process.read_until("/held")
                assert head.endswith(" s running GET /held?a=b")
                workers.process.read_until("web.py")
            assert client.reply().status == 200


class TestReplacement:
    def test_takes_all_and_new_code(self, workers: Workers) -> None:
        workers.serve(2)
        pids = workers.pids(2)
        workers.write("two")
        workers.signal(signal.SIGHUP)
        workers.wait_until_served(2)
        assert all(map(has_ended, pids))
        assert workers.get("/version").body == b"two"

    def test_is_one_by_one_and_each_serves_before_another_drains(self, workers: Workers) -> None:
        workers.serve(3)
        workers.pids(3)
        workers.signal(signal.SIGHUP)
        workers.process.read_until("replacing all workers")
        before = len(workers.process.log)
        for _ in range(3):
            workers.process.read_until("stopping; ")
        told = workers.process.log[before:]
        assert re.findall("serves|stopping", told) == ["serves", "stopping"] * 3

    def test_keeps_a_connection_until_it_has_carried_an_answer_that_says_so(
        self, workers: Workers
    ) -> None:
        workers.serve(1, "--graceful-timeout", "30")
        with connect(workers.project.address) as client:
            old = client.get()
            assert old.header("Connection") != "close"
            workers.signal(signal.SIGHUP)
            workers.process.read_until("stopping; ")
            last = client.get()
            assert (last.body, last.header("Connection")) == (old.body, "close")
            assert client.is_closed()
        assert has_ended(int(old.body))

    def test_ends_a_connection_that_carries_none_with_graceful_timeout(
        self, workers: Workers
    ) -> None:
        workers.serve(1, "--graceful-timeout", "0.2")
        with connect(workers.project.address) as client:
            pid = int(client.get().body)
            workers.signal(signal.SIGHUP)
            assert client.is_closed()
        assert has_ended(pid)
        workers.signal(signal.SIGTERM)
        assert workers.process.wait() == 0
        assert "cut after graceful_timeout" not in workers.process.log

    def test_by_code_that_fails_leaves_the_old(self, workers: Workers) -> None:
        workers.serve(2)
        pids = workers.pids(2)
        workers.write_broken()
        workers.signal(signal.SIGHUP)
        workers.process.read_until("the new code does not serve; the code from before goes on")
        assert workers.pids(2) == pids
        workers.write("two")
        workers.signal(signal.SIGHUP)
        assert all(map(has_ended, pids))
        assert workers.get("/version").body == b"two"

    @pytest.mark.parametrize(
        "is_kept", [False, True], ids=["fresh connections", "kept connections"]
    )
    def test_refuses_no_connection_and_loses_no_request(
        self, workers: Workers, is_kept: bool
    ) -> None:
        workers.serve(2, "--no-access-log", "--graceful-timeout", "30")
        with asking(workers, is_kept=is_kept) as answers:
            for _ in range(REPLACEMENTS):
                workers.signal(signal.SIGHUP)
                for _ in range(2):
                    workers.process.read_until("stopping; ")
        assert len(answers) > CLIENTS * REPLACEMENTS

    def test_of_those_that_have_served_enough_loses_nothing(self, workers: Workers) -> None:
        options = ("--max-requests", "5", "--max-requests-jitter", "5", "--no-access-log")
        workers.serve(2, *options, "--graceful-timeout", "30")
        with asking(workers, is_kept=False):
            for _ in range(REPLACEMENTS):
                workers.process.read_until("is replaced: it has served ")
                workers.process.read_until("stopping; ")

    def test_of_those_that_take_too_much_memory(self, workers: Workers) -> None:
        workers.serve(1, "--max-worker-memory", "1000000")
        pid = int(workers.get().body)
        workers.process.read_until("of max_worker_memory 1000000")
        assert has_ended(pid)


class TestHangingWorkers:
    def test_one_whose_loop_does_not_answer_is_replaced(self, workers: Workers) -> None:
        workers.serve(1, "--worker-timeout", "3")
        (pid,) = workers.pids(1)
        with connect(workers.project.address) as client:
            client.request("GET", "/hold-loop")
            workers.process.read_until(f"the loop of worker {pid} has not answered")
            workers.process.read_until(f"worker {pid} was killed by SIGABRT")
            assert "in hold_loop" in workers.process.log  # it has said where it stood
            workers.wait_until_served()
            assert client.read_all() == b""
        assert workers.pids(1) != {pid}

    def test_one_whose_view_is_stuck_is_not(self, workers: Workers) -> None:
        pipe = workers.make_pipe()
        timeout = 3.0  # a busy machine may keep any process waiting for a second
        workers.serve(1, "--worker-timeout", str(timeout))
        with connect(workers.project.address) as client:
            client.request("GET", "/held")
            workers.process.read_until("the application was entered")
            until = time.monotonic() + 1.5 * timeout
            while time.monotonic() < until:
                workers.get()
            pipe.open("w").close()
            assert client.reply().status == 200

    def test_one_that_was_told_to_end_is_not(self, workers: Workers) -> None:
        workers.serve(1, "--worker-timeout", "1")
        workers.get("/linger")
        workers.signal(signal.SIGTERM)
        assert workers.process.wait() == 0
        assert "has not answered" not in workers.process.log


class TestWithReload:
    def test_a_change_replaces_all(self, workers: Workers) -> None:
        workers.serve(2, "--reload")
        pids = workers.pids(2)
        workers.project.wait_until_watched()
        workers.write("two")
        workers.process.read_until("reloading: web.py changed")
        workers.wait_until_served(2)
        assert all(map(has_ended, pids))
        assert workers.get("/version").body == b"two"

    def test_code_that_fails_leaves_the_old_until_a_change(self, workers: Workers) -> None:
        workers.serve(2, "--reload")
        pids = workers.pids(2)
        workers.project.wait_until_watched()
        workers.write_broken()
        workers.process.read_until("the new code does not serve; the code from before goes on")
        assert workers.pids(2) == pids
        workers.write("two")
        workers.wait_until_served(2)
        assert all(map(has_ended, pids))

    def test_one_that_dies_is_replaced(self, workers: Workers) -> None:
        workers.serve(2, "--reload")
        dead, _ = workers.pids(2)
        os.kill(dead, signal.SIGKILL)
        workers.wait_until_served()
        assert len(workers.pids(2)) == 2


@contextmanager
def asking(workers: Workers, *, is_kept: bool) -> Iterator[list[bytes]]:
    """Clients that ask all the time, and what they are answered, once it is over."""
    is_over = threading.Event()
    ask = ask_on_kept_connections if is_kept else ask_on_fresh_connections
    answers: list[bytes] = []
    with ThreadPoolExecutor(CLIENTS) as executor:
        futures = [executor.submit(ask, workers.project, is_over) for _ in range(CLIENTS)]
        try:
            yield answers
        finally:
            is_over.set()
        answers += [answer for future in futures for answer in future.result()]
