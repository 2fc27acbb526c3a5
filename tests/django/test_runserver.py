"""``manage.py runserver`` where ``asyncwsgi.django`` stands in INSTALLED_APPS."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import httpx
import pytest

from asyncwsgi.testing import Authority
from asyncwsgi.version import __version__
from tests.client import Client, connect
from tests.django.conftest import Project, client_of, port_of, url_of
from tests.doors.processes import Process, replace

RUN = ("runserver", "127.0.0.1:0")
ONCE = (*RUN, "--noreload")
LINE = re.compile(r'\[\d\d/[A-Z][a-z]{2}/\d{4} \d\d:\d\d:\d\d\] "(.+)" (\d+) \d+')


def test_it_is_djangos_command_on_this_server(project: Project) -> None:
    process = project.manage(*ONCE)
    with client_of(process) as client:
        process.read_until(f"Served by asyncwsgi {__version__}.")
        reply = client.get()
        assert (reply.body, reply.header("Server")) == (b"the first answer", "asyncwsgi")
        assert client.get().status == 200  # the connection is kept
    assert process.interrupt() == 0
    assert "Performing system checks" in process.log
    assert "Traceback" not in process.log


class TestLines:
    """Access lines are those of Django's own server."""

    @pytest.mark.parametrize(("target", "status"), [("/", 200), ("/nowhere?a=1", 404)])
    def test_they_look_as_djangos_do(self, project: Project, target: str, status: int) -> None:
        process = project.manage(*ONCE)
        with client_of(process) as client:
            client.get(target)
            line = LINE.fullmatch(process.read_until('] "GET'))
        assert line is not None
        assert line.groups() == (f"GET {target} HTTP/1.1", str(status))

    def test_filters_of_the_project_find_what_they_look_for(self, project: Project) -> None:
        project.set("""
            def is_wanted(record):
                return not record.args[0].startswith("GET /thread") or record.levelname != "INFO"

            LOGGING = {
                "version": 1,
                "filters": {
                    "wanted": {"()": "django.utils.log.CallbackFilter", "callback": is_wanted}
                },
                "handlers": {"console": {"class": "logging.StreamHandler", "filters": ["wanted"]}},
                "loggers": {"django.server": {"handlers": ["console"], "propagate": False}},
            }
        """)
        process = project.manage(*ONCE)
        with client_of(process) as client:
            client.get("/thread")
            client.get("/loop")
            process.read_until("GET /loop")
        assert "GET /thread" not in process.log

    def test_no_request_writes_one_if_the_project_wants_none(self, project: Project) -> None:
        project.set('LOGGING = {"version": 1, "loggers": {"django.server": {"level": "CRITICAL"}}}')
        process = project.manage(*ONCE)
        with client_of(process) as client:
            assert client.get().status == 200
        assert process.interrupt() == 0
        assert "GET /" not in process.log

    def test_the_servers_own_lines_are_not_switched_off(self, project: Project) -> None:
        # LOGGING disables loggers that exist when it is read, as Django tells them to be.
        project.set('import asyncwsgi.server.server\nLOGGING = {"version": 1}')
        process = project.manage(*ONCE)
        with client_of(process) as client:
            client.send(b"spam\r\n\r\n")
            assert client.reply().status == 400
            process.read_until("refused with 400")


class TestApplication:
    """What is served is what Django's command serves."""

    def test_static_files(self, project: Project) -> None:
        with client_of(project.manage(*ONCE)) as client:
            assert client.get("/static/style.css").body == b"body { color: red }"

    def test_no_static_files(self, project: Project) -> None:
        with client_of(project.manage(*ONCE, "--nostatic")) as client:
            assert client.get("/static/style.css").status == 404

    @pytest.mark.parametrize(("flags", "status"), [((), 404), (("--insecure",), 200)])
    def test_static_files_without_debug(
        self, project: Project, flags: tuple[str, ...], status: int
    ) -> None:
        project.set("DEBUG = False")
        with client_of(project.manage(*ONCE, *flags)) as client:
            assert client.get("/static/style.css").status == status

    def test_a_project_without_staticfiles(self, project: Project) -> None:
        project.set('INSTALLED_APPS = ["asyncwsgi.django"]')
        with client_of(project.manage(*ONCE)) as client:
            assert client.get().body == b"the first answer"

    def test_the_application_that_the_settings_name(self, project: Project) -> None:
        project.set('WSGI_APPLICATION = "wsgi.application"')
        project.write(
            "wsgi.py",
            """
            def application(environ, start_response):
                start_response("200 OK", [("Content-Length", "5")])
                return [b"other"]
            """,
        )
        with client_of(project.manage(*ONCE)) as client:
            assert client.get().body == b"other"

    def test_async_views_run_on_the_loop(self, project: Project) -> None:
        with client_of(project.manage(*ONCE)) as client:
            assert client.get("/loop").body == b"asyncwsgi-server"


class TestThreads:
    def test_worker_threads_run_views(self, project: Project) -> None:
        with client_of(project.manage(*ONCE)) as client:
            assert client.get("/thread").body.startswith(b"asyncwsgi-worker")

    def test_without_threading_the_main_thread_does(self, project: Project) -> None:
        process = project.manage(*ONCE, "--nothreading")
        with client_of(process) as client:
            assert client.get("/thread").body == b"MainThread"
        assert process.interrupt() == 0
        assert "Traceback" not in process.log

    def test_below_the_autoreloader_that_is_djangos_thread(self, project: Project) -> None:
        with client_of(project.manage(*RUN, "--nothreading")) as client:
            assert client.get("/thread").body == b"django-main-thread"

    def test_the_test_server_shows_its_database_in_memory(self, project: Project) -> None:
        project.set("""
            INSTALLED_APPS = [
                "asyncwsgi.django", "django.contrib.contenttypes", "django.contrib.auth"
            ]
            DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "database"}}
        """)
        project.write(
            "users.json",
            '[{"model": "auth.user", "pk": 1, "fields": {"username": "spam"}}]',
        )
        project.write(
            "urls.py",
            """
            from django.http import HttpResponse
            from django.urls import path


            def users(request):
                from django.contrib.auth.models import User

                return HttpResponse(" ".join(user.username for user in User.objects.all()))


            urlpatterns = [path("", users)]
            """,
        )
        process = project.manage("testserver", "users.json", "--addrport", "127.0.0.1:0")
        with client_of(process) as client:
            assert client.get().body == b"spam"
        assert process.interrupt() == 0
        assert not (project.folder / "database").exists()


class TestAddresses:
    def test_a_taken_port_is_reported_in_djangos_words(self, project: Project, taken: int) -> None:
        process = project.manage("runserver", f"127.0.0.1:{taken}", "--noreload")
        assert process.wait() == 1
        assert "Error: That port is already in use." in process.log

    def test_localhost_is_both_of_its_addresses(self, project: Project) -> None:
        process = project.manage("runserver", "localhost:0", "--noreload")
        port = port_of(process)
        for host in ("127.0.0.1", "::1"):
            with connect((host, port)) as client:
                assert client.get().status == 200

    @pytest.mark.parametrize(
        "arguments", [("[::1]:0",), ("0", "--ipv6")], ids=["its address", "its flag"]
    )
    def test_ipv6(self, project: Project, arguments: tuple[str, ...]) -> None:
        process = project.manage("runserver", *arguments, "--noreload")
        port = port_of(process)
        with connect(("::1", port)) as client:
            assert client.get().status == 200

    def test_a_name_that_does_not_exist(self, project: Project) -> None:
        process = project.manage("runserver", "nowhere.invalid:0", "--noreload")
        assert process.wait() == 1
        assert "Error: [Errno" in process.log


class TestTLS:
    def test_with_a_certificate_it_serves_https(self, project: Project, tmp_path: Path) -> None:
        authority = Authority()
        certificate = authority.issue("127.0.0.1")
        certificate.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "both.pem"))
        url = url_of(project.manage(*ONCE, "--certfile", "both.pem"))
        assert url.startswith("https://")
        assert httpx.get(url, verify=authority.client_context()).text == "the first answer"

    def test_a_file_that_cannot_be_used_is_named(self, project: Project) -> None:
        process = project.manage(*RUN, "--certfile", "nowhere.pem")
        assert process.wait() == 1
        assert "CommandError: asyncwsgi: cannot use TLS files nowhere.pem" in process.log


class TestOptions:
    def test_the_setting_has_options_of_the_server(self, project: Project) -> None:
        project.set('ASYNCWSGI = {"max_target_size": 100, "server_header": False}')
        with client_of(project.manage(*ONCE)) as client:
            assert client.get().header("Server") is None
            assert client.get(f"/{'a' * 100}").status == 414

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ('{"thread": 1}', "there is no option 'thread'; did you mean 'threads'?"),
            ('{"port": 1}', "port is said on the command line, by ADDR:PORT"),
            ('{"threads": 0}', "threads must be at least 1, got 0"),
        ],
    )
    def test_a_bad_option_is_an_error_of_the_command(
        self, project: Project, options: str, message: str
    ) -> None:
        project.set(f"ASYNCWSGI = {options}")
        process = project.manage(*RUN)
        assert process.wait() == 1
        assert f"CommandError: asyncwsgi: {message}" in process.log


class TestStopping:
    def test_ctrl_c_lets_a_request_end(self, project: Project) -> None:
        project.set('ASYNCWSGI = {"graceful_timeout": 1000}')
        pipe = fifo(project)
        process = project.manage(*ONCE)
        with client_of(process) as client:
            client.request(target="/held")
            process.read_until("the view was entered")
            process.send_signal(signal.SIGINT)
            pipe.write_text("was let go")
            assert client.reply().body == b"was let go"
        assert process.wait() == 0
        assert "Traceback" not in process.log

    def test_a_second_ctrl_c_waits_for_nobody(self, project: Project) -> None:
        project.set("""
            ASYNCWSGI = {"graceful_timeout": 1e6}
            LOGGING = {
                "version": 1,
                "handlers": {"console": {"class": "logging.StreamHandler"}},
                "loggers": {"asyncwsgi": {"handlers": ["console"], "level": "INFO"}},
            }
        """)
        fifo(project)
        process = project.manage(*ONCE)
        with client_of(process) as client:
            client.request(target="/held")
            process.read_until("the view was entered")
            process.send_signal(signal.SIGINT)
            process.read_until("stopping;")
            process.send_signal(signal.SIGINT)
            assert process.wait() == 0
        assert "Traceback" not in process.log

    def test_without_threading_ctrl_c_interrupts_the_view(self, project: Project) -> None:
        fifo(project)
        process = project.manage(*ONCE, "--nothreading")
        with client_of(process) as client:
            client.request(target="/held")
            process.read_until("the view was entered")
            assert process.interrupt() == 0
        assert "Traceback" not in process.log

    def test_ctrl_c_ends_an_event_stream(self, project: Project) -> None:
        process = project.manage(*ONCE)
        with client_of(process) as client:
            begin_events(client)
            assert process.interrupt() == 0
        assert "the stream was closed" in process.log
        assert "Traceback" not in process.log

    def test_ctrl_c_ends_both_processes_of_the_autoreloader(self, project: Project) -> None:
        process = project.manage(*RUN)
        with client_of(process) as client:
            assert client.get().status == 200
            process.send_signal_to_group(signal.SIGINT)
            assert process.wait() == 0
        assert "Traceback" not in process.log


class TestAutoreload:
    @pytest.fixture(autouse=True)
    def _verbose(self, project: Project) -> None:
        # What is changed before the reloader has seen it is not seen to change.
        project.set("""
            LOGGING = {
                "version": 1,
                "handlers": {"console": {"class": "logging.StreamHandler"}},
                "loggers": {
                    "django.utils.autoreload": {
                        "handlers": ["console"], "level": "DEBUG", "propagate": False
                    }
                },
            }
        """)

    def test_changed_code_is_served(self, project: Project) -> None:
        process = project.manage(*RUN)
        with client_of(process) as client:
            assert client.get().body == b"the first answer"
        edit(project, process)
        with client_of(process) as client:
            assert client.get().body == b"another answer"

    def test_an_event_stream_is_ended_and_holds_nothing_up(self, project: Project) -> None:
        # Who waits for the stream would fail the test.
        project.set('ASYNCWSGI = {"graceful_timeout": 1e6}')
        process = project.manage(*RUN)
        with client_of(process) as client:
            begin_events(client)
            edit(project, process)
            process.read_until("the stream was closed")
            with client_of(process) as other:
                assert other.get().body == b"another answer"
        assert "Traceback" not in process.log

    def test_a_request_in_flight_may_end_first(self, project: Project) -> None:
        project.set('ASYNCWSGI = {"graceful_timeout": 1e6}')
        pipe = fifo(project)
        process = project.manage(*RUN)
        with client_of(process) as client:
            client.request(target="/held")
            process.read_until("the view was entered")
            edit(project, process)
            process.read_until("changed, reloading")
            pipe.write_text("was let go")
            assert client.reply().body == b"was let go"
        with client_of(process) as client:
            assert client.get().body == b"another answer"

    def test_broken_code_waits_to_be_mended(self, project: Project) -> None:
        process = project.manage(*RUN)
        url_of(process)
        edit(project, process, "import sys", "import sys; broken(")
        process.read_until("SyntaxError")
        edit(project, process, "import sys; broken(", "import sys", seen=2)
        with client_of(process) as client:
            assert client.get().body == b"the first answer"


def edit(
    project: Project,
    process: Process,
    old: str = "the first answer",
    new: str = "another answer",
    *,
    seen: int = 1,
) -> None:
    """Change the code, once as many reloaders have seen what it was."""
    urls = project.folder / "urls.py"
    seeing = f"{urls} first seen"
    while process.log.count(seeing) < seen:
        process.read_until(seeing)
    replace(urls, old, new)


def begin_events(client: Client) -> None:
    client.request(target="/events")
    while client.read_line() != b"data: tick\n":
        pass


def fifo(project: Project) -> Path:
    """What the view that is held waits for."""
    path = project.folder / "release"
    os.mkfifo(path)
    return path
