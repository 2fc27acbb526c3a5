"""Whole programs on the drop-in: run_simple, app.run and the flask command, in processes."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any
from urllib.parse import urlsplit

import pytest

import asyncwsgi
from tests.client import Client, connect
from tests.doors.processes import Process, replace
from tests.server.certificates import Certificates

Start = Callable[..., Process]
Program = Callable[..., str]

FLASK_APP = """
    from flask import Flask, request

    app = Flask(__name__)

    @app.get("/")
    def index():
        return f"{request.scheme} {request.environ['wsgi.multithread']}"

    @app.get("/boom")
    def boom():
        raise LookupError("on purpose")
"""


@pytest.fixture
def program(tmp_path: Path) -> Program:
    def write(source: str, name: str = "program.py") -> str:
        (tmp_path / name).write_text(dedent(source), encoding="utf-8")
        return name

    return write


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    processes: list[Process] = []

    def start(*arguments: str, **more: Any) -> Process:
        environment = {"NO_COLOR": "1", "FLASK_SKIP_DOTENV": "1", **more.pop("environment", {})}
        process = Process(*arguments, directory=tmp_path, environment=environment, **more)
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.close()


def client_of(process: Process, tls: Any = None) -> Client:
    """Wait for the banner; a connection to where it says."""
    url = urlsplit(process.read_until(" * Running on ").rpartition(" ")[2])
    process.read_until("Press CTRL+C to quit")
    assert url.port is not None
    return connect((url.hostname or "", url.port), tls)


def is_ours(client: Client) -> bool:
    """Whether the connection is kept, which Werkzeug's own server never does."""
    return client.get("/").header("Connection") is None


SOURCE = """
    from asyncwsgi.serving import run_simple
    from werkzeug.wrappers import Request, Response

    @Request.application
    def app(request):
        if request.path == "/boom":
            raise LookupError("on purpose")
        return Response(f"{request.scheme} {request.environ['wsgi.multithread']}")

    run_simple("127.0.0.1", 0, app, OPTIONS)
    print("it returned")
"""


def run_simple(options: str) -> str:
    """A program that calls run_simple with some options."""
    return SOURCE.replace("OPTIONS", options)


class TestRunSimple:
    def test_ctrl_c_ends_it_quietly(self, start: Start, program: Program) -> None:
        process = start(program(run_simple("threaded=True")))
        with client_of(process) as client:
            assert client.get().body == b"http True"
            assert is_ours(client)
        assert process.interrupt() == 0
        assert process.output == "it returned\n"
        assert "Traceback" not in process.log

    def test_without_threads_it_serves_in_the_main_thread(
        self, start: Start, program: Program
    ) -> None:
        process = start(program(run_simple("")))
        with client_of(process) as client:
            assert client.get().body == b"http False"
        assert process.interrupt() == 0
        assert "Traceback" not in process.log

    def test_sigterm_ends_the_process(self, start: Start, program: Program) -> None:
        process = start(program(run_simple("threaded=True")))
        with client_of(process) as client:
            client.get()
        process.send_signal(signal.SIGTERM)
        assert process.wait() == -signal.SIGTERM

    def test_static_files_are_served(self, start: Start, program: Program, tmp_path: Path) -> None:
        (tmp_path / "static").mkdir()
        (tmp_path / "static" / "style.css").write_text("body {}")
        options = f"threaded=True, static_files={{'/static': {str(tmp_path / 'static')!r}}}"
        with client_of(start(program(run_simple(options)))) as client:
            reply = client.get("/static/style.css")
            assert (reply.body, reply.header("Content-Type")) == (
                b"body {}",
                "text/css; charset=utf-8",
            )
            assert client.get().body == b"http True"

    def test_the_debugger_answers_what_is_raised(self, start: Start, program: Program) -> None:
        process = start(program(run_simple("threaded=True, use_debugger=True")))
        with client_of(process) as client:
            assert b"Werkzeug Debugger" in client.get("/boom", Host="127.0.0.1").body

    def test_passthrough_without_threads_ends_the_program(
        self, start: Start, program: Program
    ) -> None:
        process = start(program(run_simple("passthrough_errors=True")))
        with client_of(process) as client:
            client.request("GET", "/boom")
            assert client.is_closed()
        assert process.wait() == 1
        assert "LookupError: on purpose" in process.log

    def test_adhoc_certificates_are_made(self, start: Start, program: Program) -> None:
        import ssl

        tls = ssl.create_default_context()
        tls.check_hostname = False
        tls.verify_mode = ssl.CERT_NONE
        process = start(program(run_simple("threaded=True, ssl_context='adhoc'")))
        with client_of(process, tls) as client:
            assert client.get().body == b"https True"

    def test_certificate_files_are_used(
        self, start: Start, program: Program, certificates: Certificates
    ) -> None:
        files = certificates.files
        options = f"threaded=True, ssl_context=({files.chain!r}, {files.key!r})"
        process = start(program(run_simple(options)))
        with client_of(process, certificates.client_context()) as client:
            assert client.get().body == b"https True"

    def test_two_processes_serve(self, start: Start, program: Program) -> None:
        process = start(program(run_simple("processes=2")))
        with client_of(process) as client:
            assert client.get().body == b"http False"

    @pytest.mark.parametrize("reloader_type", ["stat", "watchdog"])
    def test_werkzeugs_reloader_restarts_it(
        self, start: Start, program: Program, tmp_path: Path, reloader_type: str
    ) -> None:
        source = """
            from asyncwsgi.serving import run_simple

            def app(environ, start_response):
                start_response("200 OK", [("Content-Type", "text/plain")])
                return [b"first"]

            run_simple("127.0.0.1", 0, app, use_reloader=True, threaded=True,
                       reloader_type={type!r}, reloader_interval=0.1,
                       exclude_patterns={others!r})
        """
        # Everything but the program: whole libraries are a lot to watch.
        others = ["*python3*", str(Path(asyncwsgi.__file__).parents[1])]
        name = program(source.format(type=reloader_type, others=others))
        process = start(name)
        client = client_of(process)
        process.read_until(" * Restarting with")
        with client:
            assert client.get().body == b"first"
            path = tmp_path / name
            replace(path, "first", "second")
            process.read_until("Detected change in")
            process.read_until(" * Restarting with")
            address = client.sock.getpeername()
        # The listener is the parent's: whoever connects in between waits.
        with connect(address) as again:
            assert again.get().body == b"second"
        process.send_signal(signal.SIGTERM)
        process.wait()


class TestFlask:
    def test_app_run_is_ours_once_it_is_installed(self, start: Start, program: Program) -> None:
        run = "\nimport asyncwsgi.serving\nasyncwsgi.serving.install()\napp.run(port=0)\n"
        with client_of(start(program(dedent(FLASK_APP) + run))) as client:
            assert client.get().body == b"http True"
            assert is_ours(client)

    def test_app_run_is_werkzeugs_otherwise(self, start: Start, program: Program) -> None:
        run = "\nimport asyncwsgi.serving\napp.run(port=0)\n"
        with client_of(start(program(dedent(FLASK_APP) + run))) as client:
            assert not is_ours(client)

    @pytest.mark.parametrize(
        "command",
        [["-m", "asyncwsgi.flask", "run"], ["-m", "flask", "arun"]],
        ids=["python -m asyncwsgi.flask run", "flask arun"],
    )
    def test_the_flask_command_is_ours(
        self, start: Start, program: Program, command: list[str]
    ) -> None:
        program(FLASK_APP, "app.py")
        process = start(*command, "--port", "0")
        with client_of(process) as client:
            assert client.get().body == b"http True"
            assert is_ours(client)
        assert process.interrupt() == 0
        assert " * Debug mode: off\n" in process.output

    def test_flask_run_itself_stays_werkzeugs(self, start: Start, program: Program) -> None:
        program(FLASK_APP, "app.py")
        with client_of(start("-m", "flask", "run", "--port", "0")) as client:
            assert not is_ours(client)

    def test_arun_honours_the_variables_of_run(self, start: Start, program: Program) -> None:
        program(FLASK_APP, "app.py")
        variables = {"FLASK_RUN_PORT": "0", "FLASK_RUN_WITH_THREADS": "0"}
        with client_of(start("-m", "flask", "arun", environment=variables)) as client:
            assert client.get().body == b"http False"

    def test_arun_debug_shows_the_debugger(self, start: Start, program: Program) -> None:
        program(FLASK_APP, "app.py")
        process = start("-m", "flask", "arun", "--debug", "--no-reload", "--port", "0")
        with client_of(process) as client:
            assert b"LookupError: on purpose" in client.get("/boom", Host="127.0.0.1").body

    def test_arun_has_every_option_of_run(self) -> None:
        from flask.cli import run_command

        from asyncwsgi.flask import arun

        assert arun.params == run_command.params
