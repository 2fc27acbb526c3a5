"""Worker threads that go on with other requests while one of theirs waits for a coroutine.

A thread that waits is a thread that nobody else has; ten thousand views that await would need ten
thousand. Here each job runs in a greenlet: a call stack of its own, which can be left in the middle
and gone on with later, by the thread in which it was begun and by no other. Where code of a job
would stand still until a coroutine has ended (see `asyncwsgi.coroutines.waiting`), it is *parked*:
its greenlet is left, and its thread takes what comes next. Nothing of the application is replaced,
and nothing else switches: code between two waits runs as it always did, with its thread for itself.

One `Hub` for each thread. What makes it cheap: no greenlet is made for a job. One of them at a time
*works*: it takes jobs and runs them, one after the other, as a worker thread without parking does.
If a job is parked, its greenlet stays with it, and another one goes on working: a spare one, or a
new one. If what a job waits for has come, whoever works at that time makes itself spare, and lets
the job's greenlet go on, which works from then on. So a job that never waits costs no switch.

A greenlet shares the stack of its thread. What stands where another one wants to stand is copied
aside, so new ones begin near its bottom: the thread's first greenlet makes them, and runs no job.

Whoever waits shares its thread with others, and is seen by `threading.local` as one with them; the
Context is its own, since a greenlet has the one that it was left in. What asgiref keeps in a
thread-local is put aside for it.

Who wakes whom. A thread that has parked nothing waits where all worker threads wait, at the queue
of jobs. One that has waits at an inbox of its own: a queue of parked requests that can go on, in
which None says that there is something else to look at. It says before that it is idle, and looks
at the jobs once more. Whoever brings a job puts it into the queue first, and looks then whether
there are more jobs than threads at the queue, and an idle one to wake. One of the two sees the
other; and so do a thread that leaves the queue and who brings the next job while it still seems to
be there.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import queue
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from greenlet import getcurrent, greenlet

from asyncwsgi.clock import clock
from asyncwsgi.coroutines.asgiref_loop import AsgirefLoop
from asyncwsgi.coroutines.current import CurrentRequest, current_request
from asyncwsgi.coroutines.waiting import wait_by
from asyncwsgi.errors import WorkersBusy
from asyncwsgi.greenlets import SimpleQueue
from asyncwsgi.requests.mailbox import Mailbox
from asyncwsgi.requests.saturation import PATIENCE
from asyncwsgi.requests.thread_state import is_in_django_transaction
from asyncwsgi.requests.worker_threads import Job, WorkerThreads
from asyncwsgi.server_log import logger
from asyncwsgi.words import counted

MOST_SPARE = 16
"""Greenlets that a thread keeps for the next that park. Each is a few KiB, and 5 us to make."""

_counter = itertools.count()


class ParkingThreads(WorkerThreads):
    """Worker threads whose jobs are parked while they wait for coroutines.

    Args:
        max_parked: most jobs that are parked at a time. Beyond it who waits keeps its thread: that
            takes no new job, but goes on with those of its own that can.
    """

    def __init__(
        self,
        mailbox: Mailbox,
        *,
        limit: int,
        queue_size: int,
        idle_timeout: float,
        asgiref_loop: AsgirefLoop,
        max_parked: int,
    ) -> None:
        super().__init__(
            mailbox,
            limit=limit,
            queue_size=queue_size,
            idle_timeout=idle_timeout,
            asgiref_loop=asgiref_loop,
        )
        self._places = _Places(max_parked)
        self._queue = self._jobs = _Jobs()
        self._hubs: set[Hub] = set()
        """One for each thread that has begun and not left. Changed by the threads."""
        self._asgiref = asgiref_loop
        self._warned: set[Hub] = set()

    # On the loop.

    @property
    def are_all_busy(self) -> bool:
        # Other than without parking, one that has waited for long may have been passed by those
        # that went on; so it is asked of each thread for how long it has been at the same.
        if self._unfinished - self._places.taken <= len(self._threads) - self._ending:
            return False
        then = clock.monotonic() - PATIENCE
        return all(hub.keeps_waiting or hub.since < then for hub in self._hubs.copy())

    def submit(self, job: Job) -> None:
        waiting_or_running = self._unfinished - self._places.taken
        available = len(self._threads) - self._ending
        if available < self.limit and (waiting_or_running >= available or self._all_have_parked()):
            self._start_thread(is_needed=not available)
        elif waiting_or_running - available >= self._queue_size:
            raise WorkersBusy(
                f"{self._queue_size} requests wait for a worker thread; "
                "raise threads, max_parked or queue_size"
            )
        self._enqueue(job)

    def expire_idle(self, now: float) -> None:
        super().expire_idle(now)
        for hub in self._hubs.copy():
            hub.look(now)
        if self._places.taken:
            self._look_for_held(now)

    async def stop(self) -> None:
        self._jobs.is_stopping = True
        await super().stop()

    def parked(self) -> Iterator[Parked]:
        for hub in self._hubs.copy():
            yield from hub.parked.copy()

    def _all_have_parked(self) -> bool:
        """Whether a job that holds its thread would hold up one that is parked there."""
        return bool(self._places.taken) and all(hub.parked for hub in self._hubs.copy())

    def _held_count(self) -> int:
        # A thread whose job has ended, as the loop knows, may not have come back from it.
        return min(self._unfinished, sum(hub.has_unfinished for hub in self._hubs.copy()))

    def _look_for_held(self, now: float) -> None:
        """Warn, once while it is so, of each thread that keeps those waiting which could go on."""
        held = {hub for hub in self._hubs.copy() if hub.is_due_since(now - PATIENCE)}
        for hub in held - self._warned:
            logger.warning(
                "the thread %s has not come back for more than %g s to %s that it has parked and "
                "that could go on; it stood at %s; await there, and hold no lock across an await: "
                "the thread may be waiting for one that a parked request holds",
                hub.name, PATIENCE, counted(hub.due_count, "request"), hub.place,
            )  # fmt: skip
        self._warned = held

    # In a worker thread.

    def _work(self) -> None:
        notes = self._asgiref.notes()
        hub = Hub(self._jobs, self._places, notes, self._run_jobs, self._has_taken)
        self._hubs.add(hub)
        try:
            hub.run()
        finally:
            self._hubs.discard(hub)
            self._mailbox.post(self._thread_left, threading.current_thread())

    def _has_taken(self) -> None:
        """A job was taken that a stop may not have seen in any thread's hands."""
        self._mailbox.post(self._look_again, None)

    def _look_again(self, _: None) -> None:
        self._has_one_left.set()


class _Jobs:
    """The jobs that no thread has taken, and the threads that wait for some."""

    def __init__(self) -> None:
        self.queue: SimpleQueue[Job | None] = SimpleQueue()
        """Who takes None ends."""
        self.is_stopping = False
        self._at_queue: dict[Hub, None] = {}
        self._idle: dict[Hub, None] = {}
        """Those that have parked something, and nothing to do."""

    def put(self, job: Job | None) -> None:
        """Have a thread take `job`; None tells one to end. On the loop."""
        self.queue.put(job)
        # Rather not by one that has parked something: the job may hold its thread for long.
        if self._idle and self.queue.qsize() > len(self._at_queue):
            self._wake_one()

    def wait(self, hub: Hub) -> Job | None:
        """The next job, whenever it comes, for a hub that has parked nothing."""
        queue = self.queue
        if queue.empty():
            self._at_queue[hub] = None
            job = queue.get()
            del self._at_queue[hub]
        else:
            job = queue.get()
        if self._idle:
            self.pass_on()
        return job

    def pass_on(self) -> None:
        """Have an idle hub look, if there are jobs that it may have left to the one that calls."""
        if not self.queue.empty():
            self._wake_one()

    def idle(self, hub: Hub) -> bool:
        """Say that `hub` is idle, if there is no job for it; whether that is so."""
        self._idle[hub] = None
        return self.queue.empty() or not self.not_idle(hub)

    def not_idle(self, hub: Hub) -> bool:
        """Say that `hub` is not idle; False if it is not said to be, or somebody wakes it."""
        return self._idle.pop(hub, hub) is None

    def _wake_one(self) -> None:
        while self._idle:
            try:
                hub = min(self._idle.copy(), key=_parked_count)
            except ValueError:
                return  # the last one has found something else
            if self.not_idle(hub):
                hub.inbox.put(None)
                return


def _parked_count(hub: Hub) -> int:
    return len(hub.parked)


class _Places:
    """How many jobs may be parked, and who waits in its thread because no more may."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._without: dict[Parked, None] = {}
        self.taken = 0

    def enter(self, parked: Parked) -> None:
        with self._lock:
            if self.taken < self._limit:
                self.taken += 1
            else:
                self._without[parked] = None
                parked.hub.kept_by.add(parked)

    def leave(self, parked: Parked) -> None:
        with self._lock:
            if parked in self._without:
                del self._without[parked]
                parked.hub.kept_by.discard(parked)
            elif self._without:
                oldest = next(iter(self._without))
                del self._without[oldest]
                oldest.hub.kept_by.discard(oldest)
                oldest.hub.inbox.put(None)  # it may take jobs again
            else:
                self.taken -= 1


class Parked:
    """One wait in a job, which frees its thread; a `ParkingWait`."""

    __slots__ = ("_has_come", "due_since", "greenlet", "hub", "request")

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.request: CurrentRequest | None = None
        """Who waits, while it does."""
        self.greenlet: Any = None
        """Where it waits, while it is left."""
        self.due_since = 0.0
        """When it was told to go on, monotonic."""
        self._has_come = False

    # In its thread.

    def acquire(
        self, *, timeout: float = -1, meanwhile: Callable[[], object] | None = None
    ) -> bool:
        deadline = None if timeout < 0 else clock.monotonic() + timeout
        self.request = current_request()
        notes = self.hub.notes
        noted = notes.copy()
        try:
            while True:
                if meanwhile is not None:
                    meanwhile()
                if self._has_come or (deadline is not None and clock.monotonic() >= deadline):
                    return self._has_come
                notes.clear()
                self.hub.park(self, deadline)
                notes.clear()
                notes.update(noted)
        finally:
            notes.clear()
            notes.update(noted)
            self.request = None

    # From any thread.

    def release(self) -> None:
        self._has_come = True
        self.wake()

    def wake(self) -> None:
        self.due_since = clock.monotonic()
        self.hub.inbox.put(self)

    @property
    def thread_id(self) -> int | None:
        """Its thread's."""
        return self.hub.ident

    @property
    def keeps_thread(self) -> bool:
        """Whether its thread takes no jobs, because no more may be parked."""
        return self in self.hub.kept_by

    @property
    def frame(self) -> FrameType | None:
        """Where it stands, if it is left at this moment: who called `acquire`."""
        frame: FrameType | None = getattr(self.greenlet, "gr_frame", None)
        while frame is not None and frame.f_code in _OWN:
            frame = frame.f_back
        return frame


class Hub:
    """One worker thread, and the greenlets that share it. Made in that thread.

    Args:
        jobs: where it takes jobs.
        places: says whether it may take more of them while one is parked.
        notes: what asgiref notes of the thread.
        run_jobs: runs what a function returns until that is None.
        has_taken: is called when a job was taken during a stop.
    """

    def __init__(
        self,
        jobs: _Jobs,
        places: _Places,
        notes: dict[str, Any],
        run_jobs: Callable[[Callable[[], Job | None]], None],
        has_taken: Callable[[], None],
    ) -> None:
        self.notes = notes
        self.inbox: SimpleQueue[Parked | None] = SimpleQueue()
        self.parked: dict[Parked, None] = {}
        """What is parked here. Changed by its thread."""
        self.kept_by: set[Parked] = set()
        """Those for which there was no place: while there are any, it takes no jobs."""
        self.is_at_work = False
        self.turns = 0
        """How often it has taken something up. Cheaper for each job than when that was."""
        self.since = clock.monotonic()
        """When it was first seen at what it is at. On the loop."""
        self._seen_turns = 0
        thread = threading.current_thread()
        self.name = thread.name
        self.ident = thread.ident
        self._jobs = jobs
        self._places = places
        self._run_jobs = run_jobs
        self._has_taken = has_taken
        self._main = getcurrent()
        self._spare: list[Any] = []
        self._following: Any = None
        self._woken_by: Parked | None = None
        self._deadlines: list[tuple[float, int, Parked]] = []
        self._is_to_end = False
        self._is_over = False

    # From any thread.

    @property
    def keeps_waiting(self) -> bool:
        """Whether it takes no jobs because of one that waits and could not be parked."""
        return bool(self.kept_by)

    @property
    def has_unfinished(self) -> bool:
        """Whether a job has begun here and not ended."""
        return self.is_at_work or bool(self.parked)

    @property
    def due_count(self) -> int:
        """How many could go on and do not."""
        return sum(bool(parked.due_since) for parked in self.parked.copy())

    def is_due_since(self, then: float) -> bool:
        """Whether it has been at one thing since `then`, and parked requests that could go on."""
        return (
            self.is_at_work
            and self.since < then
            and not self.inbox.empty()
            and any(0 < parked.due_since < then for parked in self.parked.copy())
        )

    @property
    def place(self) -> str:
        """``file:line`` of what its thread is at."""
        frame = sys._current_frames().get(self.ident or 0)
        try:
            return "?" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"
        finally:
            del frame  # it belongs to a thread that runs on

    # On the loop.

    def look(self, now: float) -> None:
        """Note whether it is at something else than at the last look."""
        if self._seen_turns != self.turns:
            self._seen_turns = self.turns
            self.since = now

    # In its thread.

    def run(self) -> None:
        """All that the thread does."""
        wait_by(self._make_wait)
        while not self._is_over:
            following, self._following = self._following, None
            if following is None:
                following = greenlet(self._work, self._main)
            following.switch()
            del following
        while self._spare:
            self._spare.pop().switch()  # it sees that all is over, and ends

    def park(self, parked: Parked, deadline: float | None) -> None:
        """Leave the greenlet that calls until `parked` goes on, or it is `deadline`."""
        parked.greenlet = getcurrent()
        parked.due_since = 0.0
        self.parked[parked] = None
        self._places.enter(parked)
        if deadline is not None:
            self._add_deadline(deadline, parked)
        try:
            (self._spare.pop() if self._spare else self._main).switch()
        finally:
            self._places.leave(parked)
            del self.parked[parked]
            parked.greenlet = None

    def _make_wait(self) -> Parked | None:
        # Greenlets of the application's own wait in their thread, as ever. So does code inside of
        # an event loop of its own: the loop is the thread's, and others would find it running. And
        # so does code inside of a transaction, which others would join.
        if (
            getcurrent().parent is not self._main
            or asyncio._get_running_loop() is not None
            or is_in_django_transaction()
        ):
            return None
        return Parked(self)

    def _work(self) -> None:
        self._run_jobs(self._take)

    def _take(self) -> Job | None:
        """The next job, for the greenlet that works; None ends that, and another one works."""
        self.is_at_work = False
        while not self._is_over:
            if self.parked:
                parked = self._next_parked()  # they go before new ones
                job = self._next_job() if parked is None else None
                if parked is not None and not self._leave_to(parked):
                    break
            elif self._is_to_end:
                self._is_over = True
                break
            else:
                job = self._jobs.wait(self)
                self._is_to_end = job is None
            if job is not None:
                self.is_at_work = True
                self.turns += 1
                if self._jobs.is_stopping:
                    self._has_taken()
                return job
        return None

    def _next_job(self) -> Job | None:
        """The oldest job; None if there is none, behind a wait for something to look at."""
        takes_jobs = not (self._is_to_end or self.kept_by)
        if takes_jobs and not self._jobs.queue.empty():
            try:
                job = self._jobs.queue.get_nowait()
            except queue.Empty:
                return None
            self._is_to_end = job is None
            return job
        if not takes_jobs or self._jobs.idle(self):
            self._sleep(takes_jobs)
        return None

    def _leave_to(self, parked: Parked) -> bool:
        """Have the greenlet of `parked` go on; whether this one has to work again."""
        following = parked.greenlet
        if following is None:
            return True  # it was woken twice
        self.is_at_work = True
        self.turns += 1
        if len(self._spare) >= MOST_SPARE:
            self._following = following
            return False
        self._spare.append(getcurrent())
        following.switch()
        self.is_at_work = False
        return True

    def _next_parked(self) -> Parked | None:
        """One that can go on, or whose time is up."""
        inbox, deadlines = self.inbox, self._deadlines
        while self._woken_by is not None or not inbox.empty():
            parked, self._woken_by = self._woken_by or inbox.get(), None
            if parked is not None and parked.greenlet is not None:
                return parked
        while deadlines and deadlines[0][0] <= clock.monotonic():
            parked = heapq.heappop(deadlines)[2]
            if parked.greenlet is not None:
                return parked
        return None

    def _sleep(self, is_idle: bool) -> None:
        """Wait until there is something to look at; `is_idle`: so it was said."""
        timeout = None
        if self._deadlines:
            timeout = max(0.0, self._deadlines[0][0] - clock.monotonic())
        with contextlib.suppress(queue.Empty):
            self._woken_by = self.inbox.get(timeout=timeout)
        if is_idle and not self._jobs.not_idle(self) and self._woken_by is not None:
            # Somebody brought a job meanwhile, and thinks that it is looked at here.
            self._jobs.pass_on()

    def _add_deadline(self, deadline: float, parked: Parked) -> None:
        deadlines = self._deadlines
        if len(deadlines) > 2 * len(self.parked) + MOST_SPARE:
            # Most have gone on before their time was up.
            deadlines[:] = [entry for entry in deadlines if entry[2].greenlet is not None]
            heapq.heapify(deadlines)
        heapq.heappush(deadlines, (deadline, next(_counter), parked))


_OWN = (Parked.acquire.__code__, Hub.park.__code__)
"""What runs between a wait of the application's and the leaving of its greenlet."""
