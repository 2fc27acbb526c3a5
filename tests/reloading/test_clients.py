"""What a reload is to clients: nothing, unless they listen to a stream without an end."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.client import Client, connect
from tests.loops import LOOPS
from tests.reloading.conftest import Project, has_ended

RELOADS = 10
CLIENTS = 100


def test_a_request_in_flight_is_answered_by_the_code_that_it_came_to(project: Project) -> None:
    project.serve("--graceful-timeout", "1000")
    os.mkfifo(project.directory / "release")
    client = project.connect()
    client.request("GET", "/held")
    project.process.read_until("the application was entered")
    project.reload("two")
    assert project.answers("two")
    (project.directory / "release").open("w").close()
    reply = client.reply()
    assert (reply.status, reply.body, reply.header("Connection")) == (200, b"one", "close")


def test_a_request_in_flight_is_cut_after_graceful_timeout(project: Project) -> None:
    project.serve("--graceful-timeout", "0.1")
    os.mkfifo(project.directory / "release")
    client = project.connect()
    pid = project.pid()
    client.request("GET", "/held")
    project.process.read_until("the application was entered")
    project.reload("two")
    assert client.is_closed()
    assert has_ended(pid)


@pytest.mark.parametrize(
    ("target", "is_closed"), [("/events", False), ("/async-events", True)]
)  # a thread that waits in the application cannot be told
def test_an_event_stream_ends_at_once_and_holds_nothing_up(
    project: Project, target: str, is_closed: bool
) -> None:
    project.serve("--graceful-timeout", "1000")
    pid = project.pid()
    client = project.connect()
    client.request("GET", target)
    assert client.read_line() == b"HTTP/1.1 200 OK\r\n"
    project.reload("two")
    received = client.read_all()
    assert b"data: one" in received
    assert not received.endswith(b"0\r\n\r\n")
    assert has_ended(pid)
    assert (project.directory / "closed").exists() == is_closed


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("is_kept", [False, True], ids=["fresh connections", "kept connections"])
def test_no_request_is_refused_or_lost(project: Project, is_kept: bool, loop: str) -> None:
    options = ("--loop", loop, "--threads", str(CLIENTS), "--no-access-log")
    project.serve(*options)
    is_over = threading.Event()
    ask = ask_on_kept_connections if is_kept else ask_on_fresh_connections
    with ThreadPoolExecutor(CLIENTS) as executor:
        asking = [executor.submit(ask, project, is_over) for _ in range(CLIENTS)]
        try:
            for number in range(RELOADS):
                project.reload(str(number))
        finally:
            is_over.set()
        answers = [answer for future in asking for answer in future.result()]
    assert set(answers) <= {b"one", *(str(number).encode() for number in range(RELOADS))}
    assert len(answers) > CLIENTS * RELOADS


def ask_on_fresh_connections(project: Project, is_over: threading.Event) -> list[bytes]:
    """The answers to one request after the other, each on a connection of its own."""
    answers = []
    while not is_over.is_set():
        reply = project.get("/slow")
        assert reply.status == 200
        answers.append(reply.body)
    return answers


def ask_on_kept_connections(project: Project, is_over: threading.Event) -> list[bytes]:
    """The answers to one request after the other, on one connection until the server closes it."""
    answers: list[bytes] = []
    while not is_over.is_set():
        with connect(project.address) as client:
            answers += _ask_until_closed(client, is_over)
    return answers


def _ask_until_closed(client: Client, is_over: threading.Event) -> list[bytes]:
    answers = []
    while not is_over.is_set():
        reply = client.get("/slow")
        assert reply.status == 200
        answers.append(reply.body)
        if reply.header("Connection") == "close":
            break
    return answers
