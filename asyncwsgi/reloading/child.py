"""The process that serves: it imports the application, reports, and obeys its supervisor.

While it imports, it cannot obey: the import has its only thread that may. If newer code makes it
superfluous then, it gets SIGTERM, of which `_Superseded` comes, wherever the import is. So it ends
as any program does that an exception ends: blocks are left and what is registered with `atexit`
runs, by which programs end what they have started (`subprocess.run` its command, too).
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from asyncwsgi.app_loading import format_error
from asyncwsgi.errors import AsyncWSGIError
from asyncwsgi.log_setup import flush_log
from asyncwsgi.own_process import own_process
from asyncwsgi.reloading.channel import Channel, encode
from asyncwsgi.reloading.error_page import ErrorPage
from asyncwsgi.reloading.imports import LateImports, SourceRoots
from asyncwsgi.running import loop_factory
from asyncwsgi.server.server import Server

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

    from asyncwsgi.config import Config

CONTROL_VARIABLE = "ASYNCWSGI_CONTROL_FD"
LISTEN_VARIABLE = "ASYNCWSGI_LISTEN_FDS"


class _Superseded(BaseException):
    """This process is not wanted any more.

    No `Exception`, and no `SystemExit` either: what is imported may take both for a failure of
    something that it can do without, and go on.
    """


@dataclass(frozen=True, slots=True)
class Inheritance:
    """What a supervisor passes to its child."""

    control: socket.socket
    binds: tuple[str, ...]
    """The listening sockets, each as ``bind`` names an inherited one."""

    @property
    def descriptors(self) -> tuple[int, ...]:
        """Their numbers."""
        return tuple(int(bind.rpartition("/")[2]) for bind in self.binds)


def inheritance_variables(inheritance: Inheritance) -> dict[str, str]:
    """The environment variables by which a child finds its inheritance."""
    return {
        CONTROL_VARIABLE: str(inheritance.control.fileno()),
        LISTEN_VARIABLE: ",".join(inheritance.binds),
    }


def take_inheritance() -> Inheritance | None:
    """What the supervisor has passed to this process; None if it has none.

    It is not passed on: what the application starts is no child of the supervisor.
    """
    control = os.environ.pop(CONTROL_VARIABLE, "")
    binds = os.environ.pop(LISTEN_VARIABLE, "")
    if not control:
        return None
    inheritance = Inheritance(socket.socket(fileno=int(control)), tuple(binds.split(",")))
    for descriptor in (inheritance.control.fileno(), *inheritance.descriptors):
        os.set_inheritable(descriptor, False)
    own_process.keep(lambda: [inheritance.control, *map(_socket, inheritance.descriptors)])
    _leave_interrupts_to_supervisor()
    return inheritance


def _socket(descriptor: int) -> socket.socket:
    return socket.socket(fileno=descriptor)


def _leave_interrupts_to_supervisor() -> None:
    # Ctrl+C reaches this process, too, but it is the supervisor that says what to do (see
    # `Supervisor`). A handler that does nothing, and not SIG_IGN: programs that the application
    # starts would inherit that, and run on. The supervisor has blocked the signal up to here.
    own_process.give_back(signal.SIGINT, signal.signal(signal.SIGINT, lambda *_: None))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _end_when_superseded() -> None:
    """Have SIGTERM end the import; once, so that nothing interrupts what is done at the end."""
    own_process.give_back(signal.SIGTERM, signal.signal(signal.SIGTERM, _supersede))


def _supersede(number: int, _: object) -> None:
    signal.signal(number, _stay_superseded)
    raise _Superseded


def _stay_superseded(*_: object) -> None:
    pass


def _is_superseded() -> bool:
    """Whether the import was told to end; what it was told by, it may have caught."""
    return signal.getsignal(signal.SIGTERM) is _stay_superseded


def serve_for_supervisor(
    load: Callable[[], WSGIApplication],
    config: Config,
    inheritance: Inheritance,
    *,
    shows_errors: bool,
) -> int:
    """Import the application and serve it on the inherited listeners until told to stop.

    Args:
        load: imports the application.
        config: as the command line gave it.
        inheritance: see `take_inheritance`.
        shows_errors: whether browsers shall see why newer code does not serve.

    Raises:
        AsyncWSGIError: the application, or the options, cannot be served; the supervisor knows.
    """
    _end_when_superseded()
    try:
        try:
            page = ErrorPage(load())
        finally:
            if _is_superseded():
                raise _Superseded
        application = page if shows_errors else page.application
        server = Server(application, dataclasses.replace(config, bind=inheritance.binds))
        with asyncio.Runner(loop_factory=loop_factory(config.loop)) as runner:
            runner.run(_SupervisedServer(server, page).serve(inheritance.control))
    except AsyncWSGIError as error:
        _report_failure(inheritance.control, error)
        raise
    except _Superseded:
        return 128 + signal.SIGTERM
    return 0


def _report_failure(control: socket.socket, error: AsyncWSGIError) -> None:
    event = {"event": "failed", "traceback": format_error(error), "watch": SourceRoots().new()}
    control.setblocking(True)  # a loop may have had it, and has ended
    with contextlib.suppress(OSError):  # the supervisor has died: it is for the log alone
        control.sendall(encode(event))


def _report_new(roots: SourceRoots, channel: Channel, since: float) -> None:
    if new := roots.new():
        channel.send(event="found", watch=new, since=since)


class _SupervisedServer:
    """A server that its supervisor tells when to serve and when to stop.

    It does not serve as soon as it could, but reports that it has imported and waits for leave: the
    code may have changed once more, and a child that surely has no clients can be killed at once.
    From that leave on it may have some, so that it has to be told to drain.
    """

    def __init__(self, server: Server, page: ErrorPage) -> None:
        self._server = server
        self._page = page
        self._stopping: asyncio.Task[None] | None = None
        self._has_leave = asyncio.Event()
        """To serve; or, if it is stopping, to end without having served."""

    async def serve(self, control: socket.socket) -> None:
        if (handler := signal.getsignal(signal.SIGTERM)) is not _supersede:
            own_process.give_back(signal.SIGTERM, handler)  # it is the application's
        own_process.keep(lambda: self._server.sockets)
        # A service manager may signal every process of its service.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._stop)
        end = control.dup()
        own_process.keep(lambda: [end])
        channel = await Channel.open(end)
        roots = SourceRoots()
        with contextlib.closing(LateImports(partial(_report_new, roots, channel))):
            channel.send(event="imported", watch=roots.new())
            obeying = asyncio.create_task(self._obey(channel))
            await self._has_leave.wait()
            if self._stopping is None:
                await self._serve(channel)
            obeying.cancel()

    async def _serve(self, channel: Channel) -> None:
        async with self._server:
            if self._stopping is None:  # else its lifespan was given up
                flush_log()  # what other processes have to say of it comes behind that
                channel.send(event="serving")
            await self._server.serve_forever()

    async def _obey(self, channel: Channel) -> None:
        async for message in channel.messages():
            await self._do(message)
        # The channel ends when the supervisor has died, and nobody else would stop this process.
        self._stop()

    async def _do(self, message: dict[str, Any]) -> None:
        match message["command"]:
            case "serve":
                self._has_leave.set()
            case "stop":
                self._stop(has_successor=message["has_successor"])
            case "abort":
                self._stop()
                await asyncio.sleep(0)  # first it stops, then what it waits for is cut
                self._server.abort()
            case "broken":
                self._page.traceback = message["traceback"]

    def _stop(self, *, has_successor: bool = False) -> None:
        self._has_leave.set()
        if self._stopping is None:
            stop = self._server.shutdown(has_successor=has_successor)
            self._stopping = asyncio.create_task(stop)
