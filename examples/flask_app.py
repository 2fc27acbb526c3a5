"""A Flask application that uses what Flask applications use; nothing in it knows the server.

Run it with

    make run

or, with any option of the server,

    asyncwsgi --port 8000 examples/flask_app.py

and open http://127.0.0.1:8000 in a browser, or try

    curl http://127.0.0.1:8000/add/19/23
    curl -N 'http://127.0.0.1:8000/stream?pause=1000'
    curl -F file=@README.md http://127.0.0.1:8000/upload
    curl -i http://127.0.0.1:8000/error
"""

from __future__ import annotations

import hashlib
import os
import secrets
import threading
import time
from collections.abc import Iterator
from typing import Any

from flask import (
    Flask,
    Response,
    g,
    jsonify,
    render_template,
    request,
    session,
    stream_with_context,
)
from jinja2 import DictLoader
from werkzeug.exceptions import BadRequest, NotFound

BLOCK_SIZE = 64 * 1024
LONGEST_PAUSE = 5000
"""Milliseconds between two lines of the stream."""

TEMPLATES = {
    "layout.html": """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<link rel="icon" href="data:,">
<style>
  :root { color-scheme: light dark; --line: light-dark(#d9dde3, #3a4049);
          --soft: light-dark(#5b6470, #a2abb8); --accent: light-dark(#0b63c5, #7db7ff);
          --card: light-dark(#ffffff, #22262c); --page: light-dark(#f5f6f8, #181b1f); }
  * { box-sizing: border-box; }
  body { margin: 0 auto; max-width: 52rem; padding: 3rem 1.25rem; background: var(--page);
         font: 1rem/1.55 system-ui, sans-serif; }
  h1 { margin: 0 0 .5rem; font-size: 1.9rem; letter-spacing: -.02em; }
  p { margin: 0 0 1.5rem; color: var(--soft); }
  a { color: var(--accent); text-decoration: none; font-weight: 600; }
  a:hover { text-decoration: underline; }
  ul { display: grid; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); gap: .9rem;
       margin: 0 0 1.5rem; padding: 0; list-style: none; }
  li, form { padding: 1rem 1.15rem; background: var(--card); border: 1px solid var(--line);
             border-radius: .6rem; }
  li span { display: block; margin-top: .2rem; color: var(--soft); font-size: .9rem; }
  form { display: flex; flex-wrap: wrap; gap: .8rem; align-items: center; }
  form label { flex: 1 1 100%; font-weight: 600; }
  input { flex: 1; min-width: 12rem; font: inherit; }
  button { padding: .45rem 1.1rem; border: 0; border-radius: .4rem; font: inherit;
           font-weight: 600; background: var(--accent); color: var(--page); cursor: pointer; }
  footer { margin-top: 1.5rem; color: var(--soft); font-size: .9rem; }
</style>
</head>
<body>
{% block content %}{% endblock %}
<footer>Request {{ g.number }} of this process, answered for {{ request.remote_addr }}
by {{ request.environ["SERVER_SOFTWARE"] }}.</footer>
</body>
</html>
""",
    "index.html": """\
{% extends "layout.html" %}
{% block content %}
<h1>Flask on asyncwsgi</h1>
<p>An event loop reads the requests, worker threads run these views. Nothing in them had to change
for it.</p>
<ul>
  <li><a href="{{ url_for('hello', name='world') }}">Hello, world</a>
      <span>a route with a variable and a template</span></li>
  <li><a href="{{ url_for('add', first=19, second=23) }}">19 + 23</a>
      <span>a route with converters, answered as JSON</span></li>
  <li><a href="{{ url_for('visits') }}">Your visits</a>
      <span>a counter in the session; reload it</span></li>
  <li><a href="{{ url_for('life') }}">Life of a request</a>
      <span>g, before, after and teardown_request</span></li>
  <li><a href="{{ url_for('stream') }}">A stream</a>
      <span>ten lines, each sent when it is made</span></li>
  <li><a href="{{ url_for('error') }}">An error</a>
      <span>a view that raises: 500, and a traceback in the log</span></li>
  <li><a href="/nowhere">A page that is missing</a>
      <span>the handler for 404</span></li>
</ul>
<form action="{{ url_for('upload') }}" method="post" enctype="multipart/form-data">
  <label for="file">Upload a file and get its SHA-256</label>
  <input type="file" id="file" name="file" required>
  <button>Upload</button>
</form>
{% endblock %}
""",
    "message.html": """\
{% extends "layout.html" %}
{% block content %}
<h1>{{ title }}</h1>
<p>{{ message }}</p>
<a href="{{ url_for('index') }}">Back to the start</a>
{% endblock %}
""",
}

app = Flask(__name__)
app.jinja_loader = DictLoader(TEMPLATES)
# Without a key in the environment, sessions begin anew when the process does.
app.secret_key = os.environ.get("SECRET_KEY") or secrets.token_hex()
app.config["MAX_CONTENT_LENGTH"] = 256 * 1024 * 1024


class RequestsUnderWay:
    """Numbers the requests of this process. Views run in many threads, so it has a lock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begun = 0
        self._open: set[int] = set()

    def __len__(self) -> int:
        return len(self._open)

    def begin(self) -> int:
        """Count a request in; its number."""
        with self._lock:
            self._begun += 1
            self._open.add(self._begun)
            return self._begun

    def end(self, number: int) -> None:
        """Count a request out; more than once is no harm."""
        with self._lock:
            self._open.discard(number)


requests = RequestsUnderWay()


@app.before_request
def begin() -> None:
    g.started = time.perf_counter()
    g.number = requests.begin()


@app.after_request
def show_duration(response: Response) -> Response:
    # Browsers show it in their developer tools, beside the request.
    response.headers["Server-Timing"] = f"view;dur={milliseconds():.2f}"
    return response


@app.teardown_request
def end(_error: BaseException | None) -> None:
    # Flask 3.1 tears a streamed request down twice: when the view returns and after the stream.
    requests.end(g.get("number", 0))


def milliseconds() -> float:
    """How long the current request has run."""
    started: float = g.started
    return (time.perf_counter() - started) * 1000


@app.get("/")
def index() -> str:
    return render_template("index.html", title="Flask on asyncwsgi")


@app.get("/hello/<name>")
def hello(name: str) -> str:
    message = "The name came out of the URL."
    return render_template("message.html", title=f"Hello, {name}!", message=message)


@app.get("/add/<int:first>/<int:second>")
def add(first: int, second: int) -> Response:
    return jsonify(first=first, second=second, sum=first + second)


@app.get("/visits")
def visits() -> str:
    session["visits"] = session.get("visits", 0) + 1
    message = f"You have been here {session['visits']} times; a signed cookie knows."
    return render_template("message.html", title="Your visits", message=message)


@app.get("/life")
def life() -> Response:
    # With no other client about, one: this request, which is not torn down yet.
    return jsonify(number=g.number, under_way=len(requests), thread=threading.current_thread().name)


@app.get("/stream")
def stream() -> Response:
    pause = min(max(request.args.get("pause", 300, type=int), 0), LONGEST_PAUSE)

    def lines() -> Iterator[str]:
        for number in range(1, 11):
            # request and g are still those of the request.
            yield f"line {number:2} for {request.path} after {milliseconds():7.1f} ms\n"
            time.sleep(pause / 1000)

    # Without nosniff, browsers wait for more text before they show any.
    headers = {"X-Content-Type-Options": "nosniff"}
    return Response(stream_with_context(lines()), mimetype="text/plain", headers=headers)


@app.post("/upload")
def upload() -> Response:
    file = request.files.get("file")
    if file is None or not file.filename:
        raise BadRequest("send a file in the form field 'file'")
    digest = hashlib.sha256()
    size = 0
    while block := file.read(BLOCK_SIZE):
        digest.update(block)
        size += len(block)
    return jsonify(name=file.filename, size=size, sha256=digest.hexdigest())


@app.get("/error")
def error() -> Any:
    raise RuntimeError("this view fails on purpose")


@app.errorhandler(404)
def not_found(_error: NotFound) -> tuple[str, int]:
    message = f"There is nothing at {request.path}."
    return render_template("message.html", title="Not found", message=message), 404
