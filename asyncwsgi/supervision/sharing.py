"""Which worker accepts from which listeners.

Each worker has a socket of its own at each TCP address, among which the kernel divides the clients
(SO_REUSEPORT): a client wakes up the worker that serves it and no other, and no worker gets them
all. The supervisor has all these sockets open from its start to its end, and every worker has them,
too. So none is ever closed with clients in its queue, and a worker takes over a socket that another
one left behind - because that has died, or is not wanted any more - by watching it. Where the
kernel does not divide there is one socket, which all of them watch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from asyncwsgi.server.listeners import Listener, open_copies


@dataclass(frozen=True, slots=True)
class SharedListeners:
    """The sockets of some workers.

    Args:
        listeners: all of them, in the order in which workers know them.
        divided: for each address at which there are several, the places of its sockets.
        common: the places of the others, from which all workers accept.
    """

    listeners: tuple[Listener, ...]
    divided: tuple[tuple[int, ...], ...]
    common: tuple[int, ...]

    @classmethod
    def of(
        cls, listeners: Sequence[Listener], copies: Sequence[Sequence[Listener]]
    ) -> SharedListeners:
        """Those of `listeners`, each with what `open_copies` has made of it."""
        shared = list(listeners)
        divided, common = [], []
        for place, more in enumerate(copies):
            if more:
                places = range(len(shared), len(shared) + len(more))
                divided.append((place, *places))
                shared += more
            else:
                common.append(place)
        return cls(tuple(shared), tuple(divided), tuple(common))

    def places(self, number: int, count: int) -> list[int]:
        """The places of the sockets from which the worker `number` of `count` accepts.

        Each socket has somebody, be there fewer workers than sockets or more.
        """
        places = list(self.common)
        for own in self.divided:
            if number < len(own):
                places += own[number::count]
            else:
                places.append(own[number % len(own)])
        return sorted(places)


def open_shared(listeners: Sequence[Listener], workers: int, backlog: int) -> list[list[Listener]]:
    """More sockets beside `listeners`, for as many workers; for each of them a list.

    Raises:
        BindError: one cannot be had; none of them stays open.
    """
    copies: list[list[Listener]] = [[] for _ in listeners]
    try:
        for listener, more in zip(listeners, copies, strict=True):
            more += open_copies(listener, workers - 1, backlog) if workers > 1 else []
    except BaseException:
        close_all(copies)
        raise
    return copies


def close_all(copies: Sequence[Sequence[Listener]]) -> None:
    for more in copies:
        for listener in more:
            listener.close()
