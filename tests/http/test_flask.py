"""Flask on top: a real application, served for real. Contexts, requests, errors."""

from __future__ import annotations

import asyncio
import io
import json
import threading
from collections.abc import Callable
from typing import Any

import flask
import pytest
from flask import Flask, current_app, g, request, session
from flask.typing import ResponseReturnValue

from asyncwsgi import Server
from tests.client import TIMEOUT, Client, Reply, connect
from tests.conftest import Serve
from tests.http.helpers import ClientOf, take


@pytest.fixture
def app() -> Flask:
    app = Flask(__name__)
    app.secret_key = "only for tests"
    return app


@pytest.fixture
def client(app: Flask, serve: Serve, client_of: ClientOf) -> Client:
    """A connection to a server of `app`, to which views may be added before the first request."""
    with app.app_context():
        return client_of(serve(app))


def cookie_of(reply: Reply) -> str:
    """What a browser sends back."""
    return (reply.header("Set-Cookie") or "").partition(";")[0]


def methods(reply: Reply) -> set[str]:
    return set((reply.header("Allow") or "").split(", "))


# Routing and requests.


def test_requests_are_routed(app: Flask, client: Client) -> None:
    @app.get("/users/<int:number>/<name>")
    def user(number: int, name: str) -> ResponseReturnValue:
        return {"number": number, "name": name, "query": request.args.getlist("q")}

    @app.get("/folder/")
    def folder() -> ResponseReturnValue:
        return "a folder"

    reply = client.get("/users/7/J%C3%BCrgen%20%E2%82%AC?q=1&q=%C3%A4+b")
    assert json.loads(reply.body) == {"number": 7, "name": "Jürgen €", "query": ["1", "ä b"]}
    assert client.get("/users/seven/x").status == 404
    reply = client.post("/users/7/x")
    assert (reply.status, methods(reply)) == (405, {"GET", "HEAD", "OPTIONS"})
    reply = client.get("/folder")
    assert (reply.status, reply.header("Location")) == (308, "http://test/folder/")
    client.request("HEAD", "/folder/")
    head = client.reply("HEAD")
    assert (head.status, head.header("Content-Length"), head.body) == (200, "8", b"")
    client.request("OPTIONS", "/folder/")
    assert methods(client.reply("OPTIONS")) == {"GET", "HEAD", "OPTIONS"}


def test_the_request_knows_its_urls(app: Flask, serve: Serve, client_of: ClientOf) -> None:
    @app.get("/spam")
    def spam() -> ResponseReturnValue:
        return [request.url, request.script_root, request.path, flask.url_for("spam")]

    client = client_of(serve(app, root_path="/mount"))
    reply = client.get("/mount/spam?a=%20b", Host="shop.test:8080")
    url = "http://shop.test:8080/mount/spam?a=%20b"
    assert json.loads(reply.body) == [url, "/mount", "/spam", "/mount/spam"]


def test_the_session_cookie_goes_round(app: Flask, serve: Serve, client_of: ClientOf) -> None:
    @app.get("/")
    def visit() -> ResponseReturnValue:
        session["visits"] = session.get("visits", 0) + 1
        return str(session["visits"])

    server = serve(app)
    client = client_of(server)
    first = client.get()
    again = client.get(Cookie=cookie_of(first))
    elsewhere = client_of(server).get(Cookie=cookie_of(again))
    stranger = client.get()
    bodies = [reply.body for reply in (first, again, elsewhere, stranger)]
    assert bodies == [b"1", b"2", b"3", b"1"]


def test_several_cookies_are_several_headers(app: Flask, client: Client) -> None:
    @app.get("/")
    def cookies() -> ResponseReturnValue:
        response = flask.make_response("spam")
        response.set_cookie("a", "1")
        response.set_cookie("b", "2")
        return response

    values = [value for name, value in client.get().headers if name == "Set-Cookie"]
    assert values == ["a=1; Path=/", "b=2; Path=/"]


def test_a_form_is_parsed(app: Flask, client: Client) -> None:
    @app.post("/")
    def form() -> ResponseReturnValue:
        return request.form.to_dict(flat=False)

    form_type = "application/x-www-form-urlencoded"
    reply = client.post(body=b"a=1&a=2&b=%C3%A4+b", Content_Type=form_type)
    assert json.loads(reply.body) == {"a": ["1", "2"], "b": ["ä b"]}


@pytest.mark.parametrize(
    "size", [4, 3_000_000], ids=["small", "more than Werkzeug keeps in memory"]
)
def test_a_file_is_uploaded(size: int, app: Flask, client: Client) -> None:
    content = (bytes(range(256)) * (size // 256 + 1))[:size]

    @app.post("/")
    def upload() -> ResponseReturnValue:
        file = request.files["file"]
        same = file.read() == content
        return [request.form["title"], file.filename, file.mimetype, same]

    body = (
        b'--x\r\nContent-Disposition: form-data; name="title"\r\n\r\nspam\r\n'
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="eggs.bin"\r\n'
        b"Content-Type: application/eggs\r\n\r\n" + content + b"\r\n--x--\r\n"
    )
    reply = client.post(body=body, Content_Type="multipart/form-data; boundary=x")
    assert json.loads(reply.body) == ["spam", "eggs.bin", "application/eggs", True]


def test_json_is_parsed(app: Flask, client: Client) -> None:
    @app.post("/")
    def double() -> ResponseReturnValue:
        return {"double": request.get_json()["number"] * 2}

    reply = client.post(body=b'{"number": 21}', Content_Type="application/json")
    assert json.loads(reply.body) == {"double": 42}


def test_a_chunked_body_is_read_to_its_end(app: Flask, serve: Serve, client_of: ClientOf) -> None:
    @app.post("/")
    def length() -> ResponseReturnValue:
        return [request.content_length, request.get_data(as_text=True)]

    # Not validated: wsgiref.validate forbids read() without a size, which Werkzeug calls here.
    client = client_of(serve(app, validate=False))
    client.send(
        b"POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"4\r\nspam\r\n4\r\neggs\r\n0\r\n\r\n"
    )
    assert json.loads(client.reply().body) == [8, "spameggs"]


def test_a_body_that_was_cut_off_is_a_bad_request(
    app: Flask, serve: Serve, client_of: ClientOf
) -> None:
    entered = threading.Semaphore(0)

    @app.post("/")
    def form() -> ResponseReturnValue:
        entered.release()
        return request.form.to_dict()

    client = client_of(serve(app, body_buffer_size=1))
    client.send(
        b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 99\r\n"
        b"Content-Type: application/x-www-form-urlencoded\r\n\r\na=1"
    )
    take(entered)
    client.half_close()
    assert client.reply().status == 400


def test_a_body_beyond_what_the_application_takes_is_refused_by_it(
    app: Flask, client: Client
) -> None:
    app.config["MAX_CONTENT_LENGTH"] = 100

    @app.post("/")
    def form() -> ResponseReturnValue:
        return request.form.to_dict()

    form_type = "application/x-www-form-urlencoded"
    assert client.post(body=b"a=" + b"x" * 200, Content_Type=form_type).status == 413
    assert client.post(body=b"a=1", Content_Type=form_type).status == 200


def test_a_body_that_no_view_reads_does_not_spoil_the_next_request(
    app: Flask, client: Client
) -> None:
    @app.post("/")
    def ignore() -> ResponseReturnValue:
        return "ignored"

    for _ in range(3):
        assert client.post(body=b"x" * 300_000).body == b"ignored"


# Contexts.


def test_current_app_is_the_application(app: Flask, client: Client) -> None:
    @app.get("/")
    def name() -> ResponseReturnValue:
        return str(current_app == app and flask.has_request_context())

    assert client.get().body == b"True"


def count_in_g() -> ResponseReturnValue:
    g.count = g.get("count", 0) + 1
    return {"count": g.count, "owner": g.get("owner", "nobody")}


def test_g_is_new_for_each_request(app: Flask, serve: Serve, client_of: ClientOf) -> None:
    app.get("/")(count_in_g)
    server = serve(app, threads=1)
    client = client_of(server)
    replies = [client.get(), client.get(), client_of(server).get()]
    assert [json.loads(reply.body)["count"] for reply in replies] == [1, 1, 1]


def test_g_of_whoever_serves_is_not_shared(app: Flask, serve: Serve, client_of: ClientOf) -> None:
    app.get("/")(count_in_g)
    with app.app_context():
        g.owner = "the program"
        client = client_of(serve(app))
        assert json.loads(client.get().body) == {"count": 1, "owner": "nobody"}
        assert g.owner == "the program"
        assert "count" not in g


async def test_g_of_whoever_serves_in_its_own_loop_is_not_shared(app: Flask) -> None:
    app.get("/")(count_in_g)

    def get(address: tuple[str, int] | str) -> Reply:
        with connect(address) as client:
            return client.get(Connection="close")

    with app.app_context():
        g.owner = "the program"
        async with Server(app, port=0) as server:
            reply = await asyncio.to_thread(get, server.addresses[0])
        assert json.loads(reply.body) == {"count": 1, "owner": "nobody"}
        assert "count" not in g


def test_requests_that_run_at_a_time_have_contexts_of_their_own(
    app: Flask, serve: Serve, client_of: ClientOf
) -> None:
    all_inside = threading.Barrier(8)

    @app.get("/<name>")
    def wait(name: str) -> ResponseReturnValue:
        g.name = session["name"] = name
        all_inside.wait(TIMEOUT)
        return [g.name, session["name"], request.path]

    server = serve(app)
    clients = [client_of(server) for _ in range(8)]
    for number, client in enumerate(clients):
        client.request(target=f"/{number}")
    bodies = [json.loads(client.reply().body) for client in clients]
    assert bodies == [[f"{number}", f"{number}", f"/{number}"] for number in range(8)]


class Teardowns:
    """Counts what Flask tears down, and checks that it still has its context then."""

    def __init__(self, app: Flask) -> None:
        self.requests: list[tuple[str, str | None]] = []
        self.contexts: list[str] = []

        @app.teardown_request
        def of_request(error: BaseException | None) -> None:
            self.requests.append((request.path, type(error).__name__ if error else None))

        @app.teardown_appcontext
        def of_context(error: BaseException | None) -> None:
            self.contexts.append(current_app.name)


def hello() -> ResponseReturnValue:
    return "hello"


def fail() -> ResponseReturnValue:
    raise LookupError("spam")


def stream() -> ResponseReturnValue:
    return flask.Response(f"{number}" for number in range(3))


@pytest.mark.parametrize(
    ("view", "error"),
    [(hello, None), (stream, None), (fail, "LookupError")],
    ids=["answered", "streamed", "failed"],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_each_request_is_torn_down_once(
    method: str,
    view: Callable[[], ResponseReturnValue],
    error: str | None,
    app: Flask,
    serve: Serve,
    client_of: ClientOf,
) -> None:
    app.get("/<path>", endpoint="view")(lambda path: view())
    teardowns = Teardowns(app)
    server = serve(app)
    client = client_of(server)
    for path in ("/first", "/second"):
        client.request(method, path)
        client.reply(method)
    server.close()
    assert teardowns.requests == [("/first", error), ("/second", error)]
    assert teardowns.contexts == [app.name] * 2


def test_hooks_run_in_order_around_the_view(app: Flask, client: Client) -> None:
    app.before_request(lambda: g.setdefault("log", []).append("before"))

    @app.get("/")
    def view() -> ResponseReturnValue:
        g.log.append("view")
        return "spam"

    @app.after_request
    def after(response: flask.Response) -> flask.Response:
        response.headers["X-Log"] = " ".join([*g.log, "after"])
        return response

    for _ in range(2):
        assert client.get().header("X-Log") == "before view after"


# Errors.


def test_error_handlers_answer(app: Flask, client: Client) -> None:
    @app.errorhandler(404)
    def missing(error: Exception) -> ResponseReturnValue:
        return f"no {request.path} here", 404

    @app.errorhandler(LookupError)
    def lookup(error: LookupError) -> ResponseReturnValue:
        return f"handled {error}", 418

    app.get("/fail")(fail)
    reply = client.get("/spam")
    assert (reply.status, reply.body) == (404, b"no /spam here")
    reply = client.get("/fail")
    assert (reply.status, reply.body) == (418, b"handled spam")


def test_an_error_nobody_handles_is_500_and_the_connection_goes_on(
    app: Flask, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    app.get("/fail")(fail)
    app.get("/")(hello)
    reply = client.get("/fail")
    assert (reply.status, reply.header("Content-Type")) == (500, "text/html; charset=utf-8")
    assert client.get().body == b"hello"
    # Flask has answered and logged; for the server nothing has failed.
    assert [record.name for record in caplog.records] == [app.name]


def test_an_error_that_flask_passes_on_is_answered_by_the_server(
    app: Flask, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    app.config["PROPAGATE_EXCEPTIONS"] = True
    app.get("/fail")(fail)
    reply = client.get("/fail")
    assert (reply.status, reply.body) == (500, b"500 Internal Server Error\n")
    [record] = [record for record in caplog.records if record.name == "asyncwsgi.server"]
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], LookupError)


def test_flask_writes_its_log_to_the_errors_of_the_request(
    app: Flask, serve: Serve, client_of: ClientOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flask.logging import wsgi_errors_stream

    @app.get("/")
    def complain() -> ResponseReturnValue:
        stream: Any = wsgi_errors_stream  # a proxy, of which type checkers know nothing
        stream.write("spam €\n")
        return "complained"

    stderr = io.StringIO()
    monkeypatch.setattr("sys.stderr", stderr)
    assert client_of(serve(app)).get().body == b"complained"
    assert stderr.getvalue() == "spam €\n"
