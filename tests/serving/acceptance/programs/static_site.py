"""An application with files beside it, as Flask finds them in ``static``."""

from __future__ import annotations

from flask import Flask, url_for

app = Flask(__name__)


@app.get("/")
def index() -> str:
    return url_for("static", filename="style.css")
