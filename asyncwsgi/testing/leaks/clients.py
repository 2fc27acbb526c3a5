"""Which clients of a server are in this process: whose sockets it could have closed."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asyncwsgi.frontends.transport import peer_name

if TYPE_CHECKING:
    from collections.abc import Iterable

    from asyncwsgi.server.listeners import Address

_OPEN_FILES = (Path("/proc/self/fd"), Path("/dev/fd"))
"""Linux, and the BSDs with macOS. Windows has no list of what is open; nothing is found there."""


def peers_in_this_process(addresses: Iterable[Address]) -> list[str]:
    """The clients that are connected to one of `addresses`, named as log lines name them."""
    paths = {address for address in addresses if isinstance(address, str)}
    ports = {address[1] for address in addresses if not isinstance(address, str)}
    found = []
    for name, peer in _connected_sockets():
        if peer in paths or (isinstance(peer, tuple) and peer[1] in ports):
            found.append(peer_name(name))
    return found


def _connected_sockets() -> Iterator[tuple[Any, Any]]:
    for directory in _OPEN_FILES:
        with suppress(OSError):
            descriptors = [int(path.name) for path in directory.iterdir()]
            break
    else:
        return
    for descriptor in descriptors:
        # Others open and close files meanwhile.
        with suppress(OSError):
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                with socket.socket(fileno=os.dup(descriptor)) as sock:
                    yield sock.getsockname(), sock.getpeername()
