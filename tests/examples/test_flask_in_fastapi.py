"""examples/flask_in_fastapi.py: one port, one loop, two frameworks."""

from __future__ import annotations

import json
import runpy
from collections.abc import Iterator

import pytest

from tests.client import Client
from tests.examples.programs import EXAMPLES
from tests.mounts.hosts import Hosted, by_uvicorn, hosted


@pytest.fixture
def served() -> Iterator[Hosted]:
    app = runpy.run_path(str(EXAMPLES / "flask_in_fastapi.py"))["app"]
    with hosted(app, by_uvicorn) as served:
        yield served


@pytest.fixture
def client(served: Hosted) -> Iterator[Client]:
    with served.connect() as client:
        yield client


def order(client: Client, item: str) -> int:
    form = {"Content_Type": "application/x-www-form-urlencoded"}
    return client.post("/order", f"item={item}".encode(), **form).status


def test_both_work_on_the_same_stock(client: Client) -> None:
    assert client.get("/").body == b"<li>eggs\n<li>spam\n"
    assert [order(client, "spam") for _ in range(4)] == [200, 200, 200, 409]
    assert json.loads(client.get("/api/stock").body) == {"spam": 0, "eggs": 12}


def test_changes_are_pushed(served: Hosted, client: Client) -> None:
    with served.connect() as watcher:
        watcher.request("GET", "/changes")
        seen = events(watcher)
        assert next(seen) == {"spam": 3, "eggs": 12}
        assert order(client, "eggs") == 200
        assert next(seen) == {"spam": 3, "eggs": 11}


def events(client: Client) -> Iterator[dict[str, int]]:
    while True:
        line = client.read_line()
        if line.startswith(b"data: "):
            yield json.loads(line.removeprefix(b"data: "))
