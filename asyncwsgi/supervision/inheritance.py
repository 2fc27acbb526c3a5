"""What a supervisor passes to a child that it starts: sockets, and what to serve on them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from asyncwsgi.own_process import own_process
from asyncwsgi.supervision.service import Service

VARIABLE = "ASYNCWSGI_SUPERVISED"
"""The environment variable by which a child finds it."""


@dataclass(frozen=True, slots=True)
class Inheritance:
    """What a child has of its supervisor."""

    control: socket.socket
    """Its end of the channel."""
    binds: tuple[str, ...]
    """The listening sockets, each as ``bind`` names an inherited one."""
    listeners: tuple[socket.socket, ...]
    service: Service
    asking: socket.socket | None
    """By which it is asked for forks; None if it serves itself (see `preloading`)."""


def child_command(app: str, directory: str) -> list[str]:
    """What is run as a child in `directory`; `app` only tells who looks at a list of processes.

    As this interpreter was started. Its directory is no place to look for modules before the child
    has got its path: the application's may have the names of ours.
    """
    args: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    looks_here = not sys.path or sys.path[0] in ("", directory)
    return [sys.executable, *args, *(() if looks_here else ("-P",)), "-m", "asyncwsgi", app]


def pass_on(
    service: Service, control: int, asking: int | None, binds: Sequence[str], secrets: int
) -> dict[str, str]:
    """The environment variables by which a child finds what it inherits.

    Args:
        service: what it serves.
        control: the descriptor of its end of the channel.
        asking: that by which it is asked for forks, if it shall fork workers and not serve.
        binds: the listening sockets, each as ``bind`` names an inherited one.
        secrets: what `pipe_of_secrets` has given.

    Raises:
        ConfigError: an option that cannot be written as text.
    """
    told = {
        "control": control,
        "asking": asking,
        "secrets": secrets,
        "listeners": list(binds),
        "path": [entry for entry in sys.path if isinstance(entry, str)],  # Python skips others
        "service": service.as_json(),
    }
    return {VARIABLE: json.dumps(told)}


def pipe_of_secrets(service: Service) -> int:
    """The end of a pipe that holds the secrets of `service`; it is whoever's who asks.

    They are few and short, so that the pipe has room for them. An environment is not for them: who
    lists the processes of this user may see it, and it stays what it was at the start.
    """
    reading, writing = os.pipe()
    with os.fdopen(writing, "w", encoding="utf-8") as file:
        json.dump(service.secrets(), file)
    return reading


def take_inheritance() -> Inheritance | None:
    """What the supervisor has passed to this process; None if it has none.

    It is not passed on: what the application starts is no child of the supervisor.
    """
    text = os.environ.pop(VARIABLE, "")
    if not text:
        return None
    told = json.loads(text)
    sys.path[:] = told["path"]
    with os.fdopen(told["secrets"], encoding="utf-8") as file:
        secrets = json.load(file)
    inheritance = Inheritance(
        socket.socket(fileno=told["control"]),
        tuple(told["listeners"]),
        tuple(socket.socket(fileno=descriptor_of(bind)) for bind in told["listeners"]),
        Service.from_json(told["service"], secrets),
        None if told["asking"] is None else socket.socket(fileno=told["asking"]),
    )
    sockets = [inheritance.control, *filter(None, [inheritance.asking]), *inheritance.listeners]
    for sock in sockets:
        sock.set_inheritable(False)
    own_process.keep(lambda: sockets)
    _leave_signals_to_supervisor(has_workers=inheritance.service.processes.workers is not None)
    return inheritance


def descriptor_of(bind: str) -> int:
    """The number of the socket that is inherited as `bind` says."""
    return int(bind.rpartition("/")[2])


def _leave_signals_to_supervisor(*, has_workers: bool) -> None:
    # Ctrl+C, and the end of a terminal, reach this process, too, but it is the supervisor that says
    # what to do (see `Supervisor`). A handler that does nothing, and not SIG_IGN: programs that the
    # application starts would inherit that, and run on. The supervisor has blocked the signals up
    # to here.
    numbers = [signal.SIGINT, signal.SIGHUP] if has_workers else [signal.SIGINT]
    for number in numbers:
        own_process.give_back(number, signal.signal(number, lambda *_: None))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, LEFT_TO_SUPERVISOR)


LEFT_TO_SUPERVISOR = {signal.SIGINT, signal.SIGHUP} if os.name == "posix" else set()
"""Signals that a child does not get before it has handlers for them."""
