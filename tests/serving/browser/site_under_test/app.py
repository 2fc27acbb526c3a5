"""A page with many assets, a view that fails, and a count of who asked for all of it."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

from flask import Flask, Response, jsonify, render_template_string, request, url_for

STYLES = SCRIPTS = 13
IMAGES = 14

PAGE = """\
<!doctype html>
<html lang="en">
<head>
<title>Assets</title>
<link rel="icon" href="data:,">
{% for number in range(styles) -%}
<link rel="stylesheet" href="{{ url_for('style', number=number) }}">
{% endfor %}
<script>var loaded = 0;</script>
{% for number in range(scripts) -%}
<script src="{{ url_for('script', number=number) }}"></script>
{% endfor %}
</head>
<body>
<p id="answer">{{ answer }}</p>
{% for number in range(images) -%}
<img alt="" src="{{ url_for('image', number=number) }}">
{% endfor %}
</body>
</html>
"""

app = Flask(__name__)
lock = threading.Lock()
peers: list[int] = []
"""The port that each request came from: as many as there were connections, if no one left."""


@app.before_request
def count() -> None:
    with lock:
        peers.append(int(request.environ["REMOTE_PORT"]))


@app.after_request
def never_cached(response: Response) -> Response:
    response.cache_control.no_store = True
    return response


@app.get("/")
def page() -> str:
    return render_template_string(
        PAGE, answer=answer(), styles=STYLES, scripts=SCRIPTS, images=IMAGES
    )


def answer() -> str:
    return "the first answer"


@app.get("/answer")
def plain_answer() -> Response:
    return Response(answer(), mimetype="text/plain")


@app.get("/pid")
def pid() -> Response:
    return jsonify(os.getpid())


@app.get("/held/<name>")
def held(name: str) -> Response:
    """Answers when whoever writes to the named pipe closes it."""
    with Path(name).open() as pipe:
        sys.stderr.write("held\n")
        pipe.read()
    return Response(answer(), mimetype="text/plain")


@app.get("/style-<int:number>.css")
def style(number: int) -> Response:
    return Response(f"img {{ --style-{number}: {number}; }}", mimetype="text/css")


@app.get("/script-<int:number>.js")
def script(number: int) -> Response:
    return Response("loaded += 1;", mimetype="text/javascript")


@app.get("/image-<int:number>.svg")
def image(number: int) -> Response:
    picture = '<svg xmlns="http://www.w3.org/2000/svg" width="10" height="10"></svg>'
    return Response(picture, mimetype="image/svg+xml")


@app.get("/peers")
def seen() -> Response:
    with lock:
        return jsonify(requests=len(peers), connections=len(set(peers)))


@app.get("/fails")
def fails() -> str:
    secret = 6 * 7
    raise RuntimeError(f"this view fails, whatever {url_for('page')} does and {secret} is")
