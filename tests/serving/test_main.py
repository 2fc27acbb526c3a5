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


@pytest.mark.parametrize("program", ["flask --app web run --port 0", "web 0", "web.py 0"])
def test_a_program_keeps_connections(start: Any, tmp_path: Path, program: str) -> None:
    (tmp_path / "web.py").write_text(APP)
    process = start("-m", "asyncwsgi.serving", *program.split())
    url = process.read_until(" * Running on ").rpartition(" ")[2]
    with connect(address_of(url)) as client:
        assert [client.get().status for _ in range(2)] == [404, 404]


def test_a_file_imports_from_its_own_directory(start: Any, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "beside.py").touch()
    (tmp_path / "elsewhere" / "program").write_text("import beside, sys; print(__name__, sys.argv)")
    process = start("-m", "asyncwsgi.serving", "elsewhere/program", "-v")
    assert process.wait() == 0
    assert process.output == "__main__ ['elsewhere/program', '-v']\n"


@pytest.mark.parametrize(
    ("name", "refusal"),
    [
        ("nonsense", "there is no program 'nonsense': expected"),
        ("nonsense.py", "there is no file 'nonsense.py': expected"),
    ],
)
def test_a_name_of_nothing_is_refused(start: Any, name: str, refusal: str) -> None:
    process = start("-m", "asyncwsgi.serving", name)
    assert process.wait() == 1
    assert process.log.startswith(refusal)
