"""Reads responses as a client does: by h11, which knows nothing of the encoder."""

from __future__ import annotations

from dataclasses import dataclass

import h11


@dataclass(frozen=True)
class Received:
    """One response, complete by its own framing."""

    status: int
    reason: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes
    keep_alive: bool
    rest: bytes

    def header(self, name: bytes) -> bytes | None:
        """The only value of a header; None if it is absent."""
        values = [value for key, value in self.headers if key.lower() == name]
        assert len(values) < 2, f"{name!r} is repeated: {values}"
        return values[0] if values else None


def receive(data: bytes, method: str = "GET") -> Received:
    """The response to a request of `method` that begins `data`, behind which the server closes.

    Raises:
        h11.RemoteProtocolError: it is malformed, or not whole.
    """
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target="/", headers=[("Host", "test")]))
    client.send(h11.EndOfMessage())
    client.receive_data(data)
    body, is_at_end = b"", False
    head = client.next_event()
    assert isinstance(head, h11.Response)
    while not isinstance(event := client.next_event(), h11.EndOfMessage):
        if isinstance(event, h11.Data):
            body += event.data
        else:
            assert event is h11.NEED_DATA
            client.receive_data(b"")
            is_at_end = True
    return Received(
        head.status_code,
        head.reason,
        head.headers.raw_items(),
        body,
        client.our_state is h11.DONE and not is_at_end,
        client.trailing_data[0],
    )
