"""Connections that wait: `idle_client.py HOST PORT ANSWER SECONDS REQUEST_FILE`.

For each number in a line of standard input: opens connections until it holds so many, or until so
many seconds have passed since it began, and asks once on each new one. Prints how many it holds,
and on how many nothing more has come, not even an end. An answer that is not the expected one ends
it with a message.
"""

from __future__ import annotations

import select
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

AT_ONCE = 100
TIMEOUT = 10


def open_more(clients: list[socket.socket], number: int, address: tuple[str, int]) -> None:
    clients.extend(socket.create_connection(address, TIMEOUT) for _ in range(number - len(clients)))


def ask(clients: Iterable[socket.socket], request: bytes, answer: bytes) -> None:
    """One request on each.

    Raises:
        OSError: the answer is another, or none.
    """
    for client in clients:
        client.sendall(request)
    for client in clients:
        received = b""
        while not received.endswith(answer):
            if not (data := client.recv(4096)):
                raise OSError(f"expected {answer!r} at the end of the answer, got {received!r}")
            received += data
        if b" 200 " not in received.partition(b"\r\n")[0]:
            raise OSError(f"expected status 200, got {received!r}")


def count_idle(clients: Iterable[socket.socket]) -> int:
    """Those on which nothing has come: no byte, and no end."""
    poll = select.poll()
    count = 0
    for client in clients:
        poll.register(client, select.POLLIN)
        count += 1
    return count - len(poll.poll(0))


def main() -> None:
    host, port, answer, seconds, request_file = sys.argv[1:]
    request = Path(request_file).read_bytes()
    end = time.monotonic() + float(seconds)
    clients: list[socket.socket] = []
    for line in sys.stdin:
        wanted = int(line)
        while (begin := len(clients)) < wanted and time.monotonic() < end:
            open_more(clients, min(begin + AT_ONCE, wanted), (host, int(port)))
            ask(clients[begin:], request, answer.encode())
        print(len(clients), count_idle(clients), flush=True)


if __name__ == "__main__":
    try:
        main()
    except OSError as error:
        sys.exit(f"{type(error).__name__}: {error}")
