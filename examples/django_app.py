"""A Django application in one file.

Run it with

    asyncwsgi examples/django_app.py

and try

    curl http://127.0.0.1:8000/
    curl http://127.0.0.1:8000/square/12
    curl -N http://127.0.0.1:8000/stream
    curl -F file=@README.md http://127.0.0.1:8000/upload

A project made by `django-admin startproject` needs no such file: `asyncwsgi mysite.wsgi` finds the
`application` in it. It needs `pip install django`.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator

from django.conf import settings  # type: ignore[import-untyped]
from django.core.wsgi import get_wsgi_application  # type: ignore[import-untyped]
from django.http import (  # type: ignore[import-untyped]
    HttpRequest,
    HttpResponse,
    JsonResponse,
    StreamingHttpResponse,
)
from django.urls import path  # type: ignore[import-untyped]
from django.views.decorators.http import require_POST  # type: ignore[import-untyped]

LONGEST_PAUSE = 5000
"""Milliseconds between two lines of the stream."""

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1", "localhost", "[::1]"],
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
    ROOT_URLCONF=__name__,
    SECRET_KEY=secrets.token_hex(),
)


def index(_request: HttpRequest) -> HttpResponse:
    text = "Hello from Django. Try /square/12, /stream and /upload.\n"
    return HttpResponse(text, content_type="text/plain; charset=utf-8")


def square(_request: HttpRequest, number: int) -> HttpResponse:
    return JsonResponse({"number": number, "square": number * number})


def stream(request: HttpRequest) -> HttpResponse:
    """Ten lines, each sent when it is made; `?pause=0` leaves out the pauses."""
    pause: str = request.GET.get("pause", "300")
    if not (pause.isascii() and pause.isdigit()):
        return HttpResponse("pause must be a number of milliseconds\n", status=400)
    content = lines(min(int(pause), LONGEST_PAUSE))
    return StreamingHttpResponse(content, content_type="text/plain; charset=utf-8")


def lines(pause: int) -> Iterator[str]:
    for number in range(1, 11):
        yield f"line {number}\n"
        time.sleep(pause / 1000)


@require_POST  # type: ignore[untyped-decorator]
def upload(request: HttpRequest) -> HttpResponse:
    file = request.FILES.get("file")
    if file is None:
        return HttpResponse("send a file in the form field 'file'\n", status=400)
    return JsonResponse({"name": file.name, "size": sum(len(block) for block in file.chunks())})


urlpatterns = [
    path("", index),
    path("square/<int:number>", square),
    path("stream", stream),
    path("upload", upload),
]

application = get_wsgi_application()
