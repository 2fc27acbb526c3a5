"""Where the tests of served applications serve."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(params=["TCP", "Unix socket"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """Options of a server on each kind of listener."""
    return {} if request.param == "TCP" else {"bind": f"unix:{tmp_path / 'socket'}"}
