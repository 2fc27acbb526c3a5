"""What is sent to the servers, and what must come back: every row of the benchmark.

Pure: no socket, no process. A request is written once, here, so that what measures and what checks
send the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from bodies import BLOCK, FILE_BLOCKS, GREETING, KIB, STREAM_BLOCKS, UPLOAD_SIZE
from servers import DROP_IN, INSPECTED, LOGGED, NATIVE, OVERRIDE, OWN, TLS_SERVERS

if TYPE_CHECKING:
    from collections.abc import Iterator

NUMBER = "{n}"
"""In requests and answers: a number of twelve digits, another in each request."""
HOST = "{host}"

BROWSER = (
    f"Host: {HOST}",
    "Connection: keep-alive",
    "Upgrade-Insecure-Requests: 1",
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    "Accept-Language: en-GB,en;q=0.7,de;q=0.3",
    "Accept-Encoding: gzip, deflate, br",
    f"Referer: http://{HOST}/start",
    "Cookie: session=eyJ1c2VyIjoiYWRhIn0.ZtBq3w.Qm9ndXNTaWduYXR1cmU; theme=dark",
)
"""The headers of a browser."""
CLOSING = tuple(line.replace("keep-alive", "close") for line in BROWSER)
DIFFERING = f"X-Request-Id: {NUMBER}"


def get(path: str, *lines: str) -> bytes:
    return _head("GET", path, *(lines or BROWSER))


def post(path: str, kind: str, body: bytes) -> bytes:
    return _head("POST", path, *BROWSER, kind, f"Content-Length: {len(body)}") + body


def _head(method: str, path: str, *lines: str) -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""]).encode()


def _form(size: int) -> tuple[bytes, bytes]:
    """A form of `size` bytes, and what its view answers."""
    fields = {"name": "Ada", "topic": "engines & looms", "text": ""}
    text = "a" * (size - len(urlencode(fields)))
    body = urlencode(fields | {"text": text}).encode()
    return body, f"Hello, Ada! {len(text)} characters".encode()


FORM, FORM_ANSWER = _form(KIB)


class Client(Enum):
    """Who sends it."""

    WRK = "wrk"
    BULK = "bulk"
    """For bodies of many MiB, of which wrk reads 8 KiB at a time: `bulk_client.py`."""
    IDLE = "idle"
    """Sends once on each connection and keeps them all: `idle_client.py`."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """One kind of traffic."""

    name: str
    title: str
    app: str
    """Its name in `apps`."""
    request: bytes
    answer: bytes
    """The body of the response, exactly."""
    connections: tuple[int, ...]
    servers: tuple[str, ...]
    client: Client = Client.WRK
    threads: int = 8
    tls: bool = False


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of traffic on a number of connections."""

    traffic: Traffic
    connections: int

    @property
    def name(self) -> str:
        return f"{self.traffic.name}-{self.connections}"


USER = f"/user/{NUMBER}"
HELLO = f"Hello, {NUMBER}!".encode()

ALL = (OWN, "waitress", "cheroot", "gunicorn", NATIVE)
"""But for werkzeug, which keeps no connection: it has one row, as what Flask starts by itself."""
FASTEST = tuple(name for name in ALL if name != "gunicorn")
"""Of the peers those that have been near the best with small answers."""
FLASK = (OWN, DROP_IN, *FASTEST[1:])


def _traffics() -> Iterator[Traffic]:
    form = "Content-Type: application/x-www-form-urlencoded"
    octets = "Content-Type: application/octet-stream"
    upload_answer = b"%d bytes" % UPLOAD_SIZE
    yield Traffic(
        "plain-repeat", "plain application, headers repeat", "plain",
        get(USER), GREETING, (1, 10, 64, 1000, 10_000), ALL,
    )  # fmt: skip
    yield Traffic(
        "plain-differ", "plain application, a header differs", "plain",
        get(USER, *BROWSER, DIFFERING), GREETING, (64,), (*FASTEST, INSPECTED),
    )  # fmt: skip
    yield Traffic(
        "plain-post", "plain application, POST of 1 KiB", "post",
        post(USER, octets, bytes(KIB)), b"%d bytes" % KIB, (64,), FASTEST,
    )  # fmt: skip
    yield Traffic(
        "plain-close", "new connection each time", "plain",
        get(USER, *CLOSING), GREETING, (64,), FASTEST,
    )  # fmt: skip
    yield Traffic(
        "flask-repeat", "Flask view, headers repeat", "flask_app",
        get(USER), HELLO, (64,), (*FLASK, "gunicorn", "werkzeug", LOGGED, INSPECTED),
    )  # fmt: skip
    yield Traffic(
        "flask-differ", "Flask view, a header differs", "flask_app",
        get(USER, *BROWSER, DIFFERING), HELLO, (64,), FLASK,
    )  # fmt: skip
    yield Traffic(
        "flask-form", "Flask view, form of 1 KiB", "flask_app",
        post("/form", form, FORM), FORM_ANSWER, (64,), FLASK,
    )  # fmt: skip
    yield Traffic(
        "flask-async", "Flask async def view", "flask_async_app",
        get(USER), HELLO, (64,), (*FASTEST, OVERRIDE),
    )  # fmt: skip
    yield Traffic(
        "flask-wait", "Flask view waits 50 ms (64 threads)", "flask_app",
        get(f"/wait/{NUMBER}"), HELLO, (500,), FASTEST, threads=64,
    )  # fmt: skip
    yield Traffic(
        "tls-repeat", "TLS, kept connections", "plain",
        get(USER), GREETING, (64,), TLS_SERVERS, tls=True,
    )  # fmt: skip
    yield Traffic(
        "tls-close", "TLS, new connection each time", "plain",
        get(USER, *CLOSING), GREETING, (64,), TLS_SERVERS, tls=True,
    )  # fmt: skip
    yield Traffic(
        "block", "64 KiB in one block", "block",
        get(USER), BLOCK, (64,), FASTEST,
    )  # fmt: skip
    yield Traffic(
        "stream", "16 MiB in blocks of 64 KiB", "stream",
        get("/stream"), BLOCK * STREAM_BLOCKS, (4,),
        (OWN, "cheroot", "gunicorn", NATIVE), Client.BULK,
    )  # fmt: skip
    yield Traffic(
        "file", "64 MiB by wsgi.file_wrapper", "file",
        get("/file"), BLOCK * FILE_BLOCKS, (2,),
        (OWN, "waitress", "gunicorn", NATIVE), Client.BULK,
    )  # fmt: skip
    yield Traffic(
        "upload", "upload of 8 MiB in pieces of 64 KiB", "upload",
        post("/upload", octets, bytes(UPLOAD_SIZE)), upload_answer, (4,),
        (OWN, "cheroot", NATIVE), Client.BULK,
    )  # fmt: skip
    yield Traffic(
        "idle", "idle kept connections", "plain",
        get(USER), GREETING, (10_000,), (OWN, "cheroot", "gunicorn", NATIVE), Client.IDLE,
    )  # fmt: skip


TRAFFICS = tuple(_traffics())
CASES = tuple(Case(traffic, count) for traffic in TRAFFICS for count in traffic.connections)
