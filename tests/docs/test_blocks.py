"""Every code block of README and docs/ does what its page says, with what the page installs.

`tests.docs.blocks` says how a block tells what it is.
"""

from __future__ import annotations

import ast
import configparser
import dataclasses
import json
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from asyncwsgi.command.settings_file import read_settings
from asyncwsgi.testing import Authority, LiveServer
from tests.apps import show_environ
from tests.client import TIMEOUT, connect
from tests.docs.blocks import BLOCKS, PAGES, ROOT, Block, blocks_of, installed_by
from tests.docs.environment import Environment
from tests.doors.conftest import Start
from tests.doors.processes import Process, address_of
from tests.uwsgi.packets import request

GIVEN = Path(__file__).with_name("given")
RUNNER = Path(__file__).with_name("run_fragment.py")

PLACES = {
    # Tests run side by side, and not as the user who may listen there.
    "port=8000": "port=0",
    "--port 80 ": "--port 0 ",
    ":6543": ":0",
    "unix:/run/": "unix:",
    "uwsgi://:3031": "uwsgi://:0",
}
ELSEWHERE = "https://api.example.com"
"""Where pages say that other services are; here it is a server of the test."""


class Project:
    """The folder of a reader who has come to a block, and the environment of its page."""

    def __init__(
        self, block: Block, folder: Path, environment: Environment, start: Start, elsewhere: str
    ) -> None:
        self._places = {**PLACES, ELSEWHERE: elsewhere}
        self._block = self._here(block)
        self._folder = folder
        self._environment = environment
        self._start_process = start
        given = GIVEN / Path(block.page).stem.lower()
        if given.is_dir():
            shutil.copytree(given, folder, dirs_exist_ok=True)
        for earlier in blocks_of(block.page):
            if earlier.file is not None and earlier.line < block.line:
                self._write(self._here(earlier))

    def _here(self, block: Block) -> Block:
        source = block.source
        for place, other in self._places.items():
            source = source.replace(place, other)
        return dataclasses.replace(block, source=source)

    def run(self) -> None:
        """Do with the block what its language says."""
        by_language: dict[str, Callable[[], None]] = {
            "python": self._run_python,
            "ipython": self._run_cell,
            "sh": self._run_commands,
            "ini": self._configure,
            "json": self._read_json,
            "nginx": self._read_nginx,
            "toml": self._read_settings,
        }
        by_language[self._block.language]()

    def _run_python(self) -> None:
        path = self._write(self._block)
        serves = self._block.path is not None
        if _has_tests(self._block.source):
            self._run_pytest("-o", "asyncwsgi_leaks=error", path.name)
        elif self._block.file is not None:
            self._finish(self._start("python", self._block.file), serves=serves)
        else:
            options = ["--serves"] if serves else []
            shutil.copy(RUNNER, self._folder)
            process = self._start("python", RUNNER.name, path.name, *options)
            self._finish(process, serves=serves)

    def _run_pytest(self, *arguments: str) -> None:
        self._end(self._start("python", "-m", "pytest", *arguments))

    def _run_cell(self) -> None:
        source = f"from given import *\n{self._block.source}"
        (self._folder / "cell.ipy").write_text(source)
        home = {"IPYTHONDIR": str(self._folder / "ipython")}
        process = self._start("python", "-m", "IPython", "cell.ipy", environment=home)
        self._end(process)
        assert "is served on http" in process.output

    def _write(self, block: Block) -> Path:
        source = block.source
        if block.file is not None:
            path = self._folder / block.file
            if block.is_continued:
                source = path.read_text() + source
        elif _has_tests(source):
            path = self._folder / "test_fragment.py"
            source = f"from given import *\n{source}"
        else:
            path = self._folder / "fragment.py"
        path.write_text(source)
        return path

    def _run_commands(self) -> None:
        for command, *arguments in self._block.commands:
            if command == "make":
                subprocess.run(["make", "--dry-run", *arguments], cwd=ROOT, check=True)
            elif command in ("asyncwsgi", "gunicorn"):
                self._finish(self._start(command, *arguments), serves=True)
            elif arguments[:1] == ["manage.py"]:
                self._ask_django(self._start(command, *_on_free_port(arguments)))
            elif command == "uvicorn":
                self._ask_uvicorn(self._start(command, *arguments, "--port", "0"))
            else:
                # The environment has been made by it.
                assert [command, *arguments][:2] == ["pip", "install"]

    def _start(
        self, command: str, *arguments: str, environment: Mapping[str, str] | None = None
    ) -> Process:
        return self._start_process(
            *arguments,
            executable=str(self._environment.scripts / command),
            environment={
                "PYTHONPATH": str(self._folder),
                "ASYNCWSGI_PORT": "0",
                "XDG_STATE_HOME": str(self._folder),
                # A worker that was forked this moment does not hear of a stop; it is killed then.
                "GUNICORN_CMD_ARGS": "--bind 127.0.0.1:0 --no-control-socket --graceful-timeout 5",
                **(environment or {}),
            },
        )

    def _finish(self, process: Process, *, serves: bool) -> None:
        if serves:
            answer = self._ask(process.urls()[0])
            assert answer.status_code < 400, answer.text
            process.send_signal(signal.SIGINT)
        self._end(process)

    def _ask_django(self, process: Process) -> None:
        url = process.read_until("development server at ").rpartition(" ")[2]
        process.read_until("Served by asyncwsgi")
        assert self._ask(url).status_code == 200
        process.send_signal_to_group(signal.SIGINT)
        self._end(process)

    def _ask_uvicorn(self, process: Process) -> None:
        line = process.read_until("running on ")
        answer = self._ask(line.rpartition("running on ")[2].partition(" ")[0])
        assert answer.status_code < 500, answer.text
        process.send_signal(signal.SIGINT)
        process.wait()  # it ends by the signal itself
        assert "Traceback" not in process.log

    def _ask(self, url: str) -> httpx.Response:
        path = self._block.path or "/"
        if url.startswith("uwsgi"):
            return self._ask_as_proxy(url, path)
        if url.startswith("unix:"):
            transport = httpx.HTTPTransport(uds=str(self._folder / url.removeprefix("unix:")))
            with httpx.Client(
                transport=transport, base_url="http://localhost", timeout=TIMEOUT
            ) as client:
                return client.get(path)
        port = urlsplit(url).port
        base = f"{urlsplit(url).scheme}://127.0.0.1:{port}"
        with httpx.Client(base_url=base, verify=False, timeout=TIMEOUT) as client:
            return client.get(path)

    def _ask_as_proxy(self, url: str, path: str) -> httpx.Response:
        address = address_of(url)
        if isinstance(address, str):
            address = str(self._folder / address)
        with connect(address) as client:
            client.send(request(target=path))
            return httpx.Response(client.reply().status)

    def _end(self, process: Process) -> None:
        assert process.wait() == 0, process.output
        assert "Traceback" not in process.log

    def _configure_log(self) -> None:
        (self._folder / "log.json").write_text(self._block.source)
        self._finish(self._start("asyncwsgi", "--log-config", "log.json", "app:app"), serves=True)

    def _configure(self) -> None:
        if self._block.source.startswith("[server:main]"):
            self._run_pserve()
        else:
            self._configure_pytest()

    def _run_pserve(self) -> None:
        with (self._folder / "development.ini").open("a") as file:
            file.write(self._block.source)
        self._finish(self._start("pserve", "development.ini"), serves=True)

    def _configure_pytest(self) -> None:
        (self._folder / "pytest.ini").write_text(self._block.source)
        configparser.ConfigParser().read_string(self._block.source)
        (self._folder / "test_nothing.py").write_text("def test_nothing(): pass")
        self._run_pytest("--strict-config", "test_nothing.py")

    def _read_json(self) -> None:
        if '"handlers"' in self._block.source:
            self._configure_log()
            return
        launch = json.loads(ROOT.joinpath("examples/vscode/launch.json").read_text())
        assert json.loads(self._block.source) in launch["configurations"]

    def _read_settings(self) -> None:
        (self._folder / "pyproject.toml").write_text(self._block.source)
        assert read_settings(self._folder)

    def _read_nginx(self) -> None:
        rest = self._block.source
        assert rest.count("{") == rest.count("}")
        for line in filter(None, map(str.strip, rest.splitlines())):
            assert re.fullmatch(r"\w+( [^;{}]+)?(;| \{)|\}", line), line


def _on_free_port(arguments: list[str]) -> list[str]:
    """Arguments of ``runserver`` with port 0 in the place of the one that they name, or of 8000."""
    named = [argument for argument in arguments if argument.endswith(":8000")]
    return [*(each for each in arguments if each not in named), "127.0.0.1:0"]


def _has_tests(source: str) -> bool:
    tree = ast.parse(source, feature_version=(3, 11))
    return any(
        isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
        for node in ast.walk(tree)
    )


@pytest.mark.parametrize("page", PAGES)
def test_every_block_of_a_page_is_found(page: str) -> None:
    assert ROOT.joinpath(page).read_text().count("```") == 2 * len(blocks_of(page))


@pytest.fixture(scope="module")
def environments(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Environment]:
    """The environment of a page, made when it is first asked for."""
    made: dict[str, Environment] = {}

    def environment(page: str) -> Environment:
        if page not in made:
            made[page] = Environment(tmp_path_factory.mktemp("venv"), installed_by(page))
        return made[page]

    return environment


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[LiveServer]:
    with LiveServer(show_environ) as server:
        yield server


@pytest.fixture(scope="module")
def certificate() -> Any:
    return Authority().issue("localhost")


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language != "text"], ids=str)
def test_a_block_does_what_its_page_says(
    block: Block,
    tmp_path: Path,
    start: Start,
    environments: Callable[[str], Environment],
    elsewhere: LiveServer,
    certificate: Any,
) -> None:
    certificate.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    certificate.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    Project(block, tmp_path, environments(block.page), start, elsewhere.url).run()
