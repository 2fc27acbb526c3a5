"""Names of docs/testing.md's fragments."""

from __future__ import annotations

import socket
import unittest
from urllib.parse import urlsplit
from urllib.request import urlopen

import django.test  # type: ignore[import-untyped]
import flask
import httpx
import pytest
import requests
from django.conf import settings  # type: ignore[import-untyped]
from django.http import HttpRequest, HttpResponse  # type: ignore[import-untyped]
from django.urls import path  # type: ignore[import-untyped]
from mysite import create_app

from asyncwsgi.testing import Authority, ClassLiveServerTestCase, LiveServer

__all__ = [
    "Authority",
    "ClassLiveServerTestCase",
    "LiveServer",
    "admin_app",
    "app",
    "django",
    "fetch_orders",
    "flask",
    "httpx",
    "make_app",
    "pytest",
    "requests",
    "start_download",
    "urlopen",
]


class Project:
    """The URLs of a Django project."""

    @staticmethod
    def index(request: HttpRequest) -> HttpResponse:
        return HttpResponse(b"Hello!")

    urlpatterns = (path("", index),)


settings.configure(
    ROOT_URLCONF=Project,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
)
django.setup()

app: flask.Flask = create_app()


def make_app(*, testing: bool) -> flask.Flask:
    assert testing
    return app


@pytest.fixture
def admin_app() -> flask.Flask:
    return app


def fetch_orders(url: str) -> requests.Response:
    """A client that tries three times."""
    for _ in range(2):
        response = requests.get(f"{url}/orders", timeout=30)
        if response.ok:
            return response
    return requests.get(f"{url}/orders", timeout=30)


class Download:
    """A client that has asked and reads nothing."""

    def __init__(self, url: str) -> None:
        where = urlsplit(url)
        self._client = socket.create_connection((where.hostname, where.port))
        self._client.sendall(f"GET {where.path} HTTP/1.1\r\nHost: test\r\n\r\n".encode())

    def cancel(self) -> None:
        self._client.close()


start_download = Download


def check_Tests(tests: type[ClassLiveServerTestCase]) -> None:  # noqa: N802
    class Case(tests):  # type: ignore[valid-type, misc]
        def test(self) -> None:
            with urlopen(self.server.url) as response:
                assert response.read() == b"Hello!"

    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(Case).run(result)
    assert (result.testsRun, result.errors, result.failures) == (1, [], [])
