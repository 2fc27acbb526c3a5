"""One request as gunicorn's hooks and its access log see it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, ClassVar, Protocol

from asyncwsgi.clock import clock
from asyncwsgi.frontends.http_response import HttpResponder
from asyncwsgi.requests.exchange import CLIENT_CLOSED_REQUEST, Exchange
from asyncwsgi.wsgi.response import Headers, Response
from asyncwsgi.wsgi.suspended_call import SuspendedCall


class HookedWorker(Protocol):
    """What a request asks of its worker."""

    cfg: Any
    log: Any

    @property
    def keeps_connections(self) -> bool:
        """Whether one may carry another request."""


class Request:
    """What gunicorn calls ``req``: of its attributes those that hooks and log formats use."""

    def __init__(self, environ: Mapping[str, Any]) -> None:
        self.method: str = environ["REQUEST_METHOD"]
        self.uri: str = environ["RAW_URI"]
        self.path, _, self.query = self.uri.partition("?")
        self.scheme: str = environ["wsgi.url_scheme"]
        version = environ["SERVER_PROTOCOL"].removeprefix("HTTP/").partition(".")
        self.version = (int(version[0]), int(version[2] or 0))
        port = environ.get("REMOTE_PORT", "")  # a proxy that speaks uwsgi may say anything
        self.remote_addr = (environ["REMOTE_ADDR"], int(port) if port.isdecimal() else 0)
        # The environ itself is the application's to change.
        self._headers = [(k, v) for k, v in environ.items() if _is_header(k)]

    @property
    def headers(self) -> list[tuple[str, str]]:
        """Names in capitals, as gunicorn has them."""
        return [(k.removeprefix("HTTP_").replace("_", "-"), v) for k, v in self._headers]


class WorkerResponder(HttpResponder):
    """What gunicorn calls ``resp``: also says what was answered."""

    worker: ClassVar[HookedWorker]

    __slots__ = ("headers", "sent", "status")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.status = f"{CLIENT_CLOSED_REQUEST} Client Closed Request"
        self.headers: Headers = []
        self.sent = 0
        """Bytes of the body."""

    @property
    def status_code(self) -> int:
        return int(self.status[:3])

    def can_keep_alive(self) -> bool:
        return self.worker.keeps_connections and super().can_keep_alive()

    def start(
        self,
        status: str,
        headers: Headers,
        special: Mapping[str, str],
        *,
        is_open_ended: bool,
        block: bytes,
    ) -> bytes:
        self.status, self.headers = status, headers
        return super().start(status, headers, special, is_open_ended=is_open_ended, block=block)

    def block(self, data: bytes) -> bytes:
        self.sent += len(data)
        return super().block(data)


class HookedExchange(Exchange):
    """Calls ``pre_request`` and ``post_request``, and has gunicorn write the access log.

    Args:
        worker: whose hooks and log they are.
        arguments: those of `Exchange`.
    """

    def __init__(self, worker: HookedWorker, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._worker = worker

    @property
    def _answer(self) -> WorkerResponder:
        responder = self.responder
        assert isinstance(responder, WorkerResponder), responder
        return responder

    def file_was_sent(self, size: int) -> None:
        super().file_was_sent(size)
        self._answer.sent += size

    def add_keys(self) -> None:
        super().add_keys()
        self._request = Request(self.environ)

    def call_application(self, response: Response) -> SuspendedCall | None:
        self._worker.cfg.pre_request(self._worker, self._request)
        return super().call_application(response)

    def conclude(self, response: Response) -> None:
        super().conclude(response)
        worker, answer, environ = self._worker, self._answer, self.environ
        duration = timedelta(seconds=clock.monotonic() - self.submitted_at)
        # Both are code of the program's: the request has been answered, whatever they raise.
        try:
            worker.log.access(answer, self._request, environ, duration)
        except Exception:
            worker.log.exception("Exception in the access log")
        try:
            worker.cfg.post_request(worker, self._request, environ, answer)
        except Exception:
            worker.log.exception("Exception in post_request hook")


def _is_header(key: str) -> bool:
    return key.startswith("HTTP_") or key in ("CONTENT_TYPE", "CONTENT_LENGTH")
