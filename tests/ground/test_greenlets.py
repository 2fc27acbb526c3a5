"""What is known of a process that gevent or eventlet has patched. Neither is needed here."""

from __future__ import annotations

import queue
import socket
import threading
from typing import Any

import pytest

from asyncwsgi.greenlets import patching_library, thread_queue


def replace(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, home: str) -> None:
    """Do to a name of the library what patching does: what is there comes from elsewhere."""

    def green(*args: Any) -> Any:
        return plain(*args)

    plain = getattr(owner, name)
    green.__module__ = home
    monkeypatch.setattr(owner, name, green)


def test_a_process_that_is_not_patched() -> None:
    assert patching_library() is None


@pytest.mark.parametrize(
    ("owner", "name", "home"),
    [
        (threading, "get_ident", "gevent.thread"),
        (threading, "get_ident", "eventlet.green.thread"),
        (socket, "socket", "gevent._socket3"),
        (socket, "socket", "eventlet.greenio.base"),
    ],
)
def test_who_has_replaced_threads_or_sockets_is_known(
    monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, home: str
) -> None:
    replace(monkeypatch, owner, name, home)
    assert patching_library() == home.partition(".")[0]


def test_sockets_that_somebody_else_has_replaced_do_not_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    replace(monkeypatch, socket, "socket", "pytest_socket")
    assert patching_library() is None


def test_threads_wait_at_a_queue_of_threads_whatever_was_put_in_its_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # gevent.monkey.patch_all(thread=False) leaves threads what they are, and replaces this.
    plain = queue.SimpleQueue
    replace(monkeypatch, socket, "socket", "gevent._socket3")
    replace(monkeypatch, queue, "SimpleQueue", "gevent._gevent_cqueue")
    assert type(thread_queue()) is plain


def test_greenlets_wait_at_a_queue_that_is_made_of_their_locks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    replace(monkeypatch, threading, "get_ident", "gevent.thread")
    assert type(thread_queue()) is queue.Queue
