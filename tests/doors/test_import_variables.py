"""What the code that is being imported finds in its environment, and nobody else does."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from os import environ

import pytest

from asyncwsgi.import_variables import answering
from tests.client import connect
from tests.doors.conftest import Start, Write
from tests.doors.processes import address_of

NAME = "SPAM_OF_THE_IMPORT"


class TestAnswering:
    def test_who_asks_by_name_is_answered_until_the_end(self) -> None:
        with answering({NAME: "eggs"}) as asked:
            assert (os.environ.get(NAME), os.getenv(NAME), environ[NAME]) == ("eggs",) * 3
            assert NAME in os.environ
            assert asked == {(NAME, __name__)}
        assert (os.environ.get(NAME), environ.get(NAME)) == (None, None)

    def test_who_copies_the_environment_does_not_find_them(self) -> None:
        with answering({NAME: "eggs"}) as asked:
            for copy in (dict(os.environ), {**os.environ}, os.environ.copy(), os.environ | {}):
                assert NAME not in copy
            assert asked == set()

    def test_a_process_does_not_inherit_them(self) -> None:
        code = f"import os; print(os.environ.get({NAME!r}))"
        with answering({NAME: "eggs"}):
            assert subprocess.check_output([sys.executable, "-c", code]) == b"None\n"

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
    @pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
    def test_a_child_that_is_forked_does_not_find_them(self) -> None:
        with answering({NAME: "eggs"}):
            child = os.fork()
            if child == 0:
                os._exit(7 if os.environ.get(NAME) is None else 8)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7

    def test_another_thread_does_not_find_them(self) -> None:
        found: list[str | None] = []
        with answering({NAME: "eggs"}):
            thread = threading.Thread(target=lambda: found.append(os.environ.get(NAME)))
            thread.start()
            thread.join()
        assert found == [None]

    def test_what_is_set_meanwhile_is_set(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv(NAME, raising=False)
        with answering({NAME: "eggs"}):
            os.environ[NAME] = "spam"
            assert os.environ[NAME] == "spam"
        assert os.environ.pop(NAME) == "spam"

    def test_what_is_removed_meanwhile_is_gone(self) -> None:
        with answering({NAME: "eggs"}):
            assert os.environ.pop(NAME) == "eggs"
            assert os.environ.pop(NAME, None) is None


# Werkzeug sets up its logger when it first writes a line. A second thread that writes one at that
# moment (the debugger's, of its PIN) finds it half set up, and its line is lost.
METRICS = """
import logging
from werkzeug.serving import run_simple

logging.basicConfig(level=logging.INFO)

def app(environ, start_response):
    start_response("200 OK", [])
    return [b"metrics"]

def serve():
    run_simple("127.0.0.1", 0, app)

if __name__ == "__main__":
    serve()
"""


@pytest.mark.parametrize(
    "options", [[], ["--debug"], ["--reload"]], ids=["plain", "debug", "reload"]
)
class TestCommandLine:
    def test_a_call_of_run_is_ignored_and_told_of(
        self, start: Start, write: Write, options: list[str]
    ) -> None:
        write(
            "shop.py",
            """
            import os
            from flask import Flask

            app = Flask(__name__)
            is_serving_process = os.environ.get("WERKZEUG_RUN_MAIN") == "true"

            @app.get("/")
            def index():
                return f"asyncwsgi {is_serving_process}"

            app.run(port=1)
            """,
        )
        process = start("-m", "asyncwsgi", "-p", "0", *options, "shop:app")
        with process.connect() as client:
            # Applications start their background work where that variable says so.
            assert client.get().body == b"asyncwsgi True"
        assert process.interrupt() == 0
        assert process.log.count("ignored run(), which was called while shop:app was imported") == 1

    def test_servers_of_werkzeug_that_the_application_starts_serve(
        self, start: Start, write: Write, options: list[str]
    ) -> None:
        write("metrics.py", METRICS)
        write(
            "shop.py",
            """
            import subprocess, sys, threading
            import metrics

            threading.Thread(target=metrics.serve, daemon=True).start()
            subprocess.Popen([sys.executable, "metrics.py"])
            app = metrics.app
            """,
        )
        process = start("-m", "asyncwsgi", "-p", "0", *options, "shop:app")
        for _ in ("the thread", "the process"):
            url = process.read_until(" * Running on ").rpartition(" ")[2]
            with connect(address_of(url)) as client:
                assert client.get().body == b"metrics"
