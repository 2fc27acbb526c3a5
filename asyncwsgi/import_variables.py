"""Environment variables that only the code which is being imported sees.

Flask and Werkzeug look into the environment for who runs the application: ``FLASK_RUN_FROM_CLI``
has ``app.run()`` return at once, ``WERKZEUG_RUN_MAIN`` says that a reloader has started this one.
Both concern the import and nothing else. In `os.environ` they would also be read by what the
application starts - a process with a server of Werkzeug's own, a thread that serves metrics - and
keep it from serving.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    _Environ = os._Environ[str]
else:
    _Environ = type(os.environ)

_WAYS_TO_ASK = ("os", "collections.abc", "_collections_abc")


@contextmanager
def answering(variables: Mapping[str, str]) -> Iterator[set[tuple[str, str]]]:
    """Answer for `variables` in `os.environ`, in this thread, as long as the context lasts.

    They are answered when they are asked for by their names, until the code itself sets or removes
    them. Whoever copies the environment, and every process that inherits it, finds none of them;
    neither do other threads.

    Yields:
        The names that were asked for, each with the module that did so.
    """
    asked: set[tuple[str, str]] = set()
    answers = dict(variables)
    asker = _asker()

    class Answering(_Environ):
        def __getitem__(self, name: str) -> str:
            if name in answers and _asker() == asker:
                asked.add((name, _asking_module()))
                return answers[name]
            return super().__getitem__(name)

        def __setitem__(self, name: str, value: str) -> None:
            answers.pop(name, None)
            super().__setitem__(name, value)

        def __delitem__(self, name: str) -> None:
            if answers.pop(name, None) is None:
                super().__delitem__(name)

    # Not another object in its place: modules have names of their own for this one.
    before = os.environ.__class__
    os.environ.__class__ = Answering
    try:
        yield asked
    finally:
        os.environ.__class__ = before


def _asking_module() -> str:
    """The module whose code has asked `os.environ`, by whichever of its methods."""
    frame = sys._getframe(2)
    while frame.f_globals.get("__name__") in _WAYS_TO_ASK and frame.f_back is not None:
        frame = frame.f_back
    return str(frame.f_globals.get("__name__"))


def _asker() -> tuple[int, int]:
    # A forked child goes on in a copy of this thread.
    return os.getpid(), threading.get_ident()
