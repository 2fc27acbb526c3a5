"""`python -m tests.conformance.async_views`: our tests of async views on other releases.

What puts async views on the server's loop is a name that asgiref does not document. These runs hold
it for the oldest and the newest release that is used. The exit code is 1 if a test fails, 2 if
the ground could not be prepared.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass

from tests.conformance.environment import ROOT, UnreadyError, prepare
from tests.conformance.suites import Release

TESTS = "tests/doors/test_async_views.py"
TIMEOUT = "60"


@dataclass(frozen=True)
class AsyncRelease(Release):
    """Flask, Werkzeug and asgiref as they are installed together."""

    asgiref: str = ""

    @property
    def requirements(self) -> list[str]:
        return [*super().requirements, f"asgiref{self.asgiref}", "greenlet"]


RELEASES = (
    # Flask 3.0 asks for asgiref 3.2 or later; FIRST_RELEASE in bridge/asgiref_loop.py says why the
    # oldest that is used is this one.
    AsyncRelease("async-oldest", "==3.0.0", "==3.0.0", "==3.3.2"),
    AsyncRelease("async-newest", "", "", ""),
)


def main() -> int:
    code = 0
    for release in RELEASES:
        try:
            environment = prepare(release)
        except UnreadyError as error:
            print(error, file=sys.stderr)
            return 2
        names = ("flask", "werkzeug", "asgiref")
        print(", ".join(f"{name} {environment.versions[name]}" for name in names), flush=True)
        # The project's own settings are for plugins that these environments have not.
        command = [
            str(environment.python), "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c",
            "/dev/null", "--rootdir", str(ROOT), "--timeout", TIMEOUT, TESTS,
        ]  # fmt: skip
        code |= subprocess.run(command, cwd=ROOT, check=False).returncode != 0
    return code


if __name__ == "__main__":
    sys.exit(main())
