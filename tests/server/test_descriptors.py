"""How many clients a server takes that was not told."""

from __future__ import annotations

import pytest

from asyncwsgi.server.descriptors import default_max_connections
from tests.apps import hello
from tests.conftest import Serve
from tests.http.helpers import ClientOf, listen, messages, until
from tests.server.helpers import FOREVER


def limit_descriptors(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    monkeypatch.setattr("asyncwsgi.server.descriptors.descriptor_limit", lambda: limit)


@pytest.mark.parametrize(
    ("limit", "threads", "expected"),
    [
        pytest.param(1024, 40, 880, id="as shells and systemd have it"),
        pytest.param(11_000, 40, 10_856, id="ten thousand event streams"),
        pytest.param(1_048_576, 40, 1_048_432, id="as containers have it"),
        pytest.param(256, 40, 128, id="as macOS has it"),
        pytest.param(1024, 1000, 512, id="more threads than it could feed"),
        pytest.param(0, 40, 0, id="no limit"),
    ],
)
def test_the_default_leaves_descriptors_to_the_application(
    monkeypatch: pytest.MonkeyPatch, limit: int, threads: int, expected: int
) -> None:
    limit_descriptors(monkeypatch, limit)
    assert default_max_connections(threads) == expected


def test_a_client_beyond_the_default_is_refused_and_the_log_says_what_to_raise(
    serve: Serve,
    client_of: ClientOf,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    limit_descriptors(monkeypatch, 2)
    server = serve(hello)
    listen(caplog)
    first, second = client_of(server), client_of(server)
    assert first.get().status == 200
    assert second.reply().status == 503
    (line,) = messages(caplog.records)
    assert line.endswith(
        "too many connections; raise the limit of open files (ulimit -n, LimitNOFILE= of systemd) "
        "or max_connections"
    )


def test_more_than_the_default_may_be_asked_for(
    serve: Serve, client_of: ClientOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit_descriptors(monkeypatch, 2)
    server = serve(hello, max_connections=3)
    assert [client_of(server).get().status for _ in range(3)] == [200] * 3


def test_those_who_are_refused_do_not_take_what_is_left_of_the_descriptors(
    serve: Serve, client_of: ClientOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asyncwsgi.frontends.registry.MOST_LINGERING", 2)
    server = serve(hello, max_connections=1, drain_timeout=FOREVER)
    assert client_of(server).get().status == 200
    for _ in range(5):  # none of them closes
        assert client_of(server).reply().status == 503
    until(server, lambda: len(server.server.snapshot().connections) == 3)
