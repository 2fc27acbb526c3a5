"""Where code stands: the stacks of threads, and of coroutines that wait."""

from __future__ import annotations

import gc
import inspect
import linecache
import sys
import threading
import traceback
from collections.abc import Collection, Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

MOST_FRAMES = 12
"""The innermost frames are the ones that say where code hangs."""

_PACKAGE = str(Path(__file__).parents[1])
_LIBRARY = str(Path(threading.__file__).parent)
_CARRIERS = (
    _PACKAGE,
    str(Path(_LIBRARY, "threading.py")),
    str(Path(_LIBRARY, "asyncio")),
    str(Path(_LIBRARY, "concurrent")),
    str(Path(_LIBRARY, "contextlib.py")),
)
"""Whose frames, at the outer end of a stack, only carry those of the application."""


def stack_of(thread_id: int | None) -> str:
    """The stack of a thread, the innermost frame last; empty if it has ended."""
    return stack_of_frame(sys._current_frames().get(thread_id or 0))


def stack_of_frame(frame: FrameType | None) -> str:
    """The stack whose innermost frame is `frame`, that one last; empty for None."""
    try:
        return "" if frame is None else _rendered(traceback.extract_stack(frame))
    finally:
        del frame  # it belongs to a thread that runs on


def place_of(thread_id: int | None) -> str:
    """``file:line`` of what a thread does, as far as it is not the library's."""
    frame = sys._current_frames().get(thread_id or 0)
    try:
        found = None if frame is None else _outside_library(traceback.extract_stack(frame))
    finally:
        del frame
    return "nowhere" if found is None else f"{found.filename}:{found.lineno}"


def owners_of_threads(codes: Collection[CodeType]) -> dict[int, int]:
    """The threads inside a method whose code is one of `codes`, by the ``id`` of its ``self``."""
    owners = {}
    for thread_id, innermost in sys._current_frames().items():
        frame: FrameType | None = innermost
        while frame is not None:
            if frame.f_code in codes:
                owners[id(frame.f_locals.get("self"))] = thread_id
            frame = frame.f_back
    return owners


def stack_of_awaitable(awaitable: Any) -> str:
    """The stack of a coroutine that waits, the innermost frame last; empty if it has ended."""
    return _rendered(traceback.StackSummary.from_list(list(_awaited(awaitable))))


def _awaited(awaitable: Any) -> Iterator[traceback.FrameSummary]:
    while awaitable is not None:
        kind = next((k for k in ("cr", "ag", "gi") if hasattr(awaitable, f"{k}_frame")), None)
        if kind is None:
            awaitable = _generator_behind(awaitable)
            continue
        frame = getattr(awaitable, f"{kind}_frame")
        if frame is not None:
            number, code = frame.f_lineno or 0, frame.f_code  # None: between two lines
            line = linecache.getline(code.co_filename, number).strip()
            yield traceback.FrameSummary(code.co_filename, number, code.co_name, line=line)
        following = getattr(awaitable, f"{kind}_await", None)
        awaitable = following or getattr(awaitable, f"{kind}_yieldfrom", None)


def _generator_behind(step: Any) -> Any:
    """The async generator whose ``anext()`` or ``aclose()`` `step` is; None if it is neither.

    Who awaits a block of an async generator awaits such a step, which does not tell whose it is;
    to the garbage collector it does.
    """
    return next(filter(inspect.isasyncgen, gc.get_referents(step)), None)


def _rendered(summary: traceback.StackSummary) -> str:
    frames = list(summary)
    while len(frames) > 1 and frames[0].filename.startswith(_CARRIERS):
        del frames[0]
    return "".join(traceback.format_list(frames[-MOST_FRAMES:])).rstrip("\n")


def _outside_library(summary: traceback.StackSummary) -> traceback.FrameSummary | None:
    frames = list(summary)
    ours = [
        f for f in frames if not f.filename.startswith((_LIBRARY, "<")) or "site-" in f.filename
    ]
    return (ours or frames)[-1] if frames else None
