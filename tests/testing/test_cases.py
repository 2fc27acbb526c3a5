"""Live servers for `unittest`, and cases that were written for Flask-Testing and Django."""

from __future__ import annotations

import subprocess
import sys
import unittest
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.request import urlopen

import pytest
from flask import Flask, current_app, url_for

from asyncwsgi.testing import (
    ClassLiveServerMixin,
    ClassLiveServerTestCase,
    LeakWarning,
    LiveServer,
    LiveServerMixin,
    LiveServerTestCase,
)
from tests.apps import hello
from tests.client import Client, connect, reserved_port
from tests.testing.conftest import RunPytest

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication


def read(url: str) -> bytes:
    with urlopen(url, timeout=30) as response:
        body: bytes = response.read()
    return body


def run(case: type[unittest.TestCase]) -> unittest.TestResult:
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(case).run(result)
    return result


def passes(case: type[unittest.TestCase], count: int = 1) -> bool:
    result = run(case)
    assert not result.errors + result.failures
    return result.testsRun == count


class TestForEachTest:
    def test_the_application_is_served(self) -> None:
        class Case(LiveServerTestCase):
            def create_app(self) -> WSGIApplication:
                return hello

            def test(self) -> None:
                assert self.app is hello
                assert self.get_server_url() == self.server.url
                assert read(self.get_server_url()) == b"Hello, world!"
                assert self.server.wait_for_request("/").status == 200

        assert passes(Case)

    def test_each_has_a_server_of_its_own(self) -> None:
        servers: list[LiveServer] = []

        class Case(LiveServerTestCase):
            def create_app(self) -> WSGIApplication:
                assert not servers or servers[-1].ended.done()
                return hello

            def test_one(self) -> None:
                servers.append(self.server)

            test_other = test_one

        assert passes(Case, 2)
        assert servers[0] is not servers[1]
        assert servers[1].ended.done()

    def test_it_serves_in_set_up_and_until_the_last_cleanup(self) -> None:
        bodies = []

        class Case(LiveServerTestCase):
            def create_app(self) -> WSGIApplication:
                return hello

            def setUp(self) -> None:
                # Nor does it call that of its base: Flask-Testing does not ask for that.
                self.addCleanup(self.ask)
                self.ask()

            def tearDown(self) -> None:
                self.ask()

            def ask(self) -> None:
                bodies.append(read(self.get_server_url()))

            def test(self) -> None:
                self.ask()

        assert passes(Case)
        assert bodies == [b"Hello, world!"] * 4

    def test_it_is_closed_when_the_test_fails(self) -> None:
        servers: list[LiveServer] = []

        class Case(LiveServerTestCase):
            def create_app(self) -> WSGIApplication:
                return hello

            def test(self) -> None:
                servers.append(self.server)
                self.fail()

        assert len(run(Case).failures) == 1
        assert servers[0].ended.done()

    def test_what_prevents_a_start_is_an_error_of_the_test(self) -> None:
        with LiveServer(hello) as taken:

            class Case(LiveServerTestCase):
                live_server_options: ClassVar[dict[str, Any]] = {"port": taken.port}

                def create_app(self) -> WSGIApplication:
                    return hello

                def test_one(self) -> None:
                    raise AssertionError("never run")

                test_other = test_one

            result = run(Case)
        assert result.testsRun == 2
        assert ["BindError" in report for _, report in result.errors] == [True, True]

    def test_a_missing_application_is_an_error_of_the_test(self) -> None:
        class Case(LiveServerTestCase):
            def test(self) -> None:
                raise AssertionError("never run")

        ((_, report),) = run(Case).errors
        assert "Case has no create_app(); write one" in report

    def test_a_test_that_is_skipped_starts_nothing(self) -> None:
        class Case(LiveServerTestCase):
            def create_app(self) -> WSGIApplication:
                raise AssertionError("never made")

            @unittest.skip("for the test")
            def test(self) -> None:
                raise AssertionError("never run")

        result = run(Case)
        assert (len(result.skipped), result.errors) == (1, [])

    def test_a_test_that_is_run_again_starts_one_server_again(self) -> None:
        made: list[WSGIApplication] = []

        class Case(LiveServerTestCase):
            def create_app(self) -> WSGIApplication:
                made.append(hello)
                return hello

            def test(self) -> None:
                assert read(self.get_server_url())

        case = Case("test")
        for _ in range(2):
            result = unittest.TestResult()
            case.run(result)
            assert result.wasSuccessful()
        assert len(made) == 2

    def test_tests_may_be_coroutines(self) -> None:
        class Case(LiveServerMixin, unittest.IsolatedAsyncioTestCase):
            def create_app(self) -> Flask:
                app = Flask("app")
                app.add_url_rule("/", view_func=lambda: "from Flask")
                return app

            async def asyncSetUp(self) -> None:
                assert read(self.get_server_url()) == b"from Flask"

            async def test(self) -> None:
                assert current_app == self.app
                assert (await self.server.await_request("/")).status == 200

        assert passes(Case)


class TestForAClass:
    def test_all_tests_have_the_same_server(self) -> None:
        servers: list[LiveServer] = []

        class Case(ClassLiveServerTestCase):
            application = hello

            def test_one(self) -> None:
                assert read(self.live_server_url) == b"Hello, world!"
                assert self.live_server_url == f"http://localhost:{self.server.port}"
                servers.append(self.server)

            test_other = test_one

        assert passes(Case, 2)
        assert servers[0] is servers[1]
        assert servers[0].ended.done()

    def test_set_up_and_tear_down_of_the_class_are_served(self) -> None:
        bodies = []

        class Case(ClassLiveServerMixin, unittest.IsolatedAsyncioTestCase):
            host = "127.0.0.1"

            @classmethod
            def setUpClass(cls) -> None:
                cls.application = hello
                super().setUpClass()
                cls.addClassCleanup(cls.ask)
                cls.ask()

            @classmethod
            def tearDownClass(cls) -> None:
                cls.ask()

            @classmethod
            def ask(cls) -> None:
                bodies.append(read(cls.live_server_url))

            async def test(self) -> None:
                self.ask()

        assert passes(Case)
        assert bodies == [b"Hello, world!"] * 4

    def test_what_prevents_a_start_is_an_error_of_the_class(self) -> None:
        with LiveServer(hello) as taken:

            class Case(ClassLiveServerTestCase):
                application = hello
                host = "127.0.0.1"
                port = taken.port

                def test(self) -> None:
                    raise AssertionError("never run")

            ((_, report),) = run(Case).errors
        assert "BindError" in report


def flask_testing_case(base: type[Any]) -> type[unittest.TestCase]:
    """A case as users of Flask-Testing write it; nothing but its base is ours."""

    class Case(base):  # type: ignore[misc]
        def create_app(self) -> Flask:
            app = Flask("app")
            app.config["TESTING"] = True
            app.config["LIVESERVER_PORT"] = 0

            @app.get("/")
            def index() -> str:
                return "served live"

            return app

        def setUp(self) -> None:
            assert current_app == self.app
            self.index = url_for("index", _external=False)

        def test_the_server_is_up(self) -> None:
            assert read(self.get_server_url() + self.index) == b"served live"

        def test_the_application_is_the_cases(self) -> None:
            self.app.config["seen"] = "by the test"
            assert current_app.config["seen"] == "by the test"

    return Case


def test_a_case_for_flask_testing_runs_with_another_import() -> None:
    assert passes(flask_testing_case(LiveServerTestCase), 2)


def test_the_port_is_that_of_the_configuration() -> None:
    with reserved_port() as free:

        class Case(LiveServerTestCase):
            def create_app(self) -> Flask:
                app = Flask("app")
                app.config["LIVESERVER_PORT"] = free
                return app

            def test(self) -> None:
                assert self.server.port == free

        assert passes(Case)


def test_the_server_of_a_class_may_listen_on_a_unix_socket() -> None:
    class Case(ClassLiveServerTestCase):
        application = hello
        live_server_options: ClassVar[dict[str, Any]] = {"unix_socket": True}

        def test(self) -> None:
            assert self.live_server_url == "http://localhost"
            with connect(self.server.socket_path) as client:
                assert client.get().status == 200

    assert passes(Case)


class TestLeaks:
    def test_what_a_test_leaves_is_named(self) -> None:
        class Case(LiveServerTestCase):
            def create_app(self) -> WSGIApplication:
                return hello

            def test(self) -> None:
                left.append(connect(self.server.addresses[0]))
                read(self.server.url)  # the other was accepted before this one was answered

        left: list[Client] = []
        with pytest.warns(LeakWarning, match=r"Case\.test left behind:\n  a connection from"):
            assert passes(Case)
        left[0].close()

    @pytest.mark.parametrize("name", ["LiveServerTestCase", "ClassLiveServerTestCase"])
    def test_a_test_that_has_failed_is_not_asked(self, name: str, run_pytest: RunPytest) -> None:
        result = run_pytest(f"""
            import unittest
            from asyncwsgi.testing import {name}
            from tests.apps import hello
            from tests.client import connect

            left = []

            class Case({name}):
                live_server_options = {{"leaks": "error"}}
                application = hello

                def create_app(self):
                    return hello

                def test(self):
                    left.append(connect(self.server.addresses[0]))
                    self.fail("for another reason")
        """)
        result.assert_outcomes(failed=1)

    @pytest.mark.parametrize("base", [LiveServerTestCase, ClassLiveServerTestCase])
    def test_unittest_does_not_ask_it_either(self, base: type[unittest.TestCase]) -> None:
        class Case(base):  # type: ignore[misc,valid-type]
            live_server_options: ClassVar[dict[str, str]] = {"leaks": "error"}
            application = hello

            def create_app(self) -> WSGIApplication:
                return hello

            def test(self) -> None:
                left.append(connect(self.server.addresses[0]))
                self.fail("for another reason")

        left: list[Client] = []
        result = run(Case)
        assert (len(result.failures), result.errors) == (1, [])
        left[0].close()

    def test_what_the_tests_of_a_class_leave_is_named(self) -> None:
        class Case(ClassLiveServerTestCase):
            application = hello

            def test(self) -> None:
                left.append(connect(self.server.addresses[0]))
                read(self.server.url)  # the other was accepted before this one was answered

        left: list[Client] = []
        with pytest.warns(LeakWarning, match=r"Case left behind:\n  a connection from"):
            assert passes(Case)
        left[0].close()


def test_external_urls_of_flask_are_those_of_the_server() -> None:
    class Case(LiveServerTestCase):
        def create_app(self) -> Flask:
            app = Flask("app")
            app.add_url_rule("/", "index", lambda: "hello")
            return app

        def test(self) -> None:
            assert url_for("index", _external=True) == f"{self.get_server_url()}/"

    assert passes(Case)


DJANGO = """
import unittest
from urllib.request import urlopen

import django
from django.conf import settings
from django.db import connection
from django.http import HttpResponse
from django.test import TransactionTestCase
from django.test.utils import setup_test_environment
from django.urls import path

{imports}

settings.configure(
    ALLOWED_HOSTS=[],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["django.contrib.staticfiles"],
    STATIC_URL="static/",
    STATIC_ROOT=".",
    STATICFILES_DIRS=["."],
    MEDIA_URL="media/",
    DATABASES={{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}}},
)
django.setup()
setup_test_environment()


def notes(request):
    with connection.cursor() as cursor:
        return HttpResponse(cursor.execute("SELECT text FROM notes").fetchone())


urlpatterns = [
    path("", lambda request: HttpResponse(request.get_host())),
    path("notes", notes),
]


class Test({bases}):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.ask(cls)

    def setUp(self):
        assert "localhost" in settings.ALLOWED_HOSTS
        self.ask()

    def ask(self):
        with urlopen(self.live_server_url + "/", timeout=30) as response:
            assert self.live_server_url == "http://" + response.read().decode()

    def test_one(self):
        with connection.cursor() as cursor:
            cursor.execute("CREATE TABLE notes (text)")
            cursor.execute("INSERT INTO notes VALUES ('of the test')")
        with urlopen(self.live_server_url + "/notes", timeout=30) as response:
            assert response.read() == b"of the test"

    def test_other(self):
        with urlopen(self.live_server_url + "/static/test_site.py", timeout=30) as response:
            assert b"settings.configure" in response.read()


def tearDownModule():
    assert "localhost" not in settings.ALLOWED_HOSTS
"""
DJANGOS = ("from django.test import LiveServerTestCase", "LiveServerTestCase")
OURS = "from asyncwsgi.testing import ClassLiveServerMixin, ClassLiveServerTestCase"


@pytest.mark.parametrize(
    ("imports", "bases"),
    [
        pytest.param(*DJANGOS, id="as it was"),
        pytest.param(OURS, "ClassLiveServerTestCase", id="another import"),
        pytest.param(OURS, "ClassLiveServerMixin, TransactionTestCase", id="mixed in"),
    ],
)
def test_a_case_for_django_runs_with_another_import(
    imports: str, bases: str, tmp_path: Path
) -> None:
    (tmp_path / "test_site.py").write_text(DJANGO.format(imports=imports, bases=bases))
    command = [sys.executable, "-W", "error", "-m", "unittest", "test_site"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    assert "Ran 2 tests" in done.stderr


def test_a_class_without_an_application_is_told() -> None:
    program = dedent("""
        from asyncwsgi.testing import ClassLiveServerTestCase
        class Case(ClassLiveServerTestCase):
            pass
        try:
            Case.setUpClass()
        except ValueError as error:
            print(error)
    """)
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, check=True)
    assert done.stdout == "Case has no application; give its class one to serve\n"
