"""Listeners that the service manager has opened for this process (sd_listen_fds(3)).

They stay open while the service is restarted, so that its clients wait and are not refused. Three
variables tell of them: how many there are, for which process, and what each is called.
"""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping
from functools import partial

from asyncwsgi.errors import ConfigError
from asyncwsgi.own_process import own_process

FIRST = 3
"""The descriptor of the first of them (SD_LISTEN_FDS_START)."""
_COUNT, _PROCESS, _NAMES = _VARIABLES = ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")


def take_listeners(environ: MutableMapping[str, str] = os.environ) -> tuple[str, ...]:
    """The listeners as ``bind`` names them; none if there are none for this process.

    The variables are taken out, and the descriptors are not inherited any more: what this process
    starts has no right to them.

    Raises:
        ConfigError: the variables make no sense.
    """
    if environ.get(_PROCESS) != str(os.getpid()):
        return ()
    count, _, _ = (environ.pop(name, "") for name in _VARIABLES)
    if not (count.isascii() and count.isdigit()):
        raise ConfigError(f"{_COUNT} is {count!r}; expected how many listeners there are")
    descriptors = range(FIRST, FIRST + int(count))
    for descriptor in descriptors:
        _keep(descriptor)
    return tuple(f"fd://{descriptor}" for descriptor in descriptors)


def _keep(descriptor: int) -> None:
    try:
        os.set_inheritable(descriptor, False)
    except OSError as error:
        raise ConfigError(
            f"{_COUNT} tells of descriptor {descriptor}, and it is not open ({error.strerror})"
        ) from None
    own_process.keep(partial(_copies, descriptor))


def _copies(descriptor: int) -> list[socket.socket]:
    return [socket.socket(fileno=descriptor)]
