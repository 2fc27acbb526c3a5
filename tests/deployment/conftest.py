"""A directory of which nginx's workers can make use."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def shared() -> Iterator[Path]:
    """One that other users may enter, as those of pytest may not."""
    with tempfile.TemporaryDirectory(prefix="asyncwsgi-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        yield directory
