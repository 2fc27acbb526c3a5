"""Django in the process of the tests, which can be configured once."""

from __future__ import annotations

import django  # type: ignore[import-untyped]
from django.apps import apps  # type: ignore[import-untyped]
from django.conf import settings  # type: ignore[import-untyped]


def set_up_django() -> None:
    """Have the settings and the application registry that there are, whoever needs them first."""
    if not settings.configured:
        settings.configure(ALLOWED_HOSTS=["*"], SECRET_KEY="k")
    if not apps.ready:
        django.setup()
