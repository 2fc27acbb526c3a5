"""The application that is served if none is named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from asyncwsgi import AppImportError
from asyncwsgi.command.app_search import DJANGO, Found, find_application
from tests.doors.conftest import Write

MANAGE = """
    #!/usr/bin/env python
    import os
    import sys


    def main():
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")
        from django.core.management import execute_from_command_line
        execute_from_command_line(sys.argv)
"""
WSGI_APPLICATION = 'DEBUG = False\nWSGI_APPLICATION = "mysite.deploy.wsgi.application"\n'


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_order_is_settings_flask_app_wsgi_app_and_manage(here: Path, write: Write) -> None:
    write("manage.py", MANAGE)
    write("mysite/wsgi.py", "")
    assert find_application(here, None, {}).app == "mysite.wsgi"
    write("app.py", "")
    assert find_application(here, None, {}) == Found("app.py", "it is there")
    write("wsgi.py", "")
    assert find_application(here, None, {}) == Found("wsgi.py", "it is there")
    environ = {"FLASK_APP": "shop:create_app()"}
    found = find_application(here, None, environ)
    assert found == Found("shop:create_app()", "FLASK_APP names it")
    found = find_application(here, "web:app", environ)
    assert found == Found("web:app", "pyproject.toml names it")


def test_a_package_counts_and_is_what_python_would_import(here: Path, write: Write) -> None:
    write("app.py", "")
    write("app/__init__.py", "")
    assert find_application(here, None, {}).app == "app/"


def test_a_directory_that_is_no_package_does_not(here: Path, write: Write) -> None:
    write("wsgi/readme.txt", "")
    write("app.py", "")
    assert find_application(here, None, {}).app == "app.py"


def test_files_of_another_directory_are_named_from_the_current_one(
    here: Path, write: Write
) -> None:
    write("app.py", "")
    write("src/app.py", "")
    assert find_application(here / "src", None, {}).app == "src/app.py"


class TestDjango:
    def test_its_settings_say_what_is_served(self, here: Path, write: Write) -> None:
        write("manage.py", MANAGE)
        write("mysite/settings.py", WSGI_APPLICATION)
        assert find_application(here, None, {}) == Found(
            "mysite.deploy.wsgi:application",
            "it is the WSGI_APPLICATION of mysite.settings, which manage.py names",
            {DJANGO: "mysite.settings"},
        )

    @pytest.mark.parametrize(
        "settings",
        [
            pytest.param("", id="they do not say it"),
            pytest.param("WSGI_APPLICATION = None", id="they say that there is none"),
            pytest.param("from .base import *", id="others of theirs say it"),
            pytest.param("print('", id="they are broken"),
        ],
    )
    def test_else_it_is_the_projects_wsgi(self, here: Path, write: Write, settings: str) -> None:
        write("manage.py", MANAGE)
        write("mysite/settings.py", settings)
        write("mysite/wsgi.py", "")
        assert find_application(here, None, {}) == Found(
            "mysite.wsgi",
            "it goes with mysite.settings, which manage.py names",
            {DJANGO: "mysite.settings"},
        )

    def test_settings_may_be_a_package(self, here: Path, write: Write) -> None:
        write("manage.py", "import os\nos.environ['DJANGO_SETTINGS_MODULE'] = 'conf.settings'\n")
        write("conf/settings/__init__.py", WSGI_APPLICATION)
        assert find_application(here, None, {}).app == "mysite.deploy.wsgi:application"

    def test_the_variable_counts_for_more_than_manage(self, here: Path, write: Write) -> None:
        write("manage.py", MANAGE)
        write("mysite/settings.py", "")
        write("mysite/wsgi.py", "")
        write("other/settings.py", WSGI_APPLICATION)
        found = find_application(here, None, {DJANGO: "other.settings"})
        assert found.app == "mysite.deploy.wsgi:application"
        assert found.reason.endswith("of other.settings, which DJANGO_SETTINGS_MODULE names")

    @pytest.mark.parametrize(
        "manage",
        [
            pytest.param("print('no settings')", id="no settings"),
            pytest.param("print('", id="no Python"),
            pytest.param(MANAGE, id="no project"),
        ],
    )
    def test_a_manage_that_leads_nowhere_is_none(
        self, here: Path, write: Write, manage: str
    ) -> None:
        write("manage.py", manage)
        with pytest.raises(AppImportError, match=r"a manage\.py with settings"):
            find_application(here, None, {})


class TestNothing:
    def test_says_where_it_looked_and_the_cure(self, here: Path) -> None:
        with pytest.raises(AppImportError) as caught:
            find_application(here, None, {"FLASK_APP": ""})
        assert str(caught.value) == (
            "no application is named, and none was found; looked for 'app' in [tool.asyncwsgi] of "
            f"pyproject.toml, for FLASK_APP, and in {here} for wsgi.py, app.py and a manage.py "
            "with settings; name it, as in: asyncwsgi hello.py:app, where hello.py has app = "
            "Flask(__name__)"
        )

    @pytest.mark.parametrize(
        ("source", "name"),
        [
            pytest.param("app = Flask(__name__)", "app", id="an application"),
            pytest.param("application: Flask = Flask(__name__)", "application", id="a typed one"),
            pytest.param("def create_app():", "create_app", id="a factory"),
            pytest.param("def app(environ, start_response):", "app", id="a function"),
        ],
    )
    def test_the_example_is_one_of_the_files_that_are_there(
        self, here: Path, write: Write, source: str, name: str
    ) -> None:
        write("a.py", "def f():\n    app = 1\napplication_id = 3\napp.run()\n")
        (here / "b.py").write_bytes(b"# \xff")
        write("shop.py", f"import flask\n{source}\n")
        with pytest.raises(AppImportError, match=re.escape(f"asyncwsgi shop.py:{name}") + "$"):
            find_application(here, None, {})
