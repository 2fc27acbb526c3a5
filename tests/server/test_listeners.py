"""Where a server listens: every form of ``host``, ``port`` and ``bind``."""

from __future__ import annotations

import errno
import json
import os
import re
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from asyncwsgi import BindError, Config, ConfigError, Server
from asyncwsgi.server.listeners import Listener, open_listeners
from tests.apps import hello, show_environ
from tests.conftest import Serve
from tests.server.helpers import Address, aget, descriptors, get, refuses


def environ_at(address: Address) -> dict[str, Any]:
    environ: dict[str, Any] = json.loads(get(address).body)
    return environ


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    """A TCP socket of the test's own that listens on 127.0.0.1."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        yield sock


def is_free_in_ipv4(port: int) -> bool:
    with socket.socket() as sock:
        # Connections of another test may still be remembered on that port.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def open_bind(*bind: str) -> list[Listener]:
    return open_listeners(Config(bind=bind))


class TestTCP:
    def test_port_0_takes_a_free_port(self, serve: Serve) -> None:
        first, second = serve(hello, port=0), serve(hello, port=0)
        assert first.port != second.port
        assert [get(server.addresses[0]).status for server in (first, second)] == [200, 200]

    @pytest.mark.parametrize(
        "options",
        [
            pytest.param({"host": "127.0.0.1", "port": 0}, id="host and port"),
            pytest.param({"bind": "127.0.0.1:0"}, id="bind"),
        ],
    )
    def test_an_ipv4_address(self, serve: Serve, options: dict[str, Any]) -> None:
        server = serve(show_environ, **options)
        environ = environ_at(("127.0.0.1", server.port))
        assert server.url == f"http://127.0.0.1:{server.port}"
        assert (environ["SERVER_NAME"], environ["REMOTE_ADDR"]) == ("127.0.0.1", "127.0.0.1")
        assert environ["SERVER_PORT"] == str(server.port)

    @pytest.mark.parametrize(
        "options",
        [
            pytest.param({"host": "::1", "port": 0}, id="host and port"),
            pytest.param({"bind": "[::1]:0"}, id="bind"),
        ],
    )
    def test_an_ipv6_address(self, serve: Serve, options: dict[str, Any]) -> None:
        server = serve(show_environ, **options)
        environ = environ_at(("::1", server.port))
        assert server.url == f"http://[::1]:{server.port}"
        # RFC 3875 4.1.14: an IPv6 server name has brackets; 4.1.8: a client's address has none.
        assert (environ["SERVER_NAME"], environ["REMOTE_ADDR"]) == ("[::1]", "::1")

    @pytest.mark.parametrize(
        "options",
        [
            pytest.param({"host": "localhost", "port": 0}, id="host and port"),
            pytest.param({"bind": "localhost:0"}, id="bind"),
        ],
    )
    def test_localhost_is_both_families_on_one_port(
        self, serve: Serve, options: dict[str, Any]
    ) -> None:
        # Clients try ::1 first and do not all fall back to 127.0.0.1.
        server = serve(hello, **options)
        assert server.addresses == (("127.0.0.1", server.port), ("::1", server.port))
        assert [get(address).status for address in server.addresses] == [200, 200]

    def test_localhost_needs_its_port_on_both_families(self) -> None:
        with socket.socket(socket.AF_INET6) as taken:
            taken.bind(("::1", 0))
            taken.listen()
            before = descriptors()
            with pytest.raises(BindError, match="in use"):
                open_bind(f"localhost:{taken.getsockname()[1]}")
            assert descriptors() == before

    @pytest.mark.parametrize(
        ("bind", "reached_at"),
        [
            pytest.param("0.0.0.0:0", "127.0.0.1", id="all of IPv4"),
            pytest.param(":0", "127.0.0.1", id="no host"),
            pytest.param("[::]:0", "::1", id="all of IPv6"),
        ],
    )
    def test_the_url_of_a_wildcard_can_be_connected_to(
        self, serve: Serve, bind: str, reached_at: str
    ) -> None:
        server = serve(hello, bind=bind)
        host = f"[{reached_at}]" if ":" in reached_at else reached_at
        assert server.url == f"http://{host}:{server.port}"
        assert get((reached_at, server.port)).status == 200

    def test_all_of_ipv6_leaves_the_port_free_in_ipv4(self, serve: Serve) -> None:
        # Another program may have one of these ports in IPv4, and hardly all of them.
        assert any(is_free_in_ipv4(serve(hello, bind="[::]:0").port) for _ in range(5))

    def test_an_address_given_twice_is_in_use(self) -> None:
        # Linux lets two sockets bind one address, and refuses only the second that listens;
        # uvloop reports that to its exception handler alone, so no loop may be left to find out.
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            port = sock.getsockname()[1]
        before = descriptors()
        with pytest.raises(BindError, match="in use"):
            open_bind(f"127.0.0.1:{port}", f"127.0.0.1:{port}")
        assert descriptors() == before

    def test_an_address_of_another_machine_is_refused(self) -> None:
        # RFC 5737: 192.0.2.0/24 is for documentation; no machine has it.
        with pytest.raises(BindError, match=r"192\.0\.2\.1 port 80: no address of this machine"):
            open_bind("192.0.2.1:80")

    @pytest.mark.parametrize(
        "host",
        [
            pytest.param("fe80::1%nowhere", id="an unknown scope"),
            pytest.param("a..b", id="an empty label"),
            pytest.param("a" * 64, id="a label that is too long"),
        ],
    )
    def test_a_host_that_cannot_be_resolved_is_refused(self, host: str) -> None:
        with pytest.raises(BindError, match=f"cannot listen on '{host}'"):
            open_listeners(Config(host=host))


class TestUnix:
    @pytest.mark.parametrize("form", ["unix:{}", "unix://{}"])
    def test_a_path(self, serve: Serve, tmp_path: Path, form: str) -> None:
        path = str(tmp_path / "socket")
        server = serve(show_environ, bind=form.format(path))
        assert (server.addresses, server.server.url) == ((path,), f"unix:{path}")
        environ = environ_at(path)
        assert (environ["REMOTE_ADDR"], environ["SERVER_NAME"]) == ("", "localhost")

    def test_a_relative_path(
        self, serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        serve(hello, bind="unix:socket")
        assert get(str(tmp_path / "socket")).status == 200

    def test_there_is_no_port(self, serve: Serve, tmp_path: Path) -> None:
        server = serve(hello, bind=f"unix:{tmp_path}/socket")
        with pytest.raises(LookupError, match="no TCP port"):
            _ = server.port

    def test_the_file_is_removed_at_the_end(self, serve: Serve, tmp_path: Path) -> None:
        path = tmp_path / "socket"
        server = serve(hello, bind=f"unix:{path}")
        assert stat.S_ISSOCK(path.stat().st_mode)
        server.close()
        assert not path.exists()

    def test_the_file_of_a_server_that_is_gone_is_replaced(
        self, serve: Serve, tmp_path: Path
    ) -> None:
        path = str(tmp_path / "socket")
        with socket.socket(socket.AF_UNIX) as gone:
            gone.bind(path)
            gone.listen()
        serve(hello, bind=f"unix:{path}")
        assert get(path).status == 200

    def test_the_path_of_a_running_server_is_refused(self, serve: Serve, tmp_path: Path) -> None:
        path = str(tmp_path / "socket")
        serve(hello, bind=f"unix:{path}")
        with pytest.raises(BindError, match="a running server listens there; stop it or choose"):
            open_bind(f"unix:{path}")
        assert get(path).status == 200

    def test_a_file_that_is_no_socket_is_refused_and_left_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "socket"
        path.write_text("precious")
        with pytest.raises(BindError, match="a file is there that is no socket"):
            open_bind(f"unix:{path}")
        assert path.read_text() == "precious"

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            pytest.param("missing/socket", "no such directory; make it or", id="no directory"),
            pytest.param("link", "a link that leads nowhere; remove it or", id="a dangling link"),
            pytest.param("x" * 200, "path too long", id="too long for the system"),
        ],
    )
    def test_a_path_that_cannot_be_had_is_refused(
        self, tmp_path: Path, name: str, message: str
    ) -> None:
        (tmp_path / "link").symlink_to("nowhere")
        before = descriptors()
        with pytest.raises(BindError, match=message):
            open_bind(f"unix:{tmp_path}/{name}")
        assert descriptors() == before

    def test_one_that_is_not_allowed_is_refused_without_a_word_of_ports(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def bind(_sock: socket.socket, _address: str) -> None:
            raise PermissionError(errno.EACCES, "Permission denied")  # root never sees it

        monkeypatch.setattr(socket.socket, "bind", bind)
        with pytest.raises(BindError, match="not allowed; choose a path at which this user may"):
            open_bind(f"unix:{tmp_path}/socket")

    def test_the_file_of_another_server_at_the_same_path_stays(
        self, serve: Serve, tmp_path: Path
    ) -> None:
        path = tmp_path / "socket"
        old = serve(hello, bind=f"unix:{path}")
        path.unlink()
        serve(show_environ, bind=f"unix:{path}")
        old.close()
        assert b"REQUEST_METHOD" in get(str(path)).body

    def test_a_file_that_was_removed_meanwhile_does_not_matter(
        self, serve: Serve, tmp_path: Path
    ) -> None:
        path = tmp_path / "socket"
        server = serve(hello, bind=f"unix:{path}")
        path.unlink()
        server.close()


class TestInheritedDescriptor:
    def test_it_is_served_and_stays_with_its_owner(
        self, serve: Serve, listening: socket.socket
    ) -> None:
        address = listening.getsockname()
        for _ in range(2):
            server = serve(hello, bind=f"fd://{listening.fileno()}")
            assert server.addresses == (address,)
            assert get(address).status == 200
            server.close()
            assert listening.getsockname() == address

    def test_clients_that_come_between_two_servers_are_served_by_the_second(
        self, serve: Serve, listening: socket.socket
    ) -> None:
        bind = f"fd://{listening.fileno()}"
        serve(hello, bind=bind).close()
        with socket.create_connection(listening.getsockname(), 10) as early:
            early.sendall(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
            serve(hello, bind=bind)
            assert early.recv(12) == b"HTTP/1.1 200"

    def test_the_file_of_a_unix_socket_stays(self, serve: Serve, tmp_path: Path) -> None:
        path = str(tmp_path / "socket")
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(path)
            for _ in range(2):
                server = serve(hello, bind=f"fd://{sock.fileno()}")
                assert (server.addresses, get(path).status) == ((path,), 200)
                server.close()

    def test_one_that_is_bound_and_does_not_listen_yet_will(self, serve: Serve) -> None:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            serve(hello, bind=f"fd://{sock.fileno()}")
            assert get(sock.getsockname()).status == 200

    def test_it_does_not_become_blocking_for_who_else_serves_it(
        self, listening: socket.socket
    ) -> None:
        # The loop of another process would hang in its next accept.
        listening.setblocking(False)
        for listener in open_bind(f"fd://{listening.fileno()}"):
            assert not os.get_blocking(listening.fileno())
            listener.close()
        assert not os.get_blocking(listening.fileno())

    def test_one_that_is_not_open_is_refused(self) -> None:
        with pytest.raises(BindError, match="fd://9999: Bad file descriptor"):
            open_bind("fd://9999")

    def test_a_file_is_refused_and_stays_with_its_owner(self, tmp_path: Path) -> None:
        with (tmp_path / "file").open("w") as file:
            before = descriptors()
            with pytest.raises(BindError, match="expected an open, bound socket"):
                open_bind(f"fd://{file.fileno()}")
            assert descriptors() == before

    def test_a_datagram_socket_is_refused(self) -> None:
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            before = descriptors()
            with pytest.raises(BindError, match="expected a stream socket"):
                open_bind(f"fd://{sock.fileno()}")
            assert descriptors() == before

    def test_a_connected_socket_is_refused(self) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            before = descriptors()
            with pytest.raises(BindError, match=f"fd://{ours.fileno()}"):
                open_bind(f"fd://{ours.fileno()}")
            assert descriptors() == before


class TestSeveral:
    def test_all_of_them_are_served(self, serve: Serve, tmp_path: Path) -> None:
        path = str(tmp_path / "socket")
        server = serve(hello, bind=(f"unix:{path}", "127.0.0.1:0", "[::1]:0"))
        (_, four), (_, six) = tcp = [a for a in server.addresses if not isinstance(a, str)]
        assert server.addresses == (path, *tcp)
        assert server.server.urls == (
            f"unix:{path}",
            f"http://127.0.0.1:{four}",
            f"http://[::1]:{six}",
        )
        assert [get(address).status for address in server.addresses] == [200, 200, 200]

    def test_url_is_the_first_and_port_the_first_of_tcp(self, serve: Serve, tmp_path: Path) -> None:
        server = serve(hello, bind=[f"unix:{tmp_path}/socket", "127.0.0.1:0", "127.0.0.1:0"])
        assert server.server.url == f"unix:{tmp_path}/socket"
        assert server.port == server.server.sockets[1].getsockname()[1]

    def test_sockets_are_in_the_order_of_the_options(self, serve: Serve, tmp_path: Path) -> None:
        server = serve(hello, bind=("[::1]:0", f"unix:{tmp_path}/socket", "127.0.0.1:0"))
        families = [sock.family for sock in server.server.sockets]
        assert families == [socket.AF_INET6, socket.AF_UNIX, socket.AF_INET]

    def test_bind_takes_the_place_of_host_and_port(
        self, serve: Serve, listening: socket.socket
    ) -> None:
        port = listening.getsockname()[1]
        assert serve(hello, port=port, bind="127.0.0.1:0").port != port

    async def test_none_stays_open_if_one_cannot_be_had(self, tmp_path: Path) -> None:
        path = tmp_path / "socket"
        before = descriptors()
        with pytest.raises(BindError):
            await Server(hello, bind=("127.0.0.1:0", f"unix:{path}", "fd://9999")).start()
        assert descriptors() == before
        assert not path.exists()

    async def test_where_it_listened_is_still_known_afterwards(self) -> None:
        async with Server(hello, bind=("127.0.0.1:0", "[::1]:0")) as server:
            addresses, urls = server.addresses, server.urls
            assert (await aget(addresses[1])).status == 200
        assert (server.addresses, server.urls) == (addresses, urls)
        assert all(refuses(address) for address in addresses)


@pytest.mark.parametrize(
    "bind",
    [
        pytest.param("", id="nothing"),
        pytest.param("8000", id="only a port"),
        pytest.param("127.0.0.1", id="no port"),
        pytest.param("127.0.0.1:", id="an empty port"),
        pytest.param("127.0.0.1:-1", id="a negative port"),
        pytest.param("127.0.0.1:65536", id="too large a port"),
        pytest.param("127.0.0.1:http", id="a service for a port"),
        pytest.param("::1:80", id="IPv6 without brackets"),
        pytest.param("[::1]", id="IPv6 without a port"),
        pytest.param("http://127.0.0.1:80", id="a URL"),
        pytest.param("fd://", id="no descriptor"),
        pytest.param("fd://one", id="a word for a descriptor"),
        pytest.param("unix:", id="no path"),
    ],
)
async def test_any_other_form_is_refused_with_those_there_are(bind: str) -> None:
    forms = "expected HOST:PORT, [IPV6]:PORT, unix:PATH or fd://N"
    with pytest.raises(ConfigError, match=re.escape(f"cannot bind {bind!r}: {forms}")):
        await Server(hello, bind=bind).start()


def test_closing_a_listener_twice_does_no_harm(tmp_path: Path) -> None:
    (listener,) = open_bind(f"unix:{tmp_path}/socket")
    listener.close()
    listener.close()
    assert list(tmp_path.iterdir()) == []
