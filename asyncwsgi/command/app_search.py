"""Finds the application if the command line names none.

Nothing is imported: that is for the processes that serve. What is there decides, and whether it has
an application they will say.
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from asyncwsgi.app_loading import APPLICATION_NAMES, FACTORY_NAMES
from asyncwsgi.command.settings_file import FILE
from asyncwsgi.errors import AppImportError

MODULES = ("wsgi", "app")
DJANGO = "DJANGO_SETTINGS_MODULE"

_NAMES = "|".join((*APPLICATION_NAMES, *FACTORY_NAMES))
_DEFINITION = re.compile(rf"^(?:def )?({_NAMES})\b *[=:(]", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Found:
    """An application, and why it is this one."""

    app: str
    """Its name, as the command line takes it."""
    reason: str = ""
    """Why it is this one, if it was not named."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """What it needs in the environment, unless that is set."""


def find_application(
    directory: Path, named: str | None, environ: Mapping[str, str] = os.environ
) -> Found:
    """The application that is meant by naming none.

    Args:
        directory: where its modules are.
        named: what the settings of the project say.
        environ: the environment variables that it will have.

    Raises:
        AppImportError: there is none.
    """
    if named is not None:
        return Found(named, f"{FILE} names it")
    if flask_app := environ.get("FLASK_APP"):
        return Found(flask_app, "FLASK_APP names it")
    for module in MODULES:
        if place := _place_of(directory, module):
            return Found(place, "it is there")
    return _find_project(directory, environ) or _fail(directory)


def _place_of(directory: Path, module: str) -> str | None:
    """The module in `directory`, as a path: a package is preferred, as by Python."""
    for place, end in ((directory / module / "__init__.py", "/"), (directory / f"{module}.py", "")):
        if _is_file(place):
            path = place.parent if end else place
            return f"{_relative(path)}{end and os.sep}"
    return None


# Django's settings say what is served; manage.py, which are its settings.


def _find_project(directory: Path, environ: Mapping[str, str]) -> Found | None:
    manage = directory / "manage.py"
    if not _is_file(manage):
        return None
    settings = environ.get(DJANGO) or _settings_named_in(manage)
    if not settings:
        return None
    reason = f"{settings}, which {DJANGO if environ.get(DJANGO) else _relative(manage)} names"
    variables = {DJANGO: settings}
    for path in _sources_of(directory, settings):
        for name, value in _assignments(path):
            if name == "WSGI_APPLICATION":
                module, _, attribute = value.rpartition(".")
                return Found(f"{module}:{attribute}", f"it is the {name} of {reason}", variables)
    project = settings.partition(".")[0]
    if any(_sources_of(directory, f"{project}.wsgi")):
        return Found(f"{project}.wsgi", f"it goes with {reason}", variables)
    return None


def _settings_named_in(manage: Path) -> str | None:
    """Its ``os.environ.setdefault("DJANGO_SETTINGS_MODULE", ...)``, or assignment."""
    for node in ast.walk(_parse(manage)):
        match node:
            case ast.Call(args=[ast.Constant(value=name), ast.Constant(value=str(settings))]):
                if name == DJANGO:
                    return settings
            case ast.Assign(
                targets=[ast.Subscript(slice=ast.Constant(value=name))],
                value=ast.Constant(value=str(settings)),
            ):
                if name == DJANGO:
                    return settings
    return None


def _assignments(path: Path) -> Iterator[tuple[str, str]]:
    """The module-level names that are given a string."""
    for node in _parse(path).body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=str(value))):
                yield name, value


def _sources_of(directory: Path, module: str) -> Iterator[Path]:
    base = directory.joinpath(*module.split("."))
    return filter(_is_file, (base / "__init__.py", base.with_name(f"{base.name}.py")))


def _parse(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return ast.Module(body=[], type_ignores=[])  # whoever imports it will say so


# Nothing was found.


def _fail(directory: Path) -> Found:
    names = ", ".join(f"{module}.py" for module in MODULES)
    raise AppImportError(
        f"no application is named, and none was found; looked for 'app' in [tool.asyncwsgi] of "
        f"{FILE}, for FLASK_APP, and in {directory} for {names} and a manage.py with settings; "
        f"name it, as in: asyncwsgi {_example(directory)}"
    )


def _example(directory: Path) -> str:
    for path in sorted(directory.glob("*.py")):
        try:
            found = _DEFINITION.search(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError):
            continue
        if found:
            return f"{_relative(path)}:{found[1]}"
    return "hello.py:app, where hello.py has app = Flask(__name__)"


def _relative(path: Path) -> str:
    """As it is written on the command line."""
    return os.path.relpath(path)


def _is_file(path: Path) -> bool:
    return os.path.isfile(path)  # noqa: PTH113  Path.is_file() raises PermissionError
