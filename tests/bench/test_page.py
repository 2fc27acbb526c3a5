"""The page and the plots of a run."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from results import IDLE, Sample
from write_report import write

from tests.bench.samples import failed, rounds
from tests.docs.blocks import blocks_of

CASE = "flask-repeat-64"
SAMPLES = [
    *rounds(CASE, "asyncwsgi", 6000, 6200, 6400),
    *rounds(CASE, "waitress", 3000, 3100, 2000),
    *rounds(CASE, "granian", 7000, 7000, 7000),
    failed(CASE, "gunicorn", "did not start: no output"),
    *(
        sample
        for connections, rate in ((1, 3000), (64, 20_000), (1000, 18_000))
        for server in ("asyncwsgi", "waitress")
        for sample in rounds(f"plain-repeat-{connections}", server, rate)
    ),
    Sample("asyncwsgi", "idle-10000", 1, {IDLE: 5.4}, {"100": 40.0, "10000": 94.0}),
]


def results(samples: list[Sample]) -> dict[str, Any]:
    return {
        "command": "python bench/run.py",
        "date": "2030-01-02",
        "machine": {"processor": "A Processor", "cores": "2"},
        "packages": {"asyncwsgi": "1.0", "waitress": "3.0"},
        "servers": ["asyncwsgi", "waitress", "gunicorn", "granian"],
        "rounds": 3,
        "seconds": 2,
        "samples": [asdict(sample) for sample in samples],
    }


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    write(results(SAMPLES), tmp_path)
    return tmp_path


@pytest.fixture
def text(docs: Path) -> str:
    return docs.joinpath("performance.md").read_text()


def row_of(text: str, title: str, section: str) -> list[str]:
    """The cells of the row with that title, in the section with that heading."""
    rest = text.partition(f"## {section}\n")[2]
    line, *_ = re.findall(rf"^\| {title} \|.*$", rest.partition("\n## ")[0], re.MULTILINE)
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_row_that_a_peer_wins_is_shown_as_any_other(text: str) -> None:
    cells = row_of(text, "Flask view, headers repeat", "Requests per second")
    assert cells[1:] == [
        "64", "6,200", "3,000", "failed !", "**7,000**",
        "2.00x (2.00..3.20) waitress", "0.89x (0.86..0.91)",
    ]  # fmt: skip


def test_a_server_that_failed_is_listed_with_the_reason(text: str) -> None:
    assert row_of(text, "Flask view, headers repeat", "Errors")[2:] == [
        "gunicorn",
        "did not start: no output",
    ]


def test_a_target_is_shown_with_what_was_wanted_and_whether_it_was_reached(text: str) -> None:
    title = "10,000 idle kept connections, memory of each"
    assert row_of(text, title, "Targets")[2:] == [
        "at most 6 KiB", "5.40 KiB (5.40..5.40)", "reached",
    ]  # fmt: skip


def test_the_machine_and_the_versions_are_named(text: str) -> None:
    assert row_of(text, "processor", "Machine, versions, commands") == ["processor", "A Processor"]
    assert row_of(text, "waitress", "Machine, versions, commands") == ["waitress", "3.0"]


def test_every_plot_that_the_page_shows_is_a_picture(text: str, docs: Path) -> None:
    names = re.findall(r"!\[[^]]+\]\((plots/\w+\.svg)\)", text)
    assert len(names) == 4
    for name in names:
        root = ElementTree.parse(docs / name).getroot()
        assert root.tag == "{http://www.w3.org/2000/svg}svg"


def test_no_plot_is_shown_of_what_was_not_measured(tmp_path: Path) -> None:
    write(results(rounds(CASE, "asyncwsgi", 6000)), tmp_path)
    text = tmp_path.joinpath("performance.md").read_text()
    assert re.findall(r"\(plots/(\w+)\.svg\)", text) == ["requests", "latency"]
    assert "None: every answer" in text


def test_its_code_blocks_are_such_as_the_tests_of_the_docs_run(docs: Path, text: str) -> None:
    [block] = blocks_of(str(docs / "performance.md"))
    assert text.count("```") == 2
    assert block.commands == [["make", "bench-report"]]
