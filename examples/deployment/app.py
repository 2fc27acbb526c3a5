"""The application that the files of this directory deploy."""

from __future__ import annotations

from flask import Flask

app = Flask(__name__)


@app.get("/")
def index() -> str:
    return "Hello from a container!\n"
