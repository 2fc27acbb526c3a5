"""Writes docs/performance.md and its plots: `python bench/write_report.py [OPTION OF run.py]...`.

Measures first, as `run.py` does, whose options it takes; with ``--json FILE`` it takes the results
that `run.py` wrote there, and measures nothing.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bodies import DATA
from environment import BENCH, ROOT
from page import PLOTS, Run, page
from plots import draw
from results import Sample, case_report
from traffic import CASES

if TYPE_CHECKING:
    from collections.abc import Mapping

DOCS = ROOT / "docs"
PAGE = "performance.md"
RESULTS = DATA / "report.json"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="the results of a run")
    parser.add_argument("--docs", type=Path, default=DOCS, metavar="DIRECTORY", help="where to")
    given, options = parser.parse_known_args()
    if given.json is None:
        # From the root, so that the page tells no path of this machine.
        script, results = (str(path.relative_to(ROOT)) for path in (BENCH / "run.py", RESULTS))
        command = [sys.executable, script, *options, "--json", results]
        if status := subprocess.run(command, cwd=ROOT, check=False).returncode:
            return status
    elif options:
        parser.error(f"nothing is measured with --json: {options[0]} says how")
    write(json.loads((given.json or RESULTS).read_text()), given.docs)
    return 0


def write(results: Mapping[str, Any], docs: Path) -> None:
    """The page and the plots of a run, in place of those that are there."""
    samples = [Sample(**sample) for sample in results["samples"]]
    measured = {sample.case for sample in samples}
    reports = [case_report(case, samples) for case in CASES if case.name in measured]
    plots = draw(reports)
    folder = docs / PLOTS
    folder.mkdir(parents=True, exist_ok=True)
    for name, plot in plots.items():
        (folder / f"{name}.svg").write_text(plot, encoding="utf-8")
    run = Run(**{name: results[name] for name in Run.__dataclass_fields__})
    (docs / PAGE).write_text(page(run, reports, list(plots)), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
