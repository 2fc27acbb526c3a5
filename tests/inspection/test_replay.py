"""Requests are sent once more, to the application's own listener and nowhere else."""

from __future__ import annotations

import base64
import json
import os
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.client import connect
from tests.inspection.inspected import Inspected, inspected
from tests.inspection.samples import FIRST, LAST
from tests.server.certificates import Certificates


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inspected]:
    with inspected(tmp_path_factory.mktemp("project")) as served:
        served.start()
        yield served


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Inspected]:
    """One that a test starts for itself."""
    with inspected(tmp_path) as served:
        yield served


def replay(site: Inspected, repeated: str, **edits: Any) -> dict[str, Any]:
    """What the inspector answers."""
    reply = site.post("/api/replay", {"id": repeated, **edits})
    assert reply.status == 200, reply
    answer: dict[str, Any] = json.loads(reply.body)
    return answer


def seen_by(site: Inspected, entry_id: str) -> dict[str, Any]:
    """What the application has seen of a request that has ended."""
    entry = site.entry(lambda one: one["id"] == entry_id and one["state"] == "ended")
    value: dict[str, Any] = json.loads(base64.b64decode(entry["response_body"]["data"]))
    return {**value, "entry": entry}


class TestWhatIsSent:
    def test_it_is_the_request_as_it_was(self, site: Inspected) -> None:
        with connect(site.project.address) as client:
            client.post("/orders?a=%20'", b"caf\xe9\0\r\n", X_Twice="a", Host="shop.example")
        first = site.ended("/orders?a=%20'")
        answer = replay(site, first["id"])
        assert answer == {"id": answer["id"], "status": 200, "left_out": []}
        seen = seen_by(site, answer["id"])
        assert seen["body"] == "caf\xe9\0\r\n"
        assert seen["headers"]["HTTP_X_TWICE"] == "a"
        assert seen["headers"]["HTTP_HOST"] == "shop.example"
        assert seen["entry"]["replay_of"] == first["id"]
        assert seen["entry"]["target"] == "/orders?a=%20'"

    def test_edits_take_the_place_of_what_was(self, site: Inspected) -> None:
        site.project.get("/edited")
        edits = {
            "method": "PUT",
            "target": "/other",
            "headers": [["X-New", "1"]],
            "body": base64.b64encode(b"new").decode(),
        }
        answer = replay(site, site.ended("/edited")["id"], **edits)
        seen = seen_by(site, answer["id"])
        assert (seen["path"], seen["body"]) == ("/other", "new")
        assert seen["headers"]["HTTP_X_NEW"] == "1"
        # Where none is named, the host is the listener's.
        assert seen["headers"]["HTTP_HOST"] == "{}:{}".format(*site.project.address)

    def test_secrets_that_were_masked_are_left_out_and_named(self, site: Inspected) -> None:
        site.project.get("/masked", Cookie="session=abc", X_Other="1")
        first = site.ended("/masked")
        assert ["Cookie", "***"] in first["request_headers"]
        answer = replay(site, first["id"])
        assert answer["left_out"] == ["Cookie"]
        seen = seen_by(site, answer["id"])
        assert "HTTP_COOKIE" not in seen["headers"]
        assert seen["headers"]["HTTP_X_OTHER"] == "1"

    def test_with_inspect_secrets_they_are_sent(self, fresh: Inspected) -> None:
        fresh.start("--inspect-secrets")
        fresh.project.get("/kept", Cookie="session=***")
        answer = replay(fresh, fresh.ended("/kept")["id"])
        assert answer["left_out"] == []
        assert seen_by(fresh, answer["id"])["headers"]["HTTP_COOKIE"] == "session=***"

    def test_a_body_that_was_cut_is_not(self, site: Inspected) -> None:
        with connect(site.project.address) as client:
            client.post("/large", bytes(200_000))
        first = site.ended("/large")
        reply = site.post("/api/replay", {"id": first["id"]})
        assert reply.status == 409
        assert "of the 200000 bytes of its body were kept; edit" in reply.body.decode()
        answer = replay(site, first["id"], body="YWJj")
        assert seen_by(site, answer["id"])["body"] == "abc"

    @pytest.mark.parametrize(
        "edits",
        [
            {"target": "http://evil.example/"},
            {"target": "/ HTTP/1.1\r\nHost: evil.example\r\n\r\nGET /x"},
            {"headers": [["Host", "a"], ["Host", "b"]]},
            {"headers": [["A", "b\r\nC: d"]]},
            {"method": "GET /x HTTP/1.1\r\nA:"},
        ],
    )
    def test_what_no_request_can_have_is_not(self, site: Inspected, edits: dict[str, Any]) -> None:
        site.project.get("/whole")
        reply = site.post("/api/replay", {"id": site.ended("/whole")["id"], **edits})
        assert reply.status == 400
        assert json.loads(reply.body)["error"]


class TestAnswers:
    def test_one_that_does_not_come_is_not_waited_for(self, fresh: Inspected) -> None:
        fresh.start()
        release = fresh.project.directory / "release"
        os.mkfifo(release)
        fresh.project.get("/before")
        answer = replay(fresh, fresh.ended("/before")["id"], target="/held")
        assert answer["status"] is None
        running = fresh.entry(lambda one: one["id"] == answer["id"])
        assert running["state"] == "running"
        release.write_text("")
        assert seen_by(fresh, answer["id"])["path"] == "/held"

    def test_a_stream_goes_on_behind_it(self, site: Inspected) -> None:
        site.project.get("/for-events")
        answer = replay(site, site.ended("/for-events")["id"], target="/events")
        assert answer["status"] == 200
        events = site.events()
        site.project.get("/go-on")
        # Who looks hears of the entry until its second event has been sent, and thus read.
        while "second" not in str(site.get(f"/api/entries/{answer['id']}")["events"]):
            assert next(events)
        assert site.get(f"/api/entries/{answer['id']}")["state"] == "streaming"

    def test_of_an_application_that_dies_there_is_none(self, fresh: Inspected) -> None:
        fresh.start("--workers", "1")
        fresh.project.get("/before")
        answer = replay(fresh, fresh.ended("/before")["id"], target="/die")
        assert answer["status"] is None


class TestListeners:
    def test_over_tls_any_certificate_will_do(self, fresh: Inspected, tmp_path: Path) -> None:
        certificates = Certificates(tmp_path)
        fresh.start("--certfile", certificates.files.both)
        context = ssl.create_default_context(cafile=certificates.files.authority)
        with connect(fresh.project.address, context) as client:
            client.get("/tls")
        answer = replay(fresh, fresh.ended("/tls")["id"])
        assert answer["status"] == 200
        assert seen_by(fresh, answer["id"])["entry"]["scheme"] == "https"

    def test_a_certificate_made_on_the_spot_is_one_too(self, fresh: Inspected) -> None:
        directory = fresh.project.directory
        fresh.start("--adhoc-cert", environment={"XDG_STATE_HOME": str(directory / "state")})
        assert fresh.get("/api/settings")["origin"].startswith("https://")
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with connect(fresh.project.address, context) as client:
            client.get("/tls")
        assert replay(fresh, fresh.ended("/tls")["id"])["status"] == 200

    def test_at_a_unix_socket(self, fresh: Inspected) -> None:
        fresh.start("--bind", f"unix:{fresh.project.directory / 'socket'}")
        fresh.project.get("/unix")
        assert replay(fresh, fresh.ended("/unix")["id"])["status"] == 200

    @pytest.mark.parametrize(
        ("options", "error"),
        [
            pytest.param(
                ["--bind", "uwsgi://127.0.0.1:0"], "no listener for HTTP", id="uwsgi alone"
            ),
            pytest.param(
                ["--proxy-protocol", "--proxy-protocol-allow-ips", "127.0.0.1"],
                "PROXY protocol",
                id="PROXY protocol",
            ),
        ],
    )
    def test_where_only_proxies_are_heard_the_error_says_so(
        self, fresh: Inspected, options: list[str], error: str
    ) -> None:
        fresh.start(*options, source=SAYS_AT_ONCE)
        fresh.entry(lambda one: one["id"] == "99-1")
        reply = fresh.post("/api/replay", {"id": "99-1"})
        assert reply.status == 409
        assert error in json.loads(reply.body)["error"]


SAYS_AT_ONCE = f"""
import contextlib
import gc
import asyncwsgi.supervision.worker as worker
from asyncwsgi.supervision.channel import Channel

REPORT = {{"event": "inspected", "id": "99-1", "set": {{**{FIRST}, **{LAST}}}}}
send = Channel.send

def say(self, **message):
    send(self, **message)
    if message["event"] == "serving":
        send(self, **REPORT)

Channel.send = say

def app(environ, start_response):
    start_response("204 No Content", [])
    return []
"""
"""Where no client of the tests can be heard, the worker tells of a request all the same."""
