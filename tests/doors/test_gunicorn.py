"""``gunicorn -k asyncwsgi.gunicorn.Worker``: real masters and their workers."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from gunicorn.config import Config as Settings

from asyncwsgi.errors import ConfigError
from asyncwsgi.gunicorn.settings import config_of
from asyncwsgi.testing import Authority
from tests.client import Client, Reply, connect
from tests.doors.conftest import Start, Write
from tests.doors.processes import Process, address_of, replace
from tests.loops import LOOPS
from tests.uwsgi.packets import request

WORKER = "asyncwsgi.gunicorn.Worker"
IMPORTED_BY = "the application was imported by "

APP = """
import multiprocessing
import os
import sys
import threading
import time

import asyncwsgi

VERSION = "one"
IMPORTER = os.getpid()


def app(environ, start_response):
    path = environ["PATH_INFO"]
    body = VERSION
    if path == "/pid":
        body = str(os.getpid())
    if path == "/importer":
        body = f"{IMPORTER} {os.getppid()}"
    if path == "/held":
        environ["wsgi.errors"].write("the application was entered\\n")
        environ["wsgi.errors"].flush()
        with open("release") as pipe:  # waits until somebody opens it for writing
            pipe.read()
    if path == "/block":
        asyncwsgi.from_thread.run(block)
    if path == "/outlast":
        outlast()
    if path == "/multiprocess":
        body = str(environ["wsgi.multiprocess"])
    if path == "/child":
        child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(1000,))
        child.start()
        child.terminate()
        child.join()
        body = str(child.exitcode)
    if path == "/fail":
        raise ValueError("spam")
    if path == "/file":
        start_response("200 OK", [("X-File", "yes")])
        return environ["wsgi.file_wrapper"](open("large", "rb"))
    start_response("200 OK", [("Content-Length", str(len(body))), ("X-Spam", "eggs")])
    return [body.encode()]


async def block():
    time.sleep(1000)


def outlast():
    # For longer than its worker may be silent. Before the first sign of life it is a time of day.
    from gunicorn_worker import worker

    begin = time.monotonic()
    while not begin + 2 <= worker[0].tmp.last_update() < 1e9:
        threading.Event().wait(0.05)
"""


class Master:
    """gunicorn in a directory of its own, on a free port unless the arguments say where."""

    def __init__(self, start: Start, directory: Path) -> None:
        self._start = start
        self.directory = directory
        self._clients = ExitStack()

    def serve(self, *arguments: str, conf: str = "", worker_class: str = WORKER) -> None:
        """Start it, and wait until its first worker listens."""
        self.launch(*arguments, conf=conf, worker_class=worker_class)
        self.address = address_of(self.process.urls()[0])

    def launch(self, *arguments: str, conf: str = "", worker_class: str = WORKER) -> None:
        (self.directory / "gunicorn.conf.py").write_text(conf)
        bind = () if "--bind" in arguments else ("--bind", "127.0.0.1:0")
        self.process: Process = self._start(
            *("-m", "gunicorn", "-k", worker_class, "--no-control-socket", *bind, *arguments),
            "web:app",
        )

    def connect(self) -> Client:
        return self._clients.enter_context(connect(self.address))

    def get(self, target: str = "/", **headers: str) -> Reply:
        """One request on a connection of its own."""
        with connect(self.address) as client:
            return client.get(target, **headers)

    def pid(self) -> int:
        """A worker."""
        return int(self.get("/pid").body)

    def hold(self) -> Client:
        """A client whose request is inside the application, until `release`."""
        os.mkfifo(self.directory / "release")
        client = self.connect()
        client.request("GET", "/held")
        self.process.read_until("the application was entered")
        return client

    def release(self) -> None:
        with (self.directory / "release").open("w"):
            pass

    def close(self) -> None:
        self._clients.close()


@pytest.fixture
def master(start: Start, write: Write, tmp_path: Path) -> Iterator[Master]:
    write("web.py", APP)
    master = Master(start, tmp_path)
    yield master
    master.close()


@pytest.fixture(params=LOOPS)
def on_loop(request: pytest.FixtureRequest, write: Write) -> str:
    """A worker class that serves on the loop which is the test's turn."""
    write(
        "loops.py",
        f"""
        from asyncwsgi.gunicorn import Worker

        class LoopWorker(Worker):
            options = {{"loop": {request.param!r}}}
        """,
    )
    return "loops.LoopWorker"


class TestServing:
    def test_requests_are_answered_by_several_processes(self, master: Master) -> None:
        master.serve("--workers", "2")
        assert master.get().body == b"one"
        assert master.get("/multiprocess").body == b"True"
        assert master.get("/fail").status == 500

    def test_a_single_worker_is_the_only_process(self, master: Master) -> None:
        master.serve()
        assert master.get("/multiprocess").body == b"False"

    def test_a_unix_socket_is_served(self, master: Master) -> None:
        master.serve("--bind", f"unix:{master.directory / 'socket'}")
        assert master.get().body == b"one"

    def test_the_uwsgi_protocol_is_served(self, master: Master) -> None:
        master.serve("--protocol", "uwsgi")
        client = master.connect()
        client.send(request(REMOTE_PORT=""))
        assert client.reply().body == b"one"

    def test_an_entry_point_names_the_worker(self, master: Master, write: Write) -> None:
        # As an installation writes it down.
        import tomllib

        project = Path(__file__).parents[2] / "pyproject.toml"
        points = tomllib.loads(project.read_text())["project"]["entry-points"]["gunicorn.workers"]
        lines = [f"{name} = {value}" for name, value in points.items()]
        write("asyncwsgi-9.dist-info/entry_points.txt", "\n".join(["[gunicorn.workers]", *lines]))
        write(
            "asyncwsgi-9.dist-info/METADATA", "Metadata-Version: 2.1\nName: asyncwsgi\nVersion: 9\n"
        )
        master.serve(worker_class="egg:asyncwsgi#worker")
        assert master.get().body == b"one"

    def test_tls_is_that_of_gunicorns_settings(self, master: Master) -> None:
        authority = Authority()
        issued = authority.issue("localhost", "127.0.0.1")
        pem = master.directory / "server.pem"
        issued.private_key_and_cert_chain_pem.write_to_path(str(pem))
        master.serve("--certfile", str(pem), "--keyfile", str(pem))
        with connect(master.address, authority.client_context()) as client:
            assert client.get().body == b"one"

    def test_files_are_read_where_the_kernel_shall_not_send_them(self, master: Master) -> None:
        (master.directory / "large").write_bytes(bytes(1 << 20))
        conf = "import os\nos.sendfile = lambda *_: os._exit(9)"
        master.serve("--no-sendfile", conf=conf)
        assert len(master.get("/file").body) == 1 << 20

    def test_without_keepalive_a_response_is_the_last(self, master: Master) -> None:
        master.serve("--keep-alive", "0")
        client = master.connect()
        assert client.get().header("Connection") == "close"
        assert client.is_closed()


class TestLife:
    def test_sigterm_lets_requests_in_flight_end(self, master: Master, on_loop: str) -> None:
        master.serve(worker_class=on_loop)
        client = master.hold()
        master.process.send_signal(signal.SIGTERM)
        master.process.read_until("stopping; 1 request in flight")
        master.release()
        assert client.reply().body == b"one"
        assert master.process.wait() == 0

    @pytest.mark.parametrize("number", [signal.SIGQUIT, signal.SIGINT], ids=["QUIT", "INT"])
    def test_a_quick_stop_cuts_them(
        self, master: Master, on_loop: str, number: signal.Signals
    ) -> None:
        conf = tells("worker_int", "worker")
        master.serve(conf=conf, worker_class=on_loop)
        client = master.hold()
        master.process.send_signal(number)
        assert client.read_all() == b""
        master.process.read_until("hook worker_int")
        master.release()
        assert master.process.wait() == 0

    def test_sighup_takes_up_new_code_and_ends_what_was_begun(
        self, master: Master, on_loop: str
    ) -> None:
        master.serve(worker_class=on_loop)
        client = master.hold()
        replace(master.directory / "web.py", 'VERSION = "one"', 'VERSION = "two"')
        master.process.send_signal(signal.SIGHUP)
        master.process.read_until("stopping; 1 request in flight")
        assert master.get().body == b"two"
        master.release()
        assert client.reply().body == b"one"
        master.process.read_until("Worker exiting")

    def test_a_worker_that_is_killed_is_replaced(self, master: Master) -> None:
        master.serve()
        pid = master.pid()
        os.kill(pid, signal.SIGKILL)
        master.process.urls()
        assert master.pid() != pid

    def test_a_worker_ends_after_so_many_requests(self, master: Master, on_loop: str) -> None:
        master.serve("--max-requests", "3", worker_class=on_loop)
        client = master.connect()
        pids = [client.get("/pid") for _ in range(3)]
        assert [reply.header("Connection") for reply in pids] == [None, None, "close"]
        master.process.urls()
        assert master.pid() != int(pids[0].body)

    def test_jitter_adds_to_the_number_of_requests(self, master: Master) -> None:
        # randint(0, 1) is gunicorn's, and made certain here.
        conf = "import gunicorn.workers.base as base\nbase.randint = lambda a, b: b"
        master.serve("--max-requests", "1", "--max-requests-jitter", "1", conf=conf)
        client = master.connect()
        replies = [client.get(), client.get()]
        assert [reply.header("Connection") for reply in replies] == [None, "close"]

    def test_a_worker_whose_loop_is_held_is_replaced(self, master: Master, on_loop: str) -> None:
        master.serve("--timeout", "1", conf=tells("worker_abort", "worker"), worker_class=on_loop)
        client = master.connect()
        client.request("GET", "/block")
        master.process.read_until("WORKER TIMEOUT")
        master.process.read_until("hook worker_abort")
        master.process.urls()
        assert master.get().body == b"one"

    def test_a_view_may_take_longer_than_a_worker_may_be_silent(self, master: Master) -> None:
        conf = "import gunicorn_worker\ndef post_fork(server, w): gunicorn_worker.worker.append(w)"
        (master.directory / "gunicorn_worker.py").write_text("worker = []\n")
        master.serve("--timeout", "1", conf=conf)
        assert master.get("/outlast").body == b"one"
        assert "WORKER TIMEOUT" not in master.process.log

    def test_a_worker_ends_when_its_master_has_died(self, master: Master) -> None:
        master.serve()
        master.process.send_signal(signal.SIGKILL)
        master.process.read_until("Parent changed, shutting down")
        master.process.read_until("Worker exiting")

    def test_children_of_views_do_not_handle_signals_as_workers_do(self, master: Master) -> None:
        master.serve()
        assert master.get("/child").body == b"-15"

    def test_preload_imports_once_in_the_master(self, master: Master) -> None:
        master.serve("--preload", "--workers", "2")
        importer, parent = master.get("/importer").body.split()
        assert importer == parent

    def test_reload_takes_up_a_change(self, master: Master) -> None:
        # What is changed before gunicorn's thread has looked once is not seen to change.
        conf = """
import itertools
import os

def post_worker_init(worker):
    get_files, looks = worker.reloader.get_files, itertools.count()

    def look_again():
        if next(looks) == 1:
            os.write(2, b"the files were looked at once\\n")
        return get_files()

    worker.reloader.get_files = look_again
"""
        master.serve("--reload", "--reload-engine", "poll", conf=conf)
        assert master.get().body == b"one"
        master.process.read_until("the files were looked at once")
        replace(master.directory / "web.py", 'VERSION = "one"', 'VERSION = "two"')
        master.process.read_until("web.py modified")
        master.process.urls()
        assert master.get().body == b"two"

    def test_an_application_that_cannot_be_served_ends_the_master(
        self, master: Master, write: Write
    ) -> None:
        write("web.py", "async def app(scope, receive, send): pass")
        master.launch()
        assert master.process.wait() == 3
        assert "ASGI" in master.process.log


def tells(name: str, *arguments: str) -> str:
    """A hook of gunicorn's configuration that says that it was called."""
    listed = ", ".join(arguments)
    return f"def {name}({listed}): __import__('os').write(2, b'hook {name}\\n')\n"


class TestHooks:
    def test_they_are_called_around_the_life_of_a_worker_and_a_request(
        self, master: Master
    ) -> None:
        conf = """
import os

def say(text):
    os.write(2, f"hook {text}\\n".encode())

def post_worker_init(worker):
    say(f"post_worker_init {worker.pid}")

def pre_request(worker, req):
    say(f"pre_request {req.method} {req.uri} {req.path} {req.query} {dict(req.headers)['HOST']}")

def post_request(worker, req, environ, resp):
    say(f"post_request {environ['PATH_INFO']} {resp.status} {resp.status_code} {resp.sent} "
        f"{dict(resp.headers)['X-Spam']}")

def worker_exit(server, worker):
    say(f"worker_exit {worker.pid}")
"""
        master.serve(conf=conf)
        pid = master.pid()
        master.get("/a?b")
        master.process.send_signal(signal.SIGTERM)
        assert master.process.wait() == 0
        assert re.findall(r"hook (.+)", master.process.log) == [
            f"post_worker_init {pid}",
            "pre_request GET /pid /pid  test",
            f"post_request /pid 200 OK 200 {len(str(pid))} eggs",
            "pre_request GET /a?b /a b test",
            "post_request /a 200 OK 200 3 eggs",
            f"worker_exit {pid}",
        ]

    def test_one_that_fails_before_a_request_is_a_failure_of_it(self, master: Master) -> None:
        master.serve(conf="def pre_request(worker, req): raise ValueError('spam')")
        assert master.get().status == 500

    def test_one_that_fails_behind_it_is_logged(self, master: Master) -> None:
        conf = "def post_request(worker, req, environ, resp): raise ValueError('spam')"
        master.serve(conf=conf)
        assert master.get().status == 200
        master.process.read_until("Exception in post_request hook")


class TestLog:
    def test_the_access_log_is_gunicorns(self, master: Master) -> None:
        log = master.directory / "access.log"
        form = '%(h)s "%(r)s" %(s)s %(b)s %({x-ham}i)s %({x-spam}o)s %({server_port}e)s'
        master.serve("--access-logfile", str(log), "--access-logformat", form)
        master.get("/a?b", X_Ham="ham")
        assert isinstance(master.address, tuple)
        self.stop(master)
        assert log.read_text() == (
            f'127.0.0.1 "GET /a?b HTTP/1.1" 200 3 ham eggs {master.address[1]}\n'
        )

    def test_one_that_fails_costs_its_line_only(self, master: Master) -> None:
        conf = """
from gunicorn.glogging import Logger

class logger_class(Logger):
    def access(self, *arguments):
        raise ValueError("spam")
"""
        master.serve(conf=conf)
        client = master.connect()
        assert [client.get().status for _ in range(2)] == [200, 200]
        master.process.read_until("Exception in the access log")

    def test_its_files_are_opened_anew_at_sigusr1(self, master: Master) -> None:
        log = master.directory / "access.log"
        master.serve("--access-logfile", str(log))
        master.get("/first")
        log.rename(master.directory / "old.log")
        os.kill(master.pid(), signal.SIGUSR1)
        while not log.exists():
            master.get("/second")
        self.stop(master)
        assert "/first" in (master.directory / "old.log").read_text()

    def test_what_the_server_has_to_say_goes_where_gunicorns_log_goes(self, master: Master) -> None:
        log = master.directory / "error.log"
        conf = tells("post_worker_init", "worker")
        master.launch("--error-logfile", str(log), conf=conf)
        master.process.read_until("hook post_worker_init")
        while "listening on" not in log.read_text():
            pass
        master.address = address_of(log.read_text().partition("listening on ")[2].split()[0])
        client = master.connect()
        client.send(b"no HTTP\r\n\r\n")
        assert client.reply().status == 400
        assert "refused with 400" in log.read_text()

    def stop(self, master: Master) -> None:
        master.process.send_signal(signal.SIGTERM)
        assert master.process.wait() == 0


def settings(**values: Any) -> Settings:
    made = Settings()
    for name, value in values.items():
        made.set(name, value)
    return made


class TestSettings:
    def test_what_was_not_set_is_the_servers_default(self) -> None:
        config = config_of(settings(), {})
        assert (config.threads, config.keep_alive_timeout, config.max_headers) == (40, 75.0, 200)

    @pytest.mark.parametrize(
        ("name", "value", "option", "expected"),
        [
            ("threads", 8, "threads", 8),
            ("worker_connections", 7, "max_connections", 7),
            ("keepalive", 5, "keep_alive_timeout", 5),
            ("keepalive", 0, "keep_alive_timeout", 0.01),
            ("limit_request_line", 100, "max_target_size", 100),
            ("limit_request_fields", 10, "max_headers", 10),
            ("backlog", 10, "backlog", 10),
            ("graceful_timeout", 100, "graceful_timeout", 98),
            ("graceful_timeout", 10, "graceful_timeout", 9),
        ],
    )
    def test_what_was_set_is_an_option(
        self, name: str, value: object, option: str, expected: object
    ) -> None:
        assert getattr(config_of(settings(**{name: value}), {}), option) == expected

    @pytest.mark.parametrize("name", ["limit_request_line", "limit_request_fields"])
    def test_0_is_no_limit(self, name: str) -> None:
        option = {"limit_request_line": "max_target_size"}.get(name, "max_headers")
        assert getattr(config_of(settings(**{name: 0}), {}), option) >= 1 << 20

    def test_options_of_the_worker_class_count_for_more(self) -> None:
        assert config_of(settings(threads=8), {"threads": 1}).threads == 1

    def test_proxies_are_believed_where_they_were_named(self) -> None:
        assert config_of(settings(), {}).forwarded_allow_ips == ""
        names = "10.0.0.0/8,192.0.2.1"
        assert config_of(settings(forwarded_allow_ips=names), {}).forwarded_allow_ips == names

    def test_an_option_that_is_none_is_named(self) -> None:
        with pytest.raises(
            ConfigError, match="there is no option 'thread'; did you mean 'threads'"
        ):
            config_of(settings(), {"thread": 1})

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("limit_request_field_size", 100),
            ("secure_scheme_headers", {"X-SSL": "on"}),
            ("proxy_protocol", "auto"),
            ("permit_obsolete_folding", True),
            ("header_map", "refuse"),
            ("tmp_upload_dir", "/tmp"),
        ],
    )
    def test_what_is_not_served_is_refused_by_name(self, name: str, value: object) -> None:
        with pytest.raises(ConfigError, match=f"what gunicorn was set to by {name};"):
            config_of(settings(**{name: value}), {})

    def test_it_ends_the_master_before_it_forks(self, master: Master) -> None:
        master.launch("--limit-request-field_size", "100", "--header-map", "refuse")
        assert master.process.wait() == 1
        assert "Error: asyncwsgi does not serve what gunicorn was set to by header_map, " in (
            master.process.log
        )
        assert "Traceback" not in master.process.log
        assert "Booting worker" not in master.process.log

    def test_it_is_found_when_the_configuration_is_read_again(self, master: Master) -> None:
        master.serve()
        (master.directory / "gunicorn.conf.py").write_text("header_map = 'refuse'")
        master.process.send_signal(signal.SIGHUP)
        assert master.process.wait() == 3
        assert "what gunicorn was set to by header_map" in master.process.log
