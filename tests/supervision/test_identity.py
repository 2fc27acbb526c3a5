"""``--user``, ``--group``, ``--pid``, ``--umask`` and ``--socket-mode``."""

from __future__ import annotations

import os
import pwd
import signal
import stat
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import asyncwsgi
from asyncwsgi import BindError, Config, ConfigError
from asyncwsgi.server.listeners import open_listeners
from asyncwsgi.supervision.identity import Identity, pid_file
from asyncwsgi.supervision.options import ProcessOptions
from tests.doors.processes import address_of
from tests.reloading.conftest import Project
from tests.supervision.conftest import Workers

APP = """
import os
open("imported-as", "w").write(f"{os.geteuid()}:{os.getegid()}:{os.getgroups()}")

def app(environ, start_response):
    mask = os.umask(0)
    os.umask(mask)
    body = f"{os.geteuid()}:{os.getegid()}:{mask:o}".encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")


PLACES = (str(Path(asyncwsgi.__file__).parents[1]), sysconfig.get_path("purelib"))
IMPORTABLE = {"PYTHONPATH": os.pathsep.join(PLACES)}
"""Has an interpreter that is none of this environment import what it has."""
SYSTEM_PYTHON = f"/usr/bin/python3.{sys.version_info.minor}"


def python_for(user: pwd.struct_passwd) -> str | None:
    """An interpreter that `user` may run: this one may be in somebody's home."""
    return next((each for each in (sys.executable, SYSTEM_PYTHON) if may_run(user, each)), None)


def may_run(user: pwd.struct_passwd, executable: str) -> bool:
    command = [executable, "-c", "import asyncwsgi.cli"]
    ids = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": ()}
    environment = {**os.environ, **IMPORTABLE}
    try:
        done = subprocess.run(command, cwd="/", check=False, env=environment, **ids)  # type: ignore[call-overload]
    except OSError:
        return False
    return done.returncode == 0  # type: ignore[no-any-return]


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """One that every user may enter; those of pytest are root's."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@as_root
class TestIdentity:
    @pytest.mark.parametrize(
        "options",
        [["--workers", "1"], ["--workers", "1", "--preload"], ["--reload"], []],
        ids=["workers", "preload", "reload", "one process"],
    )
    def test_the_application_is_imported_and_runs_as_the_user(
        self, open_directory: Path, options: list[str]
    ) -> None:
        nobody = pwd.getpwnam("nobody")
        executable = python_for(nobody) if options else sys.executable
        if executable is None:
            pytest.skip(f"user nobody may run neither {sys.executable} nor {SYSTEM_PYTHON}")
        with ExitStack() as stack:
            self.check(Project(open_directory, stack), nobody, options, executable)

    def check(
        self, project: Project, nobody: pwd.struct_passwd, options: list[str], executable: str
    ) -> None:
        project.write("web.py", APP)
        os.chown(project.directory, nobody.pw_uid, nobody.pw_gid)
        unix = project.directory / "socket"
        project.start(
            *options, "--user", "nobody", "--umask", "027", "--bind", f"unix:{unix}",
            "--socket-mode", "600", executable=executable, environment=IMPORTABLE,
        )  # fmt: skip
        project.address = address_of(project.process.urls()[0])
        who = f"{nobody.pw_uid}:{nobody.pw_gid}"
        assert project.get().body.decode() == f"{who}:27"
        imported_as = (project.directory / "imported-as").read_text()
        assert imported_as.startswith(f"{who}:")
        assert "0" not in imported_as.partition("[")[2].strip("]").split(", ")
        of_socket = unix.stat()
        assert (of_socket.st_uid, stat.S_IMODE(of_socket.st_mode)) == (nobody.pw_uid, 0o600)
        project.process.send_signal(signal.SIGTERM)
        assert project.process.wait() == 0
        assert not unix.exists()

    def test_a_number_may_be_that_of_no_user(self) -> None:
        assert Identity.of("54321", "12345") == Identity(54321, 12345, ())

    @pytest.mark.parametrize(
        ("user", "group", "message"),
        [
            ("no such", None, "there is no user 'no such'"),
            (None, "no such", "there is no group"),
            ("4294967295", None, "user numbers are from 0 to 4294967294, got 4294967295"),
            (None, "4294967295", "group numbers are from 0 to 4294967294, got 4294967295"),
        ],
    )
    def test_there_has_to_be_one(self, user: str | None, group: str | None, message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            Identity.of(user, group)


def test_that_of_the_process_itself_is_none() -> None:
    assert Identity.of(str(os.geteuid()), str(os.getegid())) is None
    assert Identity.of(None, None) is None


def test_only_root_may_become_somebody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(ConfigError, match="are for who is started as root, and this is user 1000"):
        Identity.of("54321", None)


class TestPidFile:
    def test_names_the_supervisor_as_long_as_it_runs(self, workers: Workers) -> None:
        file = workers.directory / "pid"
        workers.serve(1, "--pid", str(file))
        workers.project.process.send_signal(signal.SIGHUP)
        os.kill(int(file.read_text()), signal.SIGTERM)
        assert workers.process.wait() == 0
        assert not file.exists()

    def test_of_a_process_that_runs_is_left_to_it(self, workers: Workers, tmp_path: Path) -> None:
        workers.serve(1)
        (pid,) = workers.pids(1)
        file = tmp_path / "pid"
        file.write_text(f"{pid}\n")
        with (
            pytest.raises(BindError, match=f"process {pid}, which the pid file"),
            pid_file(str(file)),
        ):
            pass
        assert file.read_text() == f"{pid}\n"

    @pytest.mark.parametrize("left", ["99999999\n", "", "nonsense"])
    def test_that_a_dead_process_has_left_is_replaced(self, tmp_path: Path, left: str) -> None:
        file = tmp_path / "pid"
        file.write_text(left)
        with pid_file(str(file)):
            assert int(file.read_text()) == os.getpid()
        assert not file.exists()

    def test_of_another_is_not_removed(self, tmp_path: Path) -> None:
        file = tmp_path / "pid"
        with pid_file(str(file)):
            file.write_text("1\n")
        assert file.read_text() == "1\n"

    def test_that_cannot_be_written_is_an_error(self, tmp_path: Path) -> None:
        with (
            pytest.raises(BindError, match="cannot be written"),
            pid_file(str(tmp_path / "no/pid")),
        ):
            pass


@pytest.mark.parametrize("text", ["888", "rw", "1000", "-1", ""])
def test_a_mode_is_octal(text: str) -> None:
    with pytest.raises(ConfigError, match="umask must be octal, from 0 to 777"):
        ProcessOptions(umask=text)
    with pytest.raises(ConfigError, match="socket_mode must be octal, from 0 to 777"):
        Config(socket_mode=text)


def test_a_unix_socket_has_the_mode_that_was_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    (listener,) = open_listeners(Config(bind=(f"unix:{path}",), socket_mode="606"))
    try:
        assert stat.S_IMODE(path.stat().st_mode) == 0o606
    finally:
        listener.close()
