"""Finds the application that the command line names.

Forms: ``module``, ``path/to/file.py`` and ``path/to/package/``; behind each of them may stand an
``:attribute``, or a call of a factory with literal arguments: ``:create_app("production")``.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import os
import re
import sys
import traceback
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, cast

from asyncwsgi.errors import AppImportError, AsyncWSGIError, LifespanError
from asyncwsgi.words import with_article
from asyncwsgi.wsgi.application import why_no_application

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

APPLICATION_NAMES = ("application", "app")
FACTORY_NAMES = ("create_app", "make_app")

_PLACE_ENDS = re.compile(r":|$")
_FILE = re.compile(r"(?P<place>[^'\"]+?\.py)(?::(?P<expression>.+))?", re.IGNORECASE)
_MODULE = re.compile(r"(?P<place>[^:()]+)(?::(?P<expression>.+))?")


def load_application(name: str, directory: str = "") -> WSGIApplication:
    """Import the application called `name`.

    Args:
        name: see above.
        directory: where modules are looked for first; without it, in the current one.

    Raises:
        AppImportError: it cannot be found, imported or made; the module's own exception is the
            cause, if there was one.
    """
    place, expression = _split(name)
    if not place:
        raise AppImportError(f"{name!r} names no application; expected module:attribute or FILE.py")
    if directory:
        _search_first(Path(directory))
    module = _import(place, directory)
    found = _evaluate(module, expression) if expression else _discover(module)
    if objection := why_no_application(found):
        raise AppImportError(f"{name!r} {objection}")
    return cast("WSGIApplication", found)


def directory_of(name: str) -> str:
    """The directory in which the application called `name` is looked for first."""
    place, _ = _split(name)
    if _is_directory(place):
        return str(Path(place).absolute())
    return str(Path(place).absolute().parent if _has_source_suffix(place) else Path.cwd())


class NamedLifespan:
    """The lifespan that the command line names: imported with the application, and then called.

    Args:
        name: ``module:attribute`` or ``path/to/file.py:attribute``.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._factory: Callable[[], AbstractAsyncContextManager[object]] | None = None

    def load(self, directory: str = "") -> Callable[[], AbstractAsyncContextManager[object]]:
        """Import it.

        Args:
            directory: see `load_application`.

        Raises:
            AppImportError: it cannot be found or imported, or is nothing to call.
        """
        if self._factory is None:
            place, expression = _split(self.name)
            if not expression:
                raise AppImportError(
                    f"{self.name!r} names no lifespan; expected module:attribute or FILE.py:NAME"
                )
            found = _attribute(_import(place, directory), _parse(expression), self.name)
            if not callable(found):
                raise AppImportError(
                    f"{self.name!r} is {with_article(type(found))}, no lifespan; name a function "
                    "decorated with contextlib.asynccontextmanager"
                )
            self._factory = cast("Callable[[], AbstractAsyncContextManager[object]]", found)
        return self._factory

    def __call__(self) -> AbstractAsyncContextManager[object]:
        return self.load()()


def application_error(error: AsyncWSGIError) -> BaseException | None:
    """What the application raised, if that is why it cannot be had."""
    return error.__cause__ if isinstance(error, (AppImportError, LifespanError)) else None


def format_error(error: AsyncWSGIError) -> str:
    """What to tell people of an error; if the application raised, where, too."""
    cause = application_error(error)
    lines: list[str] = []
    if cause is not None:
        begin = _behind_the_import(cause.__traceback__)
        lines = traceback.format_exception(type(cause), cause, begin)
    return f"{''.join(lines)}asyncwsgi: {error}\n"


def _behind_the_import(frames: TracebackType | None) -> TracebackType | None:
    """A traceback without the frames that lead from here to the application's own code."""
    while frames is not None:
        module = frames.tb_frame.f_globals.get("__name__", "")
        if module != __name__ and module.partition(".")[0] != "importlib":
            break
        frames = frames.tb_next
    return frames


def _split(name: str) -> tuple[str, str]:
    """Where an application is, and the expression for it; empty is what is not there.

    What exists decides: the path of a file may have any characters, also colons and parentheses.
    """
    for end in _PLACE_ENDS.finditer(name):
        place = name[: end.start()]
        if _is_source_file(place) or _is_directory(place):
            return place, name[end.end() :]
    match = _FILE.fullmatch(name) or _MODULE.fullmatch(name)
    return (match["place"], match["expression"] or "") if match else ("", "")


# Not the methods of Path, which raise PermissionError for what lies in a closed directory.


def _is_file(path: str | Path) -> bool:
    return os.path.isfile(path)  # noqa: PTH113


def _has_source_suffix(place: str) -> bool:
    return place.lower().endswith(".py")


def _is_source_file(place: str) -> bool:
    return _has_source_suffix(place) and _is_file(place)


def _is_directory(place: str) -> bool:
    """Whether it is written as the path of a directory; a package may also be named as a module."""
    separators = (os.sep, os.altsep or os.sep)
    is_path = place in (".", "..") or any(each in place for each in separators)
    return is_path and os.path.isdir(place)  # noqa: PTH112


def _import(place: str, directory: str) -> ModuleType:
    try:
        if _is_directory(place):
            return _import_file(_initialiser(place), place)
        if _has_source_suffix(place):
            if not _is_file(place):
                raise AppImportError(_no_file(place, directory))
            return _import_file(Path(place), place)
        return _import_module(place, directory)
    except AppImportError:
        raise
    except (Exception, SystemExit) as error:
        raise _failed(f"importing {place!r}", error) from error


def _failed(what: str, error: BaseException) -> AppImportError:
    cure = "correct it there"
    if isinstance(error, ModuleNotFoundError):
        cure = f"install it for {sys.executable}, or correct its name"
    return AppImportError(f"{what} failed with {type(error).__name__}: {error}; {cure}")


def _import_module(name: str, directory: str) -> ModuleType:
    _search_first(Path(directory or Path.cwd()))
    if name.startswith("."):  # relative to what?
        raise AppImportError(_no_module(name, name))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise AppImportError(_no_module(name, error.name)) from None
        raise


def _no_module(place: str, missing: str) -> str:
    """That a module is not there, and what may have been meant."""
    module, _, attribute = place.rpartition(".")
    path = Path(place)
    source = Path(f"{path}.py")
    if path.suffix == ".ini" and _is_file(path):
        cure = (
            "an application that PasteDeploy makes of a file is "
            f'\'paste.deploy:loadapp("config:{place}", relative_to=".")\''
        )
    elif hasattr(sys.modules.get(module), attribute):
        cure = f"did you mean {module}:{attribute}?"
    elif _is_file(source):
        cure = f"did you mean {source}?"
    else:
        cure = (
            "run from the directory that holds it, name that by --app-dir, or give the path of its "
            "file"
        )
    return f"there is no module {missing!r}; {cure}"


def _no_file(place: str, directory: str) -> str:
    source = Path(directory, place)
    # Files are named from the current directory, as shells complete them.
    cure = (
        f"did you mean {os.path.relpath(source)}?" if _is_file(source) else "expected a Python file"
    )
    return f"there is no file {place!r}; {cure}"


def _initialiser(directory: str) -> Path:
    path = Path(directory) / "__init__.py"
    if not _is_file(path):
        files = sorted(each.name for each in Path(directory).glob("*.py"))
        raise AppImportError(
            f"{directory!r} is a directory, but no package; name a file"
            f"{f', such as {Path(directory, files[0])}' if files else ' that ends in .py'}"
        )
    return path


def _import_file(path: Path, place: str) -> ModuleType:
    """Import a file by the name that it has in its outermost package."""
    path = path.resolve()
    is_package = path.name == "__init__.py"
    # A name that importing would never look for: `my.app.py`, `APP.PY`.
    is_odd = path.suffix != ".py" or "." in path.stem
    stem = path.stem.replace(".", "_")
    packages: list[str] = []
    directory = path.parent
    while _is_file(directory / "__init__.py"):
        packages.insert(0, directory.name)
        directory = directory.parent
    _search_first(directory)
    name = ".".join(packages if is_package else [*packages, stem])
    module = _import_from(path, name) if is_odd else importlib.import_module(name)
    if module.__file__ is None or Path(module.__file__).resolve() != path:
        raise AppImportError(
            f"{place!r} cannot be imported as {name!r}: that is "
            f"{getattr(module, '__file__', name)} already; give the file another name"
        )
    return module


def _import_from(path: Path, name: str) -> ModuleType:
    """Import a file under a name of our own, once."""
    if name in sys.modules:
        return sys.modules[name]
    if package := name.rpartition(".")[0]:
        importlib.import_module(package)
    loader = SourceFileLoader(name, str(path))
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    assert spec is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _search_first(directory: Path) -> None:
    if sys.path[:1] != [str(directory)]:
        sys.path.insert(0, str(directory))


def _discover(module: ModuleType) -> object:
    for name in APPLICATION_NAMES:
        if callable(getattr(module, name, None)):
            return getattr(module, name)
    factories = [name for name in FACTORY_NAMES if callable(getattr(module, name, None))]
    if len(factories) != 1:
        names = ", ".join((*APPLICATION_NAMES, *FACTORY_NAMES))
        found = f"both {' and '.join(factories)}" if factories else f"none of {names}"
        raise AppImportError(
            f"module {module.__name__!r} has {found}; say which: {module.__name__}:NAME"
        )
    return _make(getattr(module, factories[0]), factories[0])


def _evaluate(module: ModuleType, expression: str) -> object:
    node = _parse(expression)
    if isinstance(node, ast.Call):
        args, kwargs = _literals(node, expression)
        return _make(_attribute(module, node.func, expression), expression, *args, **kwargs)
    found = _attribute(module, node, expression)
    return _make(found, expression) if _is_factory(found, expression) else found


def _parse(expression: str) -> ast.expr:
    try:
        return ast.parse(expression, mode="eval").body
    except SyntaxError:
        raise _unreadable(expression) from None


def _attribute(module: ModuleType, node: ast.expr, expression: str) -> Any:
    if isinstance(node, ast.Name):
        owner: Any = module
        name = node.id
    elif isinstance(node, ast.Attribute):
        owner = _attribute(module, node.value, expression)
        name = node.attr
    else:
        raise _unreadable(expression)
    try:
        return getattr(owner, name)
    except AttributeError:
        raise AppImportError(
            f"module {module.__name__!r} has no {ast.unparse(node)!r}; it has "
            f"{', '.join(_callables(module)[:10]) or 'no callable'}"
        ) from None


def _callables(module: ModuleType) -> list[str]:
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and callable(value) and not _is_imported(value, module)
    ]


def _is_imported(value: object, module: ModuleType) -> bool:
    if inspect.isroutine(value) or inspect.isclass(value):
        return value.__module__ != module.__name__
    return False


def _literals(call: ast.Call, expression: str) -> tuple[list[Any], dict[str, Any]]:
    try:
        args = [ast.literal_eval(arg) for arg in call.args]
        kwargs = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
    except (TypeError, ValueError):  # TypeError: a literal that cannot be, such as {[]: 1}
        raise _unreadable(expression) from None
    if None in kwargs:  # **
        raise _unreadable(expression)
    return args, cast("dict[str, Any]", kwargs)


def _unreadable(expression: str) -> AppImportError:
    return AppImportError(
        f"{expression!r} cannot be read; expected a name, or a call with literal arguments such as "
        "create_app('production')"
    )


def _is_factory(found: object, name: str) -> bool:
    """Whether it can be called with nothing, but not as PEP 3333 calls an application.

    One that can be called both ways is a factory if it has a factory's name.
    """
    if not callable(found) or inspect.isclass(found):
        return False
    try:
        signature = inspect.signature(found)
    except (TypeError, ValueError):
        return False
    is_application = _accepts(signature, "environ", "start_response")
    return _accepts(signature) and (name in FACTORY_NAMES or not is_application)


def _accepts(signature: inspect.Signature, *args: object) -> bool:
    try:
        signature.bind(*args)
    except TypeError:
        return False
    return True


def _make(factory: Callable[..., Any], what: str, /, *args: Any, **kwargs: Any) -> object:
    try:
        return factory(*args, **kwargs)
    except (Exception, SystemExit) as error:
        raise _failed(f"the factory {what}", error) from error
