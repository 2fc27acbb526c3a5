"""Django's async views, under its WSGI handler, run on the server's loop."""

from __future__ import annotations

import json

from tests.doors.conftest import Start, Write

SITE = """
import asyncio
import threading

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse
from django.urls import path

settings.configure(ALLOWED_HOSTS=["*"], SECRET_KEY="for tests", ROOT_URLCONF=__name__)


async def view(request):
    thread = threading.current_thread()
    return JsonResponse({"loop": id(asyncio.get_running_loop()), "thread": thread.name})


urlpatterns = [path("", view)]
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
