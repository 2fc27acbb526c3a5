"""How clients get from a listener to their connections, and what becomes of them if they cannot."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import logging
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from asyncwsgi import ConfigError, Server
from asyncwsgi.config import Loop
from asyncwsgi.frontends.http import HttpConnection
from asyncwsgi.server.accepting import most_at_once
from tests.apps import hello, show_environ
from tests.client import Client, connect
from tests.doors.processes import Process
from tests.loops import LOOPS
from tests.server.helpers import FOREVER, Address, aget, connected, get, soon, turns

ROOT = Path(__file__).parents[2]
SHORTAGE = "new clients have to wait: "
END_OF_SHORTAGE = "new clients are accepted again"

Tries = asyncio.Queue[socket.socket]
Accept = Callable[[socket.socket], tuple[socket.socket, Any]]

FEWEST = most_at_once(0)


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    """A socket of the test's own, which holds clients until a server accepts them."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen(100)
        yield sock


@pytest.fixture
def arrive() -> Iterator[Callable[[Address], Client]]:
    """Clients that have connected and sent a request; they leave when the test ends."""
    with ExitStack() as stack:

        def arrive(address: Address) -> Client:
            client = stack.enter_context(connect(address))
            client.request()
            return client

        yield arrive


def server_on(*listening: socket.socket, **options: Any) -> Server:
    """A server on duplicates of sockets."""
    return Server(hello, bind=tuple(f"fd://{sock.fileno()}" for sock in listening), **options)


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.fixture
def sockets(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The server's ends of connections."""
    found: list[Any] = []

    class Noting(HttpConnection):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            found.append(transport.get_extra_info("socket"))
            super().connection_made(transport)

    monkeypatch.setattr(Server, "connection_class", Noting)
    return found


class TestAnAcceptedSocket:
    async def test_is_not_inherited_by_other_programs(self, sockets: list[Any]) -> None:
        async with connected(hello) as (_, client):
            client.request()
            await asyncio.to_thread(client.reply)
            assert not os.get_inheritable(sockets[0].fileno())  # PEP 446

    @pytest.mark.parametrize("bind", ["127.0.0.1:0", "[::1]:0", "fd"])
    async def test_sends_the_second_block_before_the_first_is_acknowledged(
        self, sockets: list[Any], listening: socket.socket, bind: str
    ) -> None:
        if bind == "fd":
            bind = f"fd://{listening.fileno()}"
        async with connected(hello, bind=bind) as (_, client):
            client.request()
            await asyncio.to_thread(client.reply)
            assert sockets[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    async def test_does_so_if_it_was_accepted_elsewhere(
        self, sockets: list[Any], listening: socket.socket, arrive: Callable[[Address], Client]
    ) -> None:
        client = arrive(listening.getsockname())
        async with Server(hello, port=0) as server:
            server.adopt(listening.accept()[0])
            await asyncio.to_thread(client.reply)
            assert sockets[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    @pytest.mark.skipif(not Path("/proc/net/unix").exists(), reason="Linux has abstract sockets")
    async def test_may_be_of_an_abstract_unix_socket(
        self, arrive: Callable[[Address], Client], tmp_path: Path
    ) -> None:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(f"\0{tmp_path}")
            listening.listen()
            async with server_on(listening):
                client = arrive(f"\0{tmp_path}")
                assert (await asyncio.to_thread(client.reply)).status == 200


@pytest.mark.parametrize(
    ("connected", "accepted"), [(0, 16), (255, 16), (1000, 62), (5000, 256), (100_000, 256)]
)
def test_a_turn_that_serves_many_accepts_more(connected: int, accepted: int) -> None:
    assert most_at_once(connected) == accepted


async def test_who_is_connected_has_a_turn_while_many_connect(
    monkeypatch: pytest.MonkeyPatch,
    listening: socket.socket,
    arrive: Callable[[Address], Client],
) -> None:
    turn = 0
    turns_of_clients: list[int] = []

    async def count_turns() -> None:
        nonlocal turn
        while True:
            await asyncio.sleep(0)
            turn += 1

    class Noting(HttpConnection):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            turns_of_clients.append(turn)

    monkeypatch.setattr(Server, "connection_class", Noting)
    clients = [arrive(listening.getsockname()) for _ in range(3 * FEWEST)]
    counting = asyncio.create_task(count_turns())
    await turns()
    async with server_on(listening):
        for client in clients:
            assert (await asyncio.to_thread(client.reply)).status == 200
    counting.cancel()
    assert max(map(turns_of_clients.count, turns_of_clients)) <= FEWEST


class TestAClientThatHasLeft:
    """It is no error, and those behind it are served."""

    async def test_before_it_was_accepted(
        self, listening: socket.socket, caplog: pytest.LogCaptureFixture
    ) -> None:
        connect(listening.getsockname()).reset()
        async with server_on(listening) as server:
            assert (await aget(server.addresses[0])).status == 200
        assert warnings_of(caplog) == []

    async def test_while_it_was_accepted(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(socket.socket, "accept", failing_once(ConnectionAbortedError()))
        async with Server(hello, port=0) as server:
            assert (await aget(server.addresses[0])).status == 200
        assert warnings_of(caplog) == []

    # asyncio's transport is half made then, and its destructor complains.
    @pytest.mark.filterwarnings("ignore:unclosed transport:ResourceWarning")
    async def test_while_its_transport_was_made(
        self,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
        arrive: Callable[[Address], Client],
    ) -> None:
        def setsockopt(*_: Any) -> None:
            raise OSError(errno.EINVAL, "Invalid argument")  # as macOS does then

        async with Server(hello, port=0) as server:
            with monkeypatch.context() as patch:
                patch.setattr(socket.socket, "setsockopt", setsockopt)
                client = arrive(server.addresses[0])
                with contextlib.suppress(ConnectionResetError):
                    await asyncio.to_thread(client.file.peek)  # uvloop asks the system itself
            assert (await aget(server.addresses[0])).status == 200
        gc.collect()
        assert warnings_of(caplog) == []

    async def test_before_it_was_adopted(self, listening: socket.socket) -> None:
        connect(listening.getsockname()).reset()
        async with Server(hello, port=0) as server:
            server.adopt(listening.accept()[0])
            assert (await aget(server.addresses[0])).status == 200


async def test_a_client_without_a_protocol_is_closed_and_the_program_hears_why(
    monkeypatch: pytest.MonkeyPatch, arrive: Callable[[Address], Client]
) -> None:
    contexts: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: contexts.append(context))
    async with Server(hello, port=0) as server:
        with monkeypatch.context() as patch:
            patch.setattr(server, "connection_class", lambda _: 1 // 0)
            client = arrive(server.addresses[0])
            with contextlib.suppress(ConnectionResetError):  # the request was not read
                assert await asyncio.to_thread(client.is_closed)
        assert (await aget(server.addresses[0])).status == 200
    assert [type(context["exception"]) for context in contexts] == [ZeroDivisionError]


def failing_once(error: OSError) -> Accept:
    """What replaces `socket.accept`: the first call finds `error`."""
    errors = [error]
    accept = socket.socket.accept

    def accept_next(self: socket.socket) -> tuple[socket.socket, Any]:
        if errors:
            raise errors.pop()
        return accept(self)

    return accept_next


# The limit falls when the server has served once, and opens no more files for that.
PROGRAM = """
import resource, sys
from asyncwsgi import run
from tests.apps import hello

def limit(environ, start_response):
    if environ["PATH_INFO"] == "/limit":
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (32, most))
    return hello(environ, start_response)

raise SystemExit(run(limit, port=0, loop=sys.argv[1], access_log=False))
"""


@pytest.fixture
def scarcity(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Tries]:
    """From the call on, accepting fails with an errno; gives the listeners that were tried."""

    def begin(number: int) -> Tries:
        tried: Tries = asyncio.Queue()

        def accept(self: socket.socket) -> tuple[socket.socket, Any]:
            tried.put_nowait(self)
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(socket.socket, "accept", accept)
        return tried

    return begin


class TestOutOfDescriptors:
    @pytest.mark.parametrize("loop", LOOPS)
    def test_clients_wait_and_are_served_when_others_have_left(
        self, loop: Loop, arrive: Callable[[Address], Client]
    ) -> None:
        program = Process("-c", PROGRAM, loop, directory=ROOT)
        try:
            first = program.connect()
            assert first.get("/limit").status == 200
            address = first.sock.getpeername()
            clients = [first, *(arrive(address) for _ in range(60))]
            first.request()
            assert "the limit (ulimit -n" in program.read_until(SHORTAGE)
            for client in clients:
                assert client.reply().status == 200
                client.close()
            program.read_until(END_OF_SHORTAGE)
            assert get(address).status == 200
            program.interrupt()
        finally:
            program.close()
        said = [line for line in program.log.splitlines() if "clients" in line]
        assert len(said) == 2, "each once"
        assert len(program.log.splitlines()) == 4, "besides that, the start and the stop"

    @pytest.mark.parametrize(
        ("number", "cure"),
        [
            (errno.EMFILE, "raise the limit (ulimit -n, LimitNOFILE= of systemd)"),
            (errno.ENFILE, "raise fs.file-max"),
            (errno.ENOBUFS, "no memory left for sockets"),
            (errno.ENOMEM, "no memory left for sockets"),
            pytest.param(errno.EINVAL, "accept() fails: Invalid argument", id="something else"),
        ],
    )
    async def test_there_is_no_busy_loop_and_one_line_for_all_listeners(
        self,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
        scarcity: Callable[[int], Tries],
        arrive: Callable[[Address], Client],
        number: int,
        cure: str,
    ) -> None:
        monkeypatch.setattr("asyncwsgi.server.accepting.PAUSE", FOREVER)
        async with Server(hello, bind=("127.0.0.1:0", "127.0.0.1:0")) as server:
            tried = scarcity(number)
            for address in server.addresses:
                arrive(address)
            await turns()
            assert tried.qsize() == 1
            (warning,) = warnings_of(caplog)
            assert warning.startswith(SHORTAGE)
            assert cure in warning

    async def test_a_shortage_that_goes_on_is_not_told_again(
        self,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
        scarcity: Callable[[int], Tries],
        arrive: Callable[[Address], Client],
    ) -> None:
        monkeypatch.setattr("asyncwsgi.server.accepting.CALM", FOREVER)
        async with Server(hello, port=0) as server:
            tried = scarcity(errno.EMFILE)
            arrive(server.addresses[0])
            for _ in range(3):
                await soon(tried.get())
            assert len(warnings_of(caplog)) == 1

    async def test_the_last_descriptor_is_no_shortage_yet(
        self,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
        listening: socket.socket,
        arrive: Callable[[Address], Client],
    ) -> None:
        # Linux wants a descriptor before it looks whether there is a client at all.
        accept = socket.socket.accept

        def accept_with_the_last(self: socket.socket) -> tuple[socket.socket, Any]:
            monkeypatch.setattr(socket.socket, "accept", accept_without)
            return accept(self)

        def accept_without(self: socket.socket) -> tuple[socket.socket, Any]:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

        monkeypatch.setattr(socket.socket, "accept", accept_with_the_last)
        client = arrive(listening.getsockname())
        async with server_on(listening):
            assert (await asyncio.to_thread(client.reply)).status == 200
        assert warnings_of(caplog) == []

    async def test_behind_a_stop_nothing_more_is_tried_or_said(
        self,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
        scarcity: Callable[[int], Tries],
        arrive: Callable[[Address], Client],
    ) -> None:
        for name in ("PAUSE", "CALM"):
            monkeypatch.setattr(f"asyncwsgi.server.accepting.{name}", 0)
        async with Server(hello, port=0) as server:
            tried = scarcity(errno.EMFILE)
            arrive(server.addresses[0])
            await soon(tried.get())
            await server.stop_accepting()
            so_far = tried.qsize(), warnings_of(caplog)
            await turns()
            assert (tried.qsize(), warnings_of(caplog)) == so_far


class TestClientsThatConnectedBeforeTheStop:
    """And were not accepted yet: the kernel would reset them if the listener just closed."""

    @pytest.fixture(autouse=True)
    def nobody_is_accepted_before(self, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
        monkeypatch.setattr("asyncwsgi.server.accepting.most_at_once", lambda _: 0)
        return monkeypatch

    async def test_are_served(self, tmp_path: Path, arrive: Callable[[Address], Client]) -> None:
        bind = ("127.0.0.1:0", f"unix:{tmp_path}/socket")
        async with Server(hello, bind=bind) as server:
            clients = [arrive(address) for address in server.addresses * (FEWEST + 1)]
            await soon(server.shutdown())
        for client in clients:
            reply = await asyncio.to_thread(client.reply)
            assert (reply.status, reply.header("Connection")) == (200, "close")

    async def test_are_left_to_a_successor(
        self,
        nobody_is_accepted_before: pytest.MonkeyPatch,
        listening: socket.socket,
        arrive: Callable[[Address], Client],
    ) -> None:
        async with server_on(listening) as server:
            client = arrive(listening.getsockname())
            await soon(server.shutdown(has_successor=True))
        nobody_is_accepted_before.undo()
        async with Server(show_environ, bind=f"fd://{listening.fileno()}"):
            assert b"REQUEST_METHOD" in (await asyncio.to_thread(client.reply)).body


class LoopWithoutReadiness(asyncio.SelectorEventLoop):
    """As Windows' proactor: it has no `add_reader`, and its own `create_server` needs none."""

    def add_reader(self, *_: Any) -> None:  # type: ignore[override]
        raise NotImplementedError


def test_a_loop_that_cannot_watch_a_listener_accepts_by_itself() -> None:
    async def main() -> None:
        async with Server(hello, port=0) as server:
            assert (await aget(server.addresses[0])).status == 200
            address = server.addresses[0]
        with pytest.raises(ConnectionRefusedError):
            await aget(address)

    with asyncio.Runner(loop_factory=LoopWithoutReadiness) as runner:
        runner.run(main())


class LoopThatTakesItsTime(asyncio.SelectorEventLoop):
    """It waits more than once for the transport of an accepted client."""

    async def connect_accepted_socket(self, *args: Any, **options: Any) -> Any:
        for _ in range(2):
            waiter = self.create_future()
            self.call_soon(waiter.set_result, None)
            await waiter
        return await super().connect_accepted_socket(*args, **options)


def test_a_transport_may_take_as_many_steps_as_the_loop_likes() -> None:
    async def main() -> None:
        async with Server(hello, port=0) as server:
            assert (await aget(server.addresses[0])).status == 200

    with asyncio.Runner(loop_factory=LoopThatTakesItsTime) as runner:
        runner.run(main())


def test_a_loop_that_cannot_watch_a_listener_reads_no_proxy_headers() -> None:
    async def main() -> None:
        server = Server(hello, port=0, proxy_protocol=True, proxy_protocol_allow_ips="*")
        with pytest.raises(ConfigError, match="proxy_protocol needs a loop that watches sockets"):
            await server.start()

    with asyncio.Runner(loop_factory=LoopWithoutReadiness) as runner:
        runner.run(main())
