"""Listening sockets: TCP, Unix and inherited ones. Bound here, served elsewhere."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import re
import socket
import stat
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from asyncwsgi.config import AUTO, FIRST_PORT, LARGEST_PORT, octal
from asyncwsgi.errors import BindError, ConfigError
from asyncwsgi.trusted_peers import address_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from asyncwsgi.config import Config

Address = tuple[str, int] | str

_TCP = re.compile(r"(?:\[(?P<ipv6>[0-9A-Fa-f:.%\w]+)\]|(?P<host>[^\[\]:/]*)):(?P<port>[0-9]{1,5})")
_UNIX = re.compile(r"unix:(?://)?(.+)")
_DESCRIPTOR = re.compile(r"fd://([0-9]+)")
_UWSGI = re.compile(r"uwsgi(?:://(?P<tcp>.*)|\+(?P<other>(?:unix|fd):.*))")
_LOCALHOST = ("127.0.0.1", "::1")
_PORT_TRIES = 20
_FAMILIES_MISSING = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)


@dataclass(slots=True)
class Listener:
    """One bound socket and what is left to do when it is done with."""

    sock: socket.socket
    name: str
    """What it was asked for as, for messages."""
    clean_up: Callable[[], None] = field(default=lambda: None)
    is_uwsgi: bool = False
    """Whether its clients speak the uwsgi protocol, and not HTTP."""
    asked: tuple[str, int] | None = None
    """The host and the port that were asked for, if it is one of TCP."""

    @property
    def bind(self) -> str:
        """What a process that inherits it serves it by."""
        form = f"fd://{self.sock.fileno()}"
        return f"uwsgi+{form}" if self.is_uwsgi else form

    is_inherited: bool = False
    """Whether it was opened by whoever started the process."""

    @property
    def is_unix(self) -> bool:
        return self.sock.family == getattr(socket, "AF_UNIX", None)

    @property
    def address(self) -> Address:
        """(host, port), or the path of a Unix socket."""
        name = self.sock.getsockname()
        return str(name) if self.is_unix else (str(name[0]), int(name[1]))

    def close(self) -> None:
        """Close the socket; remove the file of a Unix socket of ours."""
        self.sock.close()
        self.clean_up()


def open_listeners(config: Config) -> list[Listener]:
    """Bind every listener of `config`; all of them or none.

    Raises:
        BindError: an address cannot be had.
        ConfigError: a ``bind`` that is none of the known forms.
    """
    listeners: list[Listener] = []
    try:
        if not config.bind:
            listeners += _open_host(config)
        for bind in config.bind:
            listeners += _open_bind(bind)
        _check_uwsgi(listeners, config)
        if config.socket_mode is not None:
            _set_mode(listeners, octal(config.socket_mode, "socket_mode"))
        for listener in listeners:
            _listen(listener, config.backlog)
    except BaseException:
        for listener in listeners:
            listener.close()
        raise
    return listeners


def open_copies(listener: Listener, count: int, backlog: int) -> list[Listener]:
    """More sockets that listen where `listener` does, among which the kernel divides the clients.

    There are none for Unix sockets, for inherited ones, and where the kernel does not divide.

    Whose client is to be whose is settled when it connects; clients in the queue of a socket that
    closes are reset. So whoever has them keeps them open.
    """
    if listener.is_unix or listener.is_inherited or not sys.platform.startswith("linux"):
        return []
    # Only now: bound without it, the first socket was refused an address that another program has,
    # even another server like this one. Linux looks at all of them when one is bound.
    listener.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    copies: list[Listener] = []
    try:
        for _ in range(count):
            sock = socket.socket(listener.sock.family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
            is_uwsgi, asked = listener.is_uwsgi, listener.asked
            copies.append(Listener(sock, listener.name, is_uwsgi=is_uwsgi, asked=asked))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            _bind_tcp(sock, listener.sock.getsockname())
            _listen(copies[-1], backlog)
    except OSError as error:
        for copy in copies:
            copy.close()
        raise _bind_error(listener.name, error, listener.asked) from error
    return copies


def _set_mode(listeners: list[Listener], mode: int) -> None:
    # Before they listen: until then nobody is let in, whatever the mode is.
    for listener in listeners:
        if listener.is_unix and not listener.is_inherited:
            Path(str(listener.address)).chmod(mode)


def _listen(listener: Listener, backlog: int) -> None:
    # Linux refuses a taken address here if it did not in bind().
    try:
        listener.sock.listen(backlog)
    except OSError as error:
        raise _bind_error(listener.name, error, listener.asked) from error


def _check_uwsgi(listeners: list[Listener], config: Config) -> None:
    """Refuse to believe whatever client comes what it says of itself."""
    for listener in listeners:
        if listener.is_uwsgi and not config.uwsgi_allow_ips and not _is_of_this_machine(listener):
            raise ConfigError(
                f"cannot speak uwsgi on {listener.name} with whoever connects: clients of this "
                "protocol say themselves what address they have; name the proxies in "
                "uwsgi_allow_ips, or listen on 127.0.0.1 or a Unix socket"
            )


def _is_of_this_machine(listener: Listener) -> bool:
    """Whether nobody else can connect."""
    return listener.is_unix or address_of(listener.address[0].partition("%")[0]).is_loopback


def _open_bind(bind: str) -> list[Listener]:
    uwsgi = _UWSGI.fullmatch(bind)
    if uwsgi is None:
        return _open_http_bind(bind)
    if uwsgi["tcp"] is None:
        listeners = _open_http_bind(uwsgi["other"])
    else:
        listeners = _open_address(bind, uwsgi["tcp"])
    for listener in listeners:
        listener.is_uwsgi = True
    return listeners


def _open_http_bind(bind: str) -> list[Listener]:
    if unix := _UNIX.fullmatch(bind):
        return [_open_unix(unix[1])]
    if descriptor := _DESCRIPTOR.fullmatch(bind):
        return [_open_descriptor(int(descriptor[1]))]
    return _open_address(bind, bind)


def _open_address(bind: str, text: str) -> list[Listener]:
    address = _TCP.fullmatch(text)
    if address is None or int(address["port"]) > LARGEST_PORT:
        raise ConfigError(
            f"cannot bind {bind!r}: expected HOST:PORT, [IPV6]:PORT, unix:PATH or fd://N; for "
            "uwsgi: uwsgi://HOST:PORT, uwsgi+unix:PATH or uwsgi+fd://N"
        )
    return _open_tcp(address["ipv6"] or address["host"] or "0.0.0.0", int(address["port"]))


def _open_host(config: Config) -> list[Listener]:
    """The listeners at ``host`` and ``port``."""
    if isinstance(config.port, int):
        return _open_tcp(config.host, config.port)
    for port in range(FIRST_PORT, LARGEST_PORT + 1):
        try:
            return _open_listening(config, port)
        except BindError as error:
            cause = error.__cause__
            if not (isinstance(cause, OSError) and cause.errno == errno.EADDRINUSE):
                raise
    raise BindError(f"cannot listen on {config.host}: all ports from {FIRST_PORT} on are in use")


def _open_listening(config: Config, port: int) -> list[Listener]:
    # Two programs may bind it at the same moment; it is for the one that listens first.
    listeners = _open_tcp(config.host, port)
    try:
        for listener in listeners:
            _listen(listener, config.backlog)
    except BaseException:
        for listener in listeners:
            listener.close()
        raise
    return listeners


def _open_tcp(host: str, port: int) -> list[Listener]:
    if host != "localhost":
        return _bind_all(_resolve(host, port), host, port)
    # Clients try ::1 first and do not always fall back; so both, on one port.
    for _ in range(_PORT_TRIES if port == 0 else 1):
        try:
            return _open_localhost(port)
        except BindError as error:
            taken = error
    raise taken


def _open_localhost(port: int) -> list[Listener]:
    opened: list[Listener] = []
    for host in _LOCALHOST:
        try:
            found = _bind_all(_resolve(host, port), "localhost", port)
        except BindError as error:
            cause = error.__cause__
            if opened and isinstance(cause, OSError) and cause.errno in _FAMILIES_MISSING:
                break  # a machine without IPv6
            for listener in opened:
                listener.close()
            raise
        opened += found
        port = opened[0].sock.getsockname()[1]
    return opened


def _resolve(host: str, port: int) -> list[tuple[socket.AddressFamily, tuple[str, int]]]:
    try:
        found = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICSERV
        )
    except (OSError, UnicodeError) as error:  # UnicodeError: no name of the DNS at all
        reason = error.strerror if isinstance(error, OSError) else error
        raise BindError(
            f"cannot listen on {host!r}: {reason}; expected a name or address of this machine, "
            "such as 127.0.0.1"
        ) from error
    # A dict keeps the order and drops the repetitions that /etc/hosts brings.
    return list(dict.fromkeys((family, name) for family, _, _, _, name in found))  # type: ignore[misc]


def _bind_all(
    addresses: list[tuple[socket.AddressFamily, tuple[str, int]]], host: str, port: int
) -> list[Listener]:
    listeners: list[Listener] = []
    for family, name in addresses:
        # asyncio sets TCP_NODELAY on what is accepted only if the socket knows that it is TCP.
        sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listeners.append(Listener(sock, f"{host} port {port}", asked=(host, port)))
        try:
            _bind_tcp(sock, name)
        except OSError as error:
            for listener in listeners:
                listener.close()
            raise _bind_error(listeners[-1].name, error, (host, port)) from error
    return listeners


def _bind_tcp(sock: socket.socket, name: tuple[str, int]) -> None:
    if os.name == "posix":
        # A restarted server must not wait for connections of the last one to be forgotten.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if sock.family == socket.AF_INET6:
        # The same everywhere, and no clash with an IPv4 listener on the same port.
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.bind(name)


def _next_free(host: str, port: int) -> int | None:
    """A port above `port` at which this process could listen, if one is near."""
    tries = range(port + 1, min(port + _PORT_TRIES, LARGEST_PORT) + 1)
    return next((each for each in tries if _is_free(host, each)), None)


def _is_free(host: str, port: int) -> bool:
    hosts = _LOCALHOST if host == "localhost" else (host,)
    for family, name in itertools.chain.from_iterable(_resolve(each, port) for each in hosts):
        try:
            with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as sock:
                _bind_tcp(sock, name)
                sock.listen()
        except OSError as error:
            if error.errno not in _FAMILIES_MISSING:
                return False
    return True


_TCP_CURES = {
    errno.EADDRINUSE: "it is in use; stop the other program or choose another port",
    errno.EACCES: "not allowed; choose a port above 1023 or ask for the right to it",
    errno.EADDRNOTAVAIL: "no address of this machine; expected one such as 127.0.0.1",
}
_UNIX_CURES = {
    errno.EADDRINUSE: "something is there already, perhaps a link that leads nowhere; remove it or "
    "choose another path",
    errno.EACCES: "not allowed; choose a path at which this user may make a file",
    errno.ENOENT: "there is no such directory; make it or choose another path",
}


def _bind_error(where: str, error: OSError, asked: tuple[str, int] | None = None) -> BindError:
    cures = _UNIX_CURES if where.startswith("unix:") else _TCP_CURES
    cure = cures.get(error.errno or 0, error.strerror or str(error))
    if error.errno == errno.EADDRINUSE and asked is not None:
        cure += f" ({_how_to_find_a_free_port(*asked)})"
    return BindError(f"cannot listen on {where}: {cure}")


def _how_to_find_a_free_port(host: str, port: int) -> str:
    free = _next_free(host, port)
    return (
        "--port 0 takes a free one" if free is None else f"{free} is free; --port {AUTO} finds it"
    )


def _open_descriptor(number: int) -> Listener:
    try:
        given = socket.socket(fileno=number)
    except OSError as error:
        raise BindError(
            f"cannot listen on fd://{number}: {error.strerror}; expected an open, bound socket"
        ) from error
    # A duplicate: the descriptor stays with whoever passed it on. dup() keeps the mode that Python
    # knows of, and the mode is one for all who share the socket: were it blocking for a moment,
    # the loop of another process would hang in its next accept.
    try:
        given.setblocking(False)
        sock = given.dup()
    finally:
        given.detach()
    if sock.type != socket.SOCK_STREAM:
        sock.close()
        raise BindError(f"cannot listen on fd://{number}: expected a stream socket (TCP or Unix)")
    return Listener(sock, f"fd://{number}", is_inherited=True)


def _open_unix(path: str) -> Listener:
    if not hasattr(socket, "AF_UNIX"):
        raise BindError(f"cannot listen on unix:{path}: this platform has no Unix sockets")
    _remove_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(path)
    except OSError as error:
        sock.close()
        raise _bind_error(f"unix:{path}", error) from error
    mine = Path(path).stat()

    def clean_up() -> None:
        # Another server may have put its own file there meanwhile.
        with contextlib.suppress(OSError):
            if os.path.samestat(Path(path).stat(), mine):
                Path(path).unlink()

    return Listener(sock, f"unix:{path}", clean_up)


def _remove_stale(path: str) -> None:
    """Remove the socket file of a server that is gone; never a live one's, never another file."""
    try:
        mode = Path(path).stat().st_mode
    except OSError:
        return
    if not stat.S_ISSOCK(mode):
        raise BindError(f"cannot listen on unix:{path}: a file is there that is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink(missing_ok=True)
        except OSError as error:
            raise _bind_error(f"unix:{path}", error) from error
        else:
            raise BindError(
                f"cannot listen on unix:{path}: a running server listens there; stop it or choose "
                "another path"
            )
