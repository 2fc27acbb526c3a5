"""``--lifespan`` with ``--reload``: each process that serves has its own."""

from __future__ import annotations

import signal

import pytest

from tests.doors.processes import address_of
from tests.reloading.conftest import APP, Project

LIFESPAN = """
import asyncio
import contextlib
import sys


def tell(line):
    sys.stderr.write(line + "\\n")


@contextlib.asynccontextmanager
async def lifespan():
    tell("entered " + VERSION)
    yield
    tell("left " + VERSION)


@contextlib.asynccontextmanager
async def failing():
    raise LookupError("no database for the new code")
    yield


@contextlib.asynccontextmanager
async def hanging():
    tell("entering " + VERSION)
    await asyncio.Event().wait()
    yield
"""


def write(project: Project, version: str, more: str = "") -> None:
    project.write("web.py", APP.format(version=version) + LIFESPAN + more)


def start(project: Project) -> None:
    write(project, "one")
    project.start("--reload", "--lifespan", "web:lifespan")
    project.process.read_until("entered one")
    project.address = address_of(project.process.urls()[0])


def test_new_code_enters_its_own_before_the_old_leaves(project: Project) -> None:
    start(project)
    assert project.answers("one")
    write(project, "two")
    project.process.read_until("entered two")
    project.process.read_until("left one")
    assert project.answers("two")


def test_new_code_whose_lifespan_fails_does_not_take_over(project: Project) -> None:
    start(project)
    write(project, "two", "lifespan = failing\n")
    project.process.read_until("LookupError: no database for the new code")
    project.process.read_until("the code from before goes on")
    assert project.get().body == b"one"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_ends_one_that_hangs(project: Project, number: signal.Signals) -> None:
    write(project, "one")
    project.start("--reload", "--lifespan", "web:hanging")
    project.process.read_until("entering one")
    project.process.send_signal_to_group(number)
    assert project.process.wait() == 0
    assert "watching for changes" not in project.process.log
