"""Which worker accepts from which listeners."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections import Counter
from contextlib import ExitStack
from itertools import chain
from pathlib import Path

import pytest

from asyncwsgi import BindError, Config
from asyncwsgi.server.listeners import open_listeners
from asyncwsgi.supervision.sharing import SharedListeners, close_all, open_shared
from tests.client import connect
from tests.supervision.conftest import Workers

CLIENTS = 64
only_linux = pytest.mark.skipif(sys.platform != "linux", reason="the kernel does not divide")


class TestPlaces:
    listeners = SharedListeners((), divided=((0, 2, 3), (4, 5, 6)), common=(1,))

    @pytest.mark.parametrize("count", range(1, 8))
    def test_each_listener_has_somebody(self, count: int) -> None:
        places = [self.listeners.places(number, count) for number in range(count)]
        assert set(chain.from_iterable(places)) == {0, 1, 2, 3, 4, 5, 6}

    @pytest.mark.parametrize("count", range(1, 8))
    def test_nobody_is_without_one_at_each_address(self, count: int) -> None:
        for number in range(count):
            places = set(self.listeners.places(number, count))
            assert 1 in places
            assert places & {0, 2, 3}
            assert places & {4, 5, 6}

    def test_as_many_workers_as_listeners_have_one_each(self) -> None:
        assert [self.listeners.places(number, 3) for number in range(3)] == [
            [0, 1, 4],
            [1, 2, 5],
            [1, 3, 6],
        ]


@only_linux
class TestSockets:
    def test_there_is_one_for_each_worker_and_tcp_address(self, tmp_path: Path) -> None:
        config = Config(bind=("127.0.0.1:0", f"unix:{tmp_path / 'socket'}"))
        listeners = open_listeners(config)
        copies = open_shared(listeners, 3, config.backlog)
        try:
            shared = SharedListeners.of(listeners, copies)
            assert (shared.divided, shared.common) == (((0, 2, 3),), (1,))
            names = {shared.listeners[place].sock.getsockname() for place in (0, 2, 3)}
            assert names == {listeners[0].address}
        finally:
            close_all([listeners, *copies])

    def test_another_server_is_refused_their_address(self) -> None:
        config = Config(port=0)
        listeners = open_listeners(config)
        copies = open_shared(listeners, 3, config.backlog)
        try:
            with pytest.raises(BindError, match="it is in use"):
                open_listeners(Config(port=listeners[0].sock.getsockname()[1]))
        finally:
            close_all([listeners, *copies])

    def test_one_worker_needs_no_more(self) -> None:
        listeners = open_listeners(Config(port=0))
        try:
            assert open_shared(listeners, 1, 100) == [[]]
        finally:
            close_all([listeners])


@only_linux
def test_kept_connections_are_spread_over_the_workers(workers: Workers) -> None:
    workers.serve(2, "--no-access-log")
    # The first accepts from both sockets until the supervisor has heard of the second. It has when
    # that answers; and what it told the first then comes before the next question.
    for _ in range(2):
        workers.pids(2)
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(workers.project.address)) for _ in range(CLIENTS)]
        for client in clients:
            client.request("GET", "/pid")
        served = Counter(client.reply().body for client in clients)
    # By chance alone one of two has fewer than a fifth once in a million runs.
    assert min(served.values()) > CLIENTS / 5
    assert len(served) == 2


def test_clients_of_a_worker_that_died_are_served_by_the_others(workers: Workers) -> None:
    workers.serve(2, "--no-access-log")
    dead, other = workers.pids(2)
    workers.write_broken()  # so that it has no successor
    os.kill(dead, signal.SIGKILL)
    workers.process.read_until(f"worker {dead} was killed by SIGKILL")
    for _ in range(CLIENTS):
        assert workers.get("/pid").body == str(other).encode()


def test_more_and_fewer_workers_leave_no_client_waiting(workers: Workers) -> None:
    workers.serve(2, "--no-access-log")
    for number, line in [
        (signal.SIGTTIN, " serves\n"),
        (signal.SIGTTIN, " serves\n"),
        (signal.SIGTTOU, "stopping; "),
        (signal.SIGTTOU, "stopping; "),
        (signal.SIGTTOU, "stopping; "),
    ]:
        workers.signal(number)
        workers.process.read_until(line)
        for _ in range(CLIENTS):
            assert workers.get("/pid").status == 200


def test_who_connects_while_all_stop_is_refused(workers: Workers) -> None:
    pipe = workers.make_pipe()
    workers.serve(2, "--graceful-timeout", "30")
    with connect(workers.project.address) as client:
        client.request("GET", "/held")
        workers.process.read_until("the application was entered")
        workers.signal(signal.SIGTERM)
        for _ in range(2):
            workers.process.read_until("stopping; ")
        wait_until_refused(workers)
        pipe.open("w").close()
        assert client.reply().status == 200
    assert workers.process.wait() == 0


def wait_until_refused(workers: Workers) -> None:
    """Connect until that is refused; one of the processes may still be about to close."""
    assert isinstance(workers.project.address, tuple)
    while True:
        try:
            socket.create_connection(workers.project.address, timeout=30).close()
        except ConnectionRefusedError:
            return
        except ConnectionResetError:
            pass  # it closed in this moment
