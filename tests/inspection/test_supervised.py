"""``--inspect`` has a supervisor, which is to be noticed by nobody."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from asyncwsgi import ConfigError
from asyncwsgi.development.options import Development
from asyncwsgi.supervision.options import ProcessOptions
from asyncwsgi.supervision.service import Service
from tests.client import connect, reserved_port
from tests.inspection.inspected import Inspected, inspected


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Inspected]:
    with inspected(tmp_path) as served:
        yield served


class TestOptions:
    def test_debug_implies_it(self) -> None:
        options = {"debug": True, "debugger": False, "inspect": None}
        assert Development.from_options(options).inspect
        assert not Development.from_options({**options, "inspect": False}).inspect

    def test_it_has_a_supervisor(self) -> None:
        assert Service("app", development=Development(inspect=True)).has_supervisor
        assert not Service("app").has_supervisor

    def test_a_child_is_told_all_of_it(self) -> None:
        development = Development(inspect=True, inspect_port=1, inspect_secrets=True)
        service = Service("app", development=development, inspector="http://127.0.0.1:1/#key")
        assert Service.from_json(service.as_json(), {}) == service

    def test_it_shows_one_process(self) -> None:
        with pytest.raises(ConfigError, match=r"2 workers; give --workers 1, or --no-inspect"):
            Service(
                "app", development=Development(inspect=True), processes=ProcessOptions(workers=2)
            )

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            pytest.param(["--inspect", "--workers", "2"], "--no-inspect", id="several workers"),
            pytest.param(["--inspect-port", "80"], "give --inspect or --debug", id="a port alone"),
            pytest.param(["--inspect-secrets"], "give --inspect or --debug", id="secrets alone"),
            pytest.param(["--inspect", "--inspect-port", "70000"], "65535", id="no port"),
        ],
    )
    def test_what_makes_no_sense_is_refused(
        self, served: Inspected, options: list[str], words: str
    ) -> None:
        process = served.project.start(*options)
        assert process.wait() == 2
        assert words in process.log

    def test_who_asks_for_several_workers_has_not_asked_for_it_by_debug(
        self, served: Inspected
    ) -> None:
        served.project.write_version("one")
        process = served.project.start("--debug", "--workers", "2")
        process.urls()
        assert "inspecting" not in process.log

    def test_a_port_may_be_named(self, served: Inspected) -> None:
        with reserved_port() as port:
            served.start("--inspect-port", str(port))
            assert served.site == ("127.0.0.1", port)

    def test_a_port_that_is_taken_is_named_by_its_option(self, served: Inspected) -> None:
        served.start()
        taken = f"--inspect-port={served.site[1]}"
        process = served.project.start("--inspect", taken)
        assert process.wait() == 4
        assert "choose another --inspect-port" in process.log


class TestEnds:
    def test_ctrl_c_ends_all_also_with_streams(self, served: Inspected) -> None:
        served.start()
        events = served.events()
        with connect(served.project.address) as client:
            client.request("GET", "/events")
            assert any(kind == "entry" for kind, _ in events)
            served.process.send_signal_to_group(signal.SIGINT)
            assert served.process.wait() == 0
            for _ in events:
                pass  # until the stream's own end
        assert "Traceback" not in served.process.log

    def test_the_program_ends_as_its_only_process_does(self, served: Inspected) -> None:
        served.start()
        with connect(served.project.address) as client:
            client.request("GET", "/die")
            assert client.is_closed()
        assert served.process.wait() == 7

    def test_a_first_import_that_fails_ends_it(self, served: Inspected) -> None:
        served.project.write("web.py", "raise LookupError('what the code raises')\n")
        process = served.project.start("--inspect")
        assert process.wait() == 3
        assert process.log.count("Traceback") == 1

    def test_workers_do_not_become_more(self, served: Inspected) -> None:
        served.start("--workers", "1")
        served.process.send_signal(signal.SIGTTIN)
        served.process.read_until("stays at 1 worker")
        assert served.project.get().status == 200
