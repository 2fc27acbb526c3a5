"""What is run, and against which releases."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True)
class Release:
    """Werkzeug and Flask as they are installed together; an empty specifier asks for the newest."""

    name: str
    werkzeug: str
    flask: str

    @property
    def requirements(self) -> list[str]:
        return [f"werkzeug{self.werkzeug}", f"flask{self.flask}"]


@dataclass(frozen=True)
class Suite:
    """Tests of one project that run in one pytest."""

    name: str
    project: str
    """Whose sdist holds them."""
    arguments: tuple[str, ...]
    """What pytest is told to collect; paths are relative to `folder`."""
    folder: str = "."
    """Where pytest runs, relative to the root of the sdist."""
    own_arguments: tuple[str, ...] = ()
    """More of what pytest is told, except in the baseline."""
    plugins: tuple[str, ...] = ()
    """Modules from `inside` that pytest loads, except in the baseline."""
    has_servers: bool = False
    """Its tests connect to servers, so the run has to prove whose they were.

    Counted are servers, or requests where one server serves all.
    """
    has_coroutines: bool = False
    """Its tests have async views, so the run has to prove that they ran on the server's loop."""


SEED = random.randrange(2**32)
"""Of the order of tests, where that is random; pytest's log says it."""

RELEASES = (
    # The oldest Werkzeug that Flask 3.1 accepts.
    Release("oldest", "==3.1.0", "==3.1.0"),
    Release("newest", "", ""),
)

ALL_OF_FLASK = (
    "tests",
    "-p",
    "randomly",
    f"--randomly-seed={SEED}",
    # Fails in process, too, with the newest Werkzeug.
    "--deselect=tests/test_reqctx.py::test_bad_environ_raises_bad_request",
)

SUITES = (
    Suite(
        "werkzeug",
        "werkzeug",
        (
            "tests/test_serving.py",
            "tests/test_debug.py",
            "tests/middleware/test_http_proxy.py",
            # Some tests never close their connection, because Werkzeug's server closes it behind
            # each response; this one keeps it. Newer releases of Werkzeug set this filter, too.
            "-W",
            "always::pytest.PytestUnraisableExceptionWarning",
        ),
        has_servers=True,
    ),
    Suite("flask", "flask", ("tests/test_basic.py", "-k", "run_ or passthrough")),
    Suite("flask-cli", "flask", ("tests/test_cli.py",)),
    Suite(
        "flask-arun",
        "flask",
        (
            "tests/test_cli.py::test_run_cert_path",
            "tests/test_cli.py::test_run_cert_adhoc",
            "tests/test_cli.py::test_run_cert_import",
            "tests/test_cli.py::test_run_cert_no_ssl",
            "tests/test_cli.py::test_run_exclude_patterns",
        ),
        plugins=("conformance_arun",),
    ),
    # All of Flask's tests; what their clients send goes to a live server. In random order, so that
    # no test lives on what another has left in the server; the baseline has the same order.
    Suite(
        "flask-wire",
        "flask",
        ALL_OF_FLASK,
        plugins=("conformance_wire",),
        has_servers=True,
        has_coroutines=True,
    ),
    # As before, but asgiref is not asked: `Flask.async_to_sync` is asyncwsgi's.
    Suite(
        "flask-override",
        "flask",
        ALL_OF_FLASK,
        plugins=("conformance_wire", "conformance_override"),
        has_servers=True,
        has_coroutines=True,
    ),
    # And with all view functions run as coroutines.
    Suite(
        "flask-async",
        "flask",
        ALL_OF_FLASK,
        plugins=("conformance_wire", "conformance_async_views"),
        has_servers=True,
        has_coroutines=True,
    ),
    # As the first of them, inside uvicorn: by `asyncwsgi.asgi.WSGIApp`.
    Suite(
        "flask-mounted",
        "flask",
        ALL_OF_FLASK,
        plugins=("conformance_wire", "conformance_mounted"),
        has_servers=True,
        has_coroutines=True,
    ),
    # And parked while they wait.
    Suite(
        "flask-parked",
        "flask",
        ALL_OF_FLASK,
        plugins=("conformance_wire", "conformance_async_views", "conformance_parked"),
        has_servers=True,
        has_coroutines=True,
    ),
)

TOOLS = (
    "asgiref",
    "cryptography",
    "ephemeral-port-reserve",
    "greenlet",
    # pytest 9 has no `_pytest.monkeypatch.notset`, which Flask 3.1's conftest.py uses.
    "pytest<9",
    "pytest-randomly",
    "pytest-timeout",
    "python-dotenv",
    "uvicorn",
    # Under Werkzeug 3.1's reloader watchdog 7 reports no change, whichever server runs.
    "watchdog<7",
)
"""What the suites need besides the projects themselves."""
