"""A subclass of Server names other classes, and the server is built from those."""

from __future__ import annotations

import json
import logging
import threading

import pytest

from asyncwsgi import Server
from asyncwsgi.access_log import AccessEntry, AccessLogger
from asyncwsgi.frontends.http import HttpConnection
from asyncwsgi.requests.exchange import Exchange
from asyncwsgi.requests.request_body import RequestBody
from asyncwsgi.requests.worker_threads import Job, WorkerThreads
from tests.apps import echo, hello, show_environ
from tests.conftest import Serve
from tests.http.helpers import ClientOf


def test_connection_class(serve: Serve, client_of: ClientOf) -> None:
    received: list[bytes] = []

    class MyConnection(HttpConnection):
        def data_received(self, data: bytes) -> None:
            received.append(data)
            super().data_received(data.replace(b"/before", b"/after"))

    class MyServer(Server):
        connection_class = MyConnection

    client = client_of(serve(show_environ, server_class=MyServer))
    assert json.loads(client.get("/before").body)["PATH_INFO"] == "/after"
    assert received[0].startswith(b"GET /before ")


def test_exchange_class(serve: Serve, client_of: ClientOf) -> None:
    threads: list[threading.Thread] = []

    class MyExchange(Exchange):
        def run(self) -> None:
            self.environ["QUERY_STRING"] = "mine"
            threads.append(threading.current_thread())
            super().run()

    class MyServer(Server):
        exchange_class = MyExchange

    client = client_of(serve(show_environ, server_class=MyServer))
    assert json.loads(client.get("/?theirs").body)["QUERY_STRING"] == "mine"
    assert threads[0].name.startswith("asyncwsgi-worker-")


def test_request_body_class(serve: Serve, client_of: ClientOf) -> None:
    class MyBody(RequestBody):
        def feed(self, data: bytes) -> None:
            super().feed(data.upper())

    class MyServer(Server):
        request_body_class = MyBody

    client = client_of(serve(echo, server_class=MyServer))
    assert client.post(body=b"spam").body == b"SPAM"


def test_worker_threads_class(serve: Serve, client_of: ClientOf) -> None:
    jobs: list[Job] = []

    class MyThreads(WorkerThreads):
        def submit(self, job: Job) -> None:
            jobs.append(job)
            super().submit(job)

    class MyServer(Server):
        worker_threads_class = MyThreads

    client = client_of(serve(hello, server_class=MyServer))
    assert client.get().status == 200
    assert [isinstance(job, Exchange) for job in jobs] == [True]


def test_access_logger_class(
    serve: Serve, client_of: ClientOf, caplog: pytest.LogCaptureFixture
) -> None:
    entries: list[AccessEntry] = []

    class MyLogger(AccessLogger):
        def log(self, entry: AccessEntry) -> None:
            entries.append(entry)

    class MyServer(Server):
        access_logger_class = MyLogger

    server = serve(hello, server_class=MyServer)
    with caplog.at_level(logging.INFO, "asyncwsgi.access"):
        assert client_of(server).get("/mine").status == 200
        server.close()
    (entry,) = entries
    assert (entry.method, entry.target, entry.status) == ("GET", "/mine", 200)
    assert caplog.records == []


def test_two_servers_replace_nothing_in_each_other(serve: Serve, client_of: ClientOf) -> None:
    class MyBody(RequestBody):
        def feed(self, data: bytes) -> None:
            super().feed(data.upper())

    class MyServer(Server):
        request_body_class = MyBody

    servers = [serve(echo, server_class=MyServer), serve(echo)]
    bodies = [client_of(server).post(body=b"spam").body for server in servers]
    assert bodies == [b"SPAM", b"spam"]
