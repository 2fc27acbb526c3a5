"""``"asyncwsgi.django"`` in INSTALLED_APPS: Django's ``runserver`` on this server.

Before ``"django.contrib.staticfiles"`` it takes the place of ``runserver``; wherever it stands,
there is ``runasyncwsgi``. Needs Django (the extra ``django``).
"""

from __future__ import annotations

try:
    import django  # type: ignore[import-untyped]  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "django":
        raise
    raise ModuleNotFoundError(
        "asyncwsgi.django is an application of Django, and Django is not installed; install it: "
        "pip install django (the extra `django` does)",
        name=error.name,
    ) from None
