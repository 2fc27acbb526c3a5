"""The application of Django's registry: its check, and the command that is there beside others."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.django.conftest import Project, client_of

LATE = 'INSTALLED_APPS = ["django.contrib.staticfiles", "asyncwsgi.django"]'


def test_it_warns_when_it_stands_too_late(project: Project) -> None:
    project.set(LATE)
    process = project.manage("check")
    assert process.wait() == 0
    assert "(asyncwsgi.W001) `runserver` is that of 'django.contrib.staticfiles'" in process.log
    assert "HINT: Move 'asyncwsgi.django' before 'django.contrib.staticfiles'." in process.log


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param("", id="it comes first"),
        pytest.param('INSTALLED_APPS = ["own", *INSTALLED_APPS]', id="behind a command made of it"),
    ],
)
def test_it_warns_of_nothing_else(project: Project, settings: str) -> None:
    project.write(
        "own/management/commands/runserver.py",
        "from asyncwsgi.django.management.commands.runserver import Command as Ours\n\n\n"
        "class Command(Ours):\n    pass\n",
    )
    project.set(settings)
    process = project.manage("check")
    assert process.wait() == 0
    assert "no issues (0 silenced)" in process.log


@pytest.mark.parametrize("settings", ["", LATE], ids=["before staticfiles", "behind it"])
def test_there_is_a_command_of_its_own(project: Project, settings: str) -> None:
    project.set(settings)
    with client_of(project.manage("runasyncwsgi", "127.0.0.1:0")) as client:
        reply = client.get("/static/style.css")
    assert (reply.status, reply.header("Server")) == (200, "asyncwsgi")


def test_who_imports_the_server_imports_no_django() -> None:
    code = "import sys, asyncwsgi.cli; asyncwsgi.run; assert 'django' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
