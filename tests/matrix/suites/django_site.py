"""Settings and views of the project that `suite_django` tests."""

from __future__ import annotations

import sys
from typing import Any

SECRET_KEY = "not one"
ROOT_URLCONF = __name__
ALLOWED_HOSTS: list[str] = []
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.staticfiles",
]
STATIC_URL = "/static/"
USE_TZ = True


def users(request: Any) -> Any:
    from django.contrib.auth.models import User  # type: ignore[import-untyped]
    from django.http import HttpResponse  # type: ignore[import-untyped]

    return HttpResponse(",".join(user.username for user in User.objects.all()))


def create(request: Any) -> Any:
    from django.contrib.auth.models import User
    from django.http import HttpResponse

    User.objects.create(username="eve")
    return HttpResponse("created")


def __getattr__(name: str) -> Any:
    # Views name models, which want settings that are complete: this module.
    if name != "urlpatterns":
        raise AttributeError(name)
    from django.urls import path  # type: ignore[import-untyped]

    module = sys.modules[__name__]
    return [path("users", module.users), path("create", module.create)]
