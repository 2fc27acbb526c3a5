"""What Flask tells of a request by its signals and hooks; the application is not changed."""

from __future__ import annotations

import contextlib
import inspect
import json
import sys
from collections.abc import Callable
from typing import Any

from asyncwsgi.inspection.records import current_record

_MOST_VIEWS = 1000


class FlaskHooks:
    """Listens to Flask, once the application has imported it.

    Args:
        on_fault: called where something could not be recorded, with the exception in hand.
    """

    home = "flask.signals"
    """The module whose import says that the application uses it."""
    may_rest = True

    def __init__(self, on_fault: Callable[[], object]) -> None:
        self._on_fault = on_fault
        self._connected: list[tuple[Any, Callable[..., object]]] = []
        self._views: dict[tuple[int, int], tuple[str, Any, Any]] = {}
        """What is told of each view by each of its rules, as JSON; with both, so that no others
        have their identity. Neither need be hashable."""
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
            self._after_this_request(_mark_after)
            request = self._request._get_current_object()
            rule = request.url_rule
            if rule is not None:
                view = app.view_functions.get(rule.endpoint)
                known = self._views.get((id(rule), id(view)))
                record.flask = self._learn(rule, view) if known is None else known[0]
                if not self._has_functions_before(app, request):
                    record.mark("view")
        except Exception:
            self._on_fault()
        record.touch()

    def _has_functions_before(self, app: Any, request: Any) -> bool:
        """Whether something runs before the view; then nobody is told when that begins."""
        functions = app.before_request_funcs
        return bool(functions) and any(functions.get(n) for n in (None, *request.blueprints))

    def _learn(self, rule: Any, view: Any) -> str:
        known = json.dumps({"endpoint": rule.endpoint, "rule": rule.rule, **_place_of(view)})
        if len(self._views) < _MOST_VIEWS:
            self._views[id(rule), id(view)] = (known, rule, view)
        return known

    def _tearing_down(self, _: object, **__: Any) -> None:
        record = current_record()
        if record is not None:
            record.mark("teardown")

    def _raised(self, _: object, exception: BaseException, **__: Any) -> None:
        record = current_record()
        if record is not None:
            record.fail(exception)


def _place_of(view: Any) -> dict[str, Any]:
    """Where a view is written."""
    if view is None:
        return {}
    # Those of classes are functions that make an object of it (flask.views).
    written = getattr(view, "view_class", None) or inspect.unwrap(view)
    place = {"view": f"{written.__module__}.{getattr(written, '__qualname__', '?')}"}
    with contextlib.suppress(OSError, TypeError):  # what has no source, or is no function at all
        code = getattr(written, "__code__", None)
        file = code.co_filename if code else inspect.getsourcefile(written)
        line = code.co_firstlineno if code else inspect.getsourcelines(written)[1]
        return {**place, "file": file, "line": line}
    return place


def _mark_after(response: Any) -> Any:
    record = current_record()
    if record is not None:
        record.mark("after_request")
    return response
