"""install(): our servers below programs that are not changed."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
import werkzeug
import werkzeug.serving

from asyncwsgi import serving
from tests.serving.apps import hello

THEIRS = werkzeug.serving.make_server


@pytest.fixture
def installed() -> Iterator[None]:
    serving.install()
    yield
    serving.uninstall()


@pytest.fixture
def early(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module that imported make_server before anyone installed anything."""
    module = ModuleType("early_bird")
    module.make_server = THEIRS  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def kind_of(make_server: Any) -> type:
    with make_server("127.0.0.1", 0, hello, threaded=True) as server:
        return type(server)


class TestInstalled:
    @pytest.fixture(autouse=True)
    def _installed(self, early: ModuleType, installed: None) -> None:
        pass

    def test_werkzeug_makes_our_servers(self) -> None:
        assert kind_of(werkzeug.serving.make_server) is serving.ThreadedWSGIServer

    def test_who_imported_the_name_before_makes_them_too(self, early: ModuleType) -> None:
        assert kind_of(early.make_server) is serving.ThreadedWSGIServer

    def test_run_simple_itself_is_werkzeugs_own(self) -> None:
        assert werkzeug.run_simple is werkzeug.serving.run_simple
        assert werkzeug.run_simple.__module__ == "werkzeug.serving"
        assert werkzeug.run_simple is not serving.run_simple

    def test_twice_is_as_good_as_once(self) -> None:
        serving.install()
        serving.uninstall()
        assert werkzeug.serving.make_server is THEIRS


class TestUninstalled:
    def test_everything_is_as_it_was(self, early: ModuleType) -> None:
        serving.install()
        serving.uninstall()
        assert werkzeug.serving.make_server is early.make_server is THEIRS

    def test_who_imported_the_name_meanwhile_is_given_werkzeugs(self) -> None:
        serving.install()
        late = ModuleType("late_bird")
        late.make_server = werkzeug.serving.make_server  # type: ignore[attr-defined]
        sys.modules[late.__name__] = late
        try:
            serving.uninstall()
            assert late.make_server is THEIRS
        finally:
            del sys.modules[late.__name__]

    def test_who_chose_ours_keeps_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        module = ModuleType("chose_ours")
        module.make_server = serving.make_server  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
        serving.install()
        serving.uninstall()
        assert module.make_server is serving.make_server


def test_importing_installs_nothing() -> None:
    assert werkzeug.serving.make_server is THEIRS
    assert kind_of(werkzeug.serving.make_server) is werkzeug.serving.ThreadedWSGIServer


class TestSignatures:
    def test_run_simple_has_werkzeugs(self) -> None:
        assert inspect.signature(serving.run_simple) == inspect.signature(werkzeug.run_simple)

    def test_make_server_has_werkzeugs(self) -> None:
        def shape(function: Any) -> list[tuple[str, Any]]:
            return [(p.name, p.default) for p in inspect.signature(function).parameters.values()]

        assert shape(serving.make_server) == shape(THEIRS)


def test_run_simple_refuses_a_port_that_is_no_number() -> None:
    with pytest.raises(TypeError, match="port must be an integer"):
        serving.run_simple("127.0.0.1", "5000", hello)
