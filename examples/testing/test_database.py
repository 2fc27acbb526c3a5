"""A database that test and views share, in one transaction that is rolled back after each test.

The server runs in the process of the test, so a view can be given the very connection of the test:
it sees rows that the test has not committed, the test sees what the view has committed, and nothing
of either is there in the next test. A commit of a view ends a savepoint only.

Runs on SQLite in memory and, where it is installed, on a PostgreSQL of its own.

    python -m pytest examples/testing/test_database.py

One connection serves one thread at a time. Hence `threads=1`: views run one after the other, and
the test looks at the database while it waits for no response.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import flask
import httpx
import pytest
from sqlalchemy import Connection, Engine, StaticPool, create_engine, event, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from asyncwsgi.testing import LiveServer

# The server asks for `app` when a test begins. Behind it is a fixture with parameters, and those
# pytest has to know before.
pytestmark = pytest.mark.usefixtures("app")

# The application: whatever makes its sessions can be replaced.


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "users"
    name: Mapped[str] = mapped_column(primary_key=True)


def make_app(new_session: Callable[[], Session]) -> flask.Flask:
    app = flask.Flask("users")

    @app.get("/users")
    def users() -> list[str]:
        with new_session() as session:
            return list(session.scalars(select(User.name).order_by(User.name)))

    @app.post("/users/<name>")
    def add(name: str) -> tuple[str, int]:
        with new_session() as session:
            session.add(User(name=name))
            try:
                session.commit()
            except IntegrityError:
                return "there is one already", 409
        return "", 201

    return app


# The fixtures: usually in conftest.py.


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """A database with its tables, for all tests."""
    with sqlite() if request.param == "sqlite" else postgresql() as engine:
        Base.metadata.create_all(engine)
        yield engine
        engine.dispose()


@pytest.fixture
def new_session(engine: Engine) -> Iterator[Callable[[], Session]]:
    """Makes sessions, for the test and for the views, within one transaction."""
    with engine.connect() as connection:
        transaction = connection.begin()
        yield lambda: Session(connection, join_transaction_mode="create_savepoint")
        transaction.rollback()


@pytest.fixture
def app(new_session: Callable[[], Session]) -> flask.Flask:
    return make_app(new_session)


@pytest.fixture(scope="session")
def asyncwsgi_options() -> dict[str, Any]:
    return {"threads": 1}


# The tests.


def test_the_test_sees_what_a_view_has_committed(
    asyncwsgi_server: LiveServer, new_session: Callable[[], Session]
) -> None:
    assert httpx.post(asyncwsgi_server.url_for("/users/ada")).status_code == 201
    with new_session() as session:
        assert session.get(User, "ada") is not None


def test_a_view_sees_what_the_test_has_not_committed_for_good(
    asyncwsgi_server: LiveServer, new_session: Callable[[], Session]
) -> None:
    with new_session() as session:
        session.add_all([User(name="grace"), User(name="barbara")])
        session.commit()
    # And nobody else: Ada was added in another test.
    assert httpx.get(asyncwsgi_server.url_for("/users")).json() == ["barbara", "grace"]


def test_a_view_that_fails_takes_back_its_own_part_only(asyncwsgi_server: LiveServer) -> None:
    statuses = [
        httpx.post(asyncwsgi_server.url_for(f"/users/{name}")).status_code
        for name in ("ada", "ada", "grace")
    ]
    assert statuses == [201, 409, 201]
    assert httpx.get(asyncwsgi_server.url_for("/users")).json() == ["ada", "grace"]


# The databases.


@contextmanager
def sqlite() -> Iterator[Engine]:
    """In memory: it is where its one connection is, which the threads of the server use, too."""
    engine = create_engine(
        "sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False}
    )

    # Python's sqlite3 begins transactions at a time of its own, which is too late for savepoints:
    # https://docs.sqlalchemy.org/en/20/dialects/sqlite.html#sqlite-transactions
    @event.listens_for(engine, "connect")
    def leave_transactions_alone(connection: Any, _: object) -> None:
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN")

    yield engine


@contextmanager
def postgresql() -> Iterator[Engine]:
    """A cluster of its own, on a Unix socket, thrown away afterwards."""
    folders = os.pathsep.join(map(str, Path("/usr/lib/postgresql").glob("*/bin")))  # as in Debian
    pg_ctl = shutil.which("pg_ctl") or shutil.which("pg_ctl", path=folders)
    if pg_ctl is None:
        pytest.skip("PostgreSQL is not installed: there is no pg_ctl")
    # PostgreSQL refuses to run as root, as whom tests in a container run.
    is_root = hasattr(os, "getuid") and os.getuid() == 0
    user: dict[str, Any] = {"user": "postgres", "group": "postgres"} if is_root else {}
    with tempfile.TemporaryDirectory() as folder:
        if is_root:
            shutil.chown(folder, **user)
        command = [pg_ctl, "--pgdata", f"{folder}/data", "--silent"]

        def run(*arguments: str) -> None:
            # Not to a pipe: the server would keep it open for as long as it runs.
            subprocess.run(
                [*command, *arguments], check=True, cwd=folder, stdout=subprocess.DEVNULL, **user
            )

        run("initdb", "--options", "--username=tester --auth=trust --encoding=UTF8 --no-sync")
        settings = f"-c listen_addresses= -c unix_socket_directories={folder} -c fsync=off"
        run("start", "--wait", "--log", f"{folder}/log", "--options", settings)
        try:
            yield create_engine(f"postgresql+psycopg://tester@/postgres?host={folder}")
        finally:
            run("stop", "--mode", "immediate")
