"""Where the application is served, for who sends it requests from this machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Self

from asyncwsgi.config import Config
from asyncwsgi.server.listeners import Address, Listener
from asyncwsgi.server.urls import reachable_address, url_of


class Origin(NamedTuple):
    """One of its listeners that speaks HTTP."""

    address: Address
    """(host, port), or the path of a Unix socket."""
    is_tls: bool

    @classmethod
    def of(cls, listeners: Sequence[Listener], config: Config) -> Self | None:
        """The first listener at which HTTP is spoken, and browsers can be; None if none is."""
        spoken = sorted((one for one in listeners if not one.is_uwsgi), key=lambda one: one.is_unix)
        if not spoken:
            return None
        return cls(reachable_address(spoken[0].address), config.has_tls)

    @property
    def host(self) -> str:
        """What the header Host says of it."""
        if isinstance(self.address, str):
            return "localhost"
        name, port = self.address
        return f"[{name}]:{port}" if ":" in name else f"{name}:{port}"

    @property
    def url(self) -> str:
        """Without a slash at its end; ``unix:PATH`` for a socket."""
        return url_of("https" if self.is_tls else "http", self.address)
