"""The middleware that refreshes pages, around applications of every kind, over a socket."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.wsgi import get_wsgi_application  # type: ignore[import-untyped]
from django.http import HttpRequest, StreamingHttpResponse  # type: ignore[import-untyped]
from django.urls import path  # type: ignore[import-untyped]
from flask import Flask, render_template_string, send_file
from werkzeug.debug import DebuggedApplication

import asyncwsgi
from asyncwsgi.development.refresh import Refresh, hide_from_access_log
from asyncwsgi.testing import LiveServer
from tests.client import Client, Reply, connect
from tests.conftest import Serve
from tests.django_settings import set_up_django

PAGE = b"<!doctype html><p>page</p>"
TAG = b'<script async src="/-/refresh.js" data-state="7.2"></script>\n'
HTML = ("Content-Type", "text/html; charset=utf-8")
LENGTH = ("Content-Length", str(len(PAGE)))
STATE = (7, 2)

Load = Callable[..., Reply]


def load(server: LiveServer, target: str = "/", **headers: str) -> Reply:
    """What a browser gets that loads a page."""
    with connect(server.addresses[0]) as client:
        return client.get(target, Sec_Fetch_Dest="document", **headers)


@pytest.fixture
def loaded(serve: Serve) -> Load:
    """The page of an application."""

    def loaded(application: Any, target: str = "/", validate: bool = False, **more: str) -> Reply:
        refresh = Refresh(application)
        refresh.begin(*STATE)
        server = serve(refresh, validate=validate)
        reply = load(server, target, **more)
        server.close()  # the last of what is logged comes behind the reply
        return reply

    return loaded


class TestWSGI:
    @pytest.mark.parametrize("headers", [[HTML], [HTML, LENGTH]])
    def test_a_list(self, loaded: Load, headers: list[tuple[str, str]]) -> None:
        def app(environ: Any, start_response: Any) -> Iterable[bytes]:
            start_response("200 OK", list(headers))
            return [PAGE[:5], PAGE[5:]]

        reply = loaded(app, validate=True)
        assert reply.body == PAGE + TAG
        assert reply.header("Content-Length") == str(len(PAGE + TAG))

    @pytest.mark.parametrize("headers", [[HTML], [HTML, LENGTH]])
    def test_a_generator_that_starts_its_response_when_it_runs(
        self, loaded: Load, headers: list[tuple[str, str]]
    ) -> None:
        def app(environ: Any, start_response: Any) -> Iterator[bytes]:
            start_response("200 OK", list(headers))
            yield PAGE[:3]
            yield PAGE[3:]

        assert loaded(app, validate=True).body == PAGE + TAG

    @pytest.mark.parametrize("headers", [[HTML], [HTML, LENGTH]])
    def test_what_is_written(self, loaded: Load, headers: list[tuple[str, str]]) -> None:
        def app(environ: Any, start_response: Any) -> Iterable[bytes]:
            write = start_response("200 OK", list(headers))
            write(PAGE[:20])
            return [PAGE[20:]]

        assert loaded(app, validate=True).body == PAGE + TAG

    @pytest.mark.parametrize("headers", [[], [("Content-Type", "text/plain"), LENGTH]])
    def test_what_takes_no_script_is_the_applications_own_body(
        self, headers: list[tuple[str, str]]
    ) -> None:
        body = iter([PAGE])

        def app(environ: Any, start_response: Any) -> Iterable[bytes]:
            start_response("200 OK", list(headers))
            return body

        environ = {
            "REQUEST_METHOD": "GET", "PATH_INFO": "/", "HTTP_SEC_FETCH_DEST": "document",
            "wsgi.url_scheme": "http",
        }  # fmt: skip
        started: list[Any] = []
        assert Refresh(app)(environ, lambda *given: started.append(given)) is body  # type: ignore[arg-type]
        assert started == [("200 OK", headers, None)]
        environ["HTTP_SEC_FETCH_DEST"] = "empty"
        assert Refresh(app)(environ, lambda *given: started.append(given)) is body  # type: ignore[arg-type]
        assert started[1:] == [("200 OK", headers)]

    def test_a_page_that_turns_out_to_be_an_error(self, loaded: Load) -> None:
        def app(environ: Any, start_response: Any) -> Iterator[bytes]:
            start_response("200 OK", [HTML, ("Content-Length", "1000")])
            yield b"<!doc"
            try:
                raise LookupError
            except LookupError:
                start_response("500 Sorry", [HTML, LENGTH], sys.exc_info())
            yield PAGE

        reply = loaded(app)
        assert (reply.status, reply.body) == (500, PAGE + TAG)

    def test_an_error_behind_the_first_block_is_raised_to_the_application(
        self, loaded: Load
    ) -> None:
        seen: list[object] = []

        def app(environ: Any, start_response: Any) -> Iterator[bytes]:
            start_response("200 OK", [HTML, LENGTH])
            yield PAGE[:20]
            try:
                raise LookupError("mine")
            except LookupError:
                try:
                    start_response("500 Sorry", [HTML], sys.exc_info())
                except LookupError as error:
                    seen.append(str(error))
            yield PAGE[20:]

        assert loaded(app).body == PAGE + TAG
        assert seen == ["mine"]

    def test_the_applications_iterable_is_run_to_its_end_and_closed(self, loaded: Load) -> None:
        seen: list[str] = []

        class Body:
            def __iter__(self) -> Iterator[bytes]:
                yield PAGE
                seen.append("end")

            def close(self) -> None:
                seen.append("closed")

        def app(environ: Any, start_response: Any) -> Iterable[bytes]:
            start_response("200 OK", [HTML, LENGTH])
            return Body()

        assert loaded(app, validate=True).body == PAGE + TAG
        assert seen == ["end", "closed"]

    def test_what_the_application_does_wrong_is_said_as_ever(
        self, loaded: Load, caplog: pytest.LogCaptureFixture
    ) -> None:
        def app(environ: Any, start_response: Any) -> Iterable[Any]:
            start_response("200 OK", [HTML])
            return ["<!doctype html>"]

        assert loaded(app).status == 500
        assert "the application yielded a str; PEP 3333 wants bytes" in caplog.text

    def test_what_is_sent_beyond_the_length_is_cut(
        self, loaded: Load, caplog: pytest.LogCaptureFixture
    ) -> None:
        def app(environ: Any, start_response: Any) -> Iterable[bytes]:
            start_response("200 OK", [HTML, LENGTH])
            return iter([PAGE + b"excess"])

        assert loaded(app).body == PAGE + TAG
        assert "more than its Content-Length; at least 6 bytes" in caplog.text

    def test_a_body_that_the_loop_iterates(self, loaded: Load) -> None:
        async def blocks() -> AsyncIterator[bytes | str]:
            await asyncio.sleep(0)
            yield PAGE[:3]
            yield PAGE[3:].decode()

        def app(environ: Any, start_response: Any) -> Iterable[bytes]:
            start_response("200 OK", [HTML])
            return asyncwsgi.stream(blocks())

        assert loaded(app).body == PAGE + TAG

    def test_one_whose_length_was_told_is_left_alone(self, loaded: Load) -> None:
        async def blocks() -> AsyncIterator[bytes]:
            yield PAGE

        def app(environ: Any, start_response: Any) -> Iterable[bytes]:
            start_response("200 OK", [HTML, LENGTH])
            return asyncwsgi.stream(blocks())

        assert loaded(app).body == PAGE

    def test_an_event_stream_is_left_to_the_loop(self, loaded: Load) -> None:
        async def events() -> AsyncIterator[str]:
            yield "one"

        assert loaded(asyncwsgi.EventStream(events())).body == b":\n\ndata: one\n\n"

    def test_a_wrapped_file_is_left_alone(self, loaded: Load) -> None:
        def app(environ: Any, start_response: Any) -> Iterable[bytes]:
            start_response("200 OK", [HTML, ("ETag", '"1"')])
            wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](io.BytesIO(PAGE))
            return wrapped

        assert loaded(app).body == PAGE

    def test_the_script_is_found_below_a_root_path(self, serve: Serve) -> None:
        def app(environ: Any, start_response: Any) -> Iterable[bytes]:
            start_response("200 OK", [HTML])
            return [PAGE]

        server = serve(Refresh(app), root_path="/my site")
        assert b'src="/my%20site/-/refresh.js"' in load(server).body


def flask_app() -> Flask:
    app = Flask(__name__)
    template = "<!doctype html><p>{{ word }}</p>"

    @app.get("/")
    def index() -> str:
        return render_template_string(template, word="page")

    @app.get("/stream")
    def stream() -> Iterator[bytes]:
        yield from (PAGE[:30], PAGE[30:])

    @app.get("/file")
    def file() -> Any:
        return send_file(io.BytesIO(PAGE), "text/html", etag="tag")

    @app.get("/static-file")
    def static_file() -> Any:
        return send_file(Path(__file__).with_name("page.html"))

    @app.get("/fragment")
    def fragment() -> str:
        return "<p>page</p>"

    @app.get("/fail")
    def fail() -> str:
        raise ZeroDivisionError

    return app


class TestFlask:
    @pytest.mark.parametrize("target", ["/", "/stream"])
    def test_pages_get_it(self, loaded: Load, target: str) -> None:
        reply = loaded(flask_app(), target, validate=True)
        assert reply.body == PAGE + TAG
        if length := reply.header("Content-Length"):
            assert int(length) == len(reply.body)

    @pytest.mark.parametrize(("target", "status"), [("/nowhere", 404), ("/fail", 500)])
    def test_so_do_its_errors(self, loaded: Load, target: str, status: int) -> None:
        reply = loaded(flask_app(), target)
        assert reply.status == status
        assert reply.body.endswith(TAG)

    def test_and_werkzeugs_debugger(self, loaded: Load) -> None:
        app = flask_app()
        app.testing = True  # it does not handle exceptions itself
        reply = loaded(DebuggedApplication(app), "/fail", Host="localhost")
        assert reply.status == 500
        assert b"ZeroDivisionError" in reply.body
        assert reply.body.endswith(TAG)

    @pytest.mark.parametrize("target", ["/file", "/fragment"])
    def test_files_and_fragments_are_left_alone(self, loaded: Load, target: str) -> None:
        assert TAG not in loaded(flask_app(), target).body


def test_djangos_streams_get_it(loaded: Load) -> None:
    def view(request: HttpRequest) -> StreamingHttpResponse:
        return StreamingHttpResponse(iter([PAGE[:3], PAGE[3:]]))

    set_up_django()
    urls = type(sys)("refresh_urls")
    urls.urlpatterns = [path("", view)]  # type: ignore[attr-defined]
    from django.test import override_settings  # type: ignore[import-untyped]

    with override_settings(ROOT_URLCONF=urls, ALLOWED_HOSTS=["*"]):
        assert loaded(get_wsgi_application(), validate=True).body == PAGE + TAG


def page(environ: Any, start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [HTML])
    return [PAGE]


def telling(do: Callable[[], Coroutine[Any, Any, None]]) -> Any:
    """An application that does something on the loop when it is asked for ``/do``."""

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/do":
            asyncwsgi.from_thread.run(do)
        return page(environ, start_response)

    return app


def read_event(client: Client) -> Any:
    while not (line := client.read_line()).startswith(b"data: "):
        assert line, "the stream has ended"
    return json.loads(line.removeprefix(b"data: "))


class TestStream:
    def test_it_tells_the_state_and_each_newer_one(self, serve: Serve) -> None:
        async def tell() -> None:
            refresh.files_changed(3, ["b.css", "a.css"])

        refresh = Refresh(telling(tell))
        refresh.begin(*STATE)
        server = serve(refresh, validate=False, threads=1)
        with connect(server.addresses[0]) as client:
            client.request("GET", "/-/refresh")
            assert read_event(client) == {"code": 7, "files": 2, "stylesheets": []}
            # Its only thread is free.
            assert load(server).body == PAGE + TAG
            # A page has the state in which it was begun to be made.
            assert load(server, "/do").body == PAGE + TAG
            assert b'data-state="7.3"' in load(server).body
            assert read_event(client) == {
                "code": 7, "files": 3, "stylesheets": ["a.css", "b.css"]
            }  # fmt: skip

    def test_it_ends_as_a_whole_response_when_it_is_closed(self, serve: Serve) -> None:
        async def close() -> None:
            await refresh.close()

        refresh = Refresh(telling(close))
        server = serve(refresh, validate=False)
        with connect(server.addresses[0]) as client:
            client.request("GET", "/-/refresh", Connection="close")
            read_event(client)
            load(server, "/do")
            assert client.read_all().endswith(b"\r\n0\r\n\r\n")
        with connect(server.addresses[0]) as client:
            # No drain has to cut what a browser gets that asks once more.
            assert client.get("/-/refresh").header("Content-Length") == "0"

    def test_the_script_is_served(self, serve: Serve) -> None:
        with connect(serve(Refresh(page)).addresses[0]) as client:
            reply = client.get("/-/refresh.js", Sec_Fetch_Site="same-origin")
            assert reply.header("Content-Type") == "text/javascript; charset=utf-8"
            assert reply.header("Cross-Origin-Resource-Policy") == "same-origin"
            assert b"EventSource" in reply.body

    @pytest.mark.parametrize("target", ["/-/refresh", "/-/refresh.js"])
    def test_other_sites_get_neither(self, serve: Serve, target: str) -> None:
        with connect(serve(Refresh(page)).addresses[0]) as client:
            assert client.get(target, Sec_Fetch_Site="cross-site").status == 403
            assert client.post(target).status == 405

    def test_the_access_log_has_only_what_the_application_was_asked(
        self, serve: Serve, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO, "asyncwsgi.access")
        logger = logging.getLogger("asyncwsgi.access")
        before = logger.filters[:]
        hide_from_access_log()
        try:
            server = serve(Refresh(page), access_log=True)
            with connect(server.addresses[0]) as client:
                client.get("/-/refresh.js?x")
                client.get("/shown")
            server.close()
        finally:
            logger.filters[:] = before
        assert "/shown" in caplog.text
        assert "refresh.js" not in caplog.text
