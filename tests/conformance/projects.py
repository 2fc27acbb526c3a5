"""`python -m tests.conformance.projects`: suites of other projects that test against a live server.

They run as those of Werkzeug and Flask do, by `tests.conformance.run`: first on the server of
their own, then on this one. The exit code is 1 if anything was found that nobody expected, 2 if
the ground could not be prepared.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass

from tests.conformance.environment import UnreadyError
from tests.conformance.run import check_release, tell
from tests.conformance.suites import Release, Suite


@dataclass(frozen=True)
class ProjectsRelease(Release):
    """Werkzeug and Flask, the projects, and what their tests ask for besides."""

    projects: tuple[str, ...] = ()

    @property
    def requirements(self) -> list[str]:
        return [*super().requirements, *self.projects]


# The projects are pinned: somebody has looked through these suites for tests that want the network
# or leave it to chance whether they pass.
RELEASE = ProjectsRelease(
    "projects",
    "",
    "",
    (
        "pytest-httpserver==1.2.0",
        "pytest-flask==1.3.0",
        "pelicanfs==1.5.0",
        "swh.scanner==0.9.0",
        "a2wsgi==1.10.10",
        "beautifulsoup4",
        "httpx",
        "pytest-asyncio",
        "pytest-mock",
        "requests",
        "requests-mock",
        "trustme",
    ),
)

SWH_SCANNER = (
    "swh/scanner/tests",
    # Nests a thousand directories: too long a path in some temporary directories, and too deep for
    # pytest to remove. One of its tests fails once in a hundred runs, on any server.
    "--ignore=swh/scanner/tests/test_policy.py",
)

SUITES = (
    # The plugin behind the fixture `httpserver`: each of its servers is one of
    # `werkzeug.serving.make_server`.
    Suite(
        "pytest-httpserver",
        "pytest-httpserver",
        (
            # First of all, since its tests send requests: a server whose test sends none may begin
            # to serve when that test is over, and would be counted for no test.
            "tests/test_permanent.py",
            "tests",
            "--keep-duplicates",
        ),
        has_servers=True,
    ),
    # A file system of a federation of data servers, by aiohttp. Its clients are tested against
    # `httpserver`, over TLS.
    Suite(
        "pelicanfs",
        "pelicanfs",
        (
            # Both want the network.
            "-m",
            "not integration",
            "--ignore=test_osdf.py",
        ),
        folder="test",
        has_servers=True,
    ),
    # A bridge from ASGI to WSGI. What its tests give an application to goes to ours; the others are
    # of its own functions.
    Suite(
        "a2wsgi",
        "a2wsgi",
        # It has no settings of pytest, which would look for some further up.
        ("-c", os.devnull, "--rootdir=.", "tests/test_wsgi.py", "-k", "test_wsgi_"),
        plugins=("conformance_a2wsgi",),
        has_servers=True,
    ),
    # A client of the archive of Software Heritage, by requests. Its tests ask for pytest-flask's
    # `live_server`, which forks a process that calls `app.run()`.
    Suite("swh-scanner", "swh-scanner", SWH_SCANNER, has_servers=True),
    # As before, but the fixture `live_server` is the one of `asyncwsgi.testing`.
    Suite(
        "swh-scanner-moved",
        "swh-scanner",
        SWH_SCANNER,
        own_arguments=("-o", "asyncwsgi_live_server=true"),
        has_servers=True,
    ),
)


def main() -> int:
    try:
        surprises = check_release(RELEASE, SUITES, ours=True)
    except UnreadyError as error:
        print(error, file=sys.stderr)
        return 2
    tell(surprises)
    return 1 if surprises else 0


if __name__ == "__main__":
    sys.exit(main())
