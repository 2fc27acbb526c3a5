"""Sends a request once more, to the application's own listener and nowhere else.

All of it runs on the loop. Who asks for a replay hears which entry it has become and what its
status is; an answer that takes longer, or that never ends, is read on behind that, so that the
application is not cut off at once, and what it does can be watched.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Mapping
from typing import Any

import h11

from asyncwsgi.inspection.entries import Entry
from asyncwsgi.inspection.failed import Failed
from asyncwsgi.inspection.origin import Origin
from asyncwsgi.inspection.outgoing import REPLAY_OF, Outgoing

CONNECT_TIMEOUT = 5.0
SEEN_TIMEOUT = 2.0
"""Seconds until the worker has told of a request that was sent."""
STATUS_TIMEOUT = 2.0
"""Seconds for which a status is waited for, with whoever has asked."""
LONGEST_REPLAY = 60.0
"""Seconds behind which a replay is cut that has not ended."""
MOST_REPLAYS = 32
"""Replays at a time."""
_BLOCK = 64 * 1024


class Replayer:
    """Replays requests of one service.

    Args:
        origin: where the application is served; None is nowhere that speaks HTTP.
        objection: why nobody but a proxy can send requests there, if so.
    """

    def __init__(self, origin: Origin | None, objection: str = "") -> None:
        self._origin = origin
        self._objection = objection
        # One at a time until it has been seen: an entry says what it repeats, not in which replay.
        self._turn = asyncio.Lock()
        self._expected: tuple[str, asyncio.Future[str]] | None = None
        self._reading: set[asyncio.Task[None]] = set()

    def begun(self, entry: Entry) -> None:
        """Know of a new entry."""
        if self._expected is not None:
            repeated, seen = self._expected
            if entry["replay_of"] == repeated and not seen.done():
                seen.set_result(entry["id"])

    async def send(self, repeated: str, request: Outgoing) -> Mapping[str, Any]:
        """Send a request.

        Args:
            repeated: the id of the entry that it repeats.
            request: it.

        Returns:
            ``id`` of the new entry, None if the worker did not tell; ``status``, None if there is
            none yet; the names of headers that were ``left_out``.

        Raises:
            Failed: it cannot be sent.
        """
        if self._origin is None or self._objection:
            raise Failed(409, self._objection or "the application has no listener for HTTP")
        if len(self._reading) >= MOST_REPLAYS:
            raise Failed(429, f"{MOST_REPLAYS} replays have not ended yet; wait for one of them")
        parser = h11.Connection(h11.CLIENT)
        data = _encode(parser, repeated, request, self._origin.host)
        async with self._turn:
            reader, writer = await self._connect(self._origin)
            entry_id = await self._seen(repeated, writer, data)
        status: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        reading = asyncio.create_task(_read(reader, writer, parser, status))
        self._reading.add(reading)
        reading.add_done_callback(self._reading.discard)
        await asyncio.wait({status}, timeout=STATUS_TIMEOUT)
        return {
            "id": entry_id,
            "status": status.result() if status.done() else None,
            "left_out": list(request.left_out),
        }

    async def close(self) -> None:
        """Cut what goes on."""
        for reading in self._reading:
            reading.cancel()
        if self._reading:
            await asyncio.wait(self._reading)

    async def _connect(self, origin: Origin) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        options: dict[str, Any] = {"ssl": _any_certificate()} if origin.is_tls else {}
        if origin.is_tls:
            options["server_hostname"] = "localhost"
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                if isinstance(origin.address, str):
                    return await asyncio.open_unix_connection(origin.address, **options)
                host, port = origin.address
                return await asyncio.open_connection(host, port, **options)
        except (OSError, TimeoutError) as error:
            reason = str(error) or f"no connection within {CONNECT_TIMEOUT:g} s"
            raise Failed(
                502, f"cannot connect to the application at {origin.url}: {reason}"
            ) from None

    async def _seen(self, repeated: str, writer: asyncio.StreamWriter, data: bytes) -> str | None:
        """Send it; the id of the entry that the worker makes of it."""
        seen: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._expected = repeated, seen
        try:
            writer.write(data)
            async with asyncio.timeout(SEEN_TIMEOUT):
                return await seen
        except TimeoutError:
            return None
        except BaseException:
            writer.transport.abort()
            raise
        finally:
            self._expected = None


async def _read(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    parser: h11.Connection,
    status: asyncio.Future[int | None],
) -> None:
    """Read a response to its end, and tell its status as soon as that is known."""
    try:
        async with asyncio.timeout(LONGEST_REPLAY):
            while data := await reader.read(_BLOCK):
                if not status.done():
                    _look(parser, data, status)
    except (OSError, TimeoutError):
        pass  # the application has cut it, or shall hear that nobody reads on
    finally:
        if not status.done():
            status.set_result(None)
        writer.transport.abort()


def _look(parser: h11.Connection, data: bytes, status: asyncio.Future[int | None]) -> None:
    parser.receive_data(data)
    with contextlib.suppress(h11.RemoteProtocolError):
        while (event := parser.next_event()) is not h11.NEED_DATA:
            if isinstance(event, h11.Response):
                status.set_result(event.status_code)
                return
            if event is h11.PAUSED:
                return


def _encode(parser: h11.Connection, repeated: str, request: Outgoing, host: str) -> bytes:
    headers = list(request.headers)
    if not any(name.lower() == "host" for name, _ in headers):
        headers.insert(0, ("Host", host))
    headers += [(REPLAY_OF, repeated), ("Connection", "close")]
    if request.has_body:
        headers.append(("Content-Length", str(len(request.body))))
    try:
        event = h11.Request(
            method=request.method,
            target=request.target,
            headers=[(name.encode(), value.encode("latin-1")) for name, value in headers],
        )
        content = [h11.Data(request.body)] if request.body else []
        parts = [parser.send(one) for one in (event, *content, h11.EndOfMessage())]
    except h11.LocalProtocolError as error:
        raise Failed(400, f"this request cannot be sent: {error}") from None
    return b"".join(part for part in parts if part)


def _any_certificate() -> ssl.SSLContext:
    """TLS with whoever listens there, which is the application: its address is its own.

    Its certificate is for other names, perhaps, and signed by nobody whom this machine knows.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
