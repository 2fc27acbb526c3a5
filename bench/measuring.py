"""One server in one round of one case: started, checked, loaded, checked again, stopped.

Guarantees: an answer was compared byte by byte before and after what is measured, with the very
request that is measured; whatever goes wrong is a sample, too.
"""

from __future__ import annotations

import http.client
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from load import Load, LoadError, hold_idle, run_bulk, run_wrk
from probe import ask
from procstat import footprint, usage
from results import BUSY, CPU, IDLE, P50, P99, PEAK, RATE, Sample
from servers import Running, StartError, running
from traffic import HOST, NUMBER, Case, Client, Traffic

if TYPE_CHECKING:
    from collections.abc import Callable

WARM_UP = 1  # seconds; wrk knows no less
SETTLE_INTERVAL = 0.1
SETTLE_LOOKS = 30
MANY_CONNECTIONS, LONGER = 10_000, 3
"""With so many connections, answering once on each takes seconds."""
A_NUMBER = b"999999999999"
FIRST_IDLE = 100
"""So many connections are open before memory counts: what is set up once has been."""
IDLE_PARTS = 4


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
            server,
            traffic.app,
            core=cores.server,
            threads=traffic.threads,
            tls=traffic.tls,
        ) as process:
            if traffic.client is Client.IDLE:
                return measure_idle(process, case, server, number, cores.client)
            return measure_loaded(process, case, server, number, seconds, cores.client)
    # OSError: of a client that has ended; the rest of a run must not be lost for it.
    except (StartError, LoadError, AnswerError, OSError) as error:
        return Sample(server, case.name, number, failure=str(error))


def measure_loaded(
    process: Running, case: Case, server: str, number: int, seconds: int, core: int
) -> Sample:
    size = check(process, case.traffic)
    load = loader(process, case, size, core)
    load(WARM_UP)
    settle(process)
    before = usage(process.pid)
    measured = load(seconds * LONGER if case.connections >= MANY_CONNECTIONS else seconds)
    after = usage(process.pid)
    check(process, case.traffic)
    if not measured.requests:
        return Sample(server, case.name, number, errors=measured.errors, failure="answered nothing")
    return Sample(
        server=server,
        case=case.name,
        round=number,
        figures={
            RATE: measured.requests_per_second,
            P50: measured.latency_ms["50"],
            P99: measured.latency_ms["99"],
            CPU: (after.cpu_seconds - before.cpu_seconds) / measured.requests * 1e6,
            PEAK: after.peak_mib,
            BUSY: measured.client_busy,
        },
        curve=measured.latency_ms,
        errors=measured.errors,
    )


def loader(process: Running, case: Case, size: int, core: int) -> Callable[[int], Load]:
    """What makes the load of a case for so many seconds."""
    traffic = case.traffic
    request = request_to(process, traffic)

    def bulk(seconds: int) -> Load:
        body_size = len(traffic.answer)
        return run_bulk(
            process.address, request, body_size,
            connections=case.connections, seconds=seconds, core=core,
        )  # fmt: skip

    def wrk(seconds: int) -> Load:
        return run_wrk(
            process.address, request, size,
            connections=case.connections, seconds=seconds, core=core,
        )  # fmt: skip

    return bulk if traffic.client is Client.BULK else wrk


def measure_idle(process: Running, case: Case, server: str, number: int, core: int) -> Sample:
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
    each = (mib[last] - mib[FIRST_IDLE]) * 1024 / (last - FIRST_IDLE)
    return Sample(
        server=server,
        case=case.name,
        round=number,
        figures={IDLE: each, PEAK: usage(process.pid).peak_mib},
        curve={str(step): size for step, size in mib.items()},
    )


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
