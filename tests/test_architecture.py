"""The floors of the house: what may import what, and who may touch the loop from a thread."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from inspect import ismodule
from pathlib import Path

import pytest

import asyncwsgi

ROOT = Path(asyncwsgi.__file__).parent
PACKAGE = "asyncwsgi"
TESTS = Path(__file__).parent
HANDBOOK = TESTS.parent / "docs" / "architecture.md"

# From the ground up. A package stands for all of its modules.
FLOORS: tuple[tuple[str, ...], ...] = (
    (
        "version",
        "clock",
        "errors",
        "words",
        "config",
        "access_log",
        "server_log",
        "greenlets",
        "trusted_peers",
        "pages",
    ),
    ("http1", "wsgi", "uwsgi"),
    ("coroutines",),
    ("requests",),
    ("frontends",),
    ("server",),
    (
        "__init__",
        "__main__",
        "cli",
        "event_loops",
        "event_stream",
        "running",
        "signals",
        "socket_activation",
        "service_manager",
        "start_line",
        "env_files",
        "command",
        "own_process",
        "standard_streams",
        "app_loading",
        "import_variables",
        "log_setup",
        "log_writer",
        "log_file",
        "log_config",
        "from_thread",
        "development",
        "inspection",
        "reloading",
        "mounts",
        "supervision",
        "serving",
        "testing",
        "flask",
        "asgi",
        "aiohttp",
        "websockets",
        "gunicorn",
        "calling_thread",
        "paste",
        "bottle",
        "notebook",
        "django",
    ),
)
FLOOR_OF = {name: number for number, names in enumerate(FLOORS) for name in names}

PURE = ("http1", "wsgi", "uwsgi", "pages")
MEETING_PLACES = ("coroutines", "requests")
"""Where threads and the loop meet: the mailbox, and asgiref's and others' loops."""
TYPING_TESTS = ("TYPE_CHECKING", "typing.TYPE_CHECKING")
PASSING_TIME = ("time.monotonic", "time.perf_counter")
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
        if module.place not in MEETING_PLACES
        for node in ast.walk(module.tree)
        if (isinstance(node, ast.Attribute) and node.attr == "call_soon_threadsafe")
        or (isinstance(node, ast.Constant) and node.value == "call_soon_threadsafe")
    ]


def askers_of_the_time(modules: dict[str, Module]) -> list[str]:
    return [
        module.name
        for module in modules.values()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node).startswith(PASSING_TIME)
    ]


def impure_test_imports(folder: Path) -> list[str]:
    """What tests in `folder` import that could start a server, or wait for one."""
    return [
        f"{module.path.name} imports {target}"
        for module in read_modules(folder).values()
        for node in ast.walk(module.tree)
        for target in imported_names(node, module)
        if not is_pure(target)
    ]


def is_pure(target: str) -> bool:
    """Whether an imported name is that of a pure module of ours, or foreign and never waits."""
    package, *names = target.split(".")
    if package == PACKAGE:
        return names != [] and FLOOR_OF.get(names[0], len(FLOORS)) <= FLOOR_OF["wsgi"]
    if package == TESTS.name:
        return names != [] and names[0] in PURE
    return package not in IMPURE_MODULES


def picture_of_floors(handbook: str) -> set[tuple[int, str]]:
    """The floor of each module and its name, as the picture in the handbook has them."""
    _, _, rest = handbook.partition("```text\n")
    picture, _, _ = rest.partition("```")
    floor, place, room = 0, "", ""
    pictured = set()
    for line in picture.splitlines():
        for token in re.finditer(r"\S+", line):
            word = token[0]
            if word.isdigit():
                floor, place = int(word), ""
            elif word.endswith("/"):
                is_inner = token.start() > len("6  ")
                place = place if is_inner else word
                room = place + word if is_inner else word
            elif word in ("doors", "ground"):
                room = ""
            elif word != "pure":
                pictured.add((floor, f"{room}{word}".replace("/", ".")))
    return pictured


def table_of_modules(handbook: str) -> list[str]:
    """The module of each row in the handbook's table."""
    _, _, table = handbook.partition("| module | what it owns |\n|---|---|\n")
    rows = table.partition("\n\n")[0].splitlines()
    return [row.split("`")[1].replace("/", ".") for row in rows]


def described_modules() -> dict[str, Module]:
    """All but the packages' own files, of which the floors' is the package's and of interest."""
    return {
        name: module
        for name, module in MODULES.items()
        if module.path.stem != "__init__" or name == "__init__"
    }


def test_the_picture_of_the_floors_shows_every_module_where_it_is() -> None:
    expected = {(FLOOR_OF[module.place], name) for name, module in described_modules().items()}
    assert picture_of_floors(HANDBOOK.read_text(encoding="utf-8")) == expected


def test_the_table_of_modules_says_once_what_each_owns() -> None:
    table = table_of_modules(HANDBOOK.read_text(encoding="utf-8"))
    assert sorted(table) == sorted(described_modules())


def test_every_module_is_on_a_floor() -> None:
    homeless = [module.name for module in MODULES.values() if module.place not in FLOOR_OF]
    assert not homeless, "give them a floor in FLOORS"


def test_every_floor_is_inhabited() -> None:
    assert FLOOR_OF.keys() == {module.place for module in MODULES.values()}


def test_no_module_imports_from_a_higher_floor() -> None:
    # Imports for annotations count too: what a lower floor speaks of, it knows of.
    assert upward_imports(MODULES) == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    # For annotations neither: who has to know all modules to understand one understands none.
    graph = {module.name: module.imports for module in MODULES.values()}
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


@pytest.mark.parametrize("place", PURE)
def test_tests_of_http1_and_wsgi_start_no_server(place: str) -> None:
    # Tests over sockets are in tests/http.
    assert impure_test_imports(TESTS / place) == []


def test_only_the_clock_asks_for_the_time_that_passes() -> None:
    # Tests that freeze `time.monotonic` for their application freeze it for whoever asks there.
    assert askers_of_the_time(MODULES) == ["clock"]


def test_only_two_rooms_call_a_loop_from_a_thread() -> None:
    # `asyncio.run_coroutine_threadsafe` is asyncio's own bridge; what is asked is that no second
    # one is built here.
    assert threadsafe_calls(MODULES) == []


def test_no_module_has_the_name_of_something_else() -> None:
    # To import it would put it in the place of the function, for everybody.
    taken = {module.place for module in MODULES.values()} & {*asyncwsgi.__all__}
    assert [name for name in taken if not ismodule(getattr(asyncwsgi, name, None))] == []


ROOMS = {
    "testing": ("live", "faults", "leaks", "compatibility"),
}
"""Packages whose packages are rooms of their own."""


def room_of(module: Module) -> str:
    place, _, rest = module.name.partition(".")
    inner = rest.partition(".")[0]
    return f"{place}.{inner}" if inner in ROOMS.get(place, ()) else place


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def private_names_made(tree: ast.Module) -> set[str]:
    """Names with an underscore that this module gives to something of its own."""
    made: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            made.add(node.attr)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            made.add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            made.add(node.name)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            made.add(node.value)  # in __slots__
    return {name for name in made if is_private(name)}


def foreign_private_names(modules: dict[str, Module]) -> list[str]:
    """Uses of names with an underscore that are made in another room of this package."""
    makers: dict[str, set[str]] = {}
    for module in modules.values():
        for name in private_names_made(module.tree):
            makers.setdefault(name, set()).add(room_of(module))
    return [
        f"{module.name}:{line} uses {name} of {', '.join(sorted(makers[name]))}"
        for module in modules.values()
        for line, name in names_used(module.tree)
        if is_private(name) and name in makers and room_of(module) not in makers[name]
    ]


def names_used(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Attributes and imported names, with their lines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield node.lineno, node.attr
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, alias.name) for alias in node.names)


def test_no_room_touches_a_private_name_of_another() -> None:
    assert foreign_private_names(MODULES) == []


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

    def test_a_private_name_of_another_room_is_found(self, house: Path) -> None:
        (house / "requests" / "exchange.py").write_text("class A:\n    def _run(self): ...")
        source = "a._run()\na._foreign\na.__class__\nfrom asyncwsgi.requests.exchange import _run"
        (house / "http1" / "parser.py").write_text(source)
        assert sorted(foreign_private_names(read_modules(house))) == [
            "http1.parser:1 uses _run of requests",
            "http1.parser:4 uses _run of requests",
        ]

    @pytest.mark.parametrize(
        ("source", "target"),
        [
            pytest.param("import socket", "socket", id="a socket"),
            pytest.param("import asyncwsgi", "asyncwsgi", id="the package"),
            pytest.param("from asyncwsgi import Server", "asyncwsgi.Server", id="a door"),
            pytest.param(
                "def f():\n    from asyncwsgi.testing import LiveServer",
                "asyncwsgi.testing.LiveServer",
                id="in a function",
            ),
            pytest.param("from tests.conftest import Serve", "tests.conftest.Serve", id="a server"),
            pytest.param("import tests.http.wire", "tests.http.wire", id="a test over sockets"),
        ],
    )
    def test_a_server_in_a_pure_test_is_found(
        self, tmp_path: Path, source: str, target: str
    ) -> None:
        pure = "import pytest\nfrom asyncwsgi.http1 import head\nfrom tests.http1 import feeding\n"
        (tmp_path / "test_spam.py").write_text(pure + source)
        assert impure_test_imports(tmp_path) == [f"test_spam.py imports {target}"]

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
