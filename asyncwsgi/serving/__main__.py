"""``python -m asyncwsgi.serving PROGRAM ...`` runs a program with `install` done before.

A program is what is installed as a command (``moto_server``), or else a module, as for
``python -m``.
"""

from __future__ import annotations

import importlib.metadata
import runpy
import sys
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
    for command in importlib.metadata.entry_points(group="console_scripts", name=name):
        return command.load()()
    try:
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    except ImportError as error:
        if error.name is not None or f"No module named {name}" not in str(error):
            raise
        sys.exit(
            f"there is no program {name!r}: expected the name of an installed command, such as "
            "moto_server, or of a module, as for 'python -m'"
        )
    return None


if __name__ == "__main__":
    sys.exit(main())
