"""The examples that are asyncio programs, each in a process of its own."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.client import Client
from tests.examples.programs import Program, run_directly

needs_unix_sockets = pytest.mark.skipif(
    sys.platform == "win32", reason="asyncio has no Unix sockets on Windows"
)


def embedded() -> Program:
    return run_directly("embed_in_asyncio.py", "--port", "0", "--interval", "0.01")


def several(admin: str = "127.0.0.1:0") -> Program:
    return run_directly("several_servers.py", "--public", "127.0.0.1:0", "--admin", admin)


def test_embedded_views_see_the_program_go_on() -> None:
    with embedded() as program, program.connect() as client:
        first = json.loads(client.get("/next").body)["beats"]
        second = json.loads(client.get("/next").body)["beats"]
        assert json.loads(client.get("/").body)["beats"] >= second > first


def test_ctrl_c_ends_the_embedding_program() -> None:
    with embedded() as program:
        with program.connect() as client:
            assert client.get("/").status == 200
        assert program.interrupt() == 0
        assert "Traceback" not in program.log


def test_ctrl_c_ends_the_embedding_program_beside_an_idle_client() -> None:
    with embedded() as program, program.connect() as client:
        assert client.get("/").status == 200
        assert program.interrupt() == 0
        assert client.is_closed()


def test_two_applications_work_on_one_thing() -> None:
    with several() as program, program.connect() as admin, program.connect() as public:
        assert public.get("/").body == b"Welcome, visitor 1!\n"
        assert json.loads(admin.get("/").body) == {"visitors": 1, "is_open": True}
        admin.post("/maintenance/on")
        assert public.get("/").status == 503
        admin.post("/maintenance/off")
        assert public.get("/").body == b"Welcome, visitor 2!\n"


def bot() -> Program:
    return run_directly("chat_bot.py", "--port", "0")


def say(client: Client, text: str) -> int:
    reply = client.post("/say", text.encode(), Content_Type="application/x-www-form-urlencoded")
    number: int = json.loads(reply.body)["number"]
    return number


def test_a_view_sends_through_the_loop_of_its_bot() -> None:
    with bot() as program, program.connect() as client:
        assert [say(client, f"text={text}") for text in ("one", "two")] == [1, 2]
        assert json.loads(client.get("/said").body) == ["one", "two"]


def test_ctrl_c_ends_the_bot() -> None:
    with bot() as program:
        with program.connect() as client:
            assert say(client, "text=bye") == 1
        assert program.interrupt() == 0
        assert "Traceback" not in program.log


@needs_unix_sockets
def test_the_administration_listens_on_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    with several(f"unix:{path}") as program, program.connect() as admin:
        assert admin.get("/").status == 200
        assert program.interrupt() == 0
        assert not path.exists()


def test_a_view_ends_the_program() -> None:
    with several() as program, program.connect() as admin, program.connect():
        assert admin.post("/shutdown").body == b"Going.\n"
        assert program.wait() == 0
        assert "Traceback" not in program.log


def test_ctrl_c_ends_both_servers() -> None:
    with several() as program:
        with program.connect() as admin, program.connect() as public:
            assert (admin.get("/").status, public.get("/").status) == (200, 200)
        assert program.interrupt() == 0
        assert "Traceback" not in program.log
