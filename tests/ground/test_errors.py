"""Exceptions: what programs may catch them as."""

from __future__ import annotations

import pytest

import asyncwsgi
from asyncwsgi import (
    AppImportError,
    ApplicationError,
    AsyncWSGIError,
    BindError,
    ClientDisconnected,
    ConfigError,
    RequestBodyError,
    RequestRefused,
    errors,
)

ALL = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, Exception)
]


@pytest.mark.parametrize("error", ALL)
def test_every_error_is_one_of_this_package(error: type[Exception]) -> None:
    assert issubclass(error, AsyncWSGIError)


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (ConfigError, ValueError),
        (AppImportError, ImportError),
        (BindError, OSError),
        # PEP 3333: input streams fail as files do, and applications catch that.
        (RequestBodyError, OSError),
        (ClientDisconnected, ConnectionError),
        (ApplicationError, AssertionError),
    ],
)
def test_an_error_can_be_caught_as_what_it_is_to_everyone(
    error: type[Exception], builtin: type[Exception]
) -> None:
    assert issubclass(error, builtin)


@pytest.mark.parametrize("error", [RequestRefused, RequestBodyError])
def test_a_refusal_carries_the_status_for_the_client_and_the_reason_for_the_log(
    error: type[RequestRefused | RequestBodyError],
) -> None:
    refusal = error(413, "too large")
    assert (refusal.status, refusal.reason, str(refusal)) == (413, "too large", "too large")


@pytest.mark.parametrize("error", [e for e in ALL if e.__name__ != "WorkersBusy"])
def test_errors_that_programs_meet_are_exported(error: type[Exception]) -> None:
    # WorkersBusy never leaves the server: it becomes a 503.
    assert getattr(asyncwsgi, error.__name__) is error
