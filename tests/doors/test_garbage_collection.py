"""What the garbage collector looks at in the processes of the command."""

from __future__ import annotations

import pytest

from tests.client import connect
from tests.doors.conftest import Start, Write
from tests.doors.processes import address_of

APP = """
import gc

kept = [[] for _ in range(100_000)]


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(gc.get_freeze_count() > len(kept)).encode()]
"""


@pytest.mark.parametrize(
    ("options", "is_passed_over"),
    [
        pytest.param([], True, id="one process"),
        pytest.param(["--workers", "1"], True, id="workers"),
        pytest.param(["--workers", "1", "--preload"], True, id="forked workers"),
        # A collection more for each change would be longer to wait.
        pytest.param(["--reload"], False, id="reload"),
    ],
)
def test_it_passes_over_what_was_imported(
    start: Start, write: Write, options: list[str], is_passed_over: bool
) -> None:
    write("web.py", APP)
    process = start("-m", "asyncwsgi", "--port", "0", *options, "web:app")
    with connect(address_of(process.urls()[0])) as client:
        assert client.get().body == str(is_passed_over).encode()
