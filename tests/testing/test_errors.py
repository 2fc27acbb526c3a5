"""What the application raised while a live server ran it, however it was answered."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from flask import Flask, Response, got_request_exception

import asyncwsgi
from asyncwsgi import from_thread
from asyncwsgi.testing import LiveServer
from tests.apps import Endless, echo, hello
from tests.client import Client
from tests.http.wire import CHUNKED, PLAIN

if TYPE_CHECKING:
    from pathlib import Path
    from wsgiref.types import StartResponse

    from tests.conftest import Serve

ClientOf = Callable[[LiveServer], Client]


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """The errors are meant; they are not to fill the report of a test that fails."""
    caplog.set_level(logging.CRITICAL + 1, "asyncwsgi.server")


def boom(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    raise LookupError(environ["PATH_INFO"])


def flask_app(**config: Any) -> Flask:
    app = Flask(__name__)
    app.config.update(config)
    app.logger.disabled = True

    @app.get("/boom")
    def fails() -> str:
        raise LookupError("of a view")

    @app.get("/handled")
    def handled() -> str:
        raise ZeroDivisionError

    @app.errorhandler(ZeroDivisionError)
    def handle(_: ZeroDivisionError) -> tuple[str, int]:
        return "handled", 500

    return app


def test_an_error_that_reaches_the_server_is_recorded(serve: Serve, client_of: ClientOf) -> None:
    server = serve(boom, validate=False)
    assert client_of(server).get("/a").status == 500
    (error,) = server.errors
    assert repr(error) == "LookupError('/a')"
    request = server.wait_for_request()
    assert (request.status, request.error) == (500, error)


def test_an_error_in_a_streaming_body_is_recorded(serve: Serve, client_of: ClientOf) -> None:
    def stream() -> Iterator[bytes]:
        yield b"spam"
        raise LookupError("in the body")

    def app(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", PLAIN)
        return stream()

    server = serve(app)
    client_of(server).request()
    request = server.wait_for_request()
    assert request.status == 200
    assert [repr(error) for error in server.errors] == ["LookupError('in the body')"]
    assert request.error is server.errors[0]


def test_an_error_in_a_body_on_the_loop_is_recorded(serve: Serve, client_of: ClientOf) -> None:
    app = flask_app()

    @app.get("/")
    def view() -> Response:
        async def stream() -> AsyncIterator[bytes]:
            yield b"spam"
            raise LookupError("in the body")

        return Response(asyncwsgi.stream(stream()))

    server = serve(app, validate=False)
    client_of(server).request()
    assert server.wait_for_request().status == 200
    assert [repr(error) for error in server.errors] == ["LookupError('in the body')"]


def test_an_error_of_a_background_task_is_recorded(serve: Serve, client_of: ClientOf) -> None:
    async def task() -> None:
        raise LookupError("of a task")

    def app(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        with contextlib.suppress(LookupError):
            from_thread.create_task(task()).result(10)
        return hello(environ, start_response)

    server = serve(app, validate=False)
    assert client_of(server).get("/task").status == 200
    with pytest.raises(LookupError, match="of a task") as raised:
        server.raise_errors()
    assert raised.value.__notes__ == ["while answering GET /task"]


class TestOfFlask:
    def test_an_error_that_it_answers_is_recorded(self, serve: Serve, client_of: ClientOf) -> None:
        server = serve(flask_app())
        assert client_of(server).get("/boom").status == 500
        assert [repr(error) for error in server.errors] == ["LookupError('of a view')"]
        assert server.wait_for_request().error is server.errors[0]

    def test_an_error_that_it_lets_through_is_recorded_once(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        server = serve(flask_app(TESTING=True))
        assert client_of(server).get("/boom").status == 500
        assert [repr(error) for error in server.errors] == ["LookupError('of a view')"]

    def test_an_error_of_which_an_extension_tells_is_recorded(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        app = flask_app()

        @app.get("/")
        def view() -> str:
            got_request_exception.send(app, exception=LookupError("of an extension"))
            return ""

        server = serve(app)
        assert client_of(server).get().status == 200
        assert [repr(error) for error in server.errors] == ["LookupError('of an extension')"]

    @pytest.mark.parametrize("path", ["/handled", "/missing"])
    def test_an_error_that_it_handles_is_none(
        self, path: str, serve: Serve, client_of: ClientOf
    ) -> None:
        server = serve(flask_app())
        assert client_of(server).get(path).status in (404, 500)
        assert server.errors == ()

    def test_an_error_on_another_server_is_that_ones(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        app = flask_app()
        one, other = serve(app), serve(app)
        client_of(one).get("/missing")  # it listens from now on
        client_of(other).get("/boom")
        assert (len(one.errors), len(other.errors)) == (0, 1)

    def test_an_error_outside_of_the_server_is_not_recorded(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        app = flask_app()
        server = serve(app)
        client_of(server).get("/missing")
        assert app.test_client().get("/boom").status_code == 500
        assert server.errors == ()

    def test_its_signal_is_let_go_when_the_server_has_stopped(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        before = list(got_request_exception.receivers)
        server = serve(flask_app())
        client_of(server).get("/missing")
        assert list(got_request_exception.receivers) != before
        server.close()
        assert list(got_request_exception.receivers) == before


class TestThatAreNone:
    def test_a_client_that_leaves(self, serve: Serve, client_of: ClientOf) -> None:
        app = Endless()
        server = serve(app, validate=False)
        client = client_of(server)
        client.request()
        client.read(1)
        client.reset()
        assert server.wait_for_request().status == 200
        assert server.errors == ()

    def test_a_body_that_is_broken(self, serve: Serve, client_of: ClientOf) -> None:
        entered = threading.Event()

        def app(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
            entered.set()
            return echo(environ, start_response)

        server = serve(app, body_buffer_size=1, stream_chunked_bodies=True)
        client = client_of(server)
        client.send(CHUNKED + b"4\r\nspam\r\n")
        assert entered.wait(10)
        client.send(b"no chunk\r\n")
        assert client.reply().status == 400
        assert server.wait_for_request().status == 400
        assert server.errors == ()


class TestRaising:
    def test_nothing_is_raised_where_nothing_was(self, serve: Serve, client_of: ClientOf) -> None:
        server = serve(hello)
        client_of(server).get()
        server.raise_errors()

    def test_a_single_error_is_raised_with_its_request(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        server = serve(boom, validate=False)
        client_of(server).get("/a?b=c")
        for _ in range(2):
            with pytest.raises(LookupError, match="/a") as raised:
                server.raise_errors()
        assert raised.value.__notes__ == ["while answering GET /a?b=c"]

    def test_more_errors_are_a_group(self, serve: Serve, client_of: ClientOf) -> None:
        server = serve(boom, validate=False)
        for path in ("/a", "/b"):
            client_of(server).get(path)
        with pytest.raises(ExceptionGroup, match=r"answering GET /a, GET /b$") as raised:
            server.raise_errors()
        notes = [error.__notes__ for error in raised.value.exceptions]
        assert notes == [["while answering GET /a"], ["while answering GET /b"]]

    def test_one_error_raised_by_two_requests_is_two(
        self, serve: Serve, client_of: ClientOf
    ) -> None:
        error = LookupError("always the same")

        def app(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
            raise error

        server = serve(app, validate=False)
        for path in ("/a", "/b"):
            client_of(server).get(path)
        assert server.errors == (error, error)

    @pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
    def test_what_would_end_the_test_run_is_a_group(
        self, kind: type[BaseException], serve: Serve, client_of: ClientOf
    ) -> None:
        def app(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
            raise kind

        server = serve(app, validate=False)
        client_of(server).get()
        with pytest.raises(BaseExceptionGroup):
            server.raise_errors()

    def test_closing_raises_none_of_them(self, serve: Serve, client_of: ClientOf) -> None:
        server = serve(boom, validate=False)
        client_of(server).get()
        server.close()
        asyncio.run(server.aclose())
        assert len(server.errors) == 1


LATE = """
import sys
from urllib.error import HTTPError
from urllib.request import urlopen

from asyncwsgi.testing import LiveServer


def app(environ, start_response):
    if environ["PATH_INFO"] == "/plain":
        start_response("204 No Content", [])
        return []
    from flask import Flask

    flask_app = Flask("late")
    flask_app.add_url_rule("/", "index", view_func=lambda: "")
    flask_app.add_url_rule("/boom", "boom", view_func=lambda: 1 / 0)
    return flask_app(environ, start_response)


with LiveServer(app) as server:
    urlopen(server.url_for("/plain")).close()
    server.wait_for_request("/plain")
    assert not {"flask", "django", "blinker"} & set(sys.modules)
    urlopen(server.url_for("/")).close()
    try:
        urlopen(server.url_for("/boom"))
    except HTTPError as error:
        error.close()
    assert [type(error) for error in server.errors] == [ZeroDivisionError], server.errors
"""

DJANGO = """
import sys
from urllib.error import HTTPError
from urllib.request import urlopen

from django.conf import settings
from django.core import signals
from django.core.wsgi import get_wsgi_application
from django.urls import path

from asyncwsgi.testing import LiveServer

settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, LOGGING_CONFIG=None)


def fails(request):
    raise LookupError("of a view")


async def fails_too(request):
    raise LookupError("of a view")


urlpatterns = [path("boom", fails), path("async", fails_too)]

for propagates in (False, True):
    settings.DEBUG_PROPAGATE_EXCEPTIONS = propagates
    for target in ("/boom", "/async"):
        with LiveServer(get_wsgi_application()) as server:
            try:
                urlopen(server.url_for(target))
            except HTTPError as error:
                error.close()
            found = [repr(error) for error in server.errors]
            assert found == ["LookupError('of a view')"], (propagates, target, found)
        assert not signals.got_request_exception.receivers
"""


@pytest.mark.parametrize("program", [LATE, DJANGO], ids=["Flask, imported late", "Django"])
def test_frameworks_are_heard_when_they_are_imported(program: str, tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(program)
    subprocess.run([sys.executable, str(script)], check=True, timeout=250)
