"""The floors of the house: what may import what, and who may touch the loop from a thread."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import asyncwsgi

ROOT = Path(asyncwsgi.__file__).parent
PACKAGE = "asyncwsgi"

# From the ground up. A package stands for all of its modules.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("version", "errors", "config", "access_log"),
    ("http1", "wsgi"),
    ("coroutines",),
    ("requests",),
    ("frontends",),
    ("server",),
    (
        "__init__",
        "__main__",
        "cli",
        "event_stream",
        "running",
        "signals",
        "standard_streams",
        "app_loading",
        "log_setup",
        "from_thread",
        "reloading",
        "serving",
        "testing",
        "flask",
    ),
)
FLOOR_OF = {name: number for number, names in enumerate(FLOORS) for name in names}

PURE = ("http1", "wsgi")
TYPING_TESTS = ("TYPE_CHECKING", "typing.TYPE_CHECKING")
IMPURE_MODULES = {"asyncio", "threading", "socket", "uvloop", "selectors", "_thread"}


@dataclass
class Module:
    """One source file and the modules of this package that it imports."""

    name: str
    """Dotted, without the package: ``server.tls``; a package's own file is ``server``."""
    path: Path
    tree: ast.Module
    runtime: set[str] = field(default_factory=set)
    typing_only: set[str] = field(default_factory=set)
    foreign: set[str] = field(default_factory=set)
    """Top-level names of the other packages it imports."""

    @property
    def place(self) -> str:
        """What `FLOORS` knows it by."""
        return self.name.partition(".")[0]

    @property
    def imports(self) -> set[str]:
        return self.runtime | self.typing_only


def read_modules(root: Path) -> dict[str, Module]:
    """Every module under `root` by its name, with its imports resolved."""
    modules = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        if parts[-1] == "__init__" and len(parts) > 1:
            parts = parts[:-1]
        name = ".".join(parts)
        modules[name] = Module(name, path, ast.parse(path.read_text(encoding="utf-8"), str(path)))
    for module in modules.values():
        resolve_imports(module, set(modules))
    return modules


def resolve_imports(module: Module, known: set[str]) -> None:
    """Sort the imports of `module`, at every depth, by what they are for."""
    typing_nodes = {
        id(inner)
        for node in ast.walk(module.tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) in TYPING_TESTS
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(module.tree):
        for target in imported_names(node, module):
            if target != PACKAGE and not target.startswith(f"{PACKAGE}."):
                module.foreign.add(target.partition(".")[0])
                continue
            kind = module.typing_only if id(node) in typing_nodes else module.runtime
            kind.add(nearest_module(target, known))
    module.runtime.discard(module.name)


def imported_names(node: ast.AST, module: Module) -> Iterator[str]:
    """The absolute dotted names that an import statement mentions."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, f"{module.name} imports relatively; say where from"
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def nearest_module(target: str, known: set[str]) -> str:
    """The module that an imported name is, or is an attribute of."""
    parts = target.split(".")[1:]
    while parts and ".".join(parts) not in known:
        parts.pop()
    return ".".join(parts) or "__init__"


MODULES = read_modules(ROOT)
each_module = pytest.mark.parametrize("module", MODULES.values(), ids=MODULES.keys())


def upward_imports(modules: dict[str, Module]) -> list[str]:
    return [
        f"{module.name} imports {target}, which is on a higher floor"
        for module in modules.values()
        for target in sorted(module.imports)
        if FLOOR_OF[modules[target].place] > FLOOR_OF[module.place]
    ]


def threadsafe_calls(modules: dict[str, Module]) -> list[str]:
    return [
        f"{module.path.name}:{node.lineno} of {module.name}"
        for module in modules.values()
        if module.place != "requests"
        for node in ast.walk(module.tree)
        if (isinstance(node, ast.Attribute) and node.attr == "call_soon_threadsafe")
        or (isinstance(node, ast.Constant) and node.value == "call_soon_threadsafe")
    ]


def test_every_module_is_on_a_floor() -> None:
    homeless = [module.name for module in MODULES.values() if module.place not in FLOOR_OF]
    assert not homeless, "give them a floor in FLOORS"


def test_every_floor_is_inhabited() -> None:
    assert FLOOR_OF.keys() == {module.place for module in MODULES.values()}


def test_no_module_imports_from_a_higher_floor() -> None:
    # Imports for annotations count too: what a lower floor speaks of, it knows of.
    assert upward_imports(MODULES) == []


def test_no_modules_import_each_other_in_a_circle_at_runtime() -> None:
    graph = {module.name: module.runtime for module in MODULES.values()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_http1_knows_nothing_of_wsgi() -> None:
    known = {t for m in MODULES.values() if m.place == "http1" for t in m.imports}
    assert not [target for target in known if target.partition(".")[0] == "wsgi"]


@pytest.mark.parametrize(
    "module",
    [pytest.param(module, id=module.name) for module in MODULES.values() if module.place in PURE],
)
def test_http1_and_wsgi_neither_read_nor_wait(module: Module) -> None:
    assert not module.foreign & IMPURE_MODULES, f"{module.name} is meant to be pure"


def test_only_the_requests_room_calls_the_loop_from_a_thread() -> None:
    # `asyncio.run_coroutine_threadsafe` is asyncio's own bridge; what is asked is that no second
    # one is built here.
    assert threadsafe_calls(MODULES) == []


@each_module
def test_every_module_says_what_it_is(module: Module) -> None:
    assert ast.get_docstring(module.tree)


class TestTheseChecks:
    """They see what they are meant to see."""

    @pytest.fixture
    def house(self, tmp_path: Path) -> Path:
        for name in ("http1", "requests"):
            (tmp_path / name).mkdir()
        for path in ("errors.py", "http1/__init__.py", "requests/__init__.py"):
            (tmp_path / path).write_text('"""A docstring."""\n')
        return tmp_path

    @pytest.mark.parametrize(
        "source",
        [
            pytest.param("import asyncwsgi.requests", id="import"),
            pytest.param("from asyncwsgi import requests", id="from the package"),
            pytest.param("from asyncwsgi.requests import exchange", id="from the module"),
            pytest.param(
                "def f():\n    from asyncwsgi.requests import exchange", id="in a function"
            ),
            pytest.param(
                "if TYPE_CHECKING:\n    from asyncwsgi.requests import exchange",
                id="for annotations",
            ),
        ],
    )
    def test_an_upward_import_is_found(self, house: Path, source: str) -> None:
        (house / "http1" / "parser.py").write_text(source)
        expected = ["http1.parser imports requests, which is on a higher floor"]
        assert upward_imports(read_modules(house)) == expected

    def test_a_downward_import_is_fine(self, house: Path) -> None:
        (house / "requests" / "exchange.py").write_text("from asyncwsgi.http1 import parser")
        assert upward_imports(read_modules(house)) == []

    def test_imports_for_annotations_do_not_count_at_runtime(self, house: Path) -> None:
        source = (
            "import asyncio\nif TYPE_CHECKING:\n    import asyncwsgi.requests\n"
            "else:\n    from asyncwsgi import errors"
        )
        (house / "http1" / "parser.py").write_text(source)
        parser = read_modules(house)["http1.parser"]
        assert (parser.runtime, parser.typing_only, parser.foreign) == (
            {"errors"},
            {"requests"},
            {"asyncio"},
        )

    @pytest.mark.parametrize(
        "source",
        [
            pytest.param("loop.call_soon_threadsafe(print)", id="a call"),
            pytest.param("getattr(loop, 'call_soon_threadsafe')", id="a look-up by name"),
        ],
    )
    def test_a_call_into_the_loop_is_found(self, house: Path, source: str) -> None:
        (house / "http1" / "parser.py").write_text(source)
        (house / "requests" / "mailbox.py").write_text(source)
        assert threadsafe_calls(read_modules(house)) == ["parser.py:1 of http1.parser"]
