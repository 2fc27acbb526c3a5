"""The files of examples/deployment that need no neighbour: what they start, and how they fit.

No container engine runs here. The command of the image is run in the directory itself, and what the
YAML files say is compared with it.
"""

from __future__ import annotations

import json
import re
import shlex
import signal
from pathlib import Path
from typing import Any

import yaml

import asyncwsgi
from tests.doors.conftest import Start
from tests.doors.conftest import start as start
from tests.doors.processes import Process, address_of
from tests.server.helpers import get

DIRECTORY = Path(__file__).parents[2] / "examples" / "deployment"


def image_command() -> list[str]:
    """What the image runs, without the path of the program."""
    text = (DIRECTORY / "Dockerfile").read_text().replace("\\\n", "")
    command: list[str] = json.loads(text.rpartition("\nCMD ")[2])
    program, *arguments = command
    assert program == "/venv/bin/asyncwsgi"
    return arguments


def option(name: str) -> str:
    """What the image's command says for `name`."""
    arguments = image_command()
    return arguments[arguments.index(name) + 1]


def longest_stop() -> float:
    """Seconds between SIGTERM and the moment in which requests in flight are cut."""
    return float(option("--shutdown-delay")) + float(option("--graceful-timeout"))


def documents(name: str) -> list[Any]:
    return list(yaml.safe_load_all((DIRECTORY / name).read_text()))


def run(start: Start, arguments: list[str], **environment: str) -> Process:
    return start("-m", "asyncwsgi", *arguments, directory=DIRECTORY, environment=environment)


def on_this_machine(process: Process) -> tuple[str, int]:
    """Where to connect to it; it listens on all addresses."""
    address = address_of(process.urls()[0])
    assert not isinstance(address, str)
    return "127.0.0.1", address[1]


class TestTheImage:
    def test_serves_and_drains_at_sigterm(self, start: Start) -> None:
        process = run(start, image_command(), ASYNCWSGI_PORT="0")
        address = on_this_machine(process)
        assert get(address).body == b"Hello from a container!\n"
        assert get(address, option("--health-path")).status == 200
        process.send_signal(signal.SIGTERM)
        process.read_until("not ready any more")
        assert get(address, option("--ready-path")).status == 503
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0

    def test_runs_as_nobody_special_and_without_a_shell(self) -> None:
        lines = (DIRECTORY / "Dockerfile").read_text().splitlines()
        assert "USER app" in lines
        assert [line for line in lines if line.startswith(("CMD", "ENTRYPOINT"))] == [
            line for line in lines if line.startswith("CMD [")
        ]

    def test_installs_a_wheel_of_this_version_and_nothing_by_its_name(self) -> None:
        lines = (DIRECTORY / "requirements.txt").read_text().splitlines()
        wheel = f"./wheels/asyncwsgi-{asyncwsgi.__version__}-py3-none-any.whl[flask]"
        assert [line for line in lines if not line.startswith("#")] == [wheel]


def test_compose_waits_longer_than_a_stop_takes() -> None:
    (compose,) = documents("compose.yaml")
    service = compose["services"]["app"]
    assert float(service["stop_grace_period"].removesuffix("s")) > longest_stop()
    assert option("--health-path") in service["healthcheck"]["test"][-1]
    assert service["ports"] == ["127.0.0.1:8000:8000"]


class TestKubernetes:
    def test_waits_longer_than_a_stop_takes(self) -> None:
        pod = documents("kubernetes.yaml")[0]["spec"]["template"]["spec"]
        assert pod["terminationGracePeriodSeconds"] > longest_stop()

    def test_has_learnt_of_a_stop_before_the_listeners_close(self) -> None:
        pod = documents("kubernetes.yaml")[0]["spec"]["template"]["spec"]
        probe = pod["containers"][0]["readinessProbe"]
        learnt = probe["periodSeconds"] * probe["failureThreshold"]
        assert learnt < float(option("--shutdown-delay"))

    def test_asks_at_the_paths_that_are_answered(self) -> None:
        container = documents("kubernetes.yaml")[0]["spec"]["template"]["spec"]["containers"][0]
        assert container["readinessProbe"]["httpGet"]["path"] == option("--ready-path")
        assert container["livenessProbe"]["httpGet"]["path"] == option("--health-path")

    def test_sends_to_the_port_of_the_image(self) -> None:
        deployment, service = documents("kubernetes.yaml")
        container = deployment["spec"]["template"]["spec"]["containers"][0]
        assert container["ports"] == [{"name": "http", "containerPort": 8000}]
        assert service["spec"]["ports"] == [{"port": 80, "targetPort": "http"}]
        assert service["spec"]["selector"] == deployment["spec"]["template"]["metadata"]["labels"]


def test_the_procfile_listens_where_the_platform_says(start: Start) -> None:
    kind, _, command = (DIRECTORY / "Procfile").read_text().partition(": ")
    program, *arguments = shlex.split(command)
    assert (kind, program) == ("web", "asyncwsgi")
    process = run(start, arguments, PORT="0")
    assert get(on_this_machine(process)).body == b"Hello from a container!\n"


def test_the_page_has_the_numbers_of_the_files() -> None:
    page = (DIRECTORY.parents[1] / "docs" / "deployment.md").read_text()
    rows = dict(re.findall(r"^\| (`[^|]+`) \| (\d+) s \|", page, re.MULTILINE))
    pod = documents("kubernetes.yaml")[0]["spec"]["template"]["spec"]
    (compose,) = documents("compose.yaml")
    graces = "`stop_grace_period`, `terminationGracePeriodSeconds`"
    assert rows["`--shutdown-delay`"] == option("--shutdown-delay")
    assert rows["`--graceful-timeout`"] == option("--graceful-timeout")
    assert rows[graces] == str(pod["terminationGracePeriodSeconds"])
    assert f"{rows[graces]}s" == compose["services"]["app"]["stop_grace_period"]
