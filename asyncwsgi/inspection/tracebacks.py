"""What was raised, as text and by its frames; nothing that would keep the frames themselves."""

from __future__ import annotations

import json
import traceback
from dataclasses import dataclass

from asyncwsgi.development.frames import frames_of

_LONGEST = 16 * 1024
"""Characters of a traceback: its end says what, its beginning where."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An exception that the application has raised."""

    text: str
    frames: str
    """As JSON."""


def failure_of(error: BaseException) -> Failure:
    """What can be kept of `error`. In the thread that has it in hand."""
    text = "".join(traceback.format_exception(error))
    if len(text) > _LONGEST:
        half = _LONGEST // 2
        text = f"{text[:half]}\n... (cut: it is too long)\n{text[-half:]}"
    return Failure(text, json.dumps(frames_of(error)))
