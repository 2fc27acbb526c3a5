"""One run of a client: the load that it makes and what it saw.

Guarantees: a run ends, and a figure is never made of answers that failed or are of another length
than the one that was compared byte by byte.
"""

from __future__ import annotations

import itertools
import json
import math
import resource
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from environment import BENCH, PYTHON

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from probe import Address

LUA = BENCH / "lua" / "load.lua"
BULK_CLIENT = BENCH / "bulk_client.py"
IDLE_CLIENT = BENCH / "idle_client.py"
GRACE = 60  # seconds beyond the run before a client counts as hung
OPENING_TIMEOUT = 20  # seconds for all idle connections
ANSWER_TIMEOUT = 10  # seconds; what wrk calls a timeout, and leaves out of the latencies

# No server can answer from what it saw in the warm-up, or in the round before. Twelve digits each,
# so that all answers are of one length.
_first_numbers = itertools.count(100_000_000_000, 10_000_000)


class LoadError(Exception):
    """There is no figure, since the client failed or the answers were wrong."""


@dataclass(frozen=True, slots=True)
class Load:
    requests: float
    requests_per_second: float
    latency_ms: dict[str, float]
    """By percentile."""
    errors: dict[str, int]
    client_busy: float
    """The share of its core that the client used: near 1, the figure is the client's limit."""


def run_wrk(
    address: Address, request: bytes, size: int, connections: int, core: int, seconds: float
) -> Load:
    """Many small answers, each of `size` bytes, head included; `core` is where wrk is pinned."""
    command = ["wrk", "-t1", f"-c{connections}", f"--timeout={ANSWER_TIMEOUT}s"]
    command.append(f"-d{math.ceil(seconds)}s")
    if seconds % 1:  # wrk knows whole seconds only; SIGINT ends it as if they were over
        command = ["timeout", "--preserve-status", "--signal=INT", f"{seconds}s", *command]
    command += ["-s", str(LUA), address.url, "--", str(next(_first_numbers))]
    summary, client_cpu = _run(command, request, seconds, core)
    load = _load(summary, client_cpu)
    if not load.errors:
        check_length(summary, size, connections)
    return load


def run_bulk(
    address: Address, request: bytes, size: int, connections: int, core: int, seconds: float
) -> Load:
    """Few large requests or answers, whose bodies have `size` bytes each."""
    words = [str(connections), str(seconds), address.host, str(address.port), str(size)]
    command = [str(PYTHON), str(BULK_CLIENT), *words]
    return _load(*_run(command, request, seconds, core))


def hold_idle(
    address: Address, request: bytes, answer: str, steps: Sequence[int], core: int
) -> Iterator[int]:
    """Open connections and ask once on each; yields how many are idle, at each of `steps`.

    Ends with the first of them that is not reached in time.

    Raises:
        LoadError: an answer was wrong, or the server closed one of them.
    """
    words = [address.host, str(address.port), answer, str(OPENING_TIMEOUT)]
    with _request_file(request) as path:
        command = [*_pinned(core), str(PYTHON), str(IDLE_CLIENT), *words, path]
        with _conversation(command) as client:
            for step in steps:
                said = client(str(step))
                opened, _, idle = said.partition(" ")
                if not opened.isdigit():
                    raise LoadError(f"the client failed: {said}")
                if opened != idle:
                    raise LoadError(f"of {opened} connections {idle} were kept")
                yield int(opened)
                if int(opened) < step:
                    break


@contextmanager
def _conversation(command: list[str]) -> Iterator[Callable[[str], str]]:
    """A process that answers a line with a line; without one, with the last of its complaints."""
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        stdin, stdout, stderr = process.stdin, process.stdout, process.stderr
        assert stdin
        assert stdout
        assert stderr

        def ask(line: str) -> str:
            print(line, file=stdin, flush=True)
            return stdout.readline().strip() or _last_line(stderr.read())

        try:
            yield ask
        finally:
            process.kill()


def _run(
    command: list[str], request: bytes, seconds: float, core: int
) -> tuple[dict[str, Any], float]:
    """What the client printed, and the seconds of CPU that it took."""
    with _request_file(request) as path:
        before = _children_cpu()
        output = _output([*_pinned(core), *command, path], seconds + GRACE)
    return _summary(output), _children_cpu() - before


@contextmanager
def _request_file(request: bytes) -> Iterator[str]:
    with tempfile.NamedTemporaryFile() as file:
        file.write(request)
        file.flush()
        yield file.name


def _pinned(core: int) -> list[str]:
    return ["taskset", "-c", str(core)]


def _output(command: list[str], timeout: float) -> str:
    try:
        return subprocess.run(
            command, check=True, capture_output=True, text=True, timeout=timeout
        ).stdout
    except subprocess.CalledProcessError as error:
        raise LoadError(f"the client failed: {_last_line(error.stderr)}") from error
    except subprocess.SubprocessError as error:
        raise LoadError(f"the client failed: {error}") from error


def _last_line(text: str) -> str:
    return next((line for line in reversed(text.splitlines()) if line.strip()), "no output")


def _summary(output: str) -> dict[str, Any]:
    for line in output.splitlines():
        if line.startswith("{"):
            summary: dict[str, Any] = json.loads(line)
            return summary
    raise LoadError("the client failed: it printed no summary")


def _load(summary: dict[str, Any], client_cpu: float) -> Load:
    errors: dict[str, int] = summary["errors"]
    seconds = summary["microseconds"] / 1e6
    # wrk counts a refused request as a request; a server must not win by refusing fast.
    answered = summary["requests"] - errors["status"]
    return Load(
        requests=answered,
        requests_per_second=answered / seconds,
        latency_ms={percent: us / 1000 for percent, us in summary["latency"].items()},
        errors={kind: count for kind, count in errors.items() if count},
        client_busy=client_cpu / seconds,
    )


def check_length(summary: dict[str, Any], size: int, connections: int) -> None:
    """All answers are as long as the one that was compared.

    wrk counts every byte that it reads; on each connection the last answer may have come in part.
    """
    requests, received = summary["requests"], summary["bytes"]
    if not requests * size <= received <= (requests + connections) * size:
        raise LoadError(f"{requests} answers of {size} bytes came to {received} bytes")


def _children_cpu() -> float:
    # Only children that have been waited for count here, so a running server does not.
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
