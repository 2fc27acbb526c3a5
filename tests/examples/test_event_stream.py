"""examples/event_stream.py: everyone hears what is said, on one worker thread."""

from __future__ import annotations

from tests.client import Client, connect
from tests.examples.programs import served_by_command_line


def data_of(client: Client) -> bytes:
    """The data of the next event."""
    while not (line := client.read_line()).startswith(b"data: "):
        assert line, "the stream ended"
    return line


def say(client: Client, text: str) -> None:
    reply = client.post(
        "/say", f"text={text}".encode(), Content_Type="application/x-www-form-urlencoded"
    )
    assert reply.status == 204


def test_listeners_hear_what_is_said_and_what_they_missed() -> None:
    with served_by_command_line("event_stream.py", "--threads", "1") as program:
        speaker = program.connect()
        address = speaker.sock.getpeername()
        listeners = [connect(address) for _ in range(3)]
        for listener in listeners:
            listener.request(target="/events")
        assert b"EventSource" in speaker.get("/").body
        say(speaker, "one")
        assert [data_of(listener) for listener in listeners] == [b'data: {"text": "one"}\n'] * 3
        say(speaker, "two")
        listeners.append(connect(address))
        listeners[3].request(target="/events", Last_Event_ID="1")
        assert [data_of(listener) for listener in listeners] == [b'data: {"text": "two"}\n'] * 4
        for client in (speaker, *listeners):
            client.close()
        assert program.interrupt() in (0, 130)
