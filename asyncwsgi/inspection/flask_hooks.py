"""What Flask tells of a request by its signals and hooks; the application is not changed."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any

from asyncwsgi.inspection.records import current_record


class FlaskHooks:
    """Listens to Flask, once the application has imported it.

    Args:
        on_fault: called where something could not be recorded, with the exception in hand.
    """

    home = "flask.signals"
    """The module whose import says that the application uses it."""

    def __init__(self, on_fault: Callable[[], object]) -> None:
        self._on_fault = on_fault
        self._connected: list[tuple[Any, Callable[..., object]]] = []
        self._views: dict[Any, dict[str, Any]] = {}
        self._after_this_request: Callable[[Any], object] = lambda _: None
        self._request: Any = None

    def connect(self) -> bool:
        """Listen. False: it is not there yet."""
        signals, flask = sys.modules.get(self.home), sys.modules.get("flask")
        if signals is None or flask is None or not hasattr(flask, "after_this_request"):
            return False  # another thread is importing it this very moment
        self._after_this_request = flask.after_this_request
        self._request = flask.request
        receivers: dict[str, Callable[..., object]] = {
            "appcontext_pushed": self._pushed,
            "request_started": self._matched,
            "request_tearing_down": self._tearing_down,
            "got_request_exception": self._raised,
        }
        for name, receiver in receivers.items():
            signal = getattr(signals, name)
            signal.connect(receiver, weak=False)
            self._connected.append((signal, receiver))
        return True

    def disconnect(self) -> None:
        """Listen no more."""
        for signal, receiver in self._connected:
            signal.disconnect(receiver)
        self._connected.clear()

    def _pushed(self, _: object, **__: Any) -> None:
        record = current_record()
        if record is not None:
            record.mark("context_pushed")

    def _matched(self, app: Any, **_: Any) -> None:
        record = current_record()
        if record is None:
            return
        record.mark("matched")
        try:
            request = self._request
            rule = request.url_rule
            if rule is not None:
                view = app.view_functions.get(rule.endpoint)
                record.flask = {
                    "endpoint": rule.endpoint,
                    "rule": rule.rule,
                    **(self._views.get(view) or self._learn(view)),
                }
                if not self._has_functions_before(app, request):
                    record.mark("view")
            self._after_this_request(_mark_after)
        except Exception:
            self._on_fault()
        record.touch()

    def _has_functions_before(self, app: Any, request: Any) -> bool:
        """Whether something runs before the view; then nobody is told when that begins."""
        functions = app.before_request_funcs
        return bool(functions) and any(functions.get(n) for n in (None, *request.blueprints))

    def _learn(self, view: Any) -> dict[str, Any]:
        function = inspect.unwrap(view)
        # Those of Flask-RESTful and of flask.views are named by their class.
        function = getattr(view, "view_class", function)
        code = getattr(function, "__code__", None)
        known = {
            "view": f"{function.__module__}.{function.__qualname__}",
            "file": code.co_filename if code else inspect.getsourcefile(function) or "",
            "line": code.co_firstlineno if code else 0,
        }
        if isinstance(function, type):
            known["line"] = inspect.getsourcelines(function)[1]
        self._views[view] = known
        return known

    def _tearing_down(self, _: object, **__: Any) -> None:
        record = current_record()
        if record is not None:
            record.mark("teardown")

    def _raised(self, _: object, exception: BaseException, **__: Any) -> None:
        record = current_record()
        if record is not None:
            record.fail(exception)


def _mark_after(response: Any) -> Any:
    record = current_record()
    if record is not None:
        record.mark("after_request")
    return response
