"""``live_server``, for suites that were written for pytest-flask and pytest-django."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import flask
import pytest

from asyncwsgi.testing.compatibility.live_server import CompatibleLiveServer
from tests.matrix.suites import suite_asyncio, suite_flask
from tests.testing.conftest import ROOT, RunPytest

LIVE = "asyncwsgi_live_server = true\n"


def run_suite(suite: str, *arguments: str) -> str:
    """Run a suite of the matrix; what pytest said of it last."""
    command = [
        sys.executable, "-m", "pytest", "-q", "-Werror", "-c", os.devnull, "-p", "no:cacheprovider",
        "--rootdir", str(ROOT), "--confcutdir", str(Path(suite).parent), "-p",
        "asyncwsgi.testing.plugin", "-o", "asyncwsgi_live_server=true", *arguments, suite,
    ]  # fmt: skip
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=250, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout.strip().splitlines()[-1]


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("-p", "flask"), id="beside pytest-flask"),
        pytest.param((), id="without it"),
        pytest.param(("-o", "live_server_scope=function"), id="with its setting of the scope"),
    ],
)
def test_a_suite_of_pytest_flask_runs_unchanged(arguments: tuple[str, ...]) -> None:
    assert run_suite(suite_flask.__file__, *arguments).startswith("6 passed")


@pytest.mark.parametrize("mode", ["strict", "auto"])
def test_urls_of_flask_are_right_in_coroutines_of_pytest_asyncio(mode: str) -> None:
    arguments = ["-p", "asyncio", f"--asyncio-mode={mode}", "-k", "urls_of_flask"]
    arguments += ["-o", "asyncio_default_fixture_loop_scope=function"]
    assert run_suite(suite_asyncio.__file__, *arguments).startswith("1 passed")


def test_the_name_is_left_to_others_unless_it_is_asked_for(run_pytest: RunPytest) -> None:
    result = run_pytest("def test(live_server): pass")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*fixture 'live_server' not found*"])


def test_a_live_server_of_the_project_itself_stays_in_force(run_pytest: RunPytest) -> None:
    result = run_pytest(
        """
        import pytest

        @pytest.fixture
        def live_server():
            return "mine"

        def test_whose(live_server):
            assert live_server == "mine"
        """,
        ini=LIVE,
    )
    result.assert_outcomes(passed=1)


def test_pytest_flasks_options_choose_host_and_port_and_whether_it_starts(
    run_pytest: RunPytest,
) -> None:
    result = run_pytest(
        """
        from urllib.request import urlopen

        def test_start(live_server):
            assert not live_server.is_running
            live_server.start()
            live_server.start()
            assert live_server.is_running
            assert live_server.url("/x") == f"http://127.0.0.1:{live_server.port}/x"
            assert urlopen(live_server.url()).read() == b"hello"
            live_server.stop()
            live_server.stop()
            assert not live_server.is_running
        """,
        "--no-start-live-server",
        "--live-server-host=127.0.0.1",
        "-rA",
        ini=LIVE,
        plugins=("flask",),
    )
    result.assert_outcomes(passed=1)


def test_without_an_application_the_error_says_how_to_give_one(run_pytest: RunPytest) -> None:
    result = run_pytest("def test(live_server): pass", "--noconftest", ini=LIVE)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["live_server serves what the fixture 'app' returns, and there*"])


def test_urls_of_flask_have_the_port_where_the_configuration_names_a_host() -> None:
    app = flask.Flask("app")
    app.config["SERVER_NAME"] = "localhost"
    app.add_url_rule("/x", "x", lambda: "it")
    with CompatibleLiveServer(app) as server:
        with app.test_request_context(base_url=server.url):
            url = flask.url_for("x", _external=True)
        assert url == server.url("/x")
        with urlopen(url, timeout=30) as response:
            assert response.read() == b"it"
    assert app.config["SERVER_NAME"] == "localhost"


def test_its_url_is_an_attribute_a_method_and_a_text() -> None:
    with CompatibleLiveServer(flask.Flask("app")) as server:
        url = f"http://localhost:{server.port}"
        assert server.url == server.url() == str(server) == url
        assert server.url("/x") == server + "/x" == server.url_for("/x") == f"{url}/x"
        assert "app" in repr(server)
