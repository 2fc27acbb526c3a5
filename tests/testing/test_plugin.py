"""The plugin of pytest: its fixtures, in sessions of their own."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.testing.conftest import ROOT, RunPytest

ASYNCIO = ("asyncio",)
SCOPE = "asyncio_default_fixture_loop_scope = function\n"


def test_loading_the_plugin_imports_nothing_that_a_session_without_server_does_not_need(
    run_pytest: RunPytest,
) -> None:
    result = run_pytest(
        """
        import sys

        def test_modules():
            ours = {name for name in sys.modules if name.partition(".")[0] == "asyncwsgi"}
            assert ours == {
                "asyncwsgi", "asyncwsgi.version", "asyncwsgi.testing", "asyncwsgi.testing.plugin",
            }
            assert not {"asyncio", "flask", "h11", "uvloop"} & set(sys.modules)
        """,
        "--noconftest",
    )
    result.assert_outcomes(passed=1)


def test_the_plugin_module_itself_imports_only_pytest_and_the_standard_library() -> None:
    code = (
        "import sys, pytest; before = set(sys.modules); import asyncwsgi.testing.plugin; "
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before} "
        "- sys.stdlib_module_names)"
    )
    output = subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True, timeout=250)
    assert output.split() == ["asyncwsgi"]


def test_fixtures_serve_the_app_for_a_test_a_module_and_the_session(
    run_pytest: RunPytest, pytester: pytest.Pytester
) -> None:
    pytester.makepyfile(
        test_z="""
        import pytest

        def test_in_another_module(asyncwsgi_module_server, asyncwsgi_session_server):
            _, module, session = pytest.seen[0]
            assert module is not asyncwsgi_module_server
            assert module.ended.done()
            assert session is asyncwsgi_session_server
        """
    )
    result = run_pytest(
        """
        import pytest
        from urllib.request import urlopen

        pytest.seen = seen = []

        @pytest.mark.parametrize("number", [1, 2])
        def test_servers(
            number, asyncwsgi_server, asyncwsgi_module_server, asyncwsgi_session_server
        ):
            servers = asyncwsgi_server, asyncwsgi_module_server, asyncwsgi_session_server
            assert [urlopen(server.url).read() for server in servers] == [b"hello"] * 3
            seen.append(servers)

        def test_which_are_the_same():
            (one, module, session), (other, same_module, same_session) = seen
            assert one is not other
            assert module is same_module
            assert session is same_session
            assert one.ended.done() and other.ended.done()
            assert not module.ended.done()
        """
    )
    result.assert_outcomes(passed=4)


def test_the_app_fixture_can_have_another_name(run_pytest: RunPytest) -> None:
    result = run_pytest(
        """
        import pytest
        from urllib.request import urlopen

        def answering(text):
            def app(environ, start_response):
                start_response("200 OK", [("Content-Length", str(len(text)))])
                return [text]
            return app

        @pytest.fixture(scope="session")
        def site():
            return answering(b"site")

        @pytest.fixture
        def other():
            return answering(b"other")

        def test_by_configuration(asyncwsgi_session_server):
            assert urlopen(asyncwsgi_session_server.url).read() == b"site"

        @pytest.mark.asyncwsgi(app="site", threads=7)
        class TestByMarker:
            def test_of_the_class(self, asyncwsgi_server):
                assert urlopen(asyncwsgi_server.url).read() == b"site"

            @pytest.mark.asyncwsgi(app="other", queue_size=3)
            def test_of_the_test(self, asyncwsgi_server):
                assert urlopen(asyncwsgi_server.url).read() == b"other"
                config = asyncwsgi_server.server.config
                assert (config.threads, config.queue_size) == (7, 3)
        """,
        ini="asyncwsgi_app = site",
    )
    result.assert_outcomes(passed=3)


def test_options_of_all_servers_come_from_a_fixture(run_pytest: RunPytest) -> None:
    result = run_pytest(
        """
        import pytest

        @pytest.fixture(scope="session")
        def asyncwsgi_options():
            return {"threads": 3, "queue_size": 4}

        @pytest.mark.asyncwsgi(threads=5)
        def test_options(asyncwsgi_server, asyncwsgi_session_server, asyncwsgi_serve, app):
            one = asyncwsgi_serve(app, queue_size=6)
            servers = asyncwsgi_server, asyncwsgi_session_server, one
            configs = [server.server.config for server in servers]
            assert [(c.threads, c.queue_size) for c in configs] == [(5, 4), (3, 4), (5, 6)]
        """
    )
    result.assert_outcomes(passed=1)


def test_several_servers_of_a_test_are_closed_in_reverse_order(run_pytest: RunPytest) -> None:
    result = run_pytest(
        """
        import pytest
        from urllib.request import urlopen

        @pytest.fixture
        def ended():
            ended = []
            yield ended
            assert ended == ["second", "first"]

        def test_servers(ended, asyncwsgi_serve, app):
            for name in "first", "second":
                server = asyncwsgi_serve(app)
                assert urlopen(server.url).read() == b"hello"
                server.ended.add_done_callback(lambda _, name=name: ended.append(name))
        """
    )
    result.assert_outcomes(passed=1)


def test_what_keeps_a_server_from_starting_is_an_error_of_the_test_that_asked(
    run_pytest: RunPytest,
) -> None:
    result = run_pytest(
        """
        import contextlib, pytest, socket

        @contextlib.asynccontextmanager
        async def failing():
            raise ValueError("no database")
            yield

        @pytest.fixture
        def app_without_return():
            pass

        @pytest.mark.asyncwsgi(thread=2)
        def test_option(asyncwsgi_server): pass

        @pytest.mark.asyncwsgi(lifespan=failing)
        def test_lifespan(asyncwsgi_server): pass

        @pytest.mark.asyncwsgi(app="nothing")
        def test_app(asyncwsgi_server): pass

        @pytest.mark.asyncwsgi(app="app_without_return")
        def test_no_application(asyncwsgi_server): pass

        @pytest.mark.asyncwsgi("app")
        def test_positional(asyncwsgi_server): pass

        def test_port(asyncwsgi_serve, app):
            with socket.create_server(("127.0.0.1", 0)) as taken:
                asyncwsgi_serve(app, port=taken.getsockname()[1])
        """
    )
    result.assert_outcomes(errors=5, failed=1)
    result.stdout.fnmatch_lines_random(
        [
            "E *ConfigError: there is no option 'thread'; did you mean 'threads'?",
            "E *LifespanError: entering the lifespan failed with ValueError: no database*",
            "asyncwsgi_server serves what the fixture 'nothing' returns, and there is none.*",
            "E *ConfigError: the application None is a NoneType, no WSGI application; *",
            "E *the marker asyncwsgi takes keywords only, got ('app',)*",
            "E *BindError:*",
        ]
    )


def test_a_session_server_with_an_app_for_each_test_is_told_that_the_scopes_differ(
    run_pytest: RunPytest,
) -> None:
    result = run_pytest(
        """
        import pytest

        @pytest.fixture
        def app():
            return lambda environ, start_response: []

        def test_scope(asyncwsgi_session_server): pass
        """
    )
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*ScopeMismatch*function scoped fixture app*"])


@pytest.mark.parametrize("default", ["true", "false"])
def test_errors_of_the_application_fail_a_test_that_wants_to_know(
    run_pytest: RunPytest, default: str
) -> None:
    result = run_pytest(
        """
        import pytest
        from asyncwsgi.testing import LiveServer

        def raise_errors(server):
            assert server.ended.done(), "what it raises last may be missed"
            raise ValueError("of the application")

        LiveServer.raise_errors = raise_errors

        @pytest.mark.asyncwsgi(raise_errors=True)
        def test_wanted(asyncwsgi_server): pass

        @pytest.mark.asyncwsgi(raise_errors=False)
        def test_unwanted(asyncwsgi_server): pass

        def test_default(asyncwsgi_server): pass

        def test_of_one(asyncwsgi_serve, app):
            asyncwsgi_serve(app, raise_errors=True)
        """,
        ini=f"asyncwsgi_raise_errors = {default}",
    )
    result.assert_outcomes(passed=4, errors=3 if default == "true" else 2)
    result.stdout.fnmatch_lines(["E *ValueError: of the application"])


@pytest.mark.parametrize("mode", ["strict", "auto"])
def test_async_tests_use_the_same_fixtures_with_pytest_asyncio(
    run_pytest: RunPytest, mode: str
) -> None:
    result = run_pytest(
        """
        import asyncio, pytest
        pytestmark = pytest.mark.asyncio

        async def test_server(asyncwsgi_server, asyncwsgi_module_server, asyncwsgi_session_server):
            for server in asyncwsgi_server, asyncwsgi_module_server, asyncwsgi_session_server:
                reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
                writer.write(b"GET / HTTP/1.0\\r\\n\\r\\n")
                assert (await reader.read()).endswith(b"hello")
                writer.close()
                await writer.wait_closed()
        """,
        ini=f"{SCOPE}asyncio_mode = {mode}",
        plugins=ASYNCIO,
    )
    result.assert_outcomes(passed=1)


def test_async_tests_use_the_same_fixtures_with_anyio_on_asyncio_and_trio(
    run_pytest: RunPytest,
) -> None:
    result = run_pytest(
        """
        import anyio, pytest
        pytestmark = pytest.mark.anyio

        async def test_server(asyncwsgi_server):
            async with await anyio.connect_tcp("127.0.0.1", asyncwsgi_server.port) as stream:
                await stream.send(b"GET / HTTP/1.0\\r\\n\\r\\n")
                received = b"".join([block async for block in stream])
            assert received.endswith(b"hello")
        """,
        plugins=("anyio",),
    )
    result.assert_outcomes(passed=2)


@pytest.mark.parametrize("policy", ["warn", "error", "ignore"])
def test_what_a_test_has_left_is_named_as_the_configuration_says(
    run_pytest: RunPytest, policy: str
) -> None:
    result = run_pytest(
        """
        import socket
        from urllib.request import urlopen
        left = []

        def test_leaving(asyncwsgi_server):
            left.append(socket.create_connection(("127.0.0.1", asyncwsgi_server.port)))
            urlopen(asyncwsgi_server.url).read()  # the other was accepted before

        def test_tidy(asyncwsgi_server):
            left.pop().close()
        """,
        "-Wdefault::asyncwsgi.testing.LeakWarning",
        ini=f"asyncwsgi_leaks = {policy}",
    )
    result.assert_outcomes(
        passed=2, errors=1 if policy == "error" else 0, warnings=1 if policy == "warn" else 0
    )
    said = "*::test_leaving left behind:*"
    if policy == "ignore":
        result.stdout.no_fnmatch_line(said)
    else:
        result.stdout.fnmatch_lines([said, "*a connection from 127.0.0.1:* never used; close*"])


def test_a_leak_is_an_error_where_warnings_are(run_pytest: RunPytest) -> None:
    result = run_pytest(
        """
        import pytest, socket
        from urllib.request import urlopen
        left = []

        def leave(server):
            left.append(socket.create_connection(("127.0.0.1", server.port)))
            urlopen(server.url).read()  # the other was accepted before

        def test_leaving(asyncwsgi_server):
            leave(asyncwsgi_server)

        @pytest.mark.asyncwsgi(leaks="ignore")
        def test_on_purpose(asyncwsgi_server):
            leave(asyncwsgi_server)

        def test_one_of_two(asyncwsgi_serve, app):
            asyncwsgi_serve(app)
            leave(asyncwsgi_serve(app))

        def teardown_module():
            for sock in left:
                sock.close()
        """
    )
    result.assert_outcomes(passed=3, errors=2)
    result.stdout.no_fnmatch_line("*test_on_purpose left*")


def test_a_test_that_failed_is_not_asked_for_what_its_traceback_holds(
    run_pytest: RunPytest,
) -> None:
    result = run_pytest(
        """
        import socket

        def test_failing(asyncwsgi_server):
            sock = socket.create_connection(("127.0.0.1", asyncwsgi_server.port))
            assert sock is None
        """
    )
    result.assert_outcomes(failed=1)


def test_a_misspelt_policy_is_refused(run_pytest: RunPytest) -> None:
    result = run_pytest("def test(): pass", ini="asyncwsgi_leaks = loud")
    result.stderr.fnmatch_lines(["ERROR: asyncwsgi_leaks must be warn, error or ignore*'loud'"])


def test_a_hung_application_is_an_error_of_its_test_and_the_session_goes_on(
    run_pytest: RunPytest,
) -> None:
    result = run_pytest(
        """
        import pytest, socket, threading
        from asyncwsgi.testing.leaks import check as leaks

        leaks.PATIENCE = 10  # a loop that is only slow is not what hangs

        @pytest.fixture
        def hanging():
            entered = threading.Event()

            class Gate(threading.Event):
                def wait(self, timeout=None):
                    entered.set()  # the stack shows the wait from here on
                    return super().wait(timeout)

            gate = Gate()

            def app(environ, start_response):
                gate.wait()

            app.entered = entered
            yield app
            gate.set()

        @pytest.mark.asyncwsgi(app="hanging", graceful_timeout=0.05)
        def test_hanging(asyncwsgi_server, hanging):
            with socket.create_connection(("127.0.0.1", asyncwsgi_server.port)) as sock:
                sock.sendall(b"GET /report HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
                hanging.entered.wait()

        def test_next(asyncwsgi_server): pass
        """
    )
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(
        [
            "E *HungApplication: *::test_hanging*",
            "E *GET /report, for *",
            "E *in app",
            "E *gate.wait*",
        ]
    )
