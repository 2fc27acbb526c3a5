"""``asyncwsgi --reload``: changed code takes over, and only if it can serve."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from tests.client import connect
from tests.doors.processes import address_of
from tests.reloading.conftest import APP, BROKEN, Project, has_ended
from tests.uwsgi.packets import request

REAL_TIME_SIGNAL = signal.SIGRTMIN + 1
"""One without a name."""


class TestChangedCode:
    def test_takes_over(self, project: Project) -> None:
        project.serve()
        assert project.get().body == b"one"
        for version in ("two", "three"):
            project.reload(version)
            assert project.answers(version)

    def test_takes_over_each_listener_in_what_it_speaks(self, project: Project) -> None:
        project.serve("--bind", "127.0.0.1:0", "--bind", "uwsgi+unix:socket")
        project.reload("two")
        assert project.answers("two")
        with connect(str(project.directory / "socket")) as client:
            client.send(request())
            assert client.reply().body == b"two"

    def test_ends_the_process_before(self, project: Project) -> None:
        project.serve()
        pid = project.pid()
        project.reload("two")
        assert has_ended(pid)

    def test_says_that_it_listens_before_the_process_before_says_that_it_stops(
        self, project: Project
    ) -> None:
        project.serve()
        # Its log rests behind this line, and longer than the test waits.
        resting = (
            "import logging, asyncwsgi.log_writer\n"
            "asyncwsgi.log_writer.REST = 3600\n"
            "logging.getLogger('asyncwsgi').warning('spam')\n"
        )
        project.write("web.py", resting + APP.format(version="two"))
        project.process.read_until("reloading: web.py changed")
        project.process.read_until("stopping; ")
        _, _, log = project.process.log.partition("spam")
        assert "listening on " in log

    def test_is_seen_though_it_is_saved_while_the_first_is_imported(self, project: Project) -> None:
        os.mkfifo(project.directory / "gate")
        project.write("web.py", "print(open('gate').read())\n" + APP.format(version="one"))
        project.start("--reload")
        with (project.directory / "gate").open("w"):  # it is being imported
            project.write_version("two")
        project.process.read_until("listening on ")
        project.process.read_until("reloading: web.py changed")
        project.address = address_of(project.process.urls()[0])
        assert project.answers("two")

    def test_is_seen_in_directories_that_it_imports_from_for_the_first_time(
        self, project: Project, tmp_path: Path
    ) -> None:
        library = tmp_path / "library" / "helper.py"
        library.parent.mkdir()
        library.write_text("version = 'two'\n")
        project.serve()
        more = f"import sys\nsys.path.append({str(library.parent)!r})\nimport helper\n"
        project.write("web.py", more + APP.format(version="x") + "VERSION = helper.version\n")
        project.wait_until_taken_over()
        assert project.answers("two")
        library.write_text("version = 'three'\n")
        project.process.read_until("helper.py changed")
        assert project.answers("three")

    def test_replaces_what_is_still_being_imported(self, project: Project) -> None:
        project.serve()
        os.mkfifo(project.directory / "gate")
        project.write("web.py", "import os\nprint(os.getpid(), file=open('gate', 'w'))\nwhile 1: 1")
        with (project.directory / "gate").open() as gate:
            importing = int(gate.readline())
        project.reload("three")
        assert has_ended(importing)
        assert project.answers("three")
        assert "the new code does not serve" not in project.process.log


def test_that_a_process_listens_is_logged_before_what_follows_from_it(project: Project) -> None:
    # Its own log would wait for ever, as it does for moments while lines gather.
    rests = (
        "import asyncwsgi.log_writer, logging\n"
        "asyncwsgi.log_writer.REST = threading.TIMEOUT_MAX\n"
        "logging.getLogger('asyncwsgi.server').warning('its log rests from now on')\n"
    )
    project.write("web.py", APP.format(version="one") + rests)
    project.start("--reload")
    project.process.read_until(" for changes ")
    assert "listening on " in project.process.log


class TestASupersededImport:
    """Ends as a program does, so that it can end what it has started."""

    @pytest.mark.parametrize(
        "start",
        [
            pytest.param("subprocess.run(command)", id="it waits for it"),
            pytest.param(
                "process = subprocess.Popen(command)\n"
                "atexit.register(process.kill)\n"
                "while True: signal.pause()",
                id="it has registered its end",
            ),
        ],
    )
    @pytest.mark.parametrize("is_first", [True, False])
    def test_ends_what_it_has_started(self, project: Project, start: str, is_first: bool) -> None:
        os.mkfifo(project.directory / "gate")
        source = (
            "import atexit, signal, subprocess, sys\n"
            "code = \"import os, signal; print(os.getpid(), file=open('gate', 'w')); \"\n"
            "command = [sys.executable, '-c', code + 'signal.pause()']\n"
            f"{start}\n"
        )
        if is_first:
            project.write("web.py", source)
            project.start("--reload")
        else:
            project.serve()
            project.write("web.py", source)
        with (project.directory / "gate").open() as gate:
            started = int(gate.readline())
        if is_first:
            project.process.send_signal(signal.SIGTERM)
            assert project.process.wait() == 0
        else:
            project.reload("three")
            assert project.answers("three")
        assert has_ended(started)
        assert "Traceback" not in project.process.log
        assert "was killed" not in project.process.log

    @pytest.mark.parametrize(
        "fallback",
        [
            pytest.param("except BaseException: pass", id="it catches everything"),
            pytest.param("except BaseException as error: raise RuntimeError from error", id="else"),
            pytest.param("except BaseException: sys.exit('no database')", id="it gives up"),
        ],
    )
    @pytest.mark.parametrize("is_stopped", [True, False])
    def test_ends_though_it_makes_something_else_of_its_end(
        self, project: Project, fallback: str, is_stopped: bool
    ) -> None:
        source = f"""
            import os, sys
            try:
                with open("gate", "w") as gate:  # what is raised as it is closed comes out of it
                    print(os.getpid(), file=gate)
                while True: pass
            {fallback}
            """
        self._end_import(project, source, is_stopped=is_stopped)

    @pytest.mark.parametrize("is_stopped", [True, False])
    def test_ends_behind_the_import_if_that_handles_sigterm(
        self, project: Project, is_stopped: bool
    ) -> None:
        source = """
            import os, signal, threading
            stopped = threading.Event()
            signal.signal(signal.SIGTERM, lambda *_: stopped.set())
            print(os.getpid(), file=open("gate", "w"))
            stopped.wait()
            """
        self._end_import(project, source, is_stopped=is_stopped)

    def _end_import(self, project: Project, source: str, *, is_stopped: bool) -> None:
        project.serve()
        os.mkfifo(project.directory / "gate")
        project.write("web.py", dedent(source) + APP.format(version="two"))
        with (project.directory / "gate").open() as gate:
            importing = int(gate.readline())
        if not is_stopped:
            project.reload("three")
            assert has_ended(importing)
            assert project.answers("three")
        assert project.process.interrupt() == 0
        assert "was killed" not in project.process.log
        assert "Traceback" not in project.process.log
        assert "no database" not in project.process.log

    def test_serves_nobody_though_it_ends_first(self, project: Project) -> None:
        project.serve()
        newer = APP.format(version="three")
        # It is there when the import ends, which is when the supervisor looks.
        more = f"__import__('pathlib').Path('web.py').write_text({newer!r})\n"
        project.write("web.py", APP.format(version="two") + more)
        project.wait_until_taken_over()
        assert project.answers("three")
        assert project.process.interrupt() == 0
        assert project.process.log.count("listening on ") == 2

    def test_that_a_fallback_of_its_own_catches_is_killed(self, project: Project) -> None:
        project.serve()
        os.mkfifo(project.directory / "gate")
        project.write(
            "web.py",
            """
            import os, signal
            print(os.getpid(), file=open("gate", "w"))
            while True:
                try:
                    signal.pause()
                except BaseException:
                    pass
            """,
        )
        with (project.directory / "gate").open() as gate:
            importing = int(gate.readline())
        project.reload("three")
        assert project.answers("three")
        assert "while it imported" in project.process.read_until("was killed")
        assert has_ended(importing)

    def test_forks_processes_that_end_by_sigterm(self, project: Project) -> None:
        project.write_version("one")
        forks = (
            "import os, signal\n"
            "child = os.fork()\n"
            "while child == 0: signal.pause()\n"
            "os.kill(child, signal.SIGTERM)\n"
            "assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM\n"
        )
        project.write("web.py", forks + APP.format(version="one"))
        project.start("--reload")
        project.address = address_of(project.process.urls()[0])
        assert project.answers("one")


class TestBrokenCode:
    def test_leaves_the_old_serving_and_says_why(self, project: Project) -> None:
        project.serve()
        project.write("web.py", BROKEN)
        project.process.read_until("Traceback")
        project.process.read_until("LookupError: what <the> new code raises")
        project.process.read_until("the code from before goes on")
        reply = project.get(Accept="text/html")
        assert (reply.status, reply.body) == (200, b"one")

    def test_is_followed_by_code_that_serves(self, project: Project) -> None:
        project.serve()
        project.write("web.py", BROKEN)
        project.process.read_until("the code from before goes on")
        project.reload("two")
        assert project.answers("two")

    @pytest.mark.parametrize(
        ("number", "name"), [("SIGSEGV", "SIGSEGV"), ("SIGRTMIN + 1", f"signal {REAL_TIME_SIGNAL}")]
    )
    def test_that_dies_without_a_word_is_noticed(
        self, project: Project, number: str, name: str
    ) -> None:
        project.serve()
        project.write("web.py", f"import os, signal\nos.kill(os.getpid(), signal.{number})\n")
        project.process.read_until(f"was killed by {name}")
        project.process.read_until("the code from before goes on")
        assert project.get().body == b"one"

    @pytest.mark.parametrize(
        ("source", "code"),
        [
            pytest.param(BROKEN, 3, id="an exception"),
            pytest.param("import os\nos._exit(9)\n", 9, id="an end"),
            pytest.param("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n", 137, id="k"),
        ],
    )
    def test_ends_all_if_it_is_the_first_and_nobody_watches(
        self, project: Project, source: str, code: int
    ) -> None:
        project.write("web.py", source)
        process = project.start("--workers", "1")
        assert process.wait() == code
        assert process.log.count("Traceback") == (code == 3)
        assert process.log.count("correct it there") == (code == 3)

    def test_options_that_cannot_be_served_end_all_if_it_is_the_first(
        self, project: Project
    ) -> None:
        project.write_version("one")
        process = project.start("--reload", "--certfile", "missing.pem")
        assert process.wait() == 2
        assert process.log.count("missing.pem") == 1
        assert "Traceback" not in process.log


class TestTheServingProcessDies:
    def test_a_change_brings_the_next_and_clients_are_answered_meanwhile(
        self, project: Project
    ) -> None:
        project.serve()
        project.connect().request("GET", "/die")
        project.process.read_until("the process that served ended with code 7")
        assert project.get().status == 503
        project.write_version("two")
        project.process.urls()
        assert project.answers("two")

    def test_broken_code_is_no_successor(self, project: Project) -> None:
        project.serve()
        project.connect().request("GET", "/die")
        project.process.read_until("the process that served ended with code 7")
        project.write("web.py", BROKEN)
        project.process.read_until("the code does not serve, and no other is left; waiting")
        project.write_version("three")
        project.process.read_until("listening on ")
        assert project.answers("three")


class TestListeners:
    def test_a_unix_socket_is_the_same_before_and_behind(self, project: Project) -> None:
        path = project.directory / "socket"
        project.serve("--bind", f"unix:{path}")
        before = path.stat()
        assert project.get().body == b"one"
        project.reload("two")
        assert project.answers("two")
        assert os.path.samestat(path.stat(), before)
        assert project.process.interrupt() == 0
        assert not path.exists()

    def test_a_taken_address_is_an_error_of_the_start(self, project: Project) -> None:
        project.serve()
        assert not isinstance(project.address, str)
        other = Project(project.directory, project._stack)
        process = other.start("--reload", "--bind", f"127.0.0.1:{project.address[1]}")
        assert process.wait() == 4

    def test_what_the_application_starts_inherits_nothing_of_it(self, project: Project) -> None:
        project.write(
            "web.py",
            """
            import json, os
            from pathlib import Path

            def app(environ, start_response):
                open_files = [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]
                inheritable = []
                for number in open_files:
                    try:
                        if number > 2 and os.get_inheritable(number):
                            inheritable.append(number)
                    except OSError:
                        pass
                names = [name for name in os.environ if name.startswith("ASYNCWSGI")]
                body = [names, inheritable, os.environ.get("WERKZEUG_RUN_MAIN")]
                start_response("200 OK", [])
                return [json.dumps(body).encode()]
            """,
        )
        project.start("--reload")
        with project.process.connect() as client:
            assert client.get().body == b"[[], [], null]"


@pytest.mark.parametrize("watching", ["watchfiles", "polling"])
def test_a_directory_that_is_deleted_and_comes_back_is_looked_for_by_its_name(
    project: Project, without: Callable[[str], dict[str, str]], watching: str
) -> None:
    project.serve(environment={} if watching == "watchfiles" else without("watchfiles"))
    project.reload("two")  # by now it knows what there is
    shutil.rmtree(project.directory)
    project.process.read_until("reloading: web.py changed")
    project.process.read_until("the code from before goes on")
    project.write_version("three")
    project.wait_until_taken_over()
    assert project.answers("three")


@pytest.mark.parametrize("watching", ["watchfiles", "polling"])
def test_a_change_of_the_same_size_in_the_same_second_is_seen(
    project: Project, without: Callable[[str], dict[str, str]], watching: str
) -> None:
    environment = {} if watching == "watchfiles" else without("watchfiles")
    project.serve(environment={**environment, "PYTHONDONTWRITEBYTECODE": ""})
    for version in ("two", "three"):  # the second of them is seen by nothing but the watch
        project.reload(version)
    source = project.directory / "web.py"
    before = source.stat()
    draft = project.directory / "draft"
    draft.write_text(source.read_text().replace("three", "seven"))
    os.utime(draft, ns=(before.st_atime_ns, before.st_mtime_ns))
    draft.replace(source)
    project.wait_until_taken_over()
    assert project.answers("seven")


WRITES_ANOTHER = "import time; print('VALUE =', time.time_ns(), file=open('stamp.py', 'w'))\n"
LIFESPAN = """
import contextlib

@contextlib.asynccontextmanager
async def lifespan():
    {statement}
    yield
"""


@pytest.mark.parametrize("watching", ["watchfiles", "polling"])
class TestAnImportThatWritesAModule:
    """Does not reload for ever, however it is noticed that the module was written."""

    @pytest.fixture(autouse=True)
    def serve(
        self, project: Project, without: Callable[[str], dict[str, str]], watching: str
    ) -> None:
        project.write("stamp.py", "VALUE = 0\n")
        project.write("life.py", LIFESPAN.format(statement="pass"))
        environment = {} if watching == "watchfiles" else without("watchfiles")
        project.serve("--lifespan", "life:lifespan", environment=environment)
        project.wait_until_watched()
        project.reload("two")  # by now it knows what there is

    @pytest.mark.parametrize(
        "write",
        [
            pytest.param("import os; os.utime('stamp.py')\n", id="a touch"),
            pytest.param("print('VALUE = 0', file=open('stamp.py', 'w'))\n", id="equal content"),
        ],
    )
    def test_that_stays_the_same(self, project: Project, write: str) -> None:
        project.write("web.py", write + APP.format(version="three"))
        project.wait_until_taken_over()
        project.reload("four")  # were there another reload, it would come before this one
        assert project.process.log.count("reloading: ") == 3

    @pytest.mark.parametrize(
        ("name", "writing", "harmless"),
        [
            pytest.param("web.py", WRITES_ANOTHER + APP, APP, id="import"),
            pytest.param(
                "life.py",
                LIFESPAN.format(statement=WRITES_ANOTHER),
                LIFESPAN.format(statement="pass"),
                id="lifespan",
            ),
        ],
    )
    def test_that_is_another_each_time_and_the_log_says_how_to_ignore_it(
        self, project: Project, name: str, writing: str, harmless: str
    ) -> None:
        project.write(name, writing)
        line = project.process.read_until("importing seems to write it")
        assert "stamp.py has changed in each of 5 imports" in line
        assert "--reload-exclude '*/stamp.py'" in line
        project.write(name, harmless)  # it goes on to reload
        project.process.read_until(f"reloading: {name} changed")
        project.wait_until_taken_over()


class TestStop:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    @pytest.mark.parametrize("to_group", [True, False])
    def test_a_signal_ends_all_behind_the_request_in_flight(
        self, project: Project, number: signal.Signals, to_group: bool
    ) -> None:
        project.serve()
        os.mkfifo(project.directory / "release")
        client = project.connect()
        client.request("GET", "/held")
        project.process.read_until("the application was entered")
        if to_group:
            project.process.send_signal_to_group(number)
        else:
            project.process.send_signal(number)
        project.process.read_until("stopping; 1 request in flight")
        (project.directory / "release").open("w").close()
        assert client.reply().body == b"one"
        # Its standard error ends when nobody has it open any more.
        assert project.process.wait() == 0
        assert "Traceback" not in project.process.log

    def test_a_second_signal_cuts(self, project: Project) -> None:
        project.serve("--graceful-timeout", "1000")
        os.mkfifo(project.directory / "release")
        client = project.connect()
        client.request("GET", "/held")
        project.process.read_until("the application was entered")
        project.process.send_signal_to_group(signal.SIGINT)
        project.process.read_until("stopping; ")
        project.process.send_signal_to_group(signal.SIGINT)
        assert project.process.wait() == 130
        assert "was killed" not in project.process.log
        assert client.is_closed()

    def test_a_third_signal_waits_for_nothing(self, project: Project) -> None:
        hanging = "import threading\nthreading.Thread(target=threading.Event().wait).start()\n"
        project.write("web.py", hanging + APP.format(version="one"))
        project.start("--reload", "--graceful-timeout", "1000")
        project.process.urls()
        project.process.send_signal_to_group(signal.SIGINT)
        project.process.read_until("stopping; ")
        # Two that are not the same: of equal ones that come at once a process hears once.
        project.process.send_signal(signal.SIGINT)
        project.process.send_signal(signal.SIGTERM)
        assert project.process.wait() in (128 + signal.SIGINT, 128 + signal.SIGTERM)
        assert "did not end within" not in project.process.log

    def test_an_old_process_that_does_not_end_is_killed(self, project: Project) -> None:
        project.write_version("one")
        hanging = "import threading\nthreading.Thread(target=threading.Event().wait).start()\n"
        project.write("web.py", hanging + APP.format(version="one"))
        project.start("--reload", "--graceful-timeout", "0.1")
        project.address = address_of(project.process.urls()[0])
        pid = project.pid()
        project.reload("two")
        assert "not daemons" in project.process.read_until("was killed")
        assert has_ended(pid)
        assert project.answers("two")

    def test_a_signal_during_the_first_import_ends_all(self, project: Project) -> None:
        os.mkfifo(project.directory / "gate")
        project.write("web.py", "open('gate', 'w').close()\nwhile 1: 1")
        project.start("--reload")
        (project.directory / "gate").open().close()
        project.process.send_signal_to_group(signal.SIGINT)
        assert project.process.wait() == 0
        assert "Traceback" not in project.process.log

    def test_the_death_of_the_supervisor_ends_all(self, project: Project) -> None:
        project.serve()
        pid = project.pid()
        project.process.send_signal(signal.SIGKILL)
        assert project.process.wait() == -signal.SIGKILL
        assert has_ended(pid)
        with pytest.raises(ConnectionRefusedError):
            connect(project.address)
