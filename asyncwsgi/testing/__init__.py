"""Live servers for integration tests: real sockets, in this process, on a loop of their own.

`LiveServer` is a server that records what it does and can be told to misbehave; the fixtures of
`asyncwsgi.testing.plugin` (pytest) and the classes of `asyncwsgi.testing.compatibility.cases`
(unittest) start and stop one for a test.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncwsgi.testing.authority import Authority, shared_authority
    from asyncwsgi.testing.compatibility.cases import (
        ClassLiveServerMixin,
        ClassLiveServerTestCase,
        LiveServerMixin,
        LiveServerTestCase,
    )
    from asyncwsgi.testing.faults.faults import Fault, Faults
    from asyncwsgi.testing.leaks.check import HungApplication, LeakError, LeakWarning
    from asyncwsgi.testing.live.records import RecordedRequest
    from asyncwsgi.testing.live.server import LiveServer

__all__ = [
    "Authority",
    "ClassLiveServerMixin",
    "ClassLiveServerTestCase",
    "Fault",
    "Faults",
    "HungApplication",
    "LeakError",
    "LeakWarning",
    "LiveServer",
    "LiveServerMixin",
    "LiveServerTestCase",
    "RecordedRequest",
    "shared_authority",
]

# Imported when first asked for: pytest loads the plugin in this package at every start, and what it
# imports then is not measured by coverage.
_HOMES = {
    "Authority": "authority",
    "ClassLiveServerMixin": "compatibility.cases",
    "ClassLiveServerTestCase": "compatibility.cases",
    "Fault": "faults.faults",
    "Faults": "faults.faults",
    "HungApplication": "leaks.check",
    "LeakError": "leaks.check",
    "LeakWarning": "leaks.check",
    "LiveServer": "live.server",
    "LiveServerMixin": "compatibility.cases",
    "LiveServerTestCase": "compatibility.cases",
    "RecordedRequest": "live.records",
    "shared_authority": "authority",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = import_module(f"asyncwsgi.testing.{_HOMES[name]}")
    value = globals()[name] = getattr(home, name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
