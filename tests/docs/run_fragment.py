"""Runs a fragment of a page, as ``python run_fragment.py FILE [--serves]`` in the page's folder.

It begins with the names of the module ``given``; at its top level it may await. Behind it, whatever
NAME it has defined goes to ``check_NAME`` of that module, if there is one.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import logging
import sys
from pathlib import Path

import given


def main(file: str, *options: str) -> None:
    """Run the fragment in `file`."""
    if options:
        # Servers that are guests of a program say nothing of themselves: this tells the test.
        logging.basicConfig(level=logging.INFO)
    names = dict(vars(given))
    code = compile(Path(file).read_text(), file, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    running = eval(code, names)
    try:
        if inspect.isawaitable(running):
            asyncio.run(_awaited(running))
    except KeyboardInterrupt:  # the end of one that serves
        return
    for name, value in names.items():
        check = names.get(f"check_{name}")
        if check is not None and value is not vars(given).get(name):
            check(value)


async def _awaited(running: object) -> None:
    assert inspect.isawaitable(running)
    await running


if __name__ == "__main__":
    main(*sys.argv[1:])
