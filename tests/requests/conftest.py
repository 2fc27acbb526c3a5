"""What holds for all tests of this room."""

from __future__ import annotations

import pytest

from tests.client import TIMEOUT


@pytest.fixture(autouse=True)
def _threads_may_end_slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop waits for threads as long as a busy machine may need to let them end."""
    monkeypatch.setattr("asyncwsgi.requests.worker_threads.END_TIMEOUT", TIMEOUT)
