"""``port="auto"``, and what is said of a port in use."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from asyncwsgi import BindError, Config, ConfigError
from asyncwsgi.server import listeners
from asyncwsgi.server.listeners import Listener, open_listeners

Take = Callable[..., int]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def take(stack: ExitStack) -> Take:
    """Listens where a server may want to."""

    def take(host: str = "127.0.0.1", port: int = 0) -> int:
        sock = stack.enter_context(socket.create_server((host, port), family=_family(host)))
        return int(sock.getsockname()[1])

    return take


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def port_of(listener: Listener) -> int:
    return int(listener.sock.getsockname()[1])


@pytest.fixture
def open_auto(stack: ExitStack, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Listener]]:
    """Opens the listeners of ``port="auto"``, which begins to look at a port that is given."""

    def open_auto(first: int, host: str = "127.0.0.1") -> list[Listener]:
        monkeypatch.setattr(listeners, "FIRST_PORT", first)
        opened = open_listeners(Config(host=host, port="auto"))
        for listener in opened:
            stack.callback(listener.close)
        return opened

    return open_auto


def test_auto_is_the_first_free_port(take: Take, open_auto: Callable[..., list[Listener]]) -> None:
    port = take()
    (listener,) = open_auto(port)
    assert port < port_of(listener)
    with socket.create_connection(listener.sock.getsockname()):
        pass


@pytest.mark.parametrize("taken", ["127.0.0.1", "::1"])
def test_auto_on_localhost_is_free_in_both_families(
    take: Take, open_auto: Callable[..., list[Listener]], taken: str
) -> None:
    port = take(taken)
    four, six = open_auto(port, "localhost")
    assert port < port_of(four) == port_of(six)


def test_auto_is_never_one_that_another_program_has_bound_and_listens_at_first(
    stack: ExitStack,
    open_auto: Callable[..., list[Listener]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = stack.enter_context(socket.socket())
    other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    other.bind(("127.0.0.1", 0))
    port = other.getsockname()[1]
    bind = listeners._open_tcp

    def bind_and_be_late(host: str, port: int) -> list[Listener]:
        opened = bind(host, port)
        other.listen()
        return opened

    monkeypatch.setattr(listeners, "_open_tcp", bind_and_be_late)
    (listener,) = open_auto(port)
    assert port < port_of(listener)


def test_auto_does_not_go_on_for_what_no_port_would_change(
    open_auto: Callable[..., list[Listener]],
) -> None:
    with pytest.raises(BindError, match="no address of this machine"):
        open_auto(8000, "192.0.2.1")


def test_other_words_are_no_port() -> None:
    with pytest.raises(ConfigError, match="port must be an int, got 'any'"):
        Config(port="any")


@pytest.mark.parametrize(
    ("host", "taken"),
    [
        pytest.param("127.0.0.1", "127.0.0.1", id="an address"),
        pytest.param("localhost", "::1", id="two addresses"),
    ],
)
def test_a_port_in_use_names_a_free_one(take: Take, host: str, taken: str) -> None:
    port = take(taken)
    with pytest.raises(BindError) as caught:
        open_listeners(Config(host=host, port=port))
    match = re.fullmatch(
        f"cannot listen on {host} port {port}: it is in use; stop the other program or choose "
        "another port \\(([0-9]+) is free; --port auto finds it\\)",
        str(caught.value),
    )
    assert match is not None
    assert int(match[1]) > port


def test_a_port_in_use_names_none_if_none_is_near(
    take: Take, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = take()
    monkeypatch.setattr(listeners, "LARGEST_PORT", port)
    with pytest.raises(BindError, match=r"choose another port \(--port 0 takes a free one\)$"):
        open_listeners(Config(port=port))
