"""A Django project in a folder of its own, whose ``manage.py`` is run in processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.client import Client, connect
from tests.doors.processes import Process, address_of

STARTED = "development server at "

MANAGE = """
import os
import sys

sys.stdout = sys.stderr  # which is what tests read while the program runs

if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
"""

SETTINGS = """
from pathlib import Path

DEBUG = True
SECRET_KEY = "for tests"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "urls"
INSTALLED_APPS = ["asyncwsgi.django", "django.contrib.staticfiles"]
STATIC_URL = "static/"
STATICFILES_DIRS = [Path(__file__).parent / "assets"]
"""

URLS = """
import asyncio
import sys
import threading

import asyncwsgi
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path


def index(request):
    return HttpResponse("the first answer")


def thread(request):
    return HttpResponse(threading.current_thread().name)


def held(request):
    sys.stderr.write("the view was entered\\n")
    with open("release") as pipe:  # waits until somebody opens it for writing
        return HttpResponse(pipe.read())


async def loop(request):
    asyncio.get_running_loop()
    return HttpResponse(threading.current_thread().name)


async def ticks():
    yield "data: tick\\n\\n"
    try:
        await asyncio.Event().wait()
    finally:
        sys.stderr.write("the stream was closed\\n")


def events(request):
    return StreamingHttpResponse(asyncwsgi.stream(ticks()), content_type="text/event-stream")


urlpatterns = [
    path("", index),
    path("thread", thread),
    path("held", held),
    path("loop", loop),
    path("events", events),
]
"""


class Project:
    """The folder of a Django project, and its processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._processes: list[Process] = []
        self.write("manage.py", MANAGE)
        self.write("settings.py", SETTINGS)
        self.write("urls.py", URLS)
        self.write("assets/style.css", "body { color: red }")

    def write(self, name: str, source: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(source), encoding="utf-8")
        return path

    def set(self, source: str) -> None:
        """Add to its settings."""
        settings = self.folder / "settings.py"
        settings.write_text(settings.read_text() + dedent(source))

    def manage(self, *arguments: str, **more: Any) -> Process:
        """Run ``manage.py``; nobody is asked for anything."""
        process = Process("manage.py", *arguments, directory=self.folder, **more)
        self._processes.append(process)
        return process

    def close(self) -> None:
        for process in self._processes:
            process.close()


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    project = Project(tmp_path)
    yield project
    project.close()


def url_of(process: Process) -> str:
    """Wait until it has started to serve; where."""
    return process.read_until(STARTED).rpartition(STARTED)[2]


def port_of(process: Process) -> int:
    """Wait until it has started to serve; on which port."""
    port = urlsplit(url_of(process)).port
    assert port is not None
    return port


def client_of(process: Process) -> Client:
    """Wait until it has started to serve; a connection to it."""
    return connect(address_of(url_of(process)))
