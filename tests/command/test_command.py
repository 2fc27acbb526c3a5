"""The command line with what it finds for itself, in processes of its own."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.client import TIMEOUT
from tests.doors.conftest import Start, Write
from tests.doors.processes import Process, address_of, replace
from tests.doors.test_command_line import last_line
from tests.reloading.conftest import without as without
from tests.server.helpers import Address, get

Run = Callable[..., Process]

APP = """
import os
import sys


def app(environ, start_response):
    body = f"{os.environ.get('GREETING')} {os.environ.get('DJANGO_SETTINGS_MODULE')}".encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


@pytest.fixture
def run(start: Start, write: Write) -> Run:
    """Runs ``asyncwsgi`` with arguments in a directory that has the module ``web``."""
    write("web.py", APP)
    return lambda *arguments, **more: start("-m", "asyncwsgi", *arguments, **more)


@pytest.fixture
def settings(write: Write) -> Callable[..., None]:
    """Writes the settings of the project."""

    def settings(*lines: str) -> None:
        write("pyproject.toml", "\n".join(["[tool.asyncwsgi]", *lines]))

    return settings


def ask(process: Process) -> str:
    with process.connect() as client:
        return client.get().body.decode()


def wait_for_answer(address: Address, body: str) -> None:
    """Ask until new code answers; the old may have accepted the first connections."""
    patience = time.monotonic() + TIMEOUT
    while get(address).body.decode() != body:
        assert time.monotonic() < patience


class TestSettings:
    @pytest.mark.parametrize(
        ("flags", "environment", "threads"),
        [
            pytest.param([], {}, 5, id="the file"),
            pytest.param([], {"ASYNCWSGI_THREADS": "6"}, 6, id="a variable"),
            pytest.param(["--threads", "7"], {"ASYNCWSGI_THREADS": "6"}, 7, id="a flag"),
        ],
    )
    def test_count_for_less_than_a_variable_and_that_for_less_than_a_flag(
        self,
        run: Run,
        settings: Callable[..., None],
        flags: list[str],
        environment: dict[str, str],
        threads: int,
    ) -> None:
        settings("threads = 5", "port = 0", "app = 'web:app'")
        process = run(*flags, environment=environment)
        assert f", {threads} threads; " in process.read_until("listening on ")

    @pytest.mark.parametrize(
        ("place", "flags", "environment"),
        [
            pytest.param("port = {}", [], {"PORT": "0"}, id="PORT, of port"),
            pytest.param("bind = '127.0.0.1:{}'", [], {"PORT": "0"}, id="PORT, of bind"),
            pytest.param("bind = '127.0.0.1:{}'", ["--port", "0"], {}, id="a flag"),
            pytest.param("port = {}", ["--bind", "127.0.0.1:0"], {}, id="another flag"),
            pytest.param(
                "bind = ['127.0.0.1:{}']", [], {"ASYNCWSGI_PORT": "0"}, id="another variable"
            ),
        ],
    )
    def test_say_where_to_listen_unless_that_is_said_by(
        self,
        run: Run,
        settings: Callable[..., None],
        taken: int,
        place: str,
        flags: list[str],
        environment: dict[str, str],
    ) -> None:
        settings(place.format(taken))
        assert f":{taken}" not in run(*flags, "web:app", environment=environment).urls()[0]

    def test_that_are_wrong_are_2(self, run: Run, settings: Callable[..., None]) -> None:
        settings("prot = 1")
        process = run("web:app")
        assert process.wait() == 2
        assert process.log == (
            "asyncwsgi: pyproject.toml, [tool.asyncwsgi]: there is no option 'prot'; did you mean "
            "'port'?\n"
        )

    @pytest.mark.parametrize("flag", ["--help", "--version"])
    def test_that_are_wrong_keep_nobody_from_help(
        self, run: Run, settings: Callable[..., None], flag: str
    ) -> None:
        settings("prot = 1")
        assert run(flag).wait() == 0

    def test_may_turn_on_the_reload_without_flags(
        self, run: Run, settings: Callable[..., None]
    ) -> None:
        settings("reload = true", "port = 0", "reload-include = ['more.txt']")
        process = run("web:app")
        process.read_until("watching for changes")
        off = run("--no-reload", "web:app")
        off.urls()
        assert off.interrupt() == 0
        assert "watching for changes" not in off.log


MODES = pytest.mark.parametrize(
    "mode", [[], ["--reload"], ["--workers", "1"]], ids=["plain", "reload", "workers"]
)


class TestEnvFiles:
    @MODES
    def test_are_what_the_application_sees(self, run: Run, write: Write, mode: list[str]) -> None:
        write("prod.env", "GREETING=hello")
        assert ask(run("--port", "0", "--env-file", "prod.env", *mode, "web:app")) == "hello None"

    def test_that_are_named_may_say_what_the_server_does(self, run: Run, write: Write) -> None:
        write("prod.env", "ASYNCWSGI_THREADS=7\nASYNCWSGI_PORT=0\nASYNCWSGI_BACKLOG=0")
        process = run("--env-file", "prod.env", "web:app", environment={"ASYNCWSGI_BACKLOG": "9"})
        assert ", 7 threads; " in process.read_until("listening on ")

    def test_may_be_named_by_the_settings(
        self, run: Run, write: Write, settings: Callable[..., None]
    ) -> None:
        write("prod.env", "ASYNCWSGI_THREADS=7\nGREETING=hello")
        settings("env-file = ['prod.env']", "port = 0")
        process = run("web:app")
        assert ask(process) == "hello None"
        assert ", 7 threads; " in process.log

    @pytest.mark.parametrize(
        ("flags", "greeting"),
        [
            pytest.param([], "None", id="not by default"),
            pytest.param(["--reload"], "hello", id="to reload"),
            pytest.param(["--debug", "--no-reload", "--no-debugger"], "hello", id="to debug"),
            pytest.param(["--env-file", "empty"], "hello", id="beside one that is named"),
        ],
    )
    def test_are_found_to_develop(
        self, run: Run, write: Write, flags: list[str], greeting: str
    ) -> None:
        write("empty", "")
        write(".env", "GREETING=hello")
        assert ask(run("--port", "0", *flags, "web:app")) == f"{greeting} None"

    def test_are_not_found_where_flasks_own_command_is_told_to_skip_them(
        self, run: Run, write: Write
    ) -> None:
        write(".env", "GREETING=hello")
        skips = {"FLASK_SKIP_DOTENV": "1"}
        process = run("--port", "0", "--reload", "web:app", environment=skips)
        assert ask(process) == "None None"

    def test_that_are_found_say_nothing_of_the_server(self, run: Run, write: Write) -> None:
        write(".env", "ASYNCWSGI_THREADS=7")
        process = run("--port", "0", "--reload", "web:app")
        process.read_until("WARNING ignored ASYNCWSGI_THREADS of .env or .flaskenv")
        assert ", 40 threads; " in process.read_until("listening on ")

    def test_that_change_are_a_reload_and_read_again(
        self, run: Run, write: Write, tmp_path: Path
    ) -> None:
        write(".env", "GREETING=hello")
        process = run("--port", "0", "--reload", "web:app")
        address = address_of(process.urls()[0])
        process.read_until(" for changes")
        replace(tmp_path / ".env", "hello", "goodbye")
        process.read_until("reloading: .env changed")
        wait_for_answer(address, "goodbye None")
        write(".flaskenv", "DJANGO_SETTINGS_MODULE=made")
        process.read_until("reloading: .flaskenv changed")
        wait_for_answer(address, "goodbye made")

    def test_that_are_not_there_are_2(self, run: Run) -> None:
        process = run("--env-file", "prod.env", "web:app")
        assert process.wait() == 2
        assert "env_file: there is no file prod.env" in last_line(process)

    def test_without_dotenv_one_that_is_there_is_told_once(
        self, run: Run, write: Write, without: Callable[[str], dict[str, str]]
    ) -> None:
        write(".env", "GREETING=hello")
        process = run("--port", "0", "--reload", "web:app", environment=without("dotenv"))
        assert ask(process) == "None None"
        assert process.interrupt() == 0
        assert process.log.count("ignored .env, which python-dotenv reads; install it: pip ") == 1


class TestNoApplication:
    def test_is_the_one_that_is_there_which_is_told(self, run: Run, write: Write) -> None:
        write("app.py", "def create_app():\n    from web import app\n    return app\n")
        process = run("--port", "0")
        process.read_until("INFO no APP is given, so app.py is served: it is there")
        assert ask(process) == "None None"

    def test_is_what_flaskenv_names(self, run: Run, write: Write) -> None:
        write(".flaskenv", "FLASK_APP=web:app")
        process = run("--port", "0", "--reload")
        process.read_until("INFO no APP is given, so web:app is served: FLASK_APP names it")
        assert ask(process) == "None None"

    @MODES
    def test_is_a_project_of_django_with_the_settings_of_its_manage(
        self, run: Run, write: Write, mode: list[str]
    ) -> None:
        write(
            "manage.py",
            "import os\nos.environ.setdefault('DJANGO_SETTINGS_MODULE', 'mysite.settings')\n",
        )
        write("mysite/settings.py", "WSGI_APPLICATION = 'mysite.deploy.app'\n")
        write("mysite/deploy.py", APP)
        process = run("--port", "0", *mode)
        process.read_until("so mysite.deploy:app is served: it is the WSGI_APPLICATION of mysite")
        assert ask(process) == "None mysite.settings"

    def test_that_can_be_found_is_3(self, run: Run) -> None:
        process = run()
        assert process.wait() == 3
        assert process.log.count("\n") == 1
        assert process.log.startswith("asyncwsgi: no application is named, and none was found; ")
        assert process.log.endswith("name it, as in: asyncwsgi web.py:app\n")


class TestAppDir:
    @pytest.fixture(autouse=True)
    def source(self, write: Write) -> None:
        """The module ``web`` of another directory."""
        write("src/helper.py", "greeting = 'from src'\n")
        web = write("src/web.py", f"import helper\n{APP}")
        replace(web, "os.environ.get('GREETING')", "helper.greeting")

    @MODES
    def test_is_where_modules_are_found_before_the_current_one(
        self, run: Run, mode: list[str]
    ) -> None:
        process = run("--port", "0", "--app-dir", "src", *mode, "web:app")
        assert ask(process) == "from src None"

    def test_is_where_an_application_is_looked_for(
        self, run: Run, write: Write, settings: Callable[..., None]
    ) -> None:
        write("app.py", "raise LookupError\n")
        write("src/app.py", "from web import app\n")
        settings("app-dir = 'src'", "port = 0")
        process = run()
        assert ask(process) == "from src None"
        assert "so src/app.py is served" in process.log

    def test_is_where_the_module_of_a_lifespan_is(self, run: Run, write: Write) -> None:
        write("life.py", "raise LookupError\n")
        write(
            "src/life.py",
            "import contextlib, sys\n\n"
            "@contextlib.asynccontextmanager\n"
            "async def lifespan():\n"
            "    sys.stderr.write('it lives\\n')\n"
            "    yield\n",
        )
        options = ("--app-dir", "src", "--lifespan", "life:lifespan")
        run("--port", "0", *options, "src/web.py").read_until("it lives")

    def test_is_not_where_files_are(self, run: Run, write: Write) -> None:
        write("src/other.py", "")
        process = run("--app-dir", "src", "other.py")
        assert process.wait() == 3
        assert process.log == (
            "asyncwsgi: there is no file 'other.py'; did you mean src/other.py?\n"
        )

    def test_has_to_be_there(self, run: Run) -> None:
        process = run("--app-dir", "scr", "web:app")
        assert process.wait() == 2
        assert "app_dir: there is no directory 'scr'" in last_line(process)


class TestCompletion:
    """What click's documentation tells users to have their shells do."""

    def complete(self, directory: Path, *words: str) -> list[str]:
        """What bash offers for the last of the words of a command."""
        command = shutil.which("asyncwsgi", path=str(Path(sys.executable).parent))
        assert command is not None
        script = (
            f"PATH={shlex.quote(str(Path(command).parent))}:$PATH\n"
            'eval "$(_ASYNCWSGI_COMPLETE=bash_source asyncwsgi)"\n'
            f"COMP_WORDS=({shlex.join(['asyncwsgi', *words])})\n"
            f"COMP_CWORD={len(words)}\n"
            "_asyncwsgi_completion asyncwsgi\n"
            'printf "%s\\n" "${COMPREPLY[@]}"\n'
        )
        done = subprocess.run(
            ["bash", "-c", script], cwd=directory, capture_output=True, text=True, check=True
        )
        return done.stdout.split()

    def test_of_bash_offers_options_and_their_values(self, tmp_path: Path) -> None:
        assert self.complete(tmp_path, "--worker") == ["--workers", "--worker-timeout"]
        assert self.complete(tmp_path, "--loop", "") == ["auto", "uvloop", "asyncio"]

    def test_needs_no_settings_that_are_right(
        self, tmp_path: Path, settings: Callable[..., None]
    ) -> None:
        settings("prot = 1")
        assert self.complete(tmp_path, "--env-f") == ["--env-file"]
