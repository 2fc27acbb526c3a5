"""The bodies that are sent and served, for the applications and for what checks their answers."""

from __future__ import annotations

from pathlib import Path

DATA = Path(__file__).resolve().parent / ".data"
"""What a run makes once and later runs find."""

KIB = 1024
MIB = 1024 * KIB

GREETING = b"Hello, world!"
BLOCK = bytes(range(256)) * 256
"""64 KiB."""
STREAM_BLOCKS = 256
"""16 MiB of them."""
FILE = DATA / "64-mib"
FILE_BLOCKS = 1024
UPLOAD_SIZE = 8 * MIB
UPLOAD_PIECE = 64 * KIB
WAIT = 0.05
"""Seconds for which the view that waits does so."""


def make_file() -> None:
    """The file that is served, unless it is there."""
    DATA.mkdir(exist_ok=True)
    if not FILE.exists() or FILE.stat().st_size != FILE_BLOCKS * len(BLOCK):
        with FILE.open("wb") as file:
            file.writelines([BLOCK] * FILE_BLOCKS)
