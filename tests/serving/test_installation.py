"""install(): our servers below programs that are not changed.

The programs are modules that import Werkzeug as TensorBoard and Odoo do.
"""

from __future__ import annotations

import inspect
import sys
import threading
from collections.abc import Callable, Iterator
from textwrap import dedent
from types import ModuleType
from typing import Any

import pytest
import werkzeug
import werkzeug.serving
from werkzeug.serving import ThreadedWSGIServer

from asyncwsgi import serving
from tests.serving.apps import hello
from tests.serving.conftest import Running

MAKE_SERVER = werkzeug.serving.make_server
CLASSES = (werkzeug.serving.BaseWSGIServer, werkzeug.serving.ThreadedWSGIServer)
SERVE_FOREVER = werkzeug.serving.BaseWSGIServer.serve_forever


@pytest.fixture
def installed() -> Iterator[None]:
    serving.install()
    yield
    serving.uninstall()


@pytest.fixture(autouse=True)
def _http_1_1(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are no threads, Werkzeug speaks HTTP/1.0 unless the handler says otherwise."""
    monkeypatch.setattr(werkzeug.serving.WSGIRequestHandler, "protocol_version", "HTTP/1.1")


MakeModule = Callable[[str], Any]


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> MakeModule:
    """Has a module of this source imported, now."""

    def make(source: str) -> ModuleType:
        made = ModuleType("program")
        monkeypatch.setitem(sys.modules, made.__name__, made)
        exec(dedent(source), vars(made))
        return made

    return make


def make_kept(server_class: Callable[..., Any], *args: Any) -> bool:
    """Whether a server of this class keeps connections, which Werkzeug's own does not."""
    server = server_class("127.0.0.1", 0, hello, *args)
    running = Running(server)
    try:
        with running.connect() as client:
            return client.get().header("Connection") is None
    finally:
        running.close()
        if running.error is not None:
            raise running.error


IMPORTED = """
    from werkzeug.serving import BaseWSGIServer, ThreadedWSGIServer, make_server
"""
# As in tensorboard/program.py.
TENSORBOARD = """
    from abc import ABCMeta, abstractmethod
    from werkzeug import serving

    class TensorBoardServer(metaclass=ABCMeta):
        @abstractmethod
        def __init__(self, wsgi_app, flags):
            raise NotImplementedError()

        @abstractmethod
        def serve_forever(self):
            raise NotImplementedError()

    class _WSGIRequestHandler(serving.WSGIRequestHandler):
        protocol_version = "HTTP/1.1"

    class WerkzeugServer(serving.ThreadedWSGIServer, TensorBoardServer):
        daemon_threads = True

        def __init__(self, host, port, wsgi_app):
            self.was_bound = False
            self.log("debug", "before it is made")
            super(WerkzeugServer, self).__init__(host, port, wsgi_app, _WSGIRequestHandler)

        def server_bind(self):
            super(WerkzeugServer, self).server_bind()
            self.was_bound = True

        def handle_error(self, request, client_address):
            raise NotImplementedError()
"""
# As in odoo/service/server.py, up to Odoo 15.
ODOO = """
    import threading
    import werkzeug.serving

    class LoggingBaseWSGIServerMixIn(object):
        def handle_error(self, request, client_address):
            raise NotImplementedError()

    class BaseWSGIServerNoBind(LoggingBaseWSGIServerMixIn, werkzeug.serving.BaseWSGIServer):
        def __init__(self, app):
            werkzeug.serving.BaseWSGIServer.__init__(self, "127.0.0.1", 0, app)
            if self.socket:
                self.socket.close()

        def server_activate(self):
            pass

    class RequestHandler(werkzeug.serving.WSGIRequestHandler):
        def setup(self):
            self.timeout = 5
            super(RequestHandler, self).setup()
            me = threading.current_thread()
            me.name = "odoo.service.http.request.%s" % (me.ident,)

    class ThreadedWSGIServerReloadable(
        LoggingBaseWSGIServerMixIn, werkzeug.serving.ThreadedWSGIServer
    ):
        def __init__(self, host, port, app):
            super(ThreadedWSGIServerReloadable, self).__init__(
                host, port, app, handler=RequestHandler
            )
            self.daemon_threads = False

        def server_bind(self):
            super(ThreadedWSGIServerReloadable, self).server_bind()

        def server_activate(self):
            super(ThreadedWSGIServerReloadable, self).server_activate()
"""


class TestInstalled:
    @pytest.mark.parametrize("threaded", [True, False])
    def test_werkzeug_makes_our_servers(self, installed: None, threaded: bool) -> None:
        with werkzeug.serving.make_server("127.0.0.1", 0, hello, threaded=threaded) as server:
            assert isinstance(server, werkzeug.serving.BaseWSGIServer)
            assert isinstance(server, serving.BaseWSGIServer)
            assert isinstance(server, serving.ThreadedWSGIServer) is threaded

    @pytest.mark.parametrize("name", ["BaseWSGIServer", "ThreadedWSGIServer", "make_server"])
    def test_who_imported_a_name_before_makes_them_too(self, module: MakeModule, name: str) -> None:
        early = module(IMPORTED)
        serving.install()
        try:
            assert make_kept(getattr(early, name))
        finally:
            serving.uninstall()

    @pytest.mark.parametrize(
        ("source", "name"),
        [(TENSORBOARD, "WerkzeugServer"), (ODOO, "ThreadedWSGIServerReloadable")],
        ids=["TensorBoard", "Odoo"],
    )
    def test_what_becomes_a_subclass_is_ours(
        self, installed: None, module: MakeModule, source: str, name: str
    ) -> None:
        assert make_kept(getattr(module(source), name))

    def test_run_simple_itself_is_werkzeugs_own(self, installed: None) -> None:
        assert werkzeug.run_simple is werkzeug.serving.run_simple
        assert werkzeug.run_simple.__module__ == "werkzeug.serving"
        assert werkzeug.run_simple is not serving.run_simple

    def test_twice_is_as_good_as_once(self, installed: None) -> None:
        serving.install()
        serving.uninstall()
        assert_werkzeugs_own()


class TestTooLate:
    """A server whose class is older runs on Werkzeug's loop, and says so."""

    @pytest.fixture
    def older(self, module: MakeModule) -> Iterator[Any]:
        early = module(
            IMPORTED
            + """
    import functools

    class Subclass(BaseWSGIServer):
        def __init__(self, *args):
            BaseWSGIServer.__init__(self, *args)

        def serve_forever(self, poll_interval):
            BaseWSGIServer.serve_forever(self, poll_interval)

    attribute = functools.partial(ThreadedWSGIServer)
    made = None

    def instance(*args):
        return made
"""
        )
        early.made = ThreadedWSGIServer("127.0.0.1", 0, hello)
        serving.install()
        yield early
        serving.uninstall()
        early.made.server_close()

    @pytest.mark.parametrize("name", ["Subclass", "attribute", "instance"])
    def test_it_is_named_in_a_warning(
        self, older: Any, name: str, warned: list[tuple[str, type[Warning]]]
    ) -> None:
        assert not make_kept(getattr(older, name))
        ((message, category),) = warned
        kind = "Subclass" if name == "Subclass" else "ThreadedWSGIServer"
        assert message.startswith(f"{kind} runs on Werkzeug's own loop, because its class was")
        assert category is RuntimeWarning

    def test_a_server_that_forks_is_werkzeugs_on_purpose(
        self, installed: None, warned: list[tuple[str, type[Warning]]]
    ) -> None:
        server = werkzeug.serving.make_server("127.0.0.1", 0, hello, processes=2)
        threading.Timer(0, server.shutdown).start()
        server.serve_forever(0.01)
        assert warned == []

    def test_once_uninstalled_nothing_is_too_late(
        self, warned: list[tuple[str, type[Warning]]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(CLASSES[0], "serve_forever", SERVE_FOREVER)  # undone in the end
        serving.install()
        ours = CLASSES[0].serve_forever

        def put_over_it(*args: Any, **kwargs: Any) -> None:
            ours(*args, **kwargs)

        CLASSES[0].serve_forever = put_over_it  # type: ignore[method-assign]
        serving.uninstall()
        assert not make_kept(ThreadedWSGIServer)
        assert warned == []


class TestUninstalled:
    def test_everything_is_as_it_was(self, module: MakeModule) -> None:
        early = module(IMPORTED)
        serving.install()
        serving.uninstall()
        assert_werkzeugs_own()
        assert (early.BaseWSGIServer, early.ThreadedWSGIServer) == CLASSES

    def test_who_imported_a_name_meanwhile_is_given_werkzeugs(self, module: MakeModule) -> None:
        serving.install()
        late = module(IMPORTED)
        serving.uninstall()
        assert (late.BaseWSGIServer, late.ThreadedWSGIServer) == CLASSES

    def test_what_became_a_subclass_meanwhile_serves(self, module: MakeModule) -> None:
        serving.install()
        program = module(ODOO)
        serving.uninstall()
        assert make_kept(program.ThreadedWSGIServerReloadable)
        # It calls Werkzeug's __init__() by a name that means Werkzeug's own class again.
        unbound = program.BaseWSGIServerNoBind(hello)
        unbound.shutdown()
        unbound.server_close()

    def test_who_chose_ours_keeps_it(self, module: MakeModule) -> None:
        chosen = module("from asyncwsgi.serving import BaseWSGIServer, ThreadedWSGIServer")
        serving.install()
        serving.uninstall()
        assert chosen.BaseWSGIServer is serving.BaseWSGIServer
        assert chosen.ThreadedWSGIServer is serving.ThreadedWSGIServer


def assert_werkzeugs_own() -> None:
    assert (werkzeug.serving.BaseWSGIServer, werkzeug.serving.ThreadedWSGIServer) == CLASSES
    assert CLASSES[0].serve_forever is SERVE_FOREVER


def test_importing_installs_nothing() -> None:
    assert_werkzeugs_own()


class TestSignatures:
    def test_run_simple_has_werkzeugs(self) -> None:
        assert inspect.signature(serving.run_simple) == inspect.signature(werkzeug.run_simple)

    def test_make_server_has_werkzeugs(self) -> None:
        def shape(function: Any) -> list[tuple[str, Any]]:
            return [(p.name, p.default) for p in inspect.signature(function).parameters.values()]

        assert shape(serving.make_server) == shape(MAKE_SERVER)


def test_run_simple_refuses_a_port_that_is_no_number() -> None:
    with pytest.raises(TypeError, match="port must be an integer"):
        serving.run_simple("127.0.0.1", "5000", hello)
