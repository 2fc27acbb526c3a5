"""The application of the reader of docs/testing.md."""

from __future__ import annotations

from flask import Flask


def create_app() -> Flask:
    app = Flask(__name__)

    @app.get("/")
    @app.get("/search")
    def search() -> str:
        return "Hello!"

    @app.get("/orders")
    def orders() -> list[dict[str, int]]:
        return [{"id": 7}]

    @app.post("/orders")
    def order() -> tuple[dict[str, int], int]:
        return {"id": 7}, 201

    return app
