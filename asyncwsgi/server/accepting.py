"""Accepting: the loop watches the listeners, and each client gets a transport of the loop's.

In place of ``loop.create_server``, because of two things that its interface leaves to the loop:

- *Clients wait while descriptors are short.* uvloop (libuv) accepts them only to close them,
  without a word. asyncio logs an error for each of as many tries as the backlog is long, and has
  each of them repeat all in a second. Here the listeners are left alone for a moment, and one line
  says which limit to raise.
- *Nobody who has connected is reset by a stop.* The kernel resets who waits in the queue of a
  listener that closes, and asyncio forgets whom it has accepted and made no transport for. Here
  the queue is emptied first, and who was accepted is known to the registry from then on. (Who
  connects between the last ``accept`` and ``close`` is still reset: no system call closes a queue
  and leaves what is in it.)

Knows nothing of HTTP, nor how listeners are bound.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from asyncwsgi.errors import ConfigError
from asyncwsgi.frontends.proxy_protocol import Ends
from asyncwsgi.frontends.registry import Registry
from asyncwsgi.frontends.transport import peer_name
from asyncwsgi.server.descriptors import descriptor_limit
from asyncwsgi.server.proxied import ProxyHeaders
from asyncwsgi.server.tls import handshake_failure
from asyncwsgi.server_log import logger

PAUSE = 0.02
"""Seconds without a try to accept after one that found no descriptor; a try costs some 10 us."""
CALM = 1.0
"""Seconds without such a failure after which a shortage is over."""


def most_at_once(connected: int) -> int:
    """Clients that are accepted before those that are `connected` have their turn.

    One by one would be fairest, and costs: requests that arrive together share the way to the
    worker threads and back. With 1 a request on a connection of its own takes 170 us of CPU, with
    16 it is 100, and no less with 64.

    A turn of the loop takes the longer the more clients are connected. If no more were accepted in
    each, those who come last would wait until the queue of the kernel is full and their tries to
    connect are dropped. So it is a share of those who are served, up to a bound: to accept a client
    takes some 100 us, in which those who are connected wait.
    """
    return max(16, min(connected // 16, 256))


MakeProtocol = Callable[[], asyncio.BaseProtocol]


class Proxied(NamedTuple):
    """How clients are served of whom a proxy tells by the PROXY protocol."""

    headers: ProxyHeaders
    make_protocol: Callable[[Ends | None], asyncio.BaseProtocol]
    """Called for each, with what its proxy has told."""


class Acceptor:
    """Accepts the clients of listeners and hands them to the running loop.

    Several processes may accept from one listener: each that waits wakes up when a client comes,
    and all but one find nobody. (An epoll descriptor with the listener in it, EPOLLEXCLUSIVE,
    watched by the loop, does not help: the kernel wakes one of those who wait *in* such a
    descriptor, and here nobody does.) So workers have a listener each; see `accept_from`.

    Args:
        make_protocol: called for each client.
        registry: is told of clients that have no transport yet.
        tls: the options of ``connect_accepted_socket``; none for plain HTTP.
        proxied: how clients are served of whom a proxy tells by the PROXY protocol; None where none
            does.
    """

    def __init__(
        self,
        make_protocol: MakeProtocol,
        registry: Registry,
        tls: Mapping[str, Any],
        proxied: Proxied | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._make_protocol = make_protocol
        self._registry = registry
        self._tls = tls
        self._proxied = proxied
        self._listeners: list[socket.socket] = []
        self._servers: list[asyncio.AbstractServer] = []
        self._backlog = 0
        # Of a shortage: runs until the next try, and then until the shortage is over.
        self._timer: asyncio.TimerHandle | None = None

    async def start(self, listeners: Sequence[socket.socket], backlog: int) -> None:
        """Accept who connects to `listeners`, which listen already.

        Args:
            listeners: stay their owner's, who closes them behind `stop`.
            backlog: how many clients the kernel may hold for each.
        """
        self._backlog = backlog
        for listener in listeners:
            listener.setblocking(False)
            try:
                self._watch(listener)
            except NotImplementedError:  # Windows' proactor has only operations, no readiness
                if self._proxied is not None:
                    raise ConfigError(
                        "proxy_protocol needs a loop that watches sockets, and this one (the "
                        "proactor of Windows) does not; take a SelectorEventLoop"
                    ) from None
                self._servers.append(await self._serve_by_loop(listener))
            else:
                self._listeners.append(listener)

    def accept_from(self, listeners: Sequence[socket.socket]) -> None:
        """Accept from these from now on, and from no others; clients of those wait for somebody.

        Args:
            listeners: such as `start` has got.
        """
        before, self._listeners = self._listeners, list(listeners)
        for listener in before:
            if listener not in self._listeners:
                self._loop.remove_reader(listener)
        for listener in self._listeners:
            if listener not in before:
                listener.setblocking(False)
                self._watch(listener)

    def stop(self, *, takes_backlog: bool) -> None:
        """Accept nobody from now on.

        Args:
            takes_backlog: first accept who has connected. Otherwise they are left to whoever
                else accepts from these listeners.
        """
        for listener in self._listeners:
            if takes_backlog:
                self._accept_some(listener, self._backlog + 1)  # Linux holds one more
            self._loop.remove_reader(listener)
        self._listeners.clear()
        for server in self._servers:
            server.close()
        if self._timer is not None:
            self._timer.cancel()

    def adopt(self, client: socket.socket) -> None:
        """Serve a client that was accepted elsewhere; its socket is the loop's from now on."""
        client = socket.socket(fileno=client.detach())  # finds out that it is TCP; see `listeners`
        try:
            address = client.getpeername()
        except OSError:
            client.close()  # it has left
        else:
            self._open(client, address)

    def _watch(self, listener: socket.socket) -> None:
        self._loop.add_reader(listener, self._accept, listener)

    def _accept(self, listener: socket.socket) -> None:
        shortage = self._accept_some(listener, most_at_once(len(self._registry)))
        if shortage is not None:
            self._pause(shortage)

    def _accept_some(self, listener: socket.socket, most: int) -> OSError | None:
        """Accept who waits, `most` at most; what prevents that even of the first."""
        for number in range(most):
            try:
                client, address = listener.accept()
            except BlockingIOError:
                break
            except ConnectionAbortedError:
                continue  # it has left
            except OSError as error:
                # Linux takes a descriptor before it looks for a client. So behind the first of
                # them this does not mean that anybody waits; if so, the next wake-up tells.
                return error if number == 0 else None
            self._open(client, address)
        return None

    def _open(self, client: socket.socket, address: object) -> None:
        if self._proxied is None:
            self._connect(client, address, self._make_protocol)
        else:
            self._proxied.headers.read(client, address, self._open_proxied)

    def _open_proxied(self, client: socket.socket, address: object, ends: Ends | None) -> None:
        assert self._proxied is not None
        self._connect(client, address, partial(self._proxied.make_protocol, ends))

    def _connect(self, client: socket.socket, address: object, make_protocol: MakeProtocol) -> None:
        connecting = self._loop.connect_accepted_socket(make_protocol, client, **self._tls)
        _Opening(connecting, client, address, self._loop, self._registry).begin()

    async def _serve_by_loop(self, listener: socket.socket) -> asyncio.AbstractServer:
        return await self._loop.create_server(
            self._make_protocol, sock=listener, backlog=self._backlog, **self._tls
        )

    # Shortages.

    def _pause(self, error: OSError) -> None:
        # A listener from which nobody can be accepted stays ready: watched, it would take a core.
        for listener in self._listeners:
            self._loop.remove_reader(listener)
        if self._timer is None:
            logger.warning("new clients have to wait: %s", _cure(error))
        else:
            self._timer.cancel()
        self._timer = self._loop.call_later(PAUSE, self._resume)

    def _resume(self) -> None:
        for listener in self._listeners:
            self._watch(listener)
        self._timer = self._loop.call_later(CALM, self._end_shortage)

    def _end_shortage(self) -> None:
        self._timer = None
        logger.warning("new clients are accepted again")


class _Opening:
    """A client that was accepted and whose protocol has no transport yet.

    That is ``connect_accepted_socket``, driven by hand: it waits for a future of the loop's, which
    is done when the protocol has its transport - with TLS, when the handshake is over. A task does
    the same, and costs 3 us more of the 100 that a client with one request costs.
    """

    __slots__ = ("_address", "_client", "_connecting", "_loop", "_registry", "_waiter")

    def __init__(
        self,
        connecting: Coroutine[Any, Any, object],
        client: socket.socket,
        address: object,
        loop: asyncio.AbstractEventLoop,
        registry: Registry,
    ) -> None:
        self._connecting = connecting
        self._client = client
        self._address = address
        self._loop = loop
        self._registry = registry
        self._waiter: asyncio.Future[Any] | None = None

    def begin(self) -> None:
        self._registry.add_opening(self)
        self._go_on()

    def abort(self) -> None:
        """Close at once."""
        if self._waiter is not None:
            self._waiter.cancel()

    def _go_on(self, _: object = None) -> None:
        try:
            waiter = self._connecting.send(None)
        except (StopIteration, asyncio.CancelledError):
            self._registry.discard_opening(self)
        except Exception as error:
            self._registry.discard_opening(self)
            self._fail(error)
        else:
            self._waiter = waiter
            waiter.add_done_callback(self._go_on)

    def _fail(self, error: Exception) -> None:
        if self._waiter is None:
            self._client.close()  # there is no transport that would
        if not isinstance(error, OSError):
            self._loop.call_exception_handler(
                {"message": "a client that was accepted cannot be served", "exception": error}
            )
        elif failure := handshake_failure(error):
            logger.info("%s %s; closed", peer_name(self._address), failure)
        else:
            logger.debug("%s has left before it was served", peer_name(self._address))


def _cure(error: OSError) -> str:
    match error.errno:
        case errno.EMFILE:
            return (
                f"this process has as many files open as it may{_file_limit()}; raise the limit "
                "(ulimit -n, LimitNOFILE= of systemd)"
            )
        case errno.ENFILE:
            return "this machine has as many files open as it may; raise fs.file-max"
        case errno.ENOBUFS | errno.ENOMEM:
            return "this machine has no memory left for sockets; give it more, or raise tcp_mem"
        case _:
            return f"accept() fails: {error.strerror or error}"


def _file_limit() -> str:
    limit = descriptor_limit()
    return f", {limit}" if limit else ""
