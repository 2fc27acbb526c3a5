"""What was raised, as text and by its frames; nothing that would keep the frames themselves."""

from __future__ import annotations

import linecache
import site
import sysconfig
import traceback
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

_LONGEST = 16 * 1024
"""Characters of a traceback: its end says what, its beginning where."""
_MOST_FRAMES = 60
_LONGEST_LINE = 200


@dataclass(frozen=True, slots=True)
class Failure:
    """An exception that the application has raised."""

    text: str
    frames: list[dict[str, Any]]


def failure_of(error: BaseException) -> Failure:
    """What can be kept of `error`. In the thread that has it in hand."""
    text = "".join(traceback.format_exception(error))
    if len(text) > _LONGEST:
        half = _LONGEST // 2
        text = f"{text[:half]}\n... (cut: it is too long)\n{text[-half:]}"
    summary = traceback.extract_tb(error.__traceback__)
    return Failure(text, [_frame(frame) for frame in summary[-_MOST_FRAMES:]])


def _frame(frame: traceback.FrameSummary) -> dict[str, Any]:
    line = frame.lineno or 0
    return {
        "file": frame.filename,
        "line": line,
        "function": frame.name,
        "source": linecache.getline(frame.filename, line).strip()[:_LONGEST_LINE],
        "is_own": is_own(frame.filename),
    }


def is_own(path: str) -> bool:
    """Whether a file is the user's: neither installed nor a part of Python or of this server."""
    return not path.startswith(_foreign_places()) and not path.startswith("<")


@cache
def _foreign_places() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    places = {paths["stdlib"], paths["platstdlib"], paths["purelib"], paths["platlib"]}
    places |= {site.getusersitepackages(), str(Path(__file__).parents[1])}
    return tuple(places)
