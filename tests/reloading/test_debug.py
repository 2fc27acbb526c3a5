"""``asyncwsgi --debug``: errors are shown in the browser."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from asyncwsgi import ConfigError
from asyncwsgi.development.options import Development
from tests.reloading.conftest import BROKEN, Project

BROWSER = "text/html,application/xhtml+xml,*/*;q=0.8"
Without = Callable[[str], dict[str, str]]


class TestDebugger:
    def test_an_exception_in_a_view_is_shown(self, project: Project) -> None:
        project.serve("--debug")
        reply = project.get("/fail", Accept=BROWSER, Host="127.0.0.1")
        assert reply.status == 500
        assert b"ZeroDivisionError: a fault of the application" in reply.body
        assert b"EVALEX = true" in reply.body
        project.process.read_until("ZeroDivisionError: a fault of the application")
        assert re.search(r"Debugger PIN: [-0-9]+", project.process.log)

    def test_its_page_can_be_looked_at_later_by_who_may_debug(self, project: Project) -> None:
        project.write(
            "web.py",
            """
            environs = []

            def app(environ, start_response):
                environs.append(environ)
                if environ["PATH_INFO"] == "/fail":
                    1 / 0
                start_response("200 OK", [])
                shown = environs[-2].get("asyncwsgi.debugger")
                return [shown.path.encode() if shown else b""]
            """,
        )
        project.start("--debug")
        with project.process.connect() as client:
            shown = client.get("/fail").body
            path = client.get("/").body.decode()
            later = client.get(path, Host="127.0.0.1")
            assert (later.status, later.body) == (200, shown)
            assert b"ZeroDivisionError" in shown
            assert b"development/debugger.py" not in shown  # none of this server's frames
            assert client.get(f"{path}x", Host="127.0.0.1").status == 404
            # Any other host has the application's own answer.
            assert client.get(path, Host="evil.example").body == b""

    def test_flask_hides_nothing_from_it(self, project: Project) -> None:
        project.write(
            "web.py",
            """
            from flask import Flask

            app = Flask(__name__)

            @app.get("/")
            def fail():
                return str(1 / 0)
            """,
        )
        project.start("--debug")
        with project.process.connect() as client:
            assert b"ZeroDivisionError: division by zero" in client.get().body

    def test_it_comes_without_the_reloader_too(self, project: Project) -> None:
        project.write_version("one")
        project.start("--debug", "--no-reload")
        with project.process.connect() as client:
            assert b"ZeroDivisionError" in client.get("/fail", Accept=BROWSER).body
        assert project.process.interrupt() == 0
        assert "watching" not in project.process.log

    @pytest.mark.parametrize("options", [[], ["--debug", "--no-debugger"]])
    def test_without_it_nothing_is_shown(self, project: Project, options: list[str]) -> None:
        project.serve(*options)
        assert project.get("/fail", Accept=BROWSER).body == b"500 Internal Server Error\n"

    @pytest.mark.parametrize(
        ("options", "hosts"),
        [
            (["--host", "127.0.0.2"], ["127.0.0.2"]),
            (["--bind", "127.0.0.2:0", "--bind", "unix:socket"], ["127.0.0.2"]),
            (["--bind", "127.0.0.2:0", "--bind", "uwsgi://127.0.0.3:0"], ["127.0.0.2"]),
            (["--bind", "127.0.0.2:0", "--bind", "uwsgi+unix:socket"], ["127.0.0.2"]),
        ],
    )
    def test_it_may_be_used_at_the_hosts_that_were_asked_for(
        self, project: Project, options: list[str], hosts: list[str]
    ) -> None:
        project.write(
            "web.py",
            """
            from werkzeug.debug import DebuggedApplication

            made = DebuggedApplication.__init__

            def watch(self, *args, **kwargs):
                made(self, *args, **kwargs)
                global debugged
                debugged = self

            DebuggedApplication.__init__ = watch

            def app(environ, start_response):
                start_response("200 OK", [])
                return [" ".join(debugged.trusted_hosts).encode()]
            """,
        )
        project.start("--debug", *options)
        with project.process.connect() as client:
            trusted = client.get().body.decode().split()
        assert trusted == [".localhost", "127.0.0.1", *hosts]

    def test_without_werkzeug_the_error_names_the_cure(
        self, project: Project, without: Without
    ) -> None:
        project.write_version("one")
        process = project.start("--debug", environment=without("werkzeug"))
        assert process.wait() == 2
        assert "install werkzeug" in process.log
        assert "Traceback" not in process.log

    def test_the_reloader_needs_no_werkzeug(self, project: Project, without: Without) -> None:
        project.serve(environment=without("werkzeug"))
        project.reload("two")
        assert project.answers("two")

    @pytest.mark.parametrize(
        ("options", "host", "status"),
        [
            pytest.param(["--host", "127.0.0.1"], "127.0.0.1:80", 200, id="IPv4"),
            pytest.param(["--host", "::1"], "[::1]:80", 200, id="IPv6"),
            pytest.param(["--host", "::1"], "[0:0::1]", 200, id="another form of it"),
            pytest.param(["--host", "localhost"], "[::1]:80", 200, id="localhost"),
            pytest.param(["--bind", "[::1]:0"], "[::1]:80", 200, id="a listener"),
            pytest.param(["--host", "::1"], "[::2]:80", 400, id="an address of others"),
            pytest.param(["--host", "::1"], "::1", 400, id="no brackets"),
            pytest.param(["--host", "::1"], "evil.example", 400, id="a name of others"),
        ],
    )
    def test_its_console_is_for_who_names_the_host_that_was_asked_for(
        self, project: Project, options: list[str], host: str, status: int
    ) -> None:
        project.write_version("one")
        project.start("--debug", "--no-reload", *options)
        with project.process.connect() as client:
            assert client.get("/console", Host=host).status == status


class TestPlatform:
    def test_where_there_is_no_posix_the_error_names_the_cure(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        windows = SimpleNamespace(name="nt", pathsep=";", path=os.path)
        monkeypatch.setattr("asyncwsgi.development.options.os", windows)
        options: dict[str, object] = dict.fromkeys(("reload", "debugger"))
        options |= {"debug": True, "reload_dir": "a;b"}
        with pytest.raises(ConfigError, match=r"python -m asyncwsgi\.flask run --debug"):
            Development.from_options(options)
        development = Development.from_options({**options, "reload": False})
        assert development.reload_dir == ("a", "b")


class TestErrorPage:
    def test_a_page_load_shows_why_the_new_code_does_not_serve_until_it_does(
        self, project: Project
    ) -> None:
        project.serve("--debug")
        project.write("web.py", BROKEN)
        project.process.read_until("the code from before goes on")
        page = project.get(Accept=BROWSER)
        while page.status != 500:  # the process that serves may not have been told yet
            page = project.get(Accept=BROWSER)
        assert b"LookupError: what &lt;the&gt; new code raises" in page.body
        assert b'<span class="place">web.py:1</span>' in page.body
        project.write_version("two")
        project.wait_until_taken_over()
        while page.status != 200:  # the old one may have accepted the first connections
            page = project.get(Accept=BROWSER)
        assert page.body == b"two"
