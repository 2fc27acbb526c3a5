"""``asyncwsgi --workers N --preload``: one import for all workers."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.client import connect
from tests.reloading.conftest import has_ended
from tests.supervision.conftest import APP, Workers
from tests.supervision.test_workers import REPLACEMENTS, asking

IMPORTS = "import sys\nsys.stderr.write('it was imported\\n')\n"


def parent_of(pid: int) -> int:
    stat = Path(f"/proc/{pid}/stat").read_text()
    return int(stat.rpartition(")")[2].split()[1])


def write(workers: Workers, source: str) -> None:
    workers.project.write("web.py", source)


def serve(workers: Workers, count: int, *options: str) -> None:
    workers.serve(count, "--preload", "--graceful-timeout", "30", *options)


def test_the_application_is_imported_once(workers: Workers) -> None:
    write(workers, IMPORTS + APP)
    serve(workers, 3)
    pids = workers.pids(3)
    assert workers.process.log.count("it was imported") == 1
    assert len({parent_of(pid) for pid in pids}) == 1


def test_a_worker_that_dies_is_forked_again(workers: Workers) -> None:
    write(workers, IMPORTS + APP)
    serve(workers, 2)
    dead, other = workers.pids(2)
    os.kill(dead, signal.SIGKILL)
    workers.process.read_until(f"worker {dead} was killed by SIGKILL")
    workers.wait_until_served()
    assert other in workers.pids(2)
    assert workers.process.log.count("it was imported") == 1


def test_a_signal_ends_all(workers: Workers) -> None:
    pipe = workers.make_pipe()
    serve(workers, 2)
    pids = workers.pids(2)
    (forker,) = {parent_of(pid) for pid in pids}
    with connect(workers.project.address) as client:
        client.request("GET", "/held")
        workers.process.read_until("the application was entered")
        workers.process.send_signal_to_group(signal.SIGTERM)
        workers.process.read_until("stopping; ")
        pipe.open("w").close()
        assert client.reply().status == 200
    assert workers.process.wait() == 0
    assert all(map(has_ended, {*pids, forker}))


def test_a_replacement_imports_again_and_loses_no_request(workers: Workers) -> None:
    write(workers, IMPORTS + APP)
    serve(workers, 2, "--no-access-log")
    pids = workers.pids(2)
    (forker,) = {parent_of(pid) for pid in pids}
    with asking(workers, is_kept=True):
        for _ in range(REPLACEMENTS):
            workers.signal(signal.SIGHUP)
            for _ in range(2):
                workers.process.read_until("stopping; ")
    assert all(map(has_ended, {*pids, forker}))
    assert workers.process.log.count("it was imported") == 1 + REPLACEMENTS


def test_code_that_fails_leaves_the_old_which_can_still_be_forked(workers: Workers) -> None:
    serve(workers, 2)
    pids = workers.pids(2)
    workers.write_broken()
    workers.signal(signal.SIGHUP)
    workers.process.read_until("the new code does not serve; the code from before goes on")
    os.kill(min(pids), signal.SIGKILL)
    workers.wait_until_served()
    assert max(pids) in workers.pids(2)


def test_workers_go_on_without_the_process_that_forks(workers: Workers) -> None:
    serve(workers, 2)
    pids = workers.pids(2)
    (forker,) = {parent_of(pid) for pid in pids}
    os.kill(forker, signal.SIGKILL)
    workers.process.read_until("which forks workers, was killed by SIGKILL")
    assert workers.pids(2) == pids
    os.kill(min(pids), signal.SIGKILL)
    workers.wait_until_served()
    assert max(pids) in workers.pids(2)


def test_what_is_shared_by_a_fork_is_warned_of(workers: Workers) -> None:
    begin = """
    import socket
    import threading
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    listener = socket.create_server(("127.0.0.1", 0))
    connection = socket.create_connection(listener.getsockname())
    """
    write(workers, "\n".join(map(str.strip, begin.splitlines())) + APP)
    serve(workers, 1)
    assert "the application has started 1 thread(s)" in workers.process.log
    assert "the application is connected to ('127.0.0.1', " in workers.process.log


def test_it_excludes_reload(workers: Workers) -> None:
    workers.project.start("--workers", "2", "--preload", "--reload")
    assert workers.process.wait() == 2
    assert "preload and reload exclude each other" in workers.process.log
