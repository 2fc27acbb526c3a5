"""The worker records where that is wanted, and tells its supervisor."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client import connect
from tests.inspection.inspected import Inspected, inspected

APP = """
import threading
from asyncwsgi.coroutines.current import current_request

released = threading.Event()


def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/hangs":
        hang()
    if path == "/release":
        released.set()
    start_response("200 OK", [("Content-Type", "text/plain")])
    request = current_request()
    parts = (request, request.connection, request.responder)
    return [" ".join(base.__name__ for part in parts for base in type(part).__mro__).encode()]


def hang():
    released.wait()
"""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Inspected]:
    with inspected(tmp_path) as served:
        yield served


def test_a_request_is_reported_to_its_end(served: Inspected) -> None:
    served.start(source=APP)
    with connect(served.project.address) as client:
        reply = client.get("/?token=hunter2")
    entry = served.ended("/?token=***")
    assert base64.b64decode(entry["response_body"]["data"]) == reply.body
    assert b"RecordingExchange" in reply.body


def test_the_stack_of_a_request_that_hangs_is_told(served: Inspected) -> None:
    served.start(source=APP)
    with connect(served.project.address) as client:
        client.request("GET", "/hangs")
        entry = served.entry(lambda one: one["state"] == "running")
        stack = served.get(f"/api/entries/{entry['id']}/stack")["stack"]
        assert "in hang" in stack
        with connect(served.project.address) as other:
            other.get("/release")
        assert client.reply().status == 200
    assert served.ended("/hangs")["status"] == 200


def test_without_it_no_class_is_extended(served: Inspected) -> None:
    served.project.write("web.py", APP)
    process = served.project.start("--reload", "--no-inspect")
    with connect(("127.0.0.1", int(process.urls()[0].rpartition(":")[2].strip("/")))) as client:
        assert b"Recording" not in client.get("/").body
