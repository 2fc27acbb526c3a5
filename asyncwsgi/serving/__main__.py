"""``python -m asyncwsgi.serving PROGRAM ...`` runs a program with `install` done before.

A program is a file, as for ``python``; or what is installed as a command (``moto_server``); or else
a module, as for ``python -m``.
"""

from __future__ import annotations

import importlib.metadata
import os
import runpy
import sys
from pathlib import Path
from typing import Any

from asyncwsgi.serving.installation import install
from asyncwsgi.standard_streams import hold_standard_descriptors


def main() -> Any:
    """Run the program that the command line names, which sees its own command line."""
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.exit("usage: python -m asyncwsgi.serving PROGRAM [ARGUMENTS]")
    hold_standard_descriptors()
    name = sys.argv[1]
    sys.argv = sys.argv[1:]
    install()
    if name.endswith(".py") or os.sep in name:
        return _run_file(Path(name))
    for command in importlib.metadata.entry_points(group="console_scripts", name=name):
        return command.load()()
    try:
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    except ImportError as error:
        if error.name is not None or f"No module named {name}" not in str(error):
            raise
        sys.exit(
            f"there is no program {name!r}: expected a Python file, or the name of an installed "
            "command, such as moto_server, or of a module, as for 'python -m'"
        )


def _run_file(path: Path) -> None:
    if not path.is_file():
        sys.exit(f"there is no file {str(path)!r}: expected a Python file, such as app.py")
    sys.path[0] = str(path.resolve().parent)  # the current directory until now
    runpy.run_path(str(path), run_name="__main__")


if __name__ == "__main__":
    sys.exit(main())
