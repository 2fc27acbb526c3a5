"""APP on the command line: every form of it, and every way in which it can be wrong."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from asyncwsgi import AppImportError
from asyncwsgi.app_loading import NamedLifespan, format_error, load_application
from tests.doors.conftest import Write

pytestmark = pytest.mark.usefixtures("project")

# An application that says which one it is; `app_of` makes them by hand in the sources below.
MAKE = """
    def make(name):
        def application(environ, start_response):
            start_response("200 OK", [])
            return [name.encode()]
        return application
"""


def name_of(application: Any) -> str:
    """What an application made by `MAKE` calls itself."""
    answer: bytes = b"".join(application({}, lambda *_: None))
    return answer.decode()


def refusal(app: str) -> AppImportError:
    """With what an APP is refused."""
    with pytest.raises(AppImportError) as caught:
        load_application(app)
    return caught.value


class TestModuleAndAttribute:
    def test_an_attribute_of_a_module(self, write: Write) -> None:
        write("shop.py", f'{MAKE}\n    front = make("front")')
        assert name_of(load_application("shop:front")) == "front"

    def test_an_attribute_of_a_module_in_a_package(self, write: Write) -> None:
        write("shop/__init__.py", "")
        write("shop/web.py", f'{MAKE}\n    front = make("front")')
        assert name_of(load_application("shop.web:front")) == "front"

    def test_an_attribute_of_an_attribute(self, write: Write) -> None:
        source = f'{MAKE}\n    class site:\n        class inner:\n            app = make("inner")'
        write("shop.py", source)
        # A function that is looked up on a class stays what it is.
        assert name_of(load_application("shop:site.inner.app")) == "inner"

    def test_an_object_with_call(self, write: Write) -> None:
        write(
            "shop.py",
            """
            class Site:
                def __call__(self, environ, start_response):
                    return [b"site"]
            site = Site()
            """,
        )
        assert name_of(load_application("shop:site")) == "site"

    def test_a_class_that_is_an_application(self, write: Write) -> None:
        # PEP 3333: "AppClass is our application": calling it makes the iterable.
        write(
            "shop.py",
            """
            class Site:
                def __init__(self, environ, start_response):
                    pass
                def __iter__(self):
                    yield b"class"
            """,
        )
        assert name_of(load_application("shop:Site")) == "class"

    def test_the_current_directory_goes_before_what_is_installed(self, write: Write) -> None:
        write("zipapp.py", f'{MAKE}\n    app = make("mine")')
        assert name_of(load_application("zipapp")) == "mine"
        assert sys.path[0] == str(Path.cwd())


class TestModuleAlone:
    @pytest.mark.parametrize(
        ("names", "expected"),
        [
            pytest.param(["application"], "application", id="application"),
            pytest.param(["app"], "app", id="app"),
            pytest.param(["app", "application"], "application", id="application before app"),
        ],
    )
    def test_the_usual_names_are_found(self, write: Write, names: list[str], expected: str) -> None:
        write("shop.py", MAKE + "".join(f'\n    {name} = make("{name}")' for name in names))
        assert name_of(load_application("shop")) == expected

    def test_a_usual_name_of_something_else_is_passed_over(self, write: Write) -> None:
        write("shop.py", f'{MAKE}\n    application = "a title"\n    app = make("app")')
        assert name_of(load_application("shop")) == "app"

    @pytest.mark.parametrize("factory", ["create_app", "make_app"])
    def test_a_single_factory_is_called(self, write: Write, factory: str) -> None:
        write("shop.py", f'{MAKE}\n    def {factory}(name="made"): return make(name)')
        assert name_of(load_application("shop")) == "made"

    def test_an_application_goes_before_a_factory(self, write: Write) -> None:
        write("shop.py", f'{MAKE}\n    app = make("app")\n    def create_app(): 1 / 0')
        assert name_of(load_application("shop")) == "app"

    def test_two_factories_are_one_too_many(self, write: Write) -> None:
        write("shop.py", f"{MAKE}\n    def create_app(): pass\n    def make_app(): pass")
        assert str(refusal("shop")) == (
            "module 'shop' has both create_app and make_app; say which: shop:NAME"
        )

    def test_none_of_the_usual_names_is_refused_with_those_there_are(self, write: Write) -> None:
        write("shop.py", "")
        assert str(refusal("shop")) == (
            "module 'shop' has none of application, app, create_app, make_app; say which: shop:NAME"
        )

    def test_a_package_has_its_application_in_its_own_file(self, write: Write) -> None:
        write("shop/__init__.py", f'{MAKE}\n    app = make("package")')
        assert name_of(load_application("shop")) == "package"


class TestFile:
    @pytest.mark.parametrize(
        "app", ["site/shop.py:front", "./site/shop.py:front", "site/../site/shop.py:front"]
    )
    def test_a_path_and_an_attribute(self, write: Write, app: str) -> None:
        write("site/shop.py", f'{MAKE}\n    front = make("front")')
        assert name_of(load_application(app)) == "front"

    def test_a_path_alone(self, write: Write) -> None:
        path = write("site/shop.py", f'{MAKE}\n    app = make("app")')
        assert name_of(load_application(str(path))) == "app"

    def test_a_path_and_a_factory_call(self, write: Write) -> None:
        path = write("shop.py", f"{MAKE}\n    def build(name): return make(name)")
        assert name_of(load_application(f"{path}:build('a.py:b')")) == "a.py:b"

    def test_a_file_finds_its_neighbours(self, write: Write) -> None:
        write("site/stock.py", MAKE)
        write("site/shop.py", 'from stock import make\napp = make("neighbour")')
        assert name_of(load_application("site/shop.py")) == "neighbour"

    def test_a_file_inside_a_package_is_a_module_of_it(self, write: Write) -> None:
        write("src/shop/__init__.py", "")
        write("src/shop/web/__init__.py", "")
        write("src/shop/stock.py", MAKE)
        write("src/shop/web/site.py", "from ..stock import make\napp = make(__name__)")
        assert name_of(load_application("src/shop/web/site.py")) == "shop.web.site"

    def test_the_file_of_a_package_is_the_package(self, write: Write) -> None:
        write("src/shop/__init__.py", f"{MAKE}\n    app = make(__name__)")
        assert name_of(load_application("src/shop/__init__.py")) == "shop"

    def test_a_name_that_is_no_identifier(self, write: Write) -> None:
        write("my-shop.py", f'{MAKE}\n    app = make("mine")')
        assert name_of(load_application("my-shop.py")) == "mine"

    @pytest.mark.parametrize(
        ("path", "name"),
        [
            pytest.param("my.app.py", "my_app", id="a dot in its name"),
            pytest.param("SHOP.PY", "SHOP", id="its suffix in capitals"),
            pytest.param("site (copy)/shop.py", "shop", id="a directory with parentheses"),
            pytest.param("10:30/it's.py", "it's", id="any characters"),
            pytest.param("package/my.app.py", "package.my_app", id="a dot, in a package"),
        ],
    )
    @pytest.mark.parametrize("expression", ["", ":app", ":make('app')"])
    def test_what_a_file_is_called_does_not_matter(
        self, write: Write, path: str, name: str, expression: str
    ) -> None:
        write("package/__init__.py", "")
        write(path, f"{MAKE}\n    app = make('app')\n    name = __name__")
        application = load_application(f"{path}{expression}")
        assert name_of(application) == "app"
        assert sys.modules[name].name == name

    def test_a_file_of_any_name_finds_its_package(self, write: Write) -> None:
        write("package/__init__.py", MAKE)
        write("package/my.app.py", "from . import make\napp = make('app')")
        assert name_of(load_application("package/my.app.py")) == "app"

    def test_a_file_of_any_name_is_imported_once(self, write: Write) -> None:
        write("my.app.py", f"{MAKE}\n    app = make('app')\n    def lifespan(): return app")
        application = load_application("my.app.py")
        lifespan: Any = NamedLifespan("my.app.py:lifespan")
        assert lifespan() is application

    def test_a_file_of_any_name_that_fails_is_forgotten(self, write: Write) -> None:
        write("my.app.py", "1 / 0")
        assert "ZeroDivisionError" in str(refusal("my.app.py"))
        assert "my_app" not in sys.modules

    @pytest.mark.parametrize("app", ["shop/", "./shop", "shop/:app", "../{here}/shop/:app"])
    def test_the_directory_of_a_package_is_the_package(
        self, write: Write, tmp_path: Path, app: str
    ) -> None:
        write("shop/__init__.py", f"{MAKE}\n    app = make(__name__)")
        assert name_of(load_application(app.format(here=tmp_path.name))) == "shop"

    @pytest.mark.parametrize("app", [".", "site/"])
    def test_a_directory_that_is_no_package_is_refused_with_a_file_in_it(
        self, write: Write, app: str
    ) -> None:
        write(f"{app}/hello.py", "")
        assert str(refusal(app)) == (
            f"{app!r} is a directory, but no package; name a file, such as {Path(app, 'hello.py')}"
        )

    @pytest.mark.parametrize("app", ["missing.py", "missing.py:app", "site.py/shop.py"])
    def test_a_file_that_is_not_there_is_refused(self, app: str) -> None:
        path = app.partition(":")[0]
        assert str(refusal(app)) == f"there is no file {path!r}; expected a Python file"

    def test_a_directory_is_no_file(self, tmp_path: Path) -> None:
        (tmp_path / "shop.py").mkdir()
        assert str(refusal("shop.py")) == "there is no file 'shop.py'; expected a Python file"

    def test_a_file_with_the_name_of_a_loaded_module_is_not_taken_for_it(
        self, write: Write
    ) -> None:
        # Import finds modules by name; whoever has the name first, keeps it.
        write("json.py", f'{MAKE}\n    app = make("mine")')
        assert json.__file__ is not None
        assert json.__file__ in str(refusal("json.py"))


class TestFactory:
    @pytest.mark.parametrize(
        ("call", "expected"),
        [
            pytest.param("build()", "None None", id="nothing"),
            pytest.param("build('a')", "'a' None", id="positional"),
            pytest.param("build(1, b=[True, {'x': (2.5, None)}])", None, id="keyword"),
            pytest.param("build(b=b'x:y')", "None b'x:y'", id="with a colon"),
            pytest.param("build('shop.py:app')", "'shop.py:app' None", id="with another APP"),
            pytest.param("build(-1)", "-1 None", id="a sign"),
            pytest.param("site.build('a')", "'a' None", id="of an attribute"),
        ],
    )
    def test_a_call_with_literal_arguments(
        self, write: Write, call: str, expected: str | None
    ) -> None:
        source = (
            f'{MAKE}\n    def build(a=None, b=None): return make(f"{{a!r}} {{b!r}}")'
            "\n    class site: build = staticmethod(build)"
        )
        write("shop.py", source)
        if expected is None:
            expected = "1 [True, {'x': (2.5, None)}]"
        assert name_of(load_application(f"shop:{call}")) == expected

    @pytest.mark.parametrize(
        "parameters",
        [
            pytest.param("", id="no parameters"),
            pytest.param("config=None", id="an optional one"),
            pytest.param("*, debug=False", id="optional ones by name"),
            pytest.param("config=None, testing=False", id="two optional ones"),
        ],
    )
    def test_one_that_is_named_and_not_called(self, write: Write, parameters: str) -> None:
        # With two optional parameters it could be called like an application; it is one of the
        # usual factories by its name.
        write("shop.py", f'{MAKE}\n    def create_app({parameters}): return make("made")')
        assert name_of(load_application("shop:create_app")) == "made"

    def test_an_application_whose_parameters_are_optional_is_no_factory(self, write: Write) -> None:
        write("shop.py", 'def app(environ=None, start_response=None): return [b"app"]')
        assert name_of(load_application("shop:app")) == "app"

    @pytest.mark.parametrize(
        "error",
        [
            pytest.param("ValueError('no stock')", id="an exception"),
            pytest.param("SystemExit('no stock')", id="SystemExit"),
        ],
    )
    def test_one_that_fails_is_refused_with_its_own_exception(
        self, write: Write, error: str
    ) -> None:
        write("shop.py", f"def build(): raise {error}")
        refused = refusal("shop:build()")
        kind = error.partition("(")[0]
        assert str(refused) == (
            f"the factory build() failed with {kind}: no stock; correct it there"
        )
        assert type(refused.__cause__).__name__ == kind

    @pytest.mark.parametrize("parameter", ["name", "factory", "what", "self"])
    def test_one_may_have_parameters_of_any_name(self, write: Write, parameter: str) -> None:
        write("shop.py", f"{MAKE}\n    def build({parameter}): return make({parameter})")
        assert name_of(load_application(f"shop:build({parameter}='spam')")) == "spam"

    def test_one_that_gets_what_it_does_not_take_is_refused(self, write: Write) -> None:
        write("shop.py", "def build(): pass")
        assert str(refusal("shop:build(1)")).startswith(
            "the factory build(1) failed with TypeError: "
        )

    def test_one_that_makes_no_application_is_refused(self, write: Write) -> None:
        write("shop.py", "def build(): return 7")
        message = "'shop:build()' is an int, no WSGI application; expected a callable"
        assert str(refusal("shop:build()")) == message

    @pytest.mark.parametrize(
        "call",
        [
            pytest.param("build(name)", id="a name"),
            pytest.param("build(1 + 1)", id="a sum"),
            pytest.param("build(open('x'))", id="a call"),
            pytest.param("build(*[1])", id="a starred list"),
            pytest.param("build(**{'a': 1})", id="starred keywords"),
            pytest.param("build({[]: 1})", id="a dict that cannot be"),
            pytest.param("build(f'{x}')", id="an f-string"),
        ],
    )
    def test_arguments_that_are_no_literals_are_refused(self, write: Write, call: str) -> None:
        write("shop.py", "def build(*args, **kwargs): raise AssertionError('called')")
        assert str(refusal(f"shop:{call}")) == (
            f"{call!r} cannot be read; expected a name, or a call with literal arguments such as "
            "create_app('production')"
        )


class TestNoApplication:
    @pytest.mark.parametrize("app", ["", ":app", "shop:", "shop()"])
    def test_what_has_none_of_the_forms_is_refused(self, write: Write, app: str) -> None:
        write("shop.py", "app = 1")
        assert str(refusal(app)) == (
            f"{app!r} names no application; expected module:attribute or FILE.py"
        )

    @pytest.mark.parametrize(
        "expression", ["app[0]", "1", "app.", "app()()", "(lambda: 1)", "a b", "app:b"]
    )
    def test_an_expression_that_is_no_name_and_no_call_is_refused(
        self, write: Write, expression: str
    ) -> None:
        write("shop.py", "app = print")
        assert str(refusal(f"shop:{expression}")).startswith(f"{expression!r} cannot be read; ")

    def test_an_attribute_that_is_not_there_is_refused_with_those_there_are(
        self, write: Write
    ) -> None:
        write("shop.py", "def front(): pass\ndef back(): pass\ntitle = ''\ndef _own(): pass")
        assert str(refusal("shop:side")) == "module 'shop' has no 'side'; it has front, back"

    def test_an_attribute_of_a_module_without_any_is_refused(self, write: Write) -> None:
        write("shop.py", "title = ''")
        assert str(refusal("shop:app")) == "module 'shop' has no 'app'; it has no callable"

    def test_an_attribute_of_an_attribute_that_is_not_there_is_refused(self, write: Write) -> None:
        write("shop.py", "class site: pass")
        assert str(refusal("shop:site.app")).startswith("module 'shop' has no 'site.app'; ")

    def test_what_cannot_be_called_is_refused(self, write: Write) -> None:
        write("shop.py", "app = 'title'")
        message = "'shop:app' is a str, no WSGI application; expected a callable"
        assert str(refusal("shop:app")) == message

    def test_an_asgi_application_is_refused(self, write: Write) -> None:
        write("shop.py", "async def app(scope, receive, send): pass")
        assert str(refusal("shop:app")).startswith("'shop:app' is asynchronous, as ASGI ")


class TestFailingImport:
    @pytest.mark.parametrize(
        ("app", "missing"),
        [
            pytest.param("nowhere", "nowhere", id="a module"),
            pytest.param("nowhere.at.all:app", "nowhere", id="its package"),
            pytest.param("shop.missing:app", "shop.missing", id="a module of a package"),
        ],
    )
    def test_a_module_that_is_not_there_is_refused_without_a_cause(
        self, write: Write, app: str, missing: str
    ) -> None:
        write("shop/__init__.py", "")
        refused = refusal(app)
        assert str(refused) == (
            f"there is no module {missing!r}; run from the directory that holds it, name that by "
            "--app-dir, or give the path of its file"
        )
        assert refused.__cause__ is None

    @pytest.mark.parametrize(
        ("source", "message"),
        [
            pytest.param(
                "import nowhere",
                "ModuleNotFoundError: No module named 'nowhere'; install it for ",
                id="an import of its own",
            ),
            pytest.param("1 / 0", "ZeroDivisionError: division by zero", id="an exception"),
            pytest.param("raise SystemExit('bye')", "SystemExit: bye", id="SystemExit"),
            pytest.param("def (", "SyntaxError: ", id="a syntax error"),
            pytest.param("from os import nowhere", "ImportError: ", id="a name"),
        ],
    )
    @pytest.mark.parametrize("form", ["shop:app", "shop.py:app"])
    def test_a_module_that_fails_is_refused_with_its_own_exception(
        self, write: Write, form: str, source: str, message: str
    ) -> None:
        write("shop.py", source)
        refused = refusal(form)
        where = form.partition(":")[0]
        cure = "correct its name" if "install" in message else "; correct it there"
        pattern = re.escape(f"importing {where!r} failed with {message}") + f".*{cure}"
        assert re.fullmatch(pattern, str(refused))
        assert type(refused.__cause__).__name__ == message.partition(":")[0]

    @pytest.mark.parametrize(
        ("app", "meant"),
        [
            pytest.param("hello.app", "hello:app", id="a dot for a colon"),
            pytest.param("site/hello", "site/hello.py", id="a path without its suffix"),
            pytest.param("./hello", "hello.py", id="a path from here"),
            pytest.param("hello/", "hello.py", id="a directory that is a file"),
        ],
    )
    def test_a_name_that_is_nearly_right_is_refused_with_the_right_one(
        self, write: Write, app: str, meant: str
    ) -> None:
        write("hello.py", "app = print")
        write("site/hello.py", "app = print")
        assert str(refusal(app)) == f"there is no module {app!r}; did you mean {meant}?"

    def test_a_file_for_pastedeploy_is_refused_with_the_name_of_its_application(
        self, write: Write
    ) -> None:
        write("dev.ini", "[app:main]")
        assert str(refusal("dev.ini")) == (
            "there is no module 'dev'; an application that PasteDeploy makes of a file is "
            """'paste.deploy:loadapp("config:dev.ini", relative_to=".")'"""
        )

    @pytest.mark.parametrize("app", ["shop", "shop.py", "my.app.py", "package/"])
    def test_its_traceback_begins_with_the_line_of_the_application(
        self, write: Write, app: str
    ) -> None:
        for name in ("shop.py", "my.app.py", "package/__init__.py"):
            write(name, "def stock():\n    return {}['shelf']\nstock()")
        lines = format_error(refusal(app)).splitlines()
        assert lines[0] == "Traceback (most recent call last):"
        assert re.fullmatch(r'  File ".*", line 3, in <module>', lines[1])
        assert sum(line.startswith("  File ") for line in lines) == 2

    def test_the_traceback_of_a_factory_begins_with_its_own_line(self, write: Write) -> None:
        write("shop.py", "def build():\n    return {}['shelf']")
        lines = format_error(refusal("shop:build()")).splitlines()
        assert re.fullmatch(r'  File ".*shop.py", line 2, in build', lines[1])

    def test_a_syntax_error_needs_no_traceback(self, write: Write) -> None:
        write("shop.py", "def (")
        lines = format_error(refusal("shop")).splitlines()
        assert re.fullmatch(r'  File ".*shop.py", line 1', lines[0])

    def test_what_the_application_imports_for_itself_stays_in_its_traceback(
        self, write: Write
    ) -> None:
        write("shop.py", "import importlib\nimportlib.import_module('stock')")
        write("stock.py", "1 / 0")
        shown = format_error(refusal("shop"))
        assert shown.index('shop.py", line 2') < shown.index('stock.py", line 1')

    def test_ctrl_c_during_the_import_is_no_fault_of_the_module(self, write: Write) -> None:
        write("shop.py", "raise KeyboardInterrupt")
        with pytest.raises(KeyboardInterrupt):
            load_application("shop:app")
