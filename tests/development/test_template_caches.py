"""Templates that have changed are read again, though frameworks keep what they have read."""

from __future__ import annotations

from pathlib import Path

import jinja2
from django.template import engines  # type: ignore[import-untyped]
from django.template.loader import render_to_string  # type: ignore[import-untyped]
from django.test import override_settings  # type: ignore[import-untyped]
from flask import Flask, render_template

from asyncwsgi.development.template_caches import forget_templates
from tests.django_settings import set_up_django


def test_flasks_without_its_debugging(tmp_path: Path) -> None:
    template = tmp_path / "a.html"
    app = Flask(__name__, template_folder=str(tmp_path))
    with app.app_context():
        template.write_text("one")
        assert render_template("a.html") == "one"
        template.write_text("two")
        assert render_template("a.html") == "one"
        forget_templates()
        assert render_template("a.html") == "two"


def test_an_environment_without_a_cache_is_no_obstacle() -> None:
    environment = jinja2.Environment(cache_size=0)
    forget_templates()
    assert environment.cache is None


def test_djangos(tmp_path: Path) -> None:
    set_up_django()
    template = tmp_path / "a.html"
    backend = {"BACKEND": "django.template.backends.django.DjangoTemplates"}
    with override_settings(TEMPLATES=[{**backend, "DIRS": [str(tmp_path)]}]):
        template.write_text("one")
        assert render_to_string("a.html") == "one"
        template.write_text("two")
        assert render_to_string("a.html") == "one"
        forget_templates()
        assert render_to_string("a.html") == "two"
        assert engines.all()
