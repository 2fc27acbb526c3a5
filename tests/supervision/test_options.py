"""How many processes there shall be, and what they are told."""

from __future__ import annotations

import contextlib
import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context
from pathlib import Path
from typing import Any

import pytest

import asyncwsgi
from asyncwsgi import ConfigError
from asyncwsgi.app_loading import NamedLifespan
from asyncwsgi.config import Config
from asyncwsgi.supervision.channel import LARGEST_MESSAGE_SIZE, encode
from asyncwsgi.supervision.cores import usable_cores
from asyncwsgi.supervision.options import ProcessOptions
from asyncwsgi.supervision.recycling import Wear
from asyncwsgi.supervision.service import Service, named_service
from tests.doors.conftest import Start, Write, start, write  # noqa: F401

CORES = len(os.sched_getaffinity(0))


class TestWorkers:
    def test_there_are_as_many_as_cores_may_be_used(self) -> None:
        assert ProcessOptions(workers="auto").worker_count == usable_cores()

    @pytest.mark.parametrize("workers", [0, -1, "0", "many", "1.5", True, 1.5])
    def test_their_number_is_one_or_more(self, workers: Any) -> None:
        with pytest.raises(ConfigError, match="workers must be at least 1, or auto, got"):
            ProcessOptions(workers=workers)

    def test_web_concurrency_says_how_many(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("WEB_CONCURRENCY", "3")
        given = {"workers": None}
        read = ProcessOptions.from_options
        assert read(given, reads_environment=True).worker_count == 3
        assert read(given, reads_environment=False).worker_count is None
        assert read({"workers": "2"}, reads_environment=True).worker_count == 2

    def test_a_bad_variable_is_blamed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("WEB_CONCURRENCY", "many")
        with pytest.raises(ConfigError, match="WEB_CONCURRENCY must be at least 1"):
            ProcessOptions.from_options({}, reads_environment=True)

    def test_windows_has_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("asyncwsgi.supervision.options.os.name", "nt")
        with pytest.raises(ConfigError, match="which this platform cannot"):
            ProcessOptions(workers=2)


class TestCores:
    def quota(self, directory: Path, text: str) -> Path:
        directory.mkdir(parents=True)
        (directory / "cpu.max").write_text(text)
        return directory

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("50000 100000", 1),
            ("max 100000", CORES),
            ("100000 100000", 1),
            ("150000 100000", min(2, CORES)),
            ("9900000 100000", CORES),
        ],
    )
    def test_are_those_of_the_control_group(self, tmp_path: Path, text: str, expected: int) -> None:
        groups = tmp_path / "cgroup"
        groups.write_text("0::/a/b\n")
        self.quota(tmp_path / "fs" / "a", text)
        assert usable_cores(groups, tmp_path / "fs") == expected

    def test_are_those_of_the_older_control_groups(self, tmp_path: Path) -> None:
        groups = tmp_path / "cgroup"
        groups.write_text("7:cpu,cpuacct:/docker/1\n5:memory:/docker/1\n")
        (tmp_path / "cpu").mkdir()
        (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("100000")
        (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000")
        assert usable_cores(groups, tmp_path) == 1

    def test_are_all_where_there_are_no_control_groups(self, tmp_path: Path) -> None:
        assert usable_cores(tmp_path / "none", tmp_path) == CORES


class TestWhatChildrenAreTold:
    def test_is_what_the_supervisor_was_told(self) -> None:
        config = Config(bind=("unix:/a",), threads=7, lifespan=NamedLifespan("module:lifespan"))
        options = ProcessOptions(workers=3, max_requests=5)
        told = json.loads(json.dumps(Service("module:app", config, processes=options).as_json()))
        service = Service.from_json(told, {})
        assert (service.app, service.processes) == ("module:app", options)
        assert (service.config.bind, service.config.threads) == (("unix:/a",), 7)
        assert isinstance(service.config.lifespan, NamedLifespan)
        assert service.config.lifespan.name == "module:lifespan"

    def test_has_secrets_apart_from_all_else(self) -> None:
        service = Service("module:app", Config(certfile="cert.pem", keyfile_password="spam"))
        told = service.as_json()
        assert "spam" not in json.dumps(told)
        assert Service.from_json(told, service.secrets()) == service

    @pytest.mark.parametrize(
        "options",
        [
            {"executor": ThreadPoolExecutor()},
            {"context": Context},
            {"lifespan": contextlib.nullcontext},
        ],
        ids=lambda options: next(iter(options)),
    )
    def test_has_to_be_text(self, options: dict[str, Any]) -> None:
        (name,) = options
        with pytest.raises(ConfigError, match=f"{name} cannot be written as text"):
            Service("module:app", Config(**options)).as_json()

    def test_an_application_itself_is_not(self) -> None:
        with pytest.raises(ConfigError, match=re.escape("run('module:app', workers=...)")):
            asyncwsgi.run(lambda *_: [], workers=2)

    def test_an_option_of_workers_needs_them(self) -> None:
        with pytest.raises(ConfigError, match="preload is for workers; give workers=N, too"):
            asyncwsgi.run("module:app", preload=True)

    def test_a_program_gives_all_options_by_name(self) -> None:
        options = {"workers": 2, "reload": True, "reload_include": "*.toml", "threads": 3}
        service = named_service("app", None, options)
        assert service.development.reload_include == ("*.toml",)
        assert service.processes.worker_count == 2
        assert service.development.reload
        assert service.config.threads == 3


@pytest.mark.parametrize("text", ["a" * 3_000_000, "\0" * 3_000_000, "\U0001f600" * 3_000_000])
def test_a_message_that_is_too_large_is_cut(text: str) -> None:
    data = encode({"event": "failed", "report": {"text": text}, "watch": ["/" + "a" * 4000] * 1000})
    assert len(data) <= LARGEST_MESSAGE_SIZE
    told = json.loads(data)
    assert told["event"] == "failed"
    assert "(cut: it is too long)" in told["report"]["text"]


class TestWear:
    def test_begins_with_the_first_request(self) -> None:
        wear = Wear(ProcessOptions(max_worker_memory=1))
        assert wear.why_over(0) == ""
        assert "of max_worker_memory 1" in wear.why_over(1)

    def test_is_of_requests_and_not_the_same_for_all(self) -> None:
        options = ProcessOptions(max_requests=10, max_requests_jitter=1000)
        firsts = set()
        for _ in range(20):
            wear = Wear(options)
            firsts.add(next(n for n in range(2000) if wear.why_over(n)))
        assert len(firsts) > 1
        assert min(firsts) >= 10
        assert max(firsts) <= 1010

    def test_jitter_is_of_max_requests(self) -> None:
        with pytest.raises(ConfigError, match="max_requests_jitter is added to max_requests"):
            ProcessOptions(max_requests_jitter=1)


APP = """
import os

def app(environ, start_response):
    body = str(os.getppid()).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


def test_a_program_starts_workers_of_an_application_beside_it(
    write: Write,  # noqa: F811
    start: Start,  # noqa: F811
) -> None:
    write("inner/web.py", APP)
    write(
        "inner/program.py",
        """
        import os
        import sys
        import asyncwsgi
        print(os.getpid(), file=sys.stderr, flush=True)
        sys.exit(asyncwsgi.run("web:app", workers=2, port=0))
        """,
    )
    process = start("inner/program.py")
    pid = process.read_until("")
    with process.connect() as client:
        assert client.get().body.decode() == pid


@pytest.mark.parametrize("name", ["max-requests", "worker-timeout"])
def test_flags_that_do_nothing_without_workers_are_refused(name: str, start: Start) -> None:  # noqa: F811
    process = start("-m", "asyncwsgi", f"--{name}", "5", "web:app")
    assert process.wait() == 2
    assert f"--{name} is for --workers, which is not given" in process.log


NO_APPLICATION = 3
TO_DEBUG = ("--debug", "--no-reload", "--no-debugger")


@pytest.mark.parametrize(
    ("variables", "options", "blamed"),
    [
        pytest.param(
            {"ASYNCWSGI_WORKERS": "none"},
            (),
            "ASYNCWSGI_WORKERS: 'none' is not a valid integer, nor 'auto'",
            id="ours",
        ),
        pytest.param(
            {"WEB_CONCURRENCY": "none"},
            (),
            "WEB_CONCURRENCY must be at least 1, or auto, got 'none'",
            id="that of all",
        ),
        pytest.param(
            {"WEB_CONCURRENCY": "none", "ASYNCWSGI_WORKERS": "1"}, (), None, id="ours counts more"
        ),
        pytest.param({"WEB_CONCURRENCY": "none"}, ("--workers", "1"), None, id="a flag, too"),
        pytest.param({"WEB_CONCURRENCY": "none"}, TO_DEBUG, None, id="not to debug"),
    ],
)
def test_a_variable_says_how_many_workers_there_shall_be(
    variables: dict[str, str],
    options: tuple[str, ...],
    blamed: str | None,
    start: Start,  # noqa: F811
) -> None:
    arguments = ("-m", "asyncwsgi", "--port", "0", *options, "nosuch:app")
    process = start(*arguments, environment=variables)
    if blamed is None:
        assert process.wait() == NO_APPLICATION
    else:
        assert process.wait() == 2
        assert blamed in process.log
