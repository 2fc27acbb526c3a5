"""What is known of a file that somebody may be writing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from asyncwsgi.reloading.versions import LARGEST_SIZE, Version, read, stamp


def version(path: Path) -> Version:
    current = stamp(str(path))
    assert current is not None
    return read(str(path), current)


def test_contents_decide_where_they_are_known(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text("a = 1")
    before = version(path)
    assert not before.differs(before)
    os.utime(path, (0, 0))
    assert not version(path).differs(before)
    path.write_text("a = 2")
    assert version(path).differs(before)


@pytest.mark.parametrize("contents", ["a = 2", "a = 22"])
def test_contents_that_are_newer_than_the_stamp_are_not_known(
    tmp_path: Path, contents: str
) -> None:
    path = tmp_path / "module.py"
    path.write_text("a = 1")
    os.utime(path, (0, 0))
    before = stamp(str(path))
    assert before is not None
    path.write_text(contents)
    found = read(str(path), before)
    assert found == Version(before, None)
    assert version(path).differs(found)


def test_of_what_is_no_file_or_gone_or_large_the_stamp_alone_is_known(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").touch()
    os.truncate(tmp_path / "large", LARGEST_SIZE + 1)
    for name in ("pipe", "large"):
        assert version(tmp_path / name).digest is None
    assert read(str(tmp_path / "gone"), (0, 0, 0)).digest is None
