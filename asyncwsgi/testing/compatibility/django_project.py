"""A Django project as Django's own live server serves it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication


@contextmanager
def django_application() -> Iterator[WSGIApplication]:
    """The application of the configured project, with static files and databases in memory.

    A database in memory is seen through its one connection only, so the threads that serve share
    that of the thread that enters.
    """
    from django.conf import settings  # type: ignore[import-untyped]
    from django.core.servers.basehttp import get_internal_wsgi_application  # type: ignore[import-untyped]
    from django.db import connections  # type: ignore[import-untyped]

    application = get_internal_wsgi_application()
    if "django.contrib.staticfiles" in settings.INSTALLED_APPS:
        from django.contrib.staticfiles.handlers import StaticFilesHandler  # type: ignore[import-untyped]

        application = StaticFilesHandler(application)
    shared = {
        connection.alias: connection
        for connection in connections.all()
        if connection.vendor == "sqlite" and connection.is_in_memory_db()
    }

    def with_shared_connections(environ: dict[str, Any], start_response: StartResponse) -> Any:
        for alias, connection in shared.items():
            connections[alias] = connection
        return application(environ, start_response)

    for connection in shared.values():
        connection.inc_thread_sharing()
    try:
        yield with_shared_connections
    finally:
        for connection in shared.values():
            connection.dec_thread_sharing()


def host_allowed(host: str) -> Any:
    """What to be inside of for Django to answer for `host`."""
    from django.test.utils import modify_settings  # type: ignore[import-untyped]

    return modify_settings(ALLOWED_HOSTS={"append": host})
