"""Django's async views and async bodies, under its WSGI handler, run on the server's loop."""

from __future__ import annotations

import json
from contextlib import ExitStack

import pytest

from tests.client import connect
from tests.doors.conftest import Start, Write
from tests.doors.processes import address_of

SITE = """
import asyncio
import sys
import threading

import asyncwsgi
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse, StreamingHttpResponse
from django.urls import path

settings.configure(ALLOWED_HOSTS=["*"], SECRET_KEY="for tests", ROOT_URLCONF=__name__)


async def view(request):
    thread = threading.current_thread()
    return JsonResponse({"loop": id(asyncio.get_running_loop()), "thread": thread.name})


async def blocks(name):
    name = f"{name} in {threading.current_thread().name}"
    try:
        yield f"{name}\\n"
        await asyncio.Event().wait()
    finally:
        sys.stderr.write(f"closed {name}\\n")


def stream(request):
    return StreamingHttpResponse(asyncwsgi.stream(blocks(request.GET["name"])))


async def events(request):
    stream = asyncwsgi.EventStream(blocks(request.GET["name"]))
    return StreamingHttpResponse(stream.body(), headers=stream.headers)


urlpatterns = [path("", view), path("stream", stream), path("events", events)]
application = get_wsgi_application()
"""


@pytest.mark.parametrize("options", [(), ("--park-async-views",)], ids=["threads wait", "parked"])
def test_all_requests_share_the_servers_loop(
    start: Start, write: Write, options: tuple[str, ...]
) -> None:
    write("site_of_tests.py", SITE)
    process = start("-m", "asyncwsgi", "--port", "0", *options, "site_of_tests")
    with process.connect() as client:
        replies = [json.loads(client.get().body) for _ in range(3)]
    assert {reply["thread"] for reply in replies} == {"MainThread"}
    assert len({reply["loop"] for reply in replies}) == 1
    assert process.interrupt() == 0


def test_streams_hold_no_thread_and_are_closed(start: Start, write: Write) -> None:
    write("site_of_tests.py", SITE)
    process = start("-m", "asyncwsgi", "--port", "0", "--threads", "1", "site_of_tests")
    address = address_of(process.urls()[0])
    with connect(address) as first, connect(address) as second, connect(address) as other:
        first.request(target="/stream?name=spam")
        second.request(target="/events?name=eggs")
        for client, line in ((first, b"spam in MainThread\n"), (second, b"data: eggs in Main")):
            while not client.read_line().startswith(line):
                pass
        assert other.get().status == 200
        first.reset()
        process.read_until("closed spam in MainThread")
        assert process.interrupt() == 0
        assert "closed eggs in MainThread" in process.log
        assert "Traceback" not in process.log


PARKED_SITE = """
import asyncio

from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.db import connection, transaction
from django.http import HttpResponse
from django.urls import path

from asyncwsgi.coroutines.waiting import parking_wait

DATABASE = {"ENGINE": "django.db.backends.sqlite3", "NAME": "database.sqlite3"}
settings.configure(
    ALLOWED_HOSTS=["*"],
    SECRET_KEY="for tests",
    ROOT_URLCONF=__name__,
    DATABASES={"default": DATABASE},
)
waiting, all_wait = [], asyncio.Event()


async def view(request, name):
    waiting.append(name)
    if len(waiting) == 20:
        all_wait.set()
    await all_wait.wait()
    return HttpResponse(f"{name} {await sync_to_async(select)(name)}")


def select(name):
    with connection.cursor() as cursor:
        cursor.execute("SELECT %s", [name])
        return cursor.fetchone()[0]


def transactions(request):
    connection.ensure_connection()
    outside = parking_wait()
    with transaction.atomic():
        inside = parking_wait()
    return HttpResponse(f"{outside is not None} {inside is None}")


urlpatterns = [path("view/<name>", view), path("transactions", transactions)]
application = get_wsgi_application()
"""


PARK = ("-m", "asyncwsgi", "--port", "0", "--park-async-views")


class TestParked:
    def test_async_views_and_their_queries_take_turns_in_a_thread(
        self, start: Start, write: Write
    ) -> None:
        write("site_of_tests.py", PARKED_SITE)
        process = start(*PARK, "--threads", "1", "site_of_tests")
        address = address_of(process.urls()[0])
        with ExitStack() as stack:
            clients = [stack.enter_context(connect(address)) for _ in range(20)]
            for number, client in enumerate(clients):
                client.request(target=f"/view/{number}")
            for number, client in enumerate(clients):
                assert client.reply().body == f"{number} {number}".encode()
        assert process.interrupt() == 0

    def test_a_request_is_not_parked_inside_of_a_transaction(
        self, start: Start, write: Write
    ) -> None:
        write("site_of_tests.py", PARKED_SITE)
        process = start(*PARK, "site_of_tests")
        with process.connect() as client:
            assert client.get("/transactions").body == b"True True"
        assert process.interrupt() == 0
