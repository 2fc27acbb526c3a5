"""What all connections of a server share, and what each makes for itself by it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from asyncwsgi.frontends.http_response import HttpResponder
from asyncwsgi.frontends.little_reads import ReadBuffers
from asyncwsgi.frontends.signature import Signature
from asyncwsgi.http1.memory import SharedLines
from asyncwsgi.requests.exchange import Exchange, ExchangeFactory

if TYPE_CHECKING:
    from asyncwsgi.frontends.probes import Probes
    from asyncwsgi.frontends.registry import Registry
    from asyncwsgi.http1.head import RequestHead
    from asyncwsgi.http1.parser import HeadLimits, ParserEvent
    from asyncwsgi.requests.dispatcher import Dispatcher
    from asyncwsgi.trusted_peers import TrustedPeers
    from asyncwsgi.wsgi.forwarded import Forwarding


@dataclass(frozen=True, slots=True)
class Frontend:
    """What all connections of a server share."""

    dispatcher: Dispatcher
    registry: Registry
    limits: HeadLimits
    environ: dict[str, Any]
    forwarding: Forwarding | None = None
    exchange_class: ExchangeFactory = Exchange
    responder_class: type[HttpResponder] = HttpResponder
    signature: Signature = field(default_factory=Signature)
    probes: Probes | None = None
    """What the loop answers itself, if anything."""
    header_lines: SharedLines = field(default_factory=SharedLines)
    read_buffers: ReadBuffers = field(default_factory=ReadBuffers)
    uwsgi_peers: TrustedPeers | None = None
    """Who may speak uwsgi by TCP; None for whoever can connect."""


class RequestReader(Protocol):
    """Requests out of bytes; `asyncwsgi.http1.parser.RequestParser` says more of each."""

    @property
    def is_in_head(self) -> bool: ...
    @property
    def unread_size(self) -> int: ...
    @property
    def missing_size(self) -> int: ...
    def skip(self, size: int) -> None: ...
    def receive(self, data: bytes) -> None: ...
    def take_unread(self) -> bytes: ...
    def next_event(self) -> ParserEvent: ...


class Environs(Protocol):
    """Request heads into environs; as `asyncwsgi.wsgi.environ.EnvironBuilder`."""

    def build(self, head: RequestHead) -> dict[str, Any]: ...
