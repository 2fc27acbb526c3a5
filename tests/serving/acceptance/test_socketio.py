"""Flask-SocketIO in its threading mode: long polls, and WebSockets where `werkzeug.socket` is."""

from __future__ import annotations

import json
import queue
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
import simple_websocket
import socketio

from tests.client import TIMEOUT, Client, connect
from tests.doors.processes import Process, address_of

PROGRAM = Path(__file__).parent / "programs" / "chat.py"
SILENT = 30
"""Clients that wait for news; many more than there are threads in a common pool."""

NUMBERS = 16
PING, PONG = "2", "3"
"""A packet of Engine.IO 4 that may come at any time, and what has to follow within 20 seconds."""


@pytest.fixture
def chat() -> Iterator[Process]:
    process = Process(str(PROGRAM), directory=PROGRAM.parent)
    try:
        yield process
    finally:
        process.close()


@pytest.fixture
def url(chat: Process) -> str:
    return chat.read_until(" * Running on ").rpartition(" ")[2]


class Guest:
    """A client of the chat, which keeps what it hears."""

    def __init__(self, url: str, transport: str) -> None:
        self.heard: queue.Queue[str] = queue.Queue()
        self.client = socketio.Client(reconnection=False)
        self.client.on("said", self.heard.put)
        self.client.connect(url, transports=[transport], wait_timeout=TIMEOUT)

    def say(self, text: str) -> object:
        return self.client.call("say", text, timeout=TIMEOUT)

    def hear(self) -> str:
        return self.heard.get(timeout=TIMEOUT)


class Polling:
    """A client on the wire: a session of Engine.IO 4 over polling."""

    def __init__(self, url: str) -> None:
        self._client = connect(address_of(url))
        self._target = f"/socket.io/?EIO=4&transport=polling&sid={open_session(self._client)}"
        self._packets: list[str] = []

    def send(self, packet: str) -> None:
        assert self._client.post(self._target, packet.encode()).body == b"OK"

    def receive(self) -> str:
        while not self._packets:
            for packet in self._client.get(self._target).body.decode().split("\x1e"):
                if packet == PING:
                    self.send(PONG)
                else:
                    self._packets.append(packet)
        return self._packets.pop(0)

    def close(self) -> None:
        self._client.close()


class WebSocket:
    """A client on the wire: a session of Engine.IO 4 over a WebSocket."""

    def __init__(self, url: str) -> None:
        ws_url = f"ws{url.removeprefix('http')}/socket.io/?EIO=4&transport=websocket"
        # Byte by byte: a packet that it receives together with the end of the response's head is
        # kept back until it receives again, which may be the server's next ping.
        self._client = simple_websocket.Client(ws_url, receive_bytes=1)
        assert self.receive().startswith("0{")
        self.send("40")
        assert self.receive().startswith("40{")

    def send(self, packet: str) -> None:
        self._client.send(packet)

    def receive(self) -> str:
        while True:
            packet = self._client.receive(timeout=TIMEOUT)
            assert isinstance(packet, str)
            if packet != PING:
                return packet
            self.send(PONG)

    def close(self) -> None:
        self._client.close()


@pytest.fixture(params=["polling", "websocket"])
def transport(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def guests(chat: Process, url: str, transport: str) -> Iterator[tuple[Guest, Guest]]:
    with ExitStack() as stack:

        def come() -> Guest:
            guest = Guest(url, transport)
            stack.callback(guest.client.disconnect)
            return guest

        yield come(), come()
        # A client that closes a WebSocket first waits three seconds for the answer, which its
        # other thread has read.
        chat.close()


def peers(url: str) -> tuple[int, int]:
    """How many requests the program has seen, and on how many connections."""
    with connect(address_of(url)) as client:
        seen = json.loads(client.get("/peers").body)
    return seen["requests"], seen["connections"]


def test_what_one_says_the_others_hear(guests: tuple[Guest, Guest]) -> None:
    one, other = guests
    for text in ("hello", "ünïcode", "x" * 100_000):
        assert one.say(text) == text.upper()
        assert other.hear() == text


@pytest.mark.parametrize("wire_class", [Polling, WebSocket])
def test_what_a_thread_of_the_application_sends_arrives_in_order(
    url: str, wire_class: type[Polling | WebSocket]
) -> None:
    # On the wire: a client of the library has a thread for each packet, which may mix them up.
    with ExitStack() as stack:
        wires = [stack.enter_context(closing(wire_class(url))) for _ in range(2)]
        for wire in wires:
            wire.send(f'42["count",{NUMBERS}]')
            for one in wires:
                heard = [one.receive() for _ in range(NUMBERS)]
                assert heard == [f'42["number",{number}]' for number in range(NUMBERS)]


def test_polls_share_the_connections_of_their_client(url: str) -> None:
    guest = Guest(url, "polling")
    try:
        for _ in range(20):
            assert guest.say("hello") == "HELLO"
    finally:
        guest.client.disconnect()
    requests, connections = peers(url)
    assert requests >= 40
    # One that polls, one that sends, one of `peers`; and one for a client that had to reconnect.
    assert connections <= 4


def test_clients_that_wait_for_news_keep_no_one_else_waiting(url: str) -> None:
    with ExitStack() as stack:
        silent = [stack.enter_context(connect(address_of(url))) for _ in range(SILENT)]
        sessions = [open_session(client) for client in silent]
        for client, session in zip(silent, sessions, strict=True):
            client.request("GET", f"/socket.io/?EIO=4&transport=polling&sid={session}")
        guest = Guest(url, "polling")
        stack.callback(guest.client.disconnect)
        assert guest.say("news") == "NEWS"
        for client in silent:
            assert client.reply().body == b'42["said","news"]'


def open_session(client: Client) -> str:
    """Shake hands as Engine.IO 4 over polling does, all on this one connection; the session."""
    opened = client.get("/socket.io/?EIO=4&transport=polling").body
    session: str = json.loads(opened.removeprefix(b"0"))["sid"]
    target = f"/socket.io/?EIO=4&transport=polling&sid={session}"
    assert client.post(target, b"40").body == b"OK"
    assert client.get(target).body.startswith(b"40{")
    return session


def test_an_interrupt_ends_it_while_clients_wait(chat: Process, url: str) -> None:
    with connect(address_of(url)) as client:
        session = open_session(client)
        client.request("GET", f"/socket.io/?EIO=4&transport=polling&sid={session}")
        peers(url)
        assert chat.interrupt() == 0
