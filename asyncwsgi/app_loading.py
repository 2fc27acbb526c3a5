"""Finds the application that the command line names.

Forms: ``module:attribute``, ``module``, ``path/to/file.py`` with or without ``:attribute``, and a
factory call such as ``module:create_app("production")`` with literal arguments.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
import traceback
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

from asyncwsgi.errors import AppImportError, AsyncWSGIError, LifespanError
from asyncwsgi.wsgi.application import why_no_application

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

APPLICATION_NAMES = ("application", "app")
FACTORY_NAMES = ("create_app", "make_app")

_FILE = re.compile(r"(?P<where>[^()'\"]+?\.py)(?::(?P<what>.+))?")
_MODULE = re.compile(r"(?P<where>[^:()]+)(?::(?P<what>.+))?")


def load_application(name: str) -> WSGIApplication:
    """Import the application called `name`; the current directory is searched first.

    Raises:
        AppImportError: it cannot be found, imported or made; the module's own exception is the
            cause, if there was one.
    """
    match = _FILE.fullmatch(name) or _MODULE.fullmatch(name)
    if match is None:
        raise AppImportError(f"{name!r} names no application; expected module:attribute or FILE.py")
    module = _import(match["where"])
    found = _evaluate(module, match["what"]) if match["what"] else _discover(module)
    if objection := why_no_application(found):
        raise AppImportError(f"{name!r} {objection}")
    return cast("WSGIApplication", found)


class NamedLifespan:
    """The lifespan that the command line names: imported with the application, and then called.

    Args:
        name: ``module:attribute`` or ``path/to/file.py:attribute``.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._factory: Callable[[], AbstractAsyncContextManager[object]] | None = None

    def load(self) -> Callable[[], AbstractAsyncContextManager[object]]:
        """Import it.

        Raises:
            AppImportError: it cannot be found or imported, or is nothing to call.
        """
        if self._factory is None:
            match = _FILE.fullmatch(self._name) or _MODULE.fullmatch(self._name)
            if match is None or not match["what"]:
                raise AppImportError(
                    f"{self._name!r} names no lifespan; expected module:attribute or FILE.py:NAME"
                )
            found = _attribute(_import(match["where"]), _parse(match["what"]), self._name)
            if not callable(found):
                raise AppImportError(
                    f"{self._name!r} is a {type(found).__name__}, no lifespan; name a function "
                    "decorated with contextlib.asynccontextmanager"
                )
            self._factory = cast("Callable[[], AbstractAsyncContextManager[object]]", found)
        return self._factory

    def __call__(self) -> AbstractAsyncContextManager[object]:
        return self.load()()


def format_error(error: AsyncWSGIError) -> str:
    """What to tell people of an error; if the application raised, where, too."""
    cause = error.__cause__
    is_raised_there = isinstance(error, (AppImportError, LifespanError)) and cause is not None
    lines = traceback.format_exception(cause) if is_raised_there else []
    return f"{''.join(lines)}asyncwsgi: {error}\n"


def _import(where: str) -> ModuleType:
    is_file = where.endswith(".py")
    name = _prepare_file(Path(where)) if is_file else _prepare_module(where)
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise AppImportError(
                f"there is no module {error.name!r}; run from the directory that holds it, or give "
                "the path of its file"
            ) from None
        raise _failed(where, error) from error
    except (Exception, SystemExit) as error:
        raise _failed(where, error) from error
    if is_file and not _is_from(module, Path(where)):
        raise AppImportError(
            f"{where!r} cannot be imported as {name!r}: that is {getattr(module, '__file__', name)}"
            " already; give the file another name"
        )
    return module


def _is_from(module: ModuleType, path: Path) -> bool:
    return module.__file__ is not None and Path(module.__file__).resolve() == path.resolve()


def _failed(where: str, error: BaseException) -> AppImportError:
    return AppImportError(
        f"importing {where!r} failed with {type(error).__name__}: {error}; correct it there"
    )


def _prepare_module(name: str) -> str:
    _search_first(Path.cwd())
    return name


def _prepare_file(path: Path) -> str:
    """Put the directory of a file, or of its outermost package, on the path; its module's name."""
    if not path.is_file():
        raise AppImportError(f"there is no file {str(path)!r}; expected a Python file")
    path = path.resolve()
    parts = [] if path.stem == "__init__" else [path.stem]
    directory = path.parent
    while (directory / "__init__.py").is_file():
        parts.insert(0, directory.name)
        directory = directory.parent
    _search_first(directory)
    return ".".join(parts)


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


def _make(factory: Callable[..., Any], name: str, *args: Any, **kwargs: Any) -> object:
    try:
        return factory(*args, **kwargs)
    except (Exception, SystemExit) as error:
        raise AppImportError(
            f"the factory {name} failed with {type(error).__name__}: {error}; correct it there"
        ) from error
