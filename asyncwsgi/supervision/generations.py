"""How many children there are, of which code, and so which are to be started and stopped.

Pure bookkeeping: starts and stops nobody, and knows no time.
"""

from __future__ import annotations

from typing import Generic, TypeVar

C = TypeVar("C")


class Generations(Generic[C]):
    """Children that import, and children that serve, of the newest generation and of older ones.

    A generation is what was begun at one time: at the start, by a change of the code, by a signal.
    Its children take the places of the older ones one by one: while there are as many that serve as
    are wanted, one more is started, and when it serves one that is outdated is to be stopped. So at
    no time do fewer serve than before. If some are missing, they are started together.

    The first child of a generation is started alone, and the others once it serves: what is wrong
    with the code is said once, and costs one process. Code that has not served yet can be given up;
    then the children from before are as good as new.

    Args:
        wanted: how many shall serve.
    """

    def __init__(self, wanted: int) -> None:
        self.wanted = wanted
        self.importing: list[C] = []
        """Those of the newest generation that do not serve yet, in the order of their start."""
        self.serving: list[C] = []
        """In the order in which they began to serve."""
        self.outdated: set[C] = set()
        """Those of `serving` whose places others shall take."""
        self.is_proven = False
        """Whether a child of the newest generation has served."""

    def begin(self) -> list[C]:
        """Begin a generation; those of the last one that are of no use any more."""
        superseded, self.importing = self.importing, []
        self.outdated = set(self.serving)
        self.is_proven = False
        return superseded

    def give_up(self) -> None:
        """Go on with the children from before the newest generation, none of which serves."""
        self.importing.clear()
        self.outdated.clear()
        self.is_proven = True

    def started(self, child: C) -> None:
        self.importing.append(child)

    def serves(self, child: C) -> None:
        self.importing.remove(child)
        self.serving.append(child)
        self.is_proven = True

    def outdates(self, child: C) -> None:
        """Have another child take the place of `child`, if it serves."""
        if child in self.serving:
            self.outdated.add(child)

    def ended(self, child: C) -> None:
        """Forget a child that has ended, or shall."""
        if child in self.importing:
            self.importing.remove(child)
        if child in self.serving:
            self.serving.remove(child)
        self.outdated.discard(child)

    def surplus(self) -> list[C]:
        """Those that are to be stopped now: outdated ones first, then the newest."""
        too_many = len(self.serving) - self.wanted
        old = [child for child in self.serving if child in self.outdated]
        new = [child for child in reversed(self.serving) if child not in self.outdated]
        surplus = (old + new)[: max(0, too_many)]
        needless = len(self.importing) - max(0, self._missing(without=len(surplus)))
        return surplus + self.importing[::-1][: max(0, needless)]

    def missing(self) -> int:
        """How many are to be started now."""
        at_once = max(1, self.wanted - len(self.serving)) if self.is_proven else 1
        return max(0, min(self._missing(), at_once) - len(self.importing))

    def _missing(self, without: int = 0) -> int:
        """How many of `wanted` are not served by children of the newest generation."""
        newest = len(self.serving) - len(self.outdated)
        # What is stopped is outdated first.
        return self.wanted - (newest - max(0, without - len(self.outdated)))
