"""A suite that was written for pytest-django: its attributes of ``live_server``, and a database."""

from __future__ import annotations

from typing import Any
from urllib.request import urlopen

import pytest
from django.contrib.auth.models import User  # type: ignore[import-untyped]


def test_a_url_is_an_attribute_and_a_text(live_server: Any) -> None:
    assert str(live_server) == live_server.url == f"http://localhost:{live_server.port}"
    assert live_server + "/users" == f"{live_server.url}/users"
    assert f"{live_server}/users" == f"{live_server.url}/users"


@pytest.mark.parametrize("name", ["ann", "bob"])
def test_the_server_sees_the_database_of_the_test(live_server: Any, name: str) -> None:
    User.objects.create(username=name)
    assert urlopen(live_server.url + "/users").read().decode() == name


def test_the_test_sees_what_the_server_has_written(live_server: Any) -> None:
    assert urlopen(live_server.url + "/create").read() == b"created"
    assert [user.username for user in User.objects.all()] == ["eve"]


def test_static_files_are_served(live_server: Any) -> None:
    assert b"django" in urlopen(live_server.url + "/static/admin/css/base.css").read().lower()
