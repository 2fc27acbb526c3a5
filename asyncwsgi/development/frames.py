"""Frames out of exceptions, as JSON has them: which file, which line, and whose code it is.

What is made here is sent to other processes, so that it is bounded, whatever the exception holds.
"""

from __future__ import annotations

import functools
import itertools
import linecache
import os
import site
import sysconfig
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, NotRequired, TypedDict

MOST_FAILURES = 6
"""Exceptions of a chain."""
MOST_FRAMES = 20
"""Innermost frames of an exception that are the user's, and as many that are not."""
MOST_CHARACTERS = 16 * 1024
"""Of all texts of `failures_of` together; a line of source is cut sooner."""
_LONGEST_LINE = 240
_LONGEST_MESSAGE = 4 * 1024
_LONGEST_NAME = 512
"""Of a function, a type, or the path of a file."""
_LINES_AROUND = 5
"""Of an excerpt, before and behind the line that it is of."""
_CUT = "\N{HORIZONTAL ELLIPSIS}"
_INSTALLED = {"site-packages", "dist-packages"}


class Excerpt(TypedDict):
    """Some lines of source."""

    first: int
    """The number of the first of them."""
    lines: list[str]
    start: int
    """The column at which what was executed begins, in the line of the frame; 0 is the first."""
    end: int
    """The column behind it; as `start` if nothing is known of it."""


class Frame(TypedDict):
    """Where a call was, or where a source file cannot be read by Python."""

    file: str
    """Its path; or what stands for it, as ``<string>``."""
    line: int
    function: str
    """Empty for a place that no code has come to: that of a `SyntaxError`."""
    source: str
    """The text of the line, without what surrounds it; empty if it cannot be read."""
    is_own: bool
    """Whether it is the user's code, and no installed package's, Python's or this one's."""
    excerpt: NotRequired[Excerpt]


class Failure(TypedDict):
    """An exception of a chain."""

    link: str
    """What it is to the one before it: its ``cause``, its ``context`` (it was raised while this one
    was handled), a ``part`` of a group; empty for the first."""
    type: str
    message: str
    """With what was added as notes."""
    frames: list[Frame]
    """The innermost is the last."""


def frames_of(error: BaseException) -> list[Frame]:
    """The frames of one exception, without excerpts; the innermost is the last.

    There are `MOST_FRAMES` of the user's own at most, and as many others.
    """
    return [frame for frame, _ in _frames(error)]


def failures_of(error: BaseException) -> list[Failure]:
    """`error` and those that led to it, with excerpts of the source of the user's own frames.

    Their texts have `MOST_CHARACTERS` together. If that is too little, frames are left out: first
    those of the exceptions that are told last, and of each the outermost.
    """
    budget = _Budget(MOST_CHARACTERS)
    told = itertools.islice(_chain(error), MOST_FAILURES)
    return [_failure(link, each, budget) for link, each in told]


class _Budget:
    def __init__(self, characters: int) -> None:
        self._left = characters

    def buys(self, *texts: str) -> bool:
        """Whether there is room for `texts`, which have it then."""
        price = sum(map(len, texts))
        if price > self._left:
            return False
        self._left -= price
        return True


def _failure(link: str, error: BaseException, budget: _Budget) -> Failure:
    kind, message = _cut(_type_name(type(error)), _LONGEST_NAME), _message(error)
    if not budget.buys(kind, message):
        message = _CUT
    frames: list[Frame] = []
    # The innermost says most.
    for frame, excerpt in reversed(list(_frames(error))):
        if not budget.buys(frame["file"], frame["function"], frame["source"]):
            break
        if excerpt is not None and budget.buys(*excerpt["lines"]):
            frame["excerpt"] = excerpt
        frames.insert(0, frame)
    return {"link": link, "type": kind, "message": message, "frames": frames}


def _chain(error: BaseException) -> Iterator[tuple[str, BaseException]]:
    """`error` and what led to it, as Python tells of it, though the latest comes first."""
    seen: set[int] = set()
    following: deque[tuple[str, BaseException]] = deque([("", error)])
    while following:
        link, each = following.popleft()
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield link, each
        if each.__cause__ is not None:
            following.appendleft(("cause", each.__cause__))
        elif each.__context__ is not None and not each.__suppress_context__:
            following.appendleft(("context", each.__context__))
        if isinstance(each, BaseExceptionGroup):
            following.extendleft(("part", part) for part in reversed(each.exceptions))


def _type_name(kind: type[BaseException]) -> str:
    # As `traceback` does.
    hides_module = kind.__module__ in ("builtins", "__main__")
    return kind.__qualname__ if hides_module else f"{kind.__module__}.{kind.__qualname__}"


def _message(error: BaseException) -> str:
    try:
        lines = [error.msg if isinstance(error, SyntaxError) else str(error)]
        lines += map(str, getattr(error, "__notes__", ()))
        return _cut("\n".join(map(str, lines)), _LONGEST_MESSAGE)
    except Exception as failure:
        return f"<its text cannot be had: {_type_name(type(failure))}>"


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}{_CUT}"


def _frames(error: BaseException) -> list[tuple[Frame, Excerpt | None]]:
    """The innermost frames of `error`, with excerpts of the user's own and of the last one."""
    own: deque[int] = deque(maxlen=MOST_FRAMES)
    others: deque[int] = deque(maxlen=MOST_FRAMES)
    places = list(_places(error.__traceback__))
    for number, each in enumerate(places):
        (own if _is_own(each.tb_frame.f_code.co_filename) else others).append(number)
    kept = sorted([*own, *others])
    frames = [_frame(places[number]) for number in kept]
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        frames.append(_frame_of_syntax(error, error.filename, error.lineno))
    return [
        (frame, excerpt if frame["is_own"] or number == len(frames) else None)
        for number, (frame, excerpt) in enumerate(frames, 1)
    ]


def _places(traceback: TracebackType | None) -> Iterator[TracebackType]:
    while traceback is not None:
        yield traceback
        traceback = traceback.tb_next


def _frame(place: TracebackType) -> tuple[Frame, Excerpt | None]:
    code, line = place.tb_frame.f_code, place.tb_lineno or 0
    lines = _lines(code.co_filename, place.tb_frame.f_globals)
    text = lines[line - 1] if 0 < line <= len(lines) else ""
    positions = next(itertools.islice(code.co_positions(), place.tb_lasti // 2, None), None)
    start, end = _columns(positions, line, text)
    frame: Frame = {
        "file": _cut(_path(code.co_filename), _LONGEST_NAME),
        "line": line,
        "function": _cut(code.co_qualname, _LONGEST_NAME),
        "source": _cut(text.strip(), _LONGEST_LINE),
        "is_own": _is_own(code.co_filename),
    }
    return frame, _excerpt(lines, line, start, end)


def _columns(
    positions: tuple[int | None, int | None, int | None, int | None] | None, line: int, text: str
) -> tuple[int, int]:
    """The columns of what was executed, of those of its bytes (PEP 657)."""
    if positions is None:
        return 0, 0
    first, last, start, end = positions
    if first != line or start is None or end is None:
        return 0, 0
    encoded = text.encode(errors="replace")
    if last != first:
        end = len(encoded)  # it goes on in the next line
    return _characters(encoded[:start]), _characters(encoded[:end])


def _characters(encoded: bytes) -> int:
    return len(encoded.decode(errors="replace"))


def _frame_of_syntax(error: SyntaxError, file: str, line: int) -> tuple[Frame, Excerpt | None]:
    lines = _lines(file, {})
    text = lines[line - 1] if line <= len(lines) else error.text or ""
    start = max((error.offset or 1) - 1, 0)
    # Python has no end of what ends with the line, and another line's.
    is_there = error.end_lineno == line and (error.end_offset or 0) - 1 > start
    end = (error.end_offset or 0) - 1 if is_there else start + 1
    frame: Frame = {
        "file": _cut(_path(file), _LONGEST_NAME),
        "line": line,
        "function": "",
        "source": _cut(text.strip(), _LONGEST_LINE),
        "is_own": _is_own(file),
    }
    return frame, _excerpt(lines, line, start, end)


def _excerpt(lines: list[str], line: int, start: int, end: int) -> Excerpt | None:
    if not 0 < line <= len(lines):
        return None
    first = max(line - _LINES_AROUND, 1)
    shown = lines[first - 1 : line + _LINES_AROUND]
    cut = [_cut(text.rstrip("\r\n"), _LONGEST_LINE) for text in shown]
    return {"first": first, "lines": cut, "start": start, "end": end}


def _lines(file: str, names: dict[str, Any]) -> list[str]:
    linecache.checkcache(file)  # it may have been read when it was another
    return linecache.getlines(file, names)


def _path(file: str) -> str:
    # What is compiled has a path relative to the working directory if sys.path has.
    return file if file.startswith("<") else os.path.abspath(file)  # noqa: PTH100


@functools.lru_cache(maxsize=1024)
def _is_own(file: str) -> bool:
    """Whether code of `file` is the user's."""
    if file.startswith("<"):  # as <frozen importlib._bootstrap> and <string>
        return False
    path = os.path.realpath(file)
    if not _INSTALLED.isdisjoint(Path(path).parts):
        return False
    return not any(path.startswith(directory) for directory in _foreign_directories())


@functools.cache
def _foreign_directories() -> tuple[str, ...]:
    """Where Python's library, installed packages and this one are, with separators at the ends."""
    paths = sysconfig.get_paths()
    found = {paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    found.update((site.getusersitepackages(), str(Path(__file__).parents[1])))
    return tuple(os.path.join(os.path.realpath(path), "") for path in found)  # noqa: PTH118
