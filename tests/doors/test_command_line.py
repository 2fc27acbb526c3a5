"""``asyncwsgi [OPTIONS] APP``, in processes of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from asyncwsgi import __version__
from asyncwsgi.command.interface import SECTIONS
from asyncwsgi.command.options import command_line_options
from tests.client import Client, connect
from tests.doors.conftest import Start, Write
from tests.doors.processes import Process, address_of
from tests.server.helpers import get

Run = Callable[..., Process]

APP = """
import json
import os
import sys


def app(environ, start_response):
    body = json.dumps({
        "script_name": environ["SCRIPT_NAME"],
        "path_info": environ["PATH_INFO"],
        "has_uvloop": "uvloop" in sys.modules,
    }).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


def held(environ, start_response):
    environ["wsgi.errors"].write("the application was entered\\n")
    with open("release") as pipe:  # waits until somebody opens it for writing
        pipe.read()
    start_response("200 OK", [("Content-Length", "4")])
    return [b"held"]


def failing(environ, start_response):
    raise RuntimeError("a fault of the application")
"""


@pytest.fixture
def run(start: Start, write: Write) -> Run:
    """Runs ``asyncwsgi`` with arguments in a directory that has the module ``web``."""
    write("web.py", APP)
    return lambda *arguments, **more: start("-m", "asyncwsgi", *arguments, **more)


def ask(client: Client, target: str = "/") -> dict[str, Any]:
    """What the application ``web:app`` says of a request."""
    answer: dict[str, Any] = json.loads(client.get(target).body)
    return answer


def last_line(process: Process) -> str:
    return process.log.splitlines()[-1]


class TestThePortOfThePlatform:
    def test_is_the_default(self, run: Run, taken: int) -> None:
        process = run("web:app", environment={"PORT": str(taken)})
        assert process.wait() == 4
        assert f"cannot listen on 127.0.0.1 port {taken}" in process.log

    @pytest.mark.parametrize(
        ("arguments", "environment"),
        [
            pytest.param(["--port", "0"], {}, id="a flag"),
            pytest.param([], {"ASYNCWSGI_PORT": "0"}, id="a variable of this server"),
            pytest.param(["--bind", "127.0.0.1:0"], {}, id="a bind"),
        ],
    )
    def test_gives_way_to(
        self, run: Run, taken: int, arguments: list[str], environment: dict[str, str]
    ) -> None:
        process = run(*arguments, "web:app", environment={"PORT": str(taken), **environment})
        assert process.urls()

    @pytest.mark.parametrize("port", ["http", "65536", "-1"])
    def test_is_ignored_if_it_is_none(self, run: Run, port: str) -> None:
        process = run("web:app", environment={"PORT": port})
        process.read_until(f"ignored PORT, which is {port!r} and no port")


class TestStop:
    @pytest.fixture
    def release(self, tmp_path: Path) -> Callable[[], None]:
        """Lets the application ``web:held`` go on."""
        os.mkfifo(tmp_path / "release")
        return lambda: (tmp_path / "release").open("w").close()

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    @pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
    def test_a_signal_ends_it_with_0_behind_the_request_in_flight(
        self, run: Run, release: Callable[[], None], number: signal.Signals, loop: str
    ) -> None:
        process = run("--port", "0", "--loop", loop, "web:held")
        address = address_of(process.urls()[0])
        with connect(address) as idle, connect(address) as client:
            client.request()
            process.read_until("the application was entered")
            process.send_signal(number)
            assert idle.is_closed()
            with pytest.raises(ConnectionRefusedError):
                connect(address)
            release()
            reply = client.reply()
            assert (reply.body, reply.header("Connection")) == (b"held", "close")
        assert process.wait() == 0
        assert "Traceback" not in process.log

    def test_sigterm_has_it_serve_on_for_the_delay_and_a_second_skips_that(self, run: Run) -> None:
        options = ("--port", "0", "--shutdown-delay", "1000", "--ready-path", "/-/ready")
        process = run(*options, "web:app")
        address = address_of(process.urls()[0])
        process.send_signal(signal.SIGTERM)
        process.read_until("not ready any more; stopping in 1000 s")
        assert get(address, "/-/ready").status == 503
        assert get(address).status == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0

    def test_ctrl_c_has_no_delay(self, run: Run) -> None:
        process = run("--port", "0", "--shutdown-delay", "1000", "web:app")
        process.urls()
        assert process.interrupt() == 0

    @pytest.mark.usefixtures("release")
    @pytest.mark.parametrize(
        ("first", "second"),
        [
            (signal.SIGINT, signal.SIGINT),
            (signal.SIGTERM, signal.SIGTERM),
            (signal.SIGTERM, signal.SIGINT),
        ],
    )
    def test_a_second_signal_ends_it_though_the_application_hangs(
        self, run: Run, first: signal.Signals, second: signal.Signals
    ) -> None:
        process = run("--port", "0", "--graceful-timeout", "1000", "web:held")
        address = address_of(process.urls()[0])
        with connect(address) as idle, connect(address) as client:
            client.request()
            process.read_until("the application was entered")
            process.send_signal(first)
            assert idle.is_closed()
            process.send_signal(second)
            assert client.is_closed()
        assert process.wait() == 128 + second
        assert "Traceback" not in process.log

    @pytest.mark.usefixtures("release")
    def test_an_application_that_hangs_is_left_behind_after_graceful_timeout(
        self, run: Run
    ) -> None:
        process = run("--port", "0", "--graceful-timeout", "0.05", "web:held")
        with process.connect() as client:
            client.request()
            process.read_until("the application was entered")
            process.send_signal(signal.SIGTERM)
            assert client.is_closed()
        assert process.wait() == 0
        assert "GET /" in process.log

    def test_it_ends_at_once_without_clients(self, run: Run) -> None:
        process = run("--port", "0", "web:app")
        with process.connect() as client:
            client.get()
        assert process.interrupt() == 0
        assert "Traceback" not in process.log

    def test_it_ends_though_clients_stay_connected(self, run: Run) -> None:
        process = run("--port", "0", "web:app")
        with process.connect() as client:
            assert client.get().status == 200
            assert process.interrupt() == 0
            assert client.is_closed()


class TestExitCode:
    """Everything that prevents the start is one clear last line, and a code of its own."""

    def test_the_version_is_0(self, run: Run) -> None:
        process = run("--version")
        assert (process.wait(), process.output) == (0, f"asyncwsgi {__version__}\n")

    def test_help_is_0(self, run: Run) -> None:
        process = run("--help")
        assert process.wait() == 0
        assert process.output.startswith("Usage: asyncwsgi [OPTIONS] [APP]\n")

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            pytest.param(["--prot", "80", "web:app"], "No such option", id="no option"),
            pytest.param(
                ["--port", "http", "web:app"],
                "'http' is not a valid integer, nor 'auto'",
                id="no number",
            ),
            pytest.param(["--loop", "trio", "web:app"], "'trio' is not one of", id="no choice"),
            pytest.param(
                ["--forwarded-headers", "forwarded", "web:app"],
                "--forwarded-headers is for --forwarded-allow-ips, which is not given; give both",
                id="a flag without the one that it is for",
            ),
            pytest.param(
                ["--uwsgi-allow-ips", "*", "--bind", "127.0.0.1:0", "web:app"],
                "--uwsgi-allow-ips is for listeners of uwsgi, and there is none; give --bind uwsgi",
                id="proxies of uwsgi without a listener for them",
            ),
            pytest.param(
                ["--socket-mode", "600", "--bind", "fd://0", "web:app"],
                "--socket-mode is for Unix sockets, and there is none; give --bind unix:PATH",
                id="the mode of no file",
            ),
            pytest.param(
                ["--threads", "0", "web:app"], "threads must be at least 1, got 0", id="too small"
            ),
            pytest.param(
                ["--port", "65536", "web:app"], "port must be at most 65535", id="too large"
            ),
            pytest.param(
                ["--keyfile", "key.pem", "web:app"], "keyfile needs certfile", id="a combination"
            ),
            pytest.param(
                ["--certfile", "missing.pem", "web:app"],
                "cannot use TLS files missing.pem",
                id="a certificate",
            ),
            pytest.param(["-b", "nonsense", "web:app"], "cannot bind 'nonsense'", id="a listener"),
            pytest.param(
                ["-b", ":0", "--port", "0", "web:app"],
                "--port and --bind exclude each other; --bind HOST:PORT says both",
                id="a port beside a listener",
            ),
            pytest.param(
                ["-b", ":0", "--host", "::", "web:app"],
                "--host and --bind exclude each other",
                id="a host beside a listener",
            ),
            pytest.param(
                ["--reload-dir", ".", "web:app"],
                "--reload-dir is for --reload, which is off; give --reload or --debug",
                id="a directory without a reload",
            ),
            pytest.param(
                ["--debug", "--no-reload", "--reload-exclude", "*.py", "web:app"],
                "--reload-exclude is for --reload, which is off",
                id="excluded files without a reload",
            ),
            pytest.param(
                ["--reload", "--reload-exclude", "*.[z-a]", "web:app"],
                "'*.[z-a]' is no pattern of paths: bad character range",
                id="a pattern that is none",
            ),
            pytest.param(
                ["--access-log-format", "%(x)s", "web:app"],
                "access_log_format: there is no field 'x'",
                id="a format",
            ),
        ],
    )
    def test_bad_options_are_2(self, run: Run, arguments: list[str], message: str) -> None:
        process = run(*arguments)
        assert process.wait() == 2
        assert message in last_line(process)
        assert "Traceback" not in process.log

    @pytest.mark.parametrize(
        ("app", "message"),
        [
            pytest.param("nowhere:app", "there is no module 'nowhere'", id="no module"),
            pytest.param("web:nothing", "module 'web' has no 'nothing'", id="no attribute"),
            pytest.param("nowhere.py", "there is no file 'nowhere.py'", id="no file"),
            pytest.param("web:json", "'web:json' is a module, no WSGI", id="no application"),
        ],
    )
    def test_an_application_that_cannot_be_found_is_3(
        self, run: Run, app: str, message: str
    ) -> None:
        process = run(app)
        assert process.wait() == 3
        assert process.log.startswith(f"asyncwsgi: {message}")
        assert process.log.count("\n") == 1

    def test_an_application_that_fails_on_import_is_3_and_shows_where(
        self, run: Run, write: Write
    ) -> None:
        write("broken.py", "def stock():\n    return {}['shelf']\n\nstock()\n")
        process = run("broken:app")
        assert process.wait() == 3
        assert "Traceback (most recent call last):" in process.log
        assert 'broken.py", line 2, in stock' in process.log
        assert last_line(process) == (
            "asyncwsgi: importing 'broken' failed with KeyError: 'shelf'; correct it there"
        )

    def test_a_factory_that_fails_is_3_and_shows_where(self, run: Run, write: Write) -> None:
        write("broken.py", "def create_app():\n    raise RuntimeError('no stock')\n")
        process = run("broken")
        assert process.wait() == 3
        assert 'broken.py", line 2, in create_app' in process.log
        assert last_line(process).startswith("asyncwsgi: the factory create_app failed with ")

    @pytest.mark.parametrize(
        "options",
        [
            pytest.param(["--port", "{}"], id="port"),
            pytest.param(["--bind", "127.0.0.1:{}"], id="bind"),
        ],
    )
    def test_a_port_in_use_is_4(self, run: Run, taken: int, options: list[str]) -> None:
        process = run(*(option.format(taken) for option in options), "web:app")
        assert process.wait() == 4
        assert process.log.count("\n") == 1
        assert process.log.startswith(
            f"asyncwsgi: cannot listen on 127.0.0.1 port {taken}: it is in use; stop the other "
            "program or choose another port ("
        )


@pytest.fixture(scope="module")
def help_text(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What ``asyncwsgi --help`` says."""
    process = Process("-m", "asyncwsgi", "--help", directory=tmp_path_factory.mktemp("empty"))
    assert process.wait() == 0
    process.close()
    return process.output


class TestHelp:
    def test_options_stand_below_headings(self, help_text: str) -> None:
        first: dict[str, str] = {}
        heading = ""
        for line in help_text.splitlines():
            if line.endswith(":") and not line.startswith(" "):
                heading = line.removesuffix(":")
            elif heading and (match := re.match(r"  (?:-\w, )?--([\w-]+)", line)):
                first.setdefault(heading, match[1].replace("-", "_"))
        assert first == {heading: name for name, heading in SECTIONS.items()}

    def test_options_are_called_by_their_flags(self, help_text: str) -> None:
        assert "; --metrics-bind implies it." in " ".join(help_text.split())

    @pytest.mark.parametrize(
        ("name", "flags"),
        [
            pytest.param(field.name, option.flags, id=field.name)
            for field, option in command_line_options()
            if not option.hidden
        ],
    )
    def test_every_option_is_there(self, help_text: str, name: str, flags: tuple[str, ...]) -> None:
        long = f"--{name.replace('_', '-')}"
        assert f"{', '.join((*flags, long))} " in help_text.replace(" / ", " ")
        # click breaks lines where it must, also inside a word.
        assert f"ASYNCWSGI_{name.upper()}" in "".join(help_text.split())

    @pytest.mark.parametrize("name", ["executor", "ssl-context"])
    def test_options_that_are_objects_are_not(self, help_text: str, name: str) -> None:
        assert f"--{name}" not in help_text

    def test_it_ends_with_examples(self, help_text: str) -> None:
        examples = help_text.partition("\nExamples:\n")[2].splitlines()
        assert [line for line in examples if line.startswith("  asyncwsgi --debug ")]
        assert {line[:2] for line in examples} == {"  "}

    def test_the_forms_of_app_are_there(self, help_text: str) -> None:
        for form in ("module:attribute", "app.py:app", "create_app"):
            assert form in help_text


class TestListeners:
    def test_it_says_where_it_listens(self, run: Run) -> None:
        [url] = run("--port", "0", "web:app").urls()
        assert url == f"http://127.0.0.1:{urlsplit(url).port}"
        with connect(address_of(url)) as client:
            assert client.get().status == 200

    @pytest.mark.parametrize("options", [[], ["--reload"]], ids=["plain", "reload"])
    def test_its_log_survives_an_application_that_configures_logging(
        self, run: Run, write: Write, options: list[str]
    ) -> None:
        setup = "import logging.config\n\nlogging.config.dictConfig({'version': 1})\n"
        write("web.py", setup + APP)
        process = run(*options, "--port", "0", "web:failing")
        [url] = process.urls()
        with connect(address_of(url)) as client:
            assert client.get("/there").status == 500
        process.read_until("RuntimeError: a fault of the application")
        process.read_until('"GET /there HTTP/1.1" 500')

    @pytest.mark.parametrize("options", [[], ["--reload"]], ids=["plain", "reload"])
    def test_auto_is_a_free_port_from_8000_upwards(self, run: Run, options: list[str]) -> None:
        process = run("--port", "auto", *options, "web:app")
        assert int(urlsplit(process.urls()[0]).port or 0) >= 8000
        assert process.interrupt() == 0

    def test_short_flags(self, run: Run) -> None:
        [url] = run("-h", "::1", "-p", "0", "web:app").urls()
        with connect(address_of(url)) as client:
            assert client.get().status == 200
        assert url.startswith("http://[::1]:")

    def test_several_binds(self, run: Run, tmp_path: Path) -> None:
        process = run("-b", "127.0.0.1:0", "-b", "unix:web.sock", "--bind", "[::1]:0", "web:app")
        urls = process.urls()
        four, path, six = map(address_of, urls)
        assert (four[0], path, six[0]) == ("127.0.0.1", "web.sock", "::1")
        for address in (four, str(tmp_path / "web.sock"), six):
            with connect(address) as client:
                assert client.get().status == 200

    @pytest.mark.parametrize("form", ["unix", "uwsgi+unix"])
    def test_the_mode_of_a_unix_socket(self, run: Run, tmp_path: Path, form: str) -> None:
        run("-b", f"{form}:web.sock", "--socket-mode", "600", "web:app").urls()
        assert (tmp_path / "web.sock").stat().st_mode & 0o777 == 0o600

    def test_the_file_of_a_unix_socket_is_removed_at_the_end(
        self, run: Run, tmp_path: Path
    ) -> None:
        path = tmp_path / "web.sock"
        process = run("-b", f"unix:{path}", "web:app")
        with process.connect() as client:
            assert client.get().status == 200
        assert process.interrupt() == 0
        assert not path.exists()

    def test_an_inherited_listener_is_served_from_the_first_moment_on(self, run: Run) -> None:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            number = listener.fileno()
            run("-b", f"fd://{number}", "web:app", descriptors=[number])
            with connect(listener.getsockname()) as client:
                assert client.get().status == 200


class TestEnvironmentVariables:
    def test_a_variable_is_an_option(self, run: Run) -> None:
        process = run("web:app", environment={"ASYNCWSGI_PORT": "0", "ASYNCWSGI_ROOT_PATH": "/x"})
        with process.connect() as client:
            assert ask(client)["script_name"] == "/x"

    def test_bind_may_hold_several_words(self, run: Run) -> None:
        process = run("web:app", environment={"ASYNCWSGI_BIND": "127.0.0.1:0 [::1]:0"})
        urls = process.urls()
        assert [address_of(url)[0] for url in urls] == ["127.0.0.1", "::1"]

    def test_the_command_line_goes_before_them(self, run: Run, taken: int) -> None:
        process = run("-p", "0", "web:app", environment={"ASYNCWSGI_PORT": str(taken)})
        assert f":{taken}" not in process.urls()[0]

    def test_a_flag_goes_before_a_variable_that_says_the_same_otherwise(self, run: Run) -> None:
        process = run("-b", "127.0.0.1:0", "web:app", environment={"ASYNCWSGI_PORT": "1"})
        with process.connect() as client:
            assert client.get().status == 200

    def test_one_that_is_for_reloads_is_no_error_without_them(self, run: Run) -> None:
        process = run("-p", "0", "web:app", environment={"ASYNCWSGI_EXTRA_FILES": "web.py"})
        with process.connect() as client:
            assert client.get().status == 200

    @pytest.mark.parametrize("name", ["ASYNCWSGI_THREADS", "ASYNCWSGI_RELOAD"])
    def test_a_value_of_another_type_is_blamed_on_the_variable(self, run: Run, name: str) -> None:
        process = run("web:app", environment={name: "abc"})
        assert process.wait() == 2
        assert f"Invalid value for {name}: 'abc' is not a valid " in last_line(process)

    @pytest.mark.parametrize("value", ["0", "false", "no"])
    def test_a_switch_is_a_word(self, run: Run, value: str) -> None:
        environment = {"ASYNCWSGI_ACCESS_LOG": value}
        process = run("-p", "0", "web:app", environment=environment)
        with process.connect() as client:
            client.get("/unseen")
        assert process.interrupt() == 0
        assert "/unseen" not in process.log

    def test_a_bad_one_is_2_as_well(self, run: Run) -> None:
        process = run("web:app", environment={"ASYNCWSGI_THREADS": "0"})
        assert process.wait() == 2
        assert last_line(process) == "asyncwsgi: threads must be at least 1, got 0"


class TestLog:
    @pytest.mark.parametrize("options", [[], ["--access-log"]], ids=["by default", "if asked"])
    def test_requests_are_logged(self, run: Run, options: list[str]) -> None:
        process = run("-p", "0", *options, "web:app")
        with process.connect() as client:
            client.get("/path")
        assert process.interrupt() == 0
        assert '127.0.0.1 "GET /path HTTP/1.1" 200 ' in process.log
        assert (process.output, "\x1b" in process.log) == ("", False)

    def test_requests_are_not_logged_if_unwanted(self, run: Run) -> None:
        process = run("-p", "0", "--no-access-log", "web:app")
        with process.connect() as client:
            client.get("/path")
        assert process.interrupt() == 0
        assert "/path" not in process.log

    def test_lines_are_json_if_wanted(self, run: Run) -> None:
        process = run("-p", "0", "--log-format", "json", "web:failing")
        assert json.loads(process.read_until("listening on"))["level"] == "info"
        url = json.loads(process.log)["message"].rpartition("listening on ")[2]
        with connect(address_of(url)) as client:
            assert client.get("/path").status == 500
        assert process.interrupt() == 0
        lines = [json.loads(line) for line in process.log.splitlines()]
        (fault,) = [line for line in lines if "exception" in line]
        (access,) = [line for line in lines if line["logger"] == "asyncwsgi.access"]
        assert fault["exception"].endswith("RuntimeError: a fault of the application")
        assert (access["status"], access["target"]) == (500, "/path")

    def test_a_format_of_access_lines(self, run: Run) -> None:
        process = run("-p", "0", "--access-log-format", "<%(target)s>", "web:app")
        with process.connect() as client:
            client.get("/path")
        assert process.interrupt() == 0
        assert "INFO </path>\n" in process.log

    @pytest.mark.parametrize("level", ["error", "ERROR"])
    def test_a_level(self, run: Run, level: str) -> None:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            bind = f"fd://{listener.fileno()}"
            options = ("-b", bind, "--log-level", level, "web:failing")
            process = run(*options, descriptors=[listener.fileno()])
            with connect(listener.getsockname()) as client:
                assert client.get("/path").status == 500
        assert process.interrupt() == 0
        assert "ERROR GET /path failed" in process.log
        assert "INFO" not in process.log

    def test_the_traceback_of_an_application_is_in_the_log(self, run: Run) -> None:
        process = run("-p", "0", "web:failing")
        with process.connect() as client:
            assert client.get("/path").status == 500
        assert process.interrupt() == 0
        assert "RuntimeError: a fault of the application\n" in process.log
        assert 'web.py", line ' in process.log


class TestApplication:
    @pytest.mark.parametrize(("loop", "expected"), [("asyncio", False), ("uvloop", True)])
    def test_it_runs_beside_the_loop_that_was_asked_for(
        self, run: Run, loop: str, expected: bool
    ) -> None:
        with run("-p", "0", "--loop", loop, "web:app").connect() as client:
            assert ask(client)["has_uvloop"] is expected

    @pytest.mark.parametrize("target", ["/shop/cart", "/cart"], ids=["sent on", "taken off"])
    def test_root_path_is_the_script_name(self, run: Run, target: str) -> None:
        with run("-p", "0", "--root-path", "/shop", "web:app").connect() as client:
            answer = ask(client, target)
        assert (answer["script_name"], answer["path_info"]) == ("/shop", "/cart")

    def test_a_file_is_served_from_anywhere(self, start: Start, write: Write) -> None:
        path = write("web.py", APP)
        process = start("-m", "asyncwsgi", "-p", "0", str(path), directory=Path("/"))
        with process.connect() as client:
            assert client.get().status == 200

    def test_it_is_found_in_the_current_directory_though_python_does_not_look_there(
        self, start: Start, write: Write
    ) -> None:
        # The installed command has its own directory first on the path, as with -P.
        write("web.py", APP)
        process = start("-P", "-m", "asyncwsgi", "-p", "0", "web:app")
        with process.connect() as client:
            assert client.get().status == 200
