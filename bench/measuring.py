"""One server in one round of one case: started, checked, loaded, checked again, stopped.

Guarantees: an answer was compared byte by byte before and after what is measured, with the very
request that is measured; whatever goes wrong is a sample, too.
"""

from __future__ import annotations

import http.client
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from load import Load, LoadError, hold_idle, run_bulk, run_wrk
from probe import ask
from procstat import footprint, usage
from results import BUSY, CPU, IDLE, P50, P99, PEAK, RATE, Figures, Sample
from servers import Running, StartError, running
from traffic import HOST, NUMBER, Case, Client, Traffic

if TYPE_CHECKING:
    from collections.abc import Callable

WARM_UP = 0.5  # seconds
SETTLE_INTERVAL = 0.1
SETTLE_LOOKS = 30
LONGER = {500: 2, 10_000: 6}
"""How many times as long it is measured, by the number of connections from which on that is so:
answering once on each takes its time, and with 10,000 it takes seconds."""
LONGER_TLS = 2
"""Those that are kept have their handshakes first."""
A_NUMBER = b"999999999999"
FIRST_IDLE = 100
"""So many connections are open before memory counts: what is set up once has been."""
IDLE_PARTS = 4


Measured = tuple[Figures, dict[str, float], dict[str, int]]
"""Figures, curve and errors of a sample."""


class AnswerError(Exception):
    """The server does not answer as the application does."""


@dataclass(frozen=True, slots=True)
class Cores:
    server: int
    client: int


def measure(case: Case, server: str, number: int, *, seconds: int, cores: Cores) -> Sample:
    """One server, started for this round alone."""
    traffic = case.traffic
    try:
        with running(
            server, traffic.app, core=cores.server, threads=traffic.threads, tls=traffic.tls
        ) as process:
            if traffic.client is Client.IDLE:
                measured = measure_idle(process, case, cores.client)
            else:
                measured = measure_loaded(process, case, seconds, cores.client)
    # OSError: of a client that has ended; the rest of a run must not be lost for it.
    except (StartError, LoadError, AnswerError, OSError) as error:
        return Sample(server, case.name, number, failure=str(error))
    return Sample(server, case.name, number, *measured)


def measure_loaded(process: Running, case: Case, seconds: int, core: int) -> Measured:
    size = check(process, case.traffic)
    load = loader(process, case, size, core)
    load(WARM_UP)
    settle(process)
    before = usage(process.pid)
    measured = load(seconds * times_as_long(case))
    after = usage(process.pid)
    check(process, case.traffic)
    if not measured.requests:
        errors = (f"{count} {kind}" for kind, count in measured.errors.items())
        raise LoadError(", ".join(["answered nothing", *errors]))
    figures = {
        RATE: measured.requests_per_second,
        P50: measured.latency_ms["50"],
        P99: measured.latency_ms["99"],
        CPU: (after.cpu_seconds - before.cpu_seconds) / measured.requests * 1e6,
        PEAK: after.peak_mib,
        BUSY: measured.client_busy,
    }
    return figures, measured.latency_ms, measured.errors


def times_as_long(case: Case) -> int:
    if case.traffic.tls:
        return LONGER_TLS
    return max((times for least, times in LONGER.items() if case.connections >= least), default=1)


def loader(process: Running, case: Case, size: int, core: int) -> Callable[[float], Load]:
    """What makes the load of a case for so many seconds."""
    is_bulk = case.traffic.client is Client.BULK
    return partial(
        run_bulk if is_bulk else run_wrk,
        process.address,
        request_to(process, case.traffic),
        len(case.traffic.answer) if is_bulk else size,
        case.connections,
        core,
    )


def measure_idle(process: Running, case: Case, core: int) -> Measured:
    """What connections weigh on which one request was answered and no other comes."""
    check(process, case.traffic)
    last = case.connections
    steps = [FIRST_IDLE, *(last * part // IDLE_PARTS for part in range(1, IDLE_PARTS + 1))]
    request = request_to(process, case.traffic)
    answer = case.traffic.answer.decode()
    mib: dict[int, float] = {}
    for step in hold_idle(process.address, request, answer, steps, core):
        settle(process)
        mib[step] = footprint(process.pid).resident_mib
    check(process, case.traffic)
    reached = max(mib)
    if reached <= FIRST_IDLE:
        raise LoadError(f"the server accepted {reached} connections in time")
    each = (mib[reached] - mib[FIRST_IDLE]) * 1024 / (reached - FIRST_IDLE)
    figures = {IDLE: each, PEAK: usage(process.pid).peak_mib}
    errors = {"not opened": last - reached} if reached < last else {}
    return figures, {str(step): size for step, size in mib.items()}, errors


def check(process: Running, traffic: Traffic) -> int:
    """Compare one answer with what it must be; returns its size on the wire.

    Raises:
        AnswerError: it differs, or none comes.
    """
    request = request_to(process, traffic).replace(NUMBER.encode(), A_NUMBER)
    try:
        answer = ask(process.address, request)
    except (OSError, http.client.HTTPException) as error:
        raise AnswerError(f"no answer: {error!r}") from error
    wanted = traffic.answer.replace(NUMBER.encode(), A_NUMBER)
    if (answer.status, answer.body) != (200, wanted):
        raise AnswerError(
            f"status {answer.status} and {len(answer.body)} bytes that are not the "
            f"{len(wanted)} of the application"
        )
    return answer.size


def request_to(process: Running, traffic: Traffic) -> bytes:
    address = process.address
    return traffic.request.replace(HOST.encode(), f"{address.host}:{address.port}".encode())


def settle(process: Running) -> None:
    """Return once the server is idle: it may still be at work on what the warm-up left behind."""
    for _ in range(SETTLE_LOOKS):
        before = usage(process.pid).cpu_seconds
        time.sleep(SETTLE_INTERVAL)
        if usage(process.pid).cpu_seconds - before < SETTLE_INTERVAL / 5:
            return
