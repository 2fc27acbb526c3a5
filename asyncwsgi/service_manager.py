"""What a service manager is told (sd_notify(3)): that the process is ready, stops, is alive.

Every message is one datagram, and none is ever waited for.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Mapping

from asyncwsgi.server_log import logger


class ServiceManager:
    """Who has started this process, if it wants to be told.

    Args:
        environ: of its variables, NOTIFY_SOCKET says whom to tell, and WATCHDOG_USEC and
            WATCHDOG_PID how often that the process is alive (sd_watchdog_enabled(3)).
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        if self._address.startswith("@"):  # it has no file
            self._address = "\0" + self._address[1:]
        self._watchdog = _watchdog_timeout(environ) if self._address else 0.0
        self._is_stopping = False

    def ready(self) -> None:
        """Say that clients are served, unless the end has begun."""
        if not self._is_stopping:
            self._tell("READY=1")

    def stopping(self) -> None:
        """Say that the end has begun."""
        self._is_stopping = True
        self._tell("STOPPING=1")

    async def keep_telling(self) -> None:
        """Say that the running loop comes round, as often as is wanted, until cancelled.

        Twice in the time after which the manager takes the process for hung, as it asks for.
        """
        while self._watchdog:
            self._tell("WATCHDOG=1")
            await asyncio.sleep(self._watchdog / 2)

    def _tell(self, message: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.setblocking(False)
                sock.sendto(message.encode(), self._address)
        except OSError as error:
            logger.warning(
                "cannot tell the service manager %s at NOTIFY_SOCKET: %s", message, error
            )


def _watchdog_timeout(environ: Mapping[str, str]) -> float:
    """Seconds; 0.0 if nobody waits."""
    micros = environ.get("WATCHDOG_USEC", "")
    is_for_us = environ.get("WATCHDOG_PID") in (None, "", str(os.getpid()))
    return int(micros) / 1e6 if is_for_us and micros.isascii() and micros.isdigit() else 0.0
