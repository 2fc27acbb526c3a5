"""The inspector's site, as ``asyncwsgi --inspect`` serves it."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.client import connect
from tests.inspection.inspected import Inspected, inspected
from tests.inspection.samples import FIRST, LAST

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; "
    "form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
REPORT = {"event": "inspected", "id": "99-1", "set": {**FIRST, "target": "/told"}}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inspected]:
    """One for the tests that leave it as it was."""
    with inspected(tmp_path_factory.mktemp("project")) as served:
        served.start()
        yield served


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Inspected]:
    """One that a test starts for itself."""
    with inspected(tmp_path) as served:
        yield served


def resident_size(pid: int) -> int:
    """Bytes of memory that a process has in use."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


def error_of(body: bytes) -> str:
    value = json.loads(body)
    assert value.keys() == {"error"}
    return str(value["error"])


class TestWhoMayAsk:
    def test_the_page_is_for_everybody_on_this_machine(self, site: Inspected) -> None:
        for path in ("/", "/assets/main.js", "/assets/inspect.css", "/assets/style.css"):
            reply = site.ask(path, X_Inspect_Key="")
            assert reply.status == 200, path
            assert reply.body

    @pytest.mark.parametrize("target", ["/api/entries", "/api/events", "/api/settings", "/api/no"])
    def test_data_is_for_who_has_the_key(self, site: Inspected, target: str) -> None:
        reply = site.ask(target, X_Inspect_Key=site.key[:-1])
        assert reply.status == 403
        assert "start line" in error_of(reply.body)

    @pytest.mark.parametrize("target", ["/", "/api/entries"])
    def test_it_has_no_name_of_others(self, site: Inspected, target: str) -> None:
        reply = site.ask(target, Host=f"evil.example:{site.site[1]}")
        assert reply.status == 421
        assert "evil.example" in error_of(reply.body)

    @pytest.mark.parametrize("target", ["/api/clear", "/api/replay"])
    def test_pages_of_others_have_nothing_done(self, site: Inspected, target: str) -> None:
        send = partial(site.ask, target, "POST", b"{}", Content_Type="application/json")
        assert send(Origin="http://evil.example").status == 403
        assert send(Sec_Fetch_Site="cross-site").status == 403

    def test_no_page_of_another_origin_is_allowed_to_send_the_key(self, site: Inspected) -> None:
        # What a browser asks before it sends a header that is not everybody's (CORS).
        reply = site.ask(
            "/api/entries",
            "OPTIONS",
            X_Inspect_Key="",
            Origin="http://evil.example",
            Access_Control_Request_Headers="x-inspect-key",
        )
        assert reply.status == 403
        assert not [name for name, _ in reply.headers if name.startswith("Access-Control")]

    def test_it_listens_for_this_machine_alone(self, site: Inspected) -> None:
        lines = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
        listening = [line.split()[1] for line in lines if line.split()[3] == "0A"]
        port = f":{site.site[1]:04X}"
        assert [address for address in listening if address.endswith(port)] == [f"0100007F{port}"]


class TestAnswers:
    @pytest.mark.parametrize(
        ("method", "target", "changes", "status"),
        [
            pytest.param("GET", "/", {}, 200, id="the page"),
            pytest.param("HEAD", "/", {}, 200, id="its head"),
            pytest.param("GET", "/api/entries", {}, 200, id="data"),
            pytest.param("GET", "/api/entries", {"X_Inspect_Key": "no"}, 403, id="refused"),
            pytest.param("GET", "/", {"Host": "evil.example"}, 421, id="misdirected"),
            pytest.param("GET", "/favicon.ico", {}, 404, id="nothing"),
            pytest.param("DELETE", "/api/entries", {}, 405, id="another method"),
            pytest.param("GET", "/api/entries/1-1", {}, 404, id="no entry"),
            pytest.param("POST", "/api/replay", {}, 415, id="no JSON"),
        ],
    )
    def test_all_have_the_headers_that_browsers_obey(
        self, site: Inspected, method: str, target: str, changes: dict[str, str], status: int
    ) -> None:
        reply = site.ask(target, method, None, **changes)
        assert reply.status == status
        assert {name: reply.header(name) for name in HEADERS} == HEADERS

    @pytest.mark.parametrize(
        ("method", "target", "allowed"),
        [
            ("POST", "/", "GET, HEAD"),
            ("PUT", "/assets/main.js", "GET, HEAD"),
            ("POST", "/api/settings", "GET, HEAD"),
            ("POST", "/api/events", "GET"),
            ("GET", "/api/clear", "POST"),
            ("GET", "/api/replay", "POST"),
        ],
    )
    def test_of_another_method_they_name_the_right_one(
        self, site: Inspected, method: str, target: str, allowed: str
    ) -> None:
        reply = site.ask(target, method)
        assert reply.status == 405
        assert reply.header("Allow") == allowed

    @pytest.mark.parametrize(
        "target",
        [
            "/assets/../inspector.py",
            "/assets/..%2finspector.py",
            "/assets/%2e%2e/inspector.py",
            "/assets//etc/passwd",
            "/assets/..\\inspector.py",
            "/assets/",
            "/assets/index.html/../../guard.py",
            "/../../../../etc/passwd",
            "/index.html%00.js",
        ],
    )
    def test_no_path_leads_to_another_file(self, site: Inspected, target: str) -> None:
        for key in (site.key, ""):
            assert site.ask(target, X_Inspect_Key=key).status in (403, 404)

    def test_scripts_have_the_type_that_modules_need(self, site: Inspected) -> None:
        assert site.ask("/assets/main.js").header("Content-Type") == (
            "text/javascript; charset=utf-8"
        )

    @pytest.mark.parametrize(
        ("body", "content_type", "status"),
        [
            pytest.param(b"{}", "text/plain", 415, id="a type that forms can send"),
            pytest.param(b"{", "application/json", 400, id="no JSON"),
            pytest.param(b"[" * 100_000, "application/json", 400, id="JSON without an end"),
            pytest.param(b"[]", "application/json", 400, id="a list"),
            pytest.param(b"{}", "application/json", 404, id="no id"),
            pytest.param(b'{"id": ["1-1"]}', "application/json", 404, id="a list for an id"),
            pytest.param(b" " * 5_000_000, "application/json", 413, id="5 MB"),
        ],
    )
    def test_what_is_no_replay_is_refused(
        self, site: Inspected, body: bytes, content_type: str, status: int
    ) -> None:
        reply = site.ask("/api/replay", "POST", body, Content_Type=content_type)
        assert reply.status == status
        assert error_of(reply.body)

    def test_settings_say_what_is_served(self, site: Inspected) -> None:
        settings = site.get("/api/settings")
        assert settings["app"] == "web:app"
        assert settings["origin"] == "http://{}:{}".format(*site.project.address)


class TestRequests:
    def test_each_is_listed_and_shown(self, site: Inspected) -> None:
        assert site.project.get("/shown?x=1").status == 200
        entry = site.ended("/shown?x=1")
        assert (entry["method"], entry["status"]) == ("GET", 200)
        assert json.loads(base64.b64decode(entry["response_body"]["data"]))["path"] == "/shown"

    def test_who_looks_hears_of_them_as_they_come(self, site: Inspected) -> None:
        events = site.events()
        site.project.get("/heard")
        for kind, data in events:
            if kind == "entry" and data["target"] == "/heard" and data["state"] == "ended":
                break
        assert data["status"] == 200

    def test_who_looks_hears_what_the_worker_does(self, site: Inspected) -> None:
        counts = next(data for kind, data in site.events() if kind == "now")
        assert counts["threads"]["limit"] == 40

    def test_of_one_that_hangs_the_stack_is_shown(self, fresh: Inspected) -> None:
        fresh.start()
        os.mkfifo(fresh.project.directory / "release")
        with connect(fresh.project.address) as client:
            client.request("GET", "/held")
            held = fresh.entry(lambda one: one["target"] == "/held" and one["state"] == "running")
            stack = fresh.get(f"/api/entries/{held['id']}/stack")["stack"]
            assert 'with open("release") as pipe' in stack
            (fresh.project.directory / "release").write_text("")
            assert client.reply().status == 200
        ended = fresh.ended("/held")
        assert fresh.get(f"/api/entries/{ended['id']}/stack") == {"stack": None}

    @pytest.mark.parametrize("way", ["curl", "httpx", "test"])
    def test_each_can_be_copied(self, site: Inspected, way: str) -> None:
        site.project.get("/copied")
        entry = site.ended("/copied")
        reply = site.ask(f"/api/entries/{entry['id']}/copy/{way}")
        assert reply.header("Content-Type") == "text/plain; charset=utf-8"
        assert b"/copied" in reply.body

    def test_all_can_be_forgotten(self, fresh: Inspected) -> None:
        fresh.start()
        fresh.project.get("/forgotten")
        fresh.ended("/forgotten")
        events = fresh.events()
        assert fresh.post("/api/clear", {}).status == 200
        assert fresh.entries() == []
        assert next(kind for kind, _ in events if kind != "now") == "cleared"


class TestWorkers:
    def test_what_was_kept_outlives_a_reload(self, fresh: Inspected) -> None:
        fresh.start("--reload")
        fresh.process.read_until("changes")  # they are watched
        fresh.project.get("/version")
        before = fresh.ended("/version")
        source = (fresh.project.directory / "web.py").read_text()
        fresh.project.write("web.py", source.replace('"one"', '"two"'))
        fresh.process.read_until("reloading: web.py changed")
        fresh.project.wait_until_taken_over()
        # The old one may have accepted the first connections.
        assert any(fresh.project.get("/version").body == b"two" for _ in range(1000))
        assert fresh.get(f"/api/entries/{before['id']}") == before
        fresh.entry(lambda one: one["id"].split("-")[0] != before["id"].split("-")[0])

    def test_what_one_had_in_hand_is_lost_with_it(self, fresh: Inspected) -> None:
        fresh.start("--workers", "1")
        os.mkfifo(fresh.project.directory / "release")
        with connect(fresh.project.address) as client:
            client.request("GET", "/held")
            fresh.entry(lambda one: one["target"] == "/held")
            with connect(fresh.project.address) as other:
                other.request("GET", "/die")
                assert client.is_closed()
        assert fresh.entry(lambda one: one["state"] == "lost")["target"] == "/held"

    def test_whatever_one_says_the_site_goes_on(self, fresh: Inspected) -> None:
        fresh.start()
        hostile: list[dict[str, Any]] = [
            {"event": "inspected"},
            {"event": "inspected", "id": "../../etc", "set": REPORT["set"]},
            {"event": "inspected", "id": "99-1", "set": [1], "add": "x"},
            {"event": "inspected", "id": "99-2", "set": {"method": 1, "target": [], "began_at": 0}},
            {"event": "inspected-now", "threads": "many", "stacks": 7},
            {"event": "inspected-now", "threads": {"busy": "x", "limit": -1}},
            {"event": "inspected-dropped", "count": "all"},
            {"event": "inspected-else"},
            REPORT,
        ]
        fresh.say(*hostile)
        entry = fresh.entry(lambda one: one["target"] == "/told")
        assert entry["id"] == "99-1"
        fresh.get("/api/entries")

    def test_a_flood_is_bounded(self, fresh: Inspected) -> None:
        fresh.start()
        events = fresh.events()
        line = {"at": 0.0, "level": "INFO", "logger": "app", "text": "x" * 8_000}
        small = {**FIRST, **LAST}
        for block in range(0, 50_000, 5000):
            numbers = range(block, block + 5000)
            fresh.say(*({"event": "inspected", "id": f"99-{n}", "set": small} for n in numbers))
        large = {"event": "inspected", "set": small, "add": {"logs": [line] * 20}}
        fresh.say(*({**large, "id": f"99-{n}"} for n in range(50_000, 50_500)))
        fresh.entry(lambda one: one["id"] == "99-50499")
        assert len(fresh.entries()) <= 10_000
        assert resident_size(fresh.process.pid) < 400_000_000
        # Who has looked all the time hears of the last one, too.
        assert any(kind == "entry" and data["id"] == "99-50499" for kind, data in events)


class TestDoor:
    NAVIGATION = {  # noqa: RUF012
        "Sec_Fetch_Site": "none",
        "Sec_Fetch_Mode": "navigate",
        "Sec_Fetch_Dest": "document",
    }

    def test_it_leads_to_the_page_with_its_key(self, site: Inspected) -> None:
        host = "127.0.0.1:{1}".format(*site.project.address)
        reply = site.project.get("/-/inspect", Host=host, **self.NAVIGATION)
        assert reply.status == 302
        assert reply.header("Location") == f"http://{site.host}/#{site.key}"
        assert reply.header("Cache-Control") == "no-store"

    def test_for_others_the_path_is_the_applications(self, site: Inspected) -> None:
        host = "127.0.0.1:{1}".format(*site.project.address)
        for headers in ({}, {**self.NAVIGATION, "X_Forwarded_For": "127.0.0.1"}):
            reply = site.project.get("/-/inspect", Host=host, **headers)
            assert json.loads(reply.body)["path"] == "/-/inspect"

    def test_at_a_unix_socket_there_is_none(self, fresh: Inspected) -> None:
        path = fresh.project.directory / "socket"
        fresh.start("--bind", f"unix:{path}")
        reply = fresh.project.get("/-/inspect", Host="localhost", **self.NAVIGATION)
        assert json.loads(reply.body)["path"] == "/-/inspect"

    def test_without_an_inspector_there_is_none(self, fresh: Inspected) -> None:
        fresh.project.serve("--debug", "--no-inspect")
        assert "inspecting" not in fresh.process.log
        host = "127.0.0.1:{1}".format(*fresh.project.address)
        assert fresh.project.get("/-/inspect", Host=host, **self.NAVIGATION).body == b"one"
