"""``python -m asyncwsgi.serving PROGRAM``: unchanged programs on this server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.client import connect
from tests.doors.conftest import start as start
from tests.doors.processes import address_of

APP = """
import sys
from flask import Flask
app = Flask(__name__)
if __name__ == "__main__":
    app.run(port=int(sys.argv[1]))
"""


@pytest.mark.parametrize("program", ["flask --app web run --port 0", "web 0"])
def test_a_program_keeps_connections(start: Any, tmp_path: Path, program: str) -> None:
    (tmp_path / "web.py").write_text(APP)
    process = start("-m", "asyncwsgi.serving", *program.split())
    url = process.read_until(" * Running on ").rpartition(" ")[2]
    with connect(address_of(url)) as client:
        assert [client.get().status for _ in range(2)] == [404, 404]


def test_a_name_of_nothing_is_refused(start: Any) -> None:
    process = start("-m", "asyncwsgi.serving", "nonsense")
    assert process.wait() == 1
    assert process.log.startswith("there is no program 'nonsense': expected")
