"""``--reload`` stays if the very first import fails, and clients are answered until it serves."""

from __future__ import annotations

import os
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from asyncwsgi.testing.authority import Authority
from tests.client import Reply, connect
from tests.doors.processes import address_of
from tests.reloading.conftest import APP, BROKEN, Project
from tests.supervision.conftest import IN_HASTE
from tests.uwsgi.packets import request

BROWSER = "text/html,application/xhtml+xml,*/*;q=0.8"
OWN_HOST = "127.0.0.1"
ANSWERING = "answering with 503 on "
CLIENTS = 20
FAILURES = 5
PATIENT = """
import sys
import asyncwsgi
from asyncwsgi.supervision import stand_in
asyncwsgi.Server.arrival_timeout = stand_in.GRACEFUL_TIMEOUT = 30.0
from asyncwsgi.cli import main
sys.path.insert(0, "")
main()
"""
"""The command line; what it has accepted and is still to be sent may take long."""
SITE = """
import site
import sys

sys.exec_prefix = {0!r}
sys.path.append({0!r})
site.getsitepackages = lambda: [{0!r}]
"""
"""Has a directory hold what is installed."""
LIFESPAN = """
import contextlib

@contextlib.asynccontextmanager
async def lifespan():
    {0}
    yield
"""


def fail(project: Project, *options: str, **more: Any) -> None:
    """Start what cannot be imported, and wait until clients are answered."""
    project.start("--reload", *options, **more)
    find(project)


def find(project: Project) -> None:
    line = project.process.read_until(ANSWERING)
    project.address = address_of(line.rpartition(ANSWERING)[2].split(", ")[0])


def mend(project: Project) -> None:
    """Write what serves, and wait until it does."""
    project.write_version("one")
    project.process.urls()


def is_bare(reply: Reply) -> bool:
    assert (reply.status, reply.body) == (503, b"503 Service Unavailable\n")
    assert reply.header("Connection") == "close"
    assert reply.header("Retry-After") == "1"
    return True


@pytest.mark.parametrize("options", [[], ["--workers", "2"]], ids=["one", "workers"])
class TestCodeThatDoesNotServe:
    @pytest.mark.parametrize(
        ("source", "says"),
        [
            pytest.param("def app(:\n", "SyntaxError", id="a syntax error"),
            pytest.param("import no_such_module\n", "ModuleNotFoundError", id="an import error"),
            pytest.param(BROKEN, "LookupError: what <the> new code raises", id="an exception"),
            pytest.param("import sys\nsys.exit('no')\n", "SystemExit: no", id="an exit"),
            pytest.param("def other(): pass\n", "has no 'app'", id="an attribute that is missing"),
            pytest.param(None, "there is no module 'web'", id="a module that is missing"),
            pytest.param("import os\nos._exit(9)\n", "ended with code 9", id="an end"),
            pytest.param("import os\nos.abort()\n", "was killed by SIGABRT", id="a signal"),
        ],
    )
    def test_is_said_and_awaited(
        self, project: Project, options: list[str], source: str | None, says: str
    ) -> None:
        if source is not None:
            project.write("web.py", source)
        fail(project, *options)
        assert says in project.process.log
        assert "the code does not serve; waiting for a change" in project.process.log
        assert is_bare(project.get(Accept=BROWSER, Host=OWN_HOST))
        mend(project)
        assert project.answers("one")

    def test_may_be_a_factory_that_raises(self, project: Project, options: list[str]) -> None:
        factory = "def create_app():\n    {0}\n    return app\n"
        project.write("web.py", factory.format("raise LookupError('no')"))
        fail(project, *options, app="web:create_app")
        assert "LookupError: no" in project.process.log
        project.write("web.py", APP.format(version="one") + factory.format(""))
        project.process.urls()
        assert project.answers("one")

    def test_may_be_a_lifespan_that_fails(self, project: Project, options: list[str]) -> None:
        project.write_version("one")
        project.write("life.py", LIFESPAN.format("raise LookupError('no')"))
        fail(project, *options, "--lifespan", "life:lifespan")
        assert "LookupError: no" in project.process.log
        project.write("life.py", LIFESPAN.format(""))
        project.process.urls()
        assert project.answers("one")

    def test_ends_by_a_signal(self, project: Project, options: list[str]) -> None:
        fail(project, *options)
        assert project.process.interrupt() == 0

    def test_may_fail_in_another_way_next(self, project: Project, options: list[str]) -> None:
        project.write("web.py", BROKEN)
        fail(project, *options)
        project.write("web.py", "import sys\nsys.exit('still not')\n")
        project.process.read_until("SystemExit: still not")
        find(project)
        assert is_bare(project.get())
        mend(project)
        assert project.answers("one")


class TestWhatEndsItNevertheless:
    def test_options_that_cannot_be_served(self, project: Project) -> None:
        project.write_version("one")
        assert project.start("--reload", "--certfile", "missing.pem").wait() == 2

    def test_options_that_cannot_be_served_once_the_code_is_mended(self, project: Project) -> None:
        pem = project.directory / "server.pem"
        with Authority() as authority:
            pem.write_bytes(authority.issue("localhost").private_key_and_cert_chain_pem.bytes())
        fail(project, "--certfile", str(pem))
        pem.unlink()
        project.write("web.py", BROKEN)
        project.process.read_until("clients wait meanwhile: cannot use TLS files")
        project.write_version("one")
        assert project.process.wait() == 2

    def test_no_reload(self, project: Project) -> None:
        project.write("web.py", BROKEN)
        assert project.start().wait() == 3


class TestWhereTheCureIs:
    def test_a_module_that_is_missing_may_come(self, project: Project) -> None:
        project.write("web.py", "import helper\n" + APP.format(version="one"))
        fail(project)
        project.write("helper.py", "")
        project.process.urls()
        assert project.answers("one")

    def test_a_directory_that_is_missing_may_come(self, project: Project) -> None:
        fail(project, app="src/web.py:app")
        project.write("src/web.py", APP.format(version="one"))
        project.process.urls()
        assert project.answers("one")

    def test_a_file_that_is_run_as_code_may_change(self, project: Project, tmp_path: Path) -> None:
        config = tmp_path / "site.cfg"
        config.write_text("DEBUG = Flase")
        run = f"exec(compile(open({str(config)!r}).read(), {str(config)!r}, 'exec'))\n"
        project.write("web.py", run + APP.format(version="one"))
        fail(project)
        config.write_text("DEBUG = False")
        project.process.read_until("site.cfg changed")
        project.process.urls()
        assert project.answers("one")

    def test_of_a_process_that_was_killed_it_is_where_the_application_is(
        self, project: Project
    ) -> None:
        project.write("../other/web.py", "import os\nos.abort()\n")
        fail(project, app="../other/web.py:app")
        project.write("../other/web.py", APP.format(version="one"))
        project.process.urls()
        assert project.answers("one")

    @pytest.mark.parametrize("is_first", [True, False], ids=["the first code", "newer code"])
    def test_what_is_missing_may_be_installed(
        self, project: Project, tmp_path: Path, is_first: bool
    ) -> None:
        packages = tmp_path / "packages"
        packages.mkdir()
        # What is installed is what is below one of the prefixes.
        custom = project.write("../custom/sitecustomize.py", SITE.format(str(packages))).parent
        path = os.pathsep.join(filter(None, [str(custom), os.environ.get("PYTHONPATH")]))
        if not is_first:
            project.serve(environment={"PYTHONPATH": path})
            project.wait_until_watched()
        project.write("web.py", "import package\n" + APP.format(version="two"))
        if is_first:
            fail(project, environment={"PYTHONPATH": path})
        else:
            project.process.read_until("the code from before goes on")
        (packages / "package").mkdir()
        (packages / "package" / "__init__.py").write_text("")
        project.process.read_until("reloading: something was installed")
        project.process.urls()
        assert project.answers("two")


class TestBrowser:
    def test_those_who_may_debug_see_the_traceback(self, project: Project) -> None:
        project.write("web.py", BROKEN)
        fail(project, "--debugger")
        page = project.get(Accept=BROWSER, Host=OWN_HOST)
        assert page.status >= 500
        assert b"LookupError: what &lt;the&gt; new code raises" in page.body
        assert page.header("Connection") == "close"
        assert is_bare(project.get(Host=OWN_HOST))  # no page load
        assert is_bare(project.get(Accept=BROWSER, Host="evil.example"))

    def test_a_process_that_dies_without_a_word_is_told_of(self, project: Project) -> None:
        project.write("web.py", "import os\nos.abort()\n")
        fail(project, "--debugger")
        page = project.get(Accept=BROWSER, Host=OWN_HOST)
        assert b"The new process was killed by SIGABRT." in page.body

    def test_beside_old_code_too_others_do_not_see_it(self, project: Project) -> None:
        project.serve("--debugger")
        project.write("web.py", BROKEN)
        project.process.read_until("the code from before goes on")
        while project.get(Accept=BROWSER, Host=OWN_HOST).status == 200:
            pass  # the process that serves may not have been told yet
        reply = project.get(Accept=BROWSER, Host="evil.example")
        assert (reply.status, reply.body) == (200, b"one")


class TestNobodyIsLeft:
    def test_behind_code_that_served(self, project: Project) -> None:
        project.serve("--debugger")
        project.write("web.py", BROKEN)
        project.process.read_until("the code from before goes on")
        with connect(project.address) as client:
            client.request("GET", "/die")
            assert client.read_all() == b""
        find(project)
        page = project.get(Accept=BROWSER, Host=OWN_HOST)
        assert b"LookupError: what &lt;the&gt; new code raises" in page.body
        project.write_version("two")
        project.process.urls()
        assert project.answers("two")

    def test_workers_that_cannot_be_started_any_more_wait_for_a_change(
        self, project: Project
    ) -> None:
        closed = project.directory / "closed"
        gate = f"import os\nassert not os.path.exists({str(closed)!r})\n"
        project.write("web.py", gate + APP.format(version="one"))
        project.run("-c", IN_HASTE, "--port", "0", "--reload", "--workers", "1", "web:app")
        project.address = address_of(project.process.urls()[0])
        closed.touch()
        with connect(project.address) as client:
            client.request("GET", "/die")
            client.read_all()
        project.process.read_until("the code does not serve, and no other is left")
        find(project)
        assert is_bare(project.get())
        closed.unlink()
        project.process.send_signal(signal.SIGHUP)  # says that something else was mended
        project.process.read_until(" serves")
        assert project.answers("one")


class TestListeners:
    def test_each_is_answered_in_what_it_speaks(self, project: Project) -> None:
        options = [
            "--bind", "127.0.0.1:0", "--bind", "unix:http", "--bind", "uwsgi+unix:uwsgi",
        ]  # fmt: skip
        fail(project, "--workers", "2", *options)  # workers have a listener each
        for address in (project.address, str(project.directory / "http")):
            for _ in range(4):
                with connect(address) as client:
                    assert is_bare(client.get())
        with connect(str(project.directory / "uwsgi")) as client:
            client.send(request())
            assert client.reply().status == 503
        mend(project)
        assert project.answers("one")
        with connect(str(project.directory / "http")) as client:
            assert client.get().body == b"one"

    def test_those_of_tls_are_answered_by_tls(self, project: Project) -> None:
        pem = project.directory / "server.pem"
        with Authority() as authority:
            own = authority.issue("localhost")
            pem.write_bytes(own.private_key_and_cert_chain_pem.bytes())
            tls = authority.client_context()
        fail(project, "--certfile", str(pem))
        with connect(project.address, tls) as client:
            assert is_bare(client.get())
        mend(project)
        with connect(project.address, tls) as client:
            assert client.get().body == b"one"


class TestHandOver:
    def test_who_connects_while_new_code_is_imported_waits_for_it(self, project: Project) -> None:
        os.mkfifo(project.directory / "gate")
        project.write("web.py", BROKEN)
        project.run("-c", PATIENT, "--port", "0", "--reload", "web:app")
        find(project)
        early = project.connect()
        assert project.get().status == 503  # by now the one before was accepted, too
        project.write("web.py", "open('gate').read()\n" + APP.format(version="one"))
        with (project.directory / "gate").open("w"):  # the import has begun
            late = project.connect()
            late.request()
            assert is_bare(early.get())
            assert early.is_closed()
        assert late.reply().body == b"one"

    def test_refuses_no_connection_and_loses_no_request(self, project: Project) -> None:
        project.write("web.py", BROKEN)
        fail(project)
        with ThreadPoolExecutor(CLIENTS) as executor:
            asking = [executor.submit(ask_until_served, project) for _ in range(CLIENTS)]
            try:
                for number in range(FAILURES):
                    project.write("web.py", f"{BROKEN}# {number}\n")
                    find(project)
            finally:
                mend(project)
            refusals = sum(future.result() for future in asking)
        assert refusals > CLIENTS

    def test_a_client_that_says_nothing_holds_up_no_end(self, project: Project) -> None:
        fail(project)
        for data in (b"", b"GET / HTTP/1.1\r\n", b"POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\n"):
            project.connect().send(data)
        assert is_bare(project.get())
        assert project.process.interrupt() == 0

    def test_a_signal_during_the_import_that_mends_it_ends_all(self, project: Project) -> None:
        os.mkfifo(project.directory / "gate")
        fail(project)
        project.write("web.py", "open('gate').read()\n" + APP.format(version="one"))
        with (project.directory / "gate").open("w"):
            assert project.process.interrupt() == 0


def ask_until_served(project: Project) -> int:
    """Ask on one connection after the other; how many were answered that nobody serves."""
    refusals = 0
    while (reply := project.get()).status != 200:
        assert is_bare(reply)
        refusals += 1
    assert reply.body == b"one"
    return refusals


def test_a_directory_that_is_deleted_and_comes_back_is_looked_for_by_its_name(
    project: Project,
) -> None:
    project.write("web.py", BROKEN)
    fail(project)
    project.write("web.py", f"{BROKEN}# again\n")
    find(project)  # by now it knows what there is
    shutil.rmtree(project.directory)
    project.process.read_until("no new process can be started")
    project.process.read_until("waiting for a change")
    assert is_bare(project.get())
    mend(project)
    assert project.answers("one")


def test_a_signal_while_the_loop_is_made_ends_the_process_as_one_that_comes_later(
    project: Project,
) -> None:
    project.write(
        "web.py",
        """
        import asyncio
        import os
        import signal

        run = asyncio.Runner.run

        def interrupted(self, *args, **kwargs):
            self.get_loop().call_soon(os.kill, os.getpid(), signal.SIGTERM)
            return run(self, *args, **kwargs)

        asyncio.Runner.run = interrupted

        def app(environ, start_response):
            start_response("200 OK", [])
            return [b""]
        """,
    )
    process = project.run("-m", "asyncwsgi", "--port", "0", "--workers", "1", "web:app")
    process.read_until("the new process ended with code 0 before it served")
    assert process.wait() == 1
    assert "Traceback" not in process.log
