"""The application as Django's registry knows it."""

from __future__ import annotations

from django.apps import AppConfig  # type: ignore[import-untyped]
from django.core.checks import register  # type: ignore[import-untyped]

from asyncwsgi.django.checks import check_order


class AsyncWSGIConfig(AppConfig):  # type: ignore[misc]
    """Named by ``"asyncwsgi.django"`` in INSTALLED_APPS."""

    name = "asyncwsgi.django"
    label = "asyncwsgi"  # the last part of its name would be the label of Django itself
    verbose_name = "asyncwsgi"

    def ready(self) -> None:
        register(check_order)
