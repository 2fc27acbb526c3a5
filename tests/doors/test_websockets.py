"""WebSockets of libraries that take the client's socket, at each door and on each transport."""

from __future__ import annotations

import queue
import shutil
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import simple_websocket
import socketio
from wsproto import ConnectionType

from asyncwsgi import serve_in_thread
from asyncwsgi.testing import LiveServer
from tests.client import TIMEOUT, Client, connect
from tests.doors import chat
from tests.doors.processes import Process, address_of, replace
from tests.server.certificates import Certificates


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@dataclass
class Place:
    """Where a server listens, and how its clients come to it."""

    address: tuple[str, int] | str
    tls: ssl.SSLContext | None
    interrupt: Callable[[], int] | None = None
    """Does what Ctrl+C does to its process; the exit code."""

    def connect(self) -> Client:
        return connect(self.address, self.tls)

    def url(self, scheme: str) -> str:
        port = 80 if isinstance(self.address, str) else self.address[1]
        return f"{scheme}{'s' if self.tls else ''}://localhost:{port}"


class OverUnixSocket(simple_websocket.Client):  # type: ignore[misc]
    """Its client, which knows hosts and ports, over the path of a socket."""

    def __init__(self, client: Client, path: str) -> None:
        self.host, self.path = "localhost", path
        self.subprotocols: list[str] = []
        self.extra_headeers: list[str] = []
        simple_websocket.ws.Base.__init__(self, client.sock, ConnectionType.CLIENT)


def websocket(place: Place, path: str) -> simple_websocket.Client:
    if isinstance(place.address, str):
        return OverUnixSocket(place.connect(), path)
    return simple_websocket.Client(place.url("ws") + path, ssl_context=place.tls)


class Guest:
    """A client of Flask-SocketIO's, which keeps what it hears."""

    def __init__(self, place: Place) -> None:
        self.heard: queue.Queue[str] = queue.Queue()
        client = place.connect()
        self.client = socketio.Client(
            reconnection=False, websocket_extra_options={"socket": client.sock}
        )
        self.client.on("said", self.heard.put)
        self.client.connect(place.url("http"), transports=["websocket"], wait_timeout=TIMEOUT)


Door = Callable[[Path, Certificates, str], Any]


def command(*flags: str) -> Door:
    """The command line, in a process of its own."""

    @contextmanager
    def door(directory: Path, certificates: Certificates, transport: str) -> Iterator[Place]:
        app = Path(shutil.copy(chat.__file__, directory / "app.py"))
        where = ["--bind", f"unix:{directory}/s"] if transport == "Unix" else ["--port", "0"]
        if transport == "TLS":
            where += ["--certfile", certificates.files.both]
        process = Process("-m", "asyncwsgi", *flags, *where, f"{app}:app", directory=directory)
        try:
            address = address_of(process.urls()[0])
            # Flask-SocketIO asks by what command it is imported, as `app.run()` does.
            assert "ignored run()" not in process.log
            yield Place(address, tls_of(certificates, transport), process.interrupt)
        finally:
            process.close()

    return door


@contextmanager
def live_server(_: Path, certificates: Certificates, transport: str) -> Iterator[Place]:
    options: dict[str, Any] = {}
    if transport == "TLS":
        options["ssl_context"] = certificates.server_context()
    # Engine.IO has threads of its own, which stay.
    with LiveServer(
        chat.make_app(), unix_socket=transport == "Unix", leaks="ignore", **options
    ) as server:
        yield Place(server.addresses[0], tls_of(certificates, transport))


@contextmanager
def in_thread(directory: Path, certificates: Certificates, transport: str) -> Iterator[Place]:
    options: dict[str, Any] = {"port": 0}
    if transport == "Unix":
        options = {"bind": f"unix:{directory}/s"}
    elif transport == "TLS":
        options["ssl_context"] = certificates.server_context()
    with serve_in_thread(chat.make_app(), **options) as server:
        yield Place(server.addresses[0], tls_of(certificates, transport))


def tls_of(certificates: Certificates, transport: str) -> ssl.SSLContext | None:
    return certificates.client_context() if transport == "TLS" else None


@pytest.fixture(params=["TCP", "TLS", "Unix"])
def transport(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(
    params=[
        pytest.param(command(), id="command line"),
        pytest.param(command("--reload"), id="--reload"),
        pytest.param(command("--debug"), id="--debug"),
        pytest.param(live_server, id="LiveServer"),
        pytest.param(in_thread, id="serve_in_thread"),
    ]
)
def place(
    request: pytest.FixtureRequest, tmp_path: Path, certificates: Certificates, transport: str
) -> Iterator[Place]:
    with request.param(tmp_path, certificates, transport) as place:
        yield place


def test_both_libraries_speak_and_do_not_keep_the_server_from_stopping(place: Place) -> None:
    with ExitStack() as stack:
        ws = websocket(place, "/echo")
        for message in ("hello", "ünïcode", "x" * 100_000, b"bytes"):
            ws.send(message)
            assert ws.receive(timeout=TIMEOUT) == message
        one, other = Guest(place), Guest(place)
        for guest in (one, other):
            stack.callback(guest.client.disconnect)
        assert one.client.call("say", "hello", timeout=TIMEOUT) == "HELLO"
        assert other.heard.get(timeout=TIMEOUT) == "hello"
        if place.interrupt is not None:
            assert place.interrupt() == 0
            with pytest.raises(simple_websocket.ConnectionClosed):
                ws.receive(timeout=TIMEOUT)


def test_a_reload_replaces_who_has_open_sockets(tmp_path: Path, certificates: Certificates) -> None:
    with command("--reload")(tmp_path, certificates, "TCP") as place:
        ws = websocket(place, "/echo")
        ws.send("hello")
        assert ws.receive(timeout=TIMEOUT) == "hello"
        replace(tmp_path / "app.py", 'VERSION = "first"', 'VERSION = "second"')
        with pytest.raises(simple_websocket.ConnectionClosed):
            ws.receive(timeout=TIMEOUT)
        with place.connect() as client:
            assert client.get("/version").body == b"second"
        again = websocket(place, "/echo")
        again.send("hello")
        assert again.receive(timeout=TIMEOUT) == "hello"
        assert place.interrupt is not None
        assert place.interrupt() == 0
