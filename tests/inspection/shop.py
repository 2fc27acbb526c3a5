"""A shop for bicycles: what the tests of the inspector, and its pictures in docs/, look at."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

from flask import Flask, Response, jsonify, redirect, request
from sqlalchemy import create_engine, text
from sqlalchemy.pool import StaticPool

from asyncwsgi.event_stream import EventStream

app = Flask(__name__)
engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
STOCK = {1: 4, 2: 0}
SLOW = """
WITH RECURSIVE sale(day) AS (SELECT 1 UNION ALL SELECT day + 1 FROM sale WHERE day < :days)
SELECT count(*), sum(day % 17) FROM sale
"""
is_released = threading.Event()

with engine.begin() as connection:
    connection.execute(text("CREATE TABLE bikes (id INTEGER PRIMARY KEY, name TEXT, price REAL)"))
    rows = [{"name": "Touring", "price": 1290.0}, {"name": "Gravel", "price": 1850.0}]
    connection.execute(text("INSERT INTO bikes (name, price) VALUES (:name, :price)"), rows)


@app.get("/")
def index() -> str:
    return "<!doctype html><title>Bikes</title><h1>Bikes</h1>"


@app.get("/api/bikes")
def bikes() -> Response:
    with engine.connect() as connection:
        found = connection.execute(text("SELECT id, name, price FROM bikes ORDER BY price"))
        return jsonify([dict(row) for row in found.mappings()])


@app.get("/api/sales")
def sales() -> Response:
    app.logger.info("summing up %s days", request.args["days"])
    with engine.connect() as connection:
        names = connection.execute(text("SELECT name FROM bikes")).scalars().all()
        [row] = connection.execute(text(SLOW), {"days": int(request.args["days"])})
    app.logger.warning("no index helps with this one")
    return jsonify(bikes=names, days=row[0], sold=row[1])


@app.post("/login")
def login() -> Any:
    return redirect("/")


@app.post("/checkout")
def checkout() -> Response:
    order = request.get_json()
    return jsonify(left=reserve(order["bike"], order["count"]))


def reserve(bike: int, count: int) -> int:
    left = STOCK[bike] - count
    STOCK[bike] = left
    return left


@app.post("/photos")
def photos() -> tuple[Response, int]:
    file = request.files["photo"]
    return Response(file.read(), mimetype=file.mimetype), 201


@app.get("/prices")
def prices() -> EventStream:
    async def changes(_last_event_id: str | None) -> AsyncIterator[dict[str, Any]]:
        for number in range(1, 4):
            yield {"bike": number, "price": 1290 + 10 * number}
        await asyncio.Event().wait()

    return EventStream(changes)


@app.get("/report")
def report() -> str:
    is_released.wait()
    return "done"


@app.get("/release")
def release() -> str:
    is_released.set()
    return ""
