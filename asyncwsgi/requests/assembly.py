"""Puts a dispatcher together with all that it needs, on the loop that runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from typing import TYPE_CHECKING

from asyncwsgi.access_log import AccessLogger
from asyncwsgi.coroutines.asgiref_loop import AsgirefLoop
from asyncwsgi.coroutines.tasks import LoopTasks
from asyncwsgi.coroutines.watch import LoopWatch
from asyncwsgi.requests.dispatcher import Dispatcher
from asyncwsgi.requests.mailbox import Mailbox
from asyncwsgi.requests.parkable import parking_threads
from asyncwsgi.requests.request_body import RequestBody
from asyncwsgi.requests.statistics import RequestStatistics
from asyncwsgi.requests.worker_threads import ExecutorWorkers, Workers, WorkerThreads

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

    from asyncwsgi.config import Config


def make_dispatcher(
    application: WSGIApplication,
    config: Config,
    *,
    access_logger_class: type[AccessLogger] = AccessLogger,
    request_body_class: type[RequestBody] = RequestBody,
    worker_threads_class: type[WorkerThreads] = WorkerThreads,
    new_context: Callable[[], Context] = Context,
    statistics: RequestStatistics | None = None,
) -> Dispatcher:
    """A dispatcher for the running loop, with worker threads of its own or the program's executor.

    The classes are those of whoever replaces a part.
    """
    mailbox = Mailbox(asyncio.get_running_loop())
    watch = LoopWatch(mailbox)
    tasks = LoopTasks(mailbox, watch)
    return Dispatcher(
        application,
        config,
        mailbox=mailbox,
        workers=_make_workers(config, mailbox, tasks, worker_threads_class),
        tasks=tasks,
        watch=watch,
        access_logger=access_logger_class(config.access_log_format),
        request_body_class=request_body_class,
        new_context=new_context,
        statistics=statistics,
    )


def _make_workers(
    config: Config,
    mailbox: Mailbox,
    tasks: LoopTasks,
    worker_threads_class: type[WorkerThreads],
) -> Workers:
    asgiref_loop = AsgirefLoop(tasks) if config.async_views_on_loop else None
    if config.executor is not None:
        return ExecutorWorkers(
            config.executor, queue_size=config.queue_size, asgiref_loop=asgiref_loop
        )
    if config.park_async_views and asgiref_loop is not None:
        return parking_threads(mailbox, config, asgiref_loop)
    return worker_threads_class(
        mailbox,
        limit=config.threads,
        queue_size=config.queue_size,
        idle_timeout=config.thread_idle_timeout,
        asgiref_loop=asgiref_loop,
    )
