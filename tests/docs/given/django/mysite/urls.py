from django.http import HttpRequest, HttpResponse  # type: ignore[import-untyped]
from django.urls import path  # type: ignore[import-untyped]


def index(_request: HttpRequest) -> HttpResponse:
    return HttpResponse("Hello!")


urlpatterns = [path("", index)]
