"""What frameworks and libraries tell of a request: Flask, Django, SQLAlchemy, async views."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Blueprint, Flask, abort
from flask.views import MethodView
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from asyncwsgi import Config, from_thread
from asyncwsgi.development.debugger import MOST_PAGES, with_debugger
from asyncwsgi.inspection import reporter
from asyncwsgi.testing import LiveServer
from tests.client import Client
from tests.conftest import Serve
from tests.inspection.recorded import Recorded, marks_of

Open = Callable[[LiveServer], Client]


@pytest.fixture
def app() -> Flask:
    app = Flask("shop")

    @app.get("/items/<int:number>")
    def item(number: int) -> str:
        return f"item {number}"

    @app.get("/boom")
    def boom() -> str:
        raise ValueError("no eggs")

    return app


class TestFlask:
    def test_its_part_of_the_timeline(
        self, serve: Serve, recorded: Recorded, client_of: Open, app: Flask
    ) -> None:
        client = client_of(serve(app, server_class=recorded.server_class))
        for number in range(2):
            assert client.get(f"/items/{number}").status == 200
            entry = recorded.reports.entry(f"/items/{number}")
            names = [name for name in marks_of(entry) if name != "accepted"]
            assert names == [
                "head", "thread", "application", "context_pushed", "matched", "view",
                "after_request", "teardown", "first_byte", "last_byte", "closed",
            ]  # fmt: skip
            view = app.view_functions["item"]
            assert entry["flask"] == {
                "endpoint": "item",
                "rule": "/items/<int:number>",
                "view": f"{view.__module__}.app.<locals>.item",
                "file": __file__,
                "line": view.__code__.co_firstlineno,
            }

    def test_a_url_without_a_rule(
        self, serve: Serve, recorded: Recorded, client_of: Open, app: Flask
    ) -> None:
        client_of(serve(app, server_class=recorded.server_class)).get("/nowhere")
        entry = recorded.reports.entry("/nowhere")
        assert (entry["status"], entry["flask"]) == (404, None)

    def test_nobody_knows_when_a_view_begins_behind_other_functions(
        self, serve: Serve, recorded: Recorded, client_of: Open, app: Flask
    ) -> None:
        blueprint = Blueprint("own", "own")
        blueprint.before_request(lambda: None)
        blueprint.get("/own")(lambda: "own")
        app.register_blueprint(blueprint)
        client = client_of(serve(app, server_class=recorded.server_class))
        client.get("/own")
        client.get("/items/1")
        assert "view" not in marks_of(recorded.reports.entry("/own"))
        assert "view" in marks_of(recorded.reports.entry("/items/1"))

    def test_the_class_of_a_view(
        self, serve: Serve, recorded: Recorded, client_of: Open, app: Flask
    ) -> None:
        class Basket(MethodView):
            def get(self) -> str:
                abort(404)

        app.add_url_rule("/basket", view_func=Basket.as_view("basket"))
        client_of(serve(app, server_class=recorded.server_class)).get("/basket")
        told = recorded.reports.entry("/basket")["flask"]
        assert told["view"].endswith("Basket")
        assert told["file"] == __file__

    def test_an_exception_that_it_answers_itself(
        self, serve: Serve, recorded: Recorded, client_of: Open, app: Flask
    ) -> None:
        client_of(serve(app, server_class=recorded.server_class)).get("/boom")
        entry = recorded.reports.entry("/boom")
        assert entry["status"] == 500
        assert entry["traceback"].endswith("ValueError: no eggs\n")
        own = [frame["function"] for frame in entry["frames"] if frame["is_own"]]
        assert own == ["app.<locals>.boom"]
        [line] = entry["logs"]
        assert line["text"] == "Exception on /boom [GET]"  # the traceback is told once

    def test_the_application_stays_as_it_was(
        self, serve: Serve, recorded: Recorded, client_of: Open, app: Flask
    ) -> None:
        def state() -> dict[str, Any]:
            return {name: repr(value) for name, value in vars(app).items() if name[0] != "_"}

        app.logger  # noqa: B018 - made when it is first asked for
        before = state()
        client_of(serve(app, server_class=recorded.server_class)).get("/items/1")
        recorded.reports.entry("/items/1")
        assert state() == before

    def test_nothing_is_left_behind(
        self, serve: Serve, recorded: Recorded, client_of: Open, app: Flask
    ) -> None:
        from flask import signals

        client_of(serve(app, server_class=recorded.server_class)).get("/items/1")
        recorded.reports.entry("/items/1")
        before = len(signals.request_started.receivers)
        recorded.close()
        assert len(signals.request_started.receivers) == before - 1


class TestDebugger:
    def test_its_page_can_be_seen_again(
        self, serve: Serve, recorded: Recorded, client_of: Open, app: Flask
    ) -> None:
        app.debug = True
        debugged = with_debugger(app, Config())
        server = serve(debugged, server_class=recorded.server_class, validate=False)
        client = client_of(server)
        page = client.get("/boom", Host="localhost")
        entry = recorded.reports.entry("/boom")
        assert entry["traceback"].endswith("ValueError: no eggs\n")
        again = client.get(entry["debugger"], Host="localhost")
        assert again.status == 200
        for words in (b"Werkzeug", b"ValueError: no eggs", b"in boom", b"EVALEX = true"):
            assert words in page.body
            assert words in again.body

    def test_only_at_a_trusted_host(
        self, serve: Serve, recorded: Recorded, client_of: Open, app: Flask
    ) -> None:
        app.debug = True
        debugged = with_debugger(app, Config())
        server = serve(debugged, server_class=recorded.server_class, validate=False)
        client = client_of(server)
        client.get("/boom")
        path = recorded.reports.entry("/boom")["debugger"]
        assert client.get(path, Host="evil.example").status == 404

    def test_an_exception_of_a_plain_application(
        self, serve: Serve, recorded: Recorded, client_of: Open
    ) -> None:
        def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
            raise ValueError("no eggs")
            yield b""

        debugged = with_debugger(app, Config())
        server = serve(debugged, server_class=recorded.server_class, validate=False)
        client_of(server).get("/boom")
        entry = recorded.reports.entry("/boom")
        assert entry["status"] == 500
        assert entry["frames"][-1]["function"].endswith("app")

    def test_the_newest_pages_are_kept(
        self, serve: Serve, recorded: Recorded, client_of: Open, app: Flask
    ) -> None:
        app.debug = True
        debugged = with_debugger(app, Config())
        server = serve(debugged, server_class=recorded.server_class, validate=False)
        client = client_of(server)
        for number in range(MOST_PAGES + 1):
            client.get(f"/boom?{number}")
        pages = [recorded.reports.entry(f"/boom?{n}")["debugger"] for n in (0, 1, MOST_PAGES)]
        statuses = [client.get(page, Host="localhost").status for page in pages]
        assert statuses == [404, 200, 200]


async def waits() -> str:
    await asyncio.sleep(0.001)
    return "done"


class TestAsyncViews:
    @pytest.mark.parametrize("is_own", [False, True], ids=["asgiref", "asyncwsgi"])
    def test_the_time_on_the_loop_and_the_time_waiting(
        self, serve: Serve, recorded: Recorded, client_of: Open, app: Flask, is_own: bool
    ) -> None:
        if is_own:
            app.async_to_sync = from_thread.async_to_sync  # type: ignore[method-assign, assignment]
        app.add_url_rule("/waits", view_func=waits)
        assert client_of(serve(app, server_class=recorded.server_class)).get("/waits").status == 200
        entry = recorded.reports.entry("/waits")
        spans = [(span["kind"], span["text"]) for span in entry["spans"]]
        assert spans == [("loop", "waits"), ("wait", "waits"), ("loop", "waits")]
        ends = [span["at"] + span["seconds"] for span in entry["spans"]]
        begins = [span["at"] for span in entry["spans"]]
        assert begins[1:] == pytest.approx(ends[:-1], abs=1e-5)

    def test_what_is_run_from_a_thread(
        self, serve: Serve, recorded: Recorded, client_of: Open, app: Flask
    ) -> None:
        app.add_url_rule("/run", view_func=lambda: from_thread.run(waits), endpoint="run")
        assert client_of(serve(app, server_class=recorded.server_class)).get("/run").body == b"done"
        assert len(recorded.reports.entry("/run")["spans"]) == 3

    def test_what_a_view_raises_reaches_it(
        self, serve: Serve, recorded: Recorded, client_of: Open, app: Flask
    ) -> None:
        async def fails() -> str:
            await asyncio.sleep(0)
            raise ValueError("no eggs")

        app.add_url_rule("/fails", view_func=fails)
        client_of(serve(app, server_class=recorded.server_class)).get("/fails")
        assert recorded.reports.entry("/fails")["frames"][-1]["function"].endswith("fails")


class TestSql:
    def test_statements_and_their_time(
        self, serve: Serve, recorded: Recorded, client_of: Open, app: Flask, tmp_path: Path
    ) -> None:
        engine = create_engine(f"sqlite:///{tmp_path}/shop.db")

        @app.get("/sql")
        def sql() -> str:
            with engine.begin() as connection:
                connection.execute(text("create table item (name text)"))
                connection.execute(
                    text("insert into item values (:name)"), [{"name": "a"}, {"name": "hunter2"}]
                )
                rows = connection.execute(text("select name from item")).all()
            with engine.connect() as connection, pytest.raises(OperationalError):
                connection.execute(text("select nothing from nowhere"))
            return str(len(rows))

        assert client_of(serve(app, server_class=recorded.server_class)).get("/sql").body == b"2"
        engine.dispose()
        entry = recorded.reports.entry("/sql")
        assert [(span["kind"], span["text"]) for span in entry["spans"]] == [
            ("sql", "create table item (name text)"),
            ("sql", "insert into item values (?) -- for 2 sets of parameters"),
            ("sql", "select name from item"),
            ("sql", "select nothing from nowhere -- failed"),
        ]
        marks = {mark["name"]: mark["at"] for mark in entry["marks"]}
        for span in entry["spans"]:
            assert marks["view"] <= span["at"] <= marks["after_request"]
            assert span["seconds"] > 0

    def test_those_of_nobody_are_not_recorded(
        self, serve: Serve, recorded: Recorded, client_of: Open, app: Flask
    ) -> None:
        client_of(serve(app, server_class=recorded.server_class)).get("/items/1")
        engine = create_engine("sqlite://")
        with engine.connect() as connection:
            connection.execute(text("select 1"))
        engine.dispose()
        assert recorded.reports.entry("/items/1")["spans"] == []


class TestDjango:
    def test_an_exception_of_which_it_makes_a_response(
        self, serve: Serve, recorded: Recorded, client_of: Open
    ) -> None:
        from django.core.signals import got_request_exception  # type: ignore[import-untyped]

        def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            try:
                raise ValueError("no eggs")
            except ValueError:
                # As its handler does.
                got_request_exception.send(sender=None, request=None)
            start_response("500 Internal Server Error", [("Content-Type", "text/plain")])
            return [b"sorry"]

        client_of(serve(app, server_class=recorded.server_class)).get("/")
        assert recorded.reports.entry("/")["traceback"].endswith("ValueError: no eggs\n")


def test_a_library_that_cannot_be_listened_to_is_left_alone(
    serve: Serve,
    recorded: Recorded,
    client_of: Open,
    app: Flask,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.delattr("flask.signals.request_tearing_down")
    client = client_of(serve(app, server_class=recorded.server_class))
    for number in range(2):
        assert client.get(f"/items/{number}").status == 200
        assert recorded.reports.entry(f"/items/{number}")["status"] == 200
    assert len([one for one in caplog.records if "could not be recorded" in one.message]) == 1


def test_what_listens_rests_while_no_request_is_recorded(
    serve: Serve,
    recorded: Recorded,
    client_of: Open,
    app: Flask,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from flask import signals

    monkeypatch.setattr(reporter, "MOST_AT_ONCE", 1)
    monkeypatch.setattr(reporter, "MOST_A_SECOND", 0)
    client = client_of(serve(app, server_class=recorded.server_class))
    before = len(signals.request_started.receivers)
    client.get("/items/1")
    assert len(signals.request_started.receivers) == before + 1
    recorded.reports.entry("/items/1")
    client.get("/items/2")
    assert len(signals.request_started.receivers) == before
    monkeypatch.setattr(reporter, "MOST_AT_ONCE", 500)
    monkeypatch.setattr(reporter, "MOST_A_SECOND", 1e9)
    client.get("/items/3")
    assert "matched" in marks_of(recorded.reports.entry("/items/3"))
