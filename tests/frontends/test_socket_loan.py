"""A socket in the hands of who reads a body or sends a response."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator

import pytest

from asyncwsgi.frontends import socket_loan
from asyncwsgi.frontends.socket_loan import LentInput, LentOutput
from tests.client import TIMEOUT

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """The server's end, which does not block, and the client's."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        yield ours, theirs


def read(loan: LentInput, size: int = 100) -> bytes | int:
    """What one read gives; or a number that says why it gives nothing."""
    buffer = bytearray(size)
    count = loan.read_into(memoryview(buffer))
    return bytes(buffer[:count]) if count > 0 else count


def test_no_more_is_read_than_belongs_to_the_body(pair: Pair) -> None:
    ours, theirs = pair
    theirs.sendall(b"bodyGET / HTTP/1.1")
    loan = LentInput(ours.fileno(), 4)
    assert [read(loan, 3), read(loan), read(loan)] == [b"bod", b"y", 0]
    assert (loan.taken_size, loan.left_size) == (4, 0)
    assert ours.recv(100) == b"GET / HTTP/1.1"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_that_is_forked_takes_nothing_and_sends_nothing(pair: Pair) -> None:
    ours, theirs = pair
    theirs.sendall(b"spam")
    loan, output = LentInput(ours.fileno(), 4), LentOutput(ours.fileno())
    child = os.fork()
    if child == 0:
        try:
            os._exit(7 if (read(loan), output.send(b"eggs")) == (0, 0) else 8)
        finally:
            os._exit(9)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert read(loan) == b"spam"
    assert output.send(b"eggs") == 4
    assert theirs.recv(100) == b"eggs"


def test_what_is_not_there_yet_may_come(pair: Pair) -> None:
    ours, theirs = pair
    loan = LentInput(ours.fileno(), 4)
    assert read(loan) == -1
    theirs.sendall(b"spam")
    assert read(loan) == b"spam"


def test_the_wait_ends_when_something_comes(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = pair
    monkeypatch.setattr(socket_loan, "LONGEST_WAIT", TIMEOUT * 1000)
    loan = LentInput(ours.fileno(), 4)
    sender = threading.Thread(target=theirs.sendall, args=[b"spam"])
    sender.start()
    loan.wait()
    assert read(loan) == b"spam"
    sender.join()


def test_the_end_of_the_connection_is_left_to_the_loop(pair: Pair) -> None:
    ours, theirs = pair
    loan = LentInput(ours.fileno(), 4)
    theirs.close()
    assert read(loan) == 0


def test_behind_its_end_nothing_is_read_and_nothing_is_open(pair: Pair) -> None:
    ours, theirs = pair
    theirs.sendall(b"spam")
    number = os.dup(ours.fileno())
    os.close(number)  # the next one that is free
    loan = LentInput(ours.fileno(), 4)
    os.fstat(number)
    loan.end()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)
    loan.end()
    loan.wait()
    assert read(loan) == 0
    assert ours.recv(100) == b"spam"
