"""``asyncwsgi --inspect`` in processes of its own, and its site as a client sees it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

from tests.client import TIMEOUT, Reply, connect
from tests.doors.processes import Process, address_of
from tests.reloading.conftest import Project

APP = """
import asyncio
import gc
import json
import os
import time

import asyncwsgi
from asyncwsgi.supervision.channel import Channel

VERSION = "one"


def app(environ, start_response):
    path = environ["PATH_INFO"]
    body = environ["wsgi.input"].read()
    answer = json.dumps({
        "path": path,
        "body": body.decode("latin-1"),
        "headers": {k: v for k, v in environ.items() if k.startswith("HTTP_")},
    })
    if path == "/version":
        answer = VERSION
    if path == "/die":
        os._exit(7)
    if path == "/held":
        with open("release") as pipe:  # waits until somebody opens it for writing
            pipe.read()
    if path == "/say":  # to the supervisor, in the worker's name
        asyncwsgi.from_thread.run(say, body.decode())
    if path == "/go-on":
        asyncwsgi.from_thread.run(go_on)
    if path == "/events":
        return asyncwsgi.EventStream(events())(environ, start_response)
    start_response("200 OK", [("Content-Type", "application/json")])
    return [answer.encode()]


async def say(text):
    channel = next(one for one in gc.get_objects() if isinstance(one, Channel))
    for line in text.splitlines():
        channel.send(**json.loads(line))


WAITING = []


async def events():
    yield "first"
    WAITING.append(asyncio.Event())
    await WAITING[-1].wait()
    yield "second"
    await asyncio.Event().wait()


async def go_on():
    for one in WAITING:
        one.set()
"""


class Inspected:
    """An application with an inspector.

    Attributes:
        project: its directory and its processes.
        key: that of the inspector.
        site: the address of the inspector.
    """

    def __init__(self, project: Project, stack: ExitStack) -> None:
        self.project = project
        self._stack = stack
        self.key = ""
        self.site = ("", 0)

    @property
    def process(self) -> Process:
        """The supervisor."""
        return self.project.process

    def start(self, *options: str, source: str = APP, **more: Any) -> None:
        """Start it, and wait until the application is served."""
        self.project.write("web.py", source)
        self.project.start("--inspect", *options, **more)
        self.find()

    def find(self) -> None:
        self.project.address = address_of(self.process.urls()[0])
        url, _, self.key = self.process.read_until("inspecting at ").partition("#")
        address = address_of(url.rpartition(" ")[2])
        assert isinstance(address, tuple)
        self.site = address

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.site[1]}"

    def ask(
        self, target: str, method: str = "GET", body: bytes | None = None, **headers: str
    ) -> Reply:
        """One request to the inspector, with its key and its name unless `headers` say otherwise.

        A header that is empty is not sent.
        """
        headers = {"Host": self.host, "X_Inspect_Key": self.key, **headers}
        with connect(self.site) as client:
            client.request(method, target, body, **{k: v for k, v in headers.items() if v})
            return client.reply(method)

    def get(self, target: str) -> Any:
        """What it answers to its page."""
        reply = self.ask(target)
        assert reply.status == 200, reply
        return json.loads(reply.body)

    def post(self, target: str, value: Any) -> Reply:
        body = json.dumps(value).encode()
        return self.ask(target, "POST", body, Content_Type="application/json")

    def entries(self) -> list[dict[str, Any]]:
        """What it lists."""
        listed: list[dict[str, Any]] = self.get("/api/entries")["entries"]
        return listed

    def entry(self, is_wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait until one of the entries is as wanted; all of it."""
        patience = time.monotonic() + TIMEOUT
        while time.monotonic() < patience:
            for summary in self.entries():
                if is_wanted(summary):
                    whole: dict[str, Any] = self.get(f"/api/entries/{summary['id']}")
                    return whole
        raise AssertionError(f"there is none: {self.entries()}")

    def ended(self, target: str) -> dict[str, Any]:
        """Wait until a request with this target has ended; all of it."""
        return self.entry(lambda one: one["target"] == target and one["state"] == "ended")

    def say(self, *messages: dict[str, Any]) -> None:
        """Have the worker send these messages to its supervisor."""
        lines = "\n".join(json.dumps(message) for message in messages).encode()
        with connect(self.project.address) as client:
            assert client.post("/say", lines).status == 200

    def events(self) -> Iterator[tuple[str, Any]]:
        """What its event stream says, from now on: of each event what it is, and its data."""
        connection = HTTPConnection(*self.site, timeout=TIMEOUT)
        self._stack.callback(connection.close)
        connection.request("GET", "/api/events", headers={"X-Inspect-Key": self.key})
        response = connection.getresponse()
        assert response.status == 200
        assert response.getheader("Content-Security-Policy")
        assert response.readline() == b":\n"  # from now on it is told
        return _parsed(response)


def _parsed(response: HTTPResponse) -> Iterator[tuple[str, Any]]:
    kind = ""
    while line := response.readline():
        name, _, value = line.decode().rstrip("\n").partition(": ")
        if name == "event":
            kind = value
        elif name == "data":
            yield kind, json.loads(value)


@contextmanager
def inspected(directory: Path) -> Iterator[Inspected]:
    """One that is not started yet; all ends with the block."""
    with ExitStack() as stack:
        yield Inspected(Project(directory, stack), stack)
