"""Django's async views and async bodies, under its WSGI handler, run on the server's loop."""

from __future__ import annotations

import json

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


def test_all_requests_share_the_servers_loop(start: Start, write: Write) -> None:
    write("site_of_tests.py", SITE)
    process = start("-m", "asyncwsgi", "--port", "0", "site_of_tests")
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
