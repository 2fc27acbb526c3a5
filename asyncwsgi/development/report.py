"""Why an application does not serve, as its process tells of it to those who show it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from asyncwsgi.app_loading import application_error, format_error
from asyncwsgi.development.frames import Failure, failures_of

if TYPE_CHECKING:
    from asyncwsgi.errors import AsyncWSGIError

_LONGEST_MESSAGE = 4 * 1024
"""In characters. What sends a report cuts no more than its text."""


class Report(TypedDict):
    """Why an application does not serve, as its process tells of it."""

    text: str
    """As the log has it: a traceback, if the application raised."""
    message: str
    """What there is to say without one."""
    failures: list[Failure]
    """What the application raised, and what led to it; none if it raised nothing."""
    directory: str
    """In which it was to serve."""


def report_of(error: AsyncWSGIError) -> Report:
    """What there is to tell of what prevents an application from serving."""
    raised = application_error(error)
    report = report_of_text(str(error))
    report["text"] = format_error(error)
    report["failures"] = [] if raised is None else failures_of(raised)
    return report


def report_of_text(text: str) -> Report:
    """The same where a text is all that is known."""
    try:
        directory = str(Path.cwd())
    except FileNotFoundError:  # it is deleted
        directory = ""
    message = text[:_LONGEST_MESSAGE]
    return {"text": text, "message": message, "failures": [], "directory": directory}
