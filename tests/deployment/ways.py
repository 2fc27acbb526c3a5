"""What an application sees of a client through each way in; `docs/deployment.md` has the table.

Run as a script, it writes the table. A way is a function that serves an application by itself, and
says where its client connects; one more of them is one more line in `WAYS`.

The client is 127.0.0.2, whoever is between is 127.0.0.1, and the client lies about itself wherever
it can. It asks for ``/x`` of shop.example.
"""

from __future__ import annotations

import logging
import re
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flask import Flask, request

from asyncwsgi.running import ServerThread, serve_in_thread
from asyncwsgi.testing import Authority
from tests.client import TIMEOUT, Client
from tests.deployment.neighbours import haproxy, nginx
from tests.frontends.uwsgi_nginx import Nginx

if TYPE_CHECKING:
    import ssl
    from wsgiref.types import WSGIApplication

PAGE = Path(__file__).parents[2] / "docs" / "deployment.md"
CLIENT, PROXY, LIE = "127.0.0.2", "127.0.0.1", "6.6.6.6"
LIES = {"X-Forwarded-For": LIE, "X-Forwarded-Proto": "https", "Forwarded": f"for={LIE}"}
COLUMNS = (
    "REMOTE_ADDR", "wsgi.url_scheme", "HTTP_HOST", "SERVER_PORT", "access log",
    "request.remote_addr", "request.url",
)  # fmt: skip


@dataclass(frozen=True)
class Entrance:
    """Where a client connects, and what it says."""

    port: int
    names: Mapping[int, str]
    """What ports are called in the table: they are others each time."""
    source: str = CLIENT
    tls: ssl.SSLContext | None = None
    headers: Mapping[str, str] = field(default_factory=lambda: LIES)


Way = Callable[["WSGIApplication", Path], AbstractContextManager[Entrance]]


def _serve(application: WSGIApplication, **options: Any) -> ServerThread:
    return serve_in_thread(application, **{"port": 0, **options})


@contextmanager
def direct(application: WSGIApplication, _: Path) -> Iterator[Entrance]:
    with _serve(application) as server:
        yield Entrance(server.port, {server.port: "8000"})


@contextmanager
def by_nginx(application: WSGIApplication, directory: Path) -> Iterator[Entrance]:
    path = str(directory / "app.sock")
    authority = Authority()
    with (
        serve_in_thread(application, bind=f"unix:{path}", forwarded_allow_ips="unix"),
        nginx(directory, path, authority=authority) as proxy,
    ):
        tls = authority.client_context()
        yield Entrance(proxy.tls_port, {proxy.tls_port: "443"}, tls=tls)


@contextmanager
def by_nginx_uwsgi(application: WSGIApplication, directory: Path) -> Iterator[Entrance]:
    path = directory / "app.sock"
    with (
        serve_in_thread(application, bind=f"uwsgi+unix:{path}"),
        Nginx(directory, f"unix:{path}") as proxy,
    ):
        yield Entrance(proxy.port, {proxy.port: "80"})


@contextmanager
def by_haproxy(application: WSGIApplication, directory: Path) -> Iterator[Entrance]:
    options = {"proxy_protocol": True, "proxy_protocol_allow_ips": PROXY}
    with (
        _serve(application, **options) as server,
        haproxy(directory, (PROXY, server.port)) as proxy,
    ):
        yield Entrance(proxy.port, {proxy.port: "80"})


@contextmanager
def by_forwarded(application: WSGIApplication, _: Path) -> Iterator[Entrance]:
    headers = {
        "X-Forwarded-For": LIE,
        "Forwarded": f"for={LIE};host=evil.example, "
        f'for={CLIENT};proto=https;host="shop.example:8443"',
    }
    options = {"forwarded_allow_ips": PROXY, "forwarded_headers": "forwarded"}
    with _serve(application, **options) as server:
        yield Entrance(server.port, {}, source=PROXY, headers=headers)


@contextmanager
def by_x_forwarded(application: WSGIApplication, _: Path) -> Iterator[Entrance]:
    headers = {
        "Forwarded": f"for={LIE}",
        "X-Forwarded-For": f"{LIE}, {CLIENT}",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "shop.example",
        "X-Forwarded-Port": "8443",
        "X-Forwarded-Prefix": "/shop",
    }
    options = {"forwarded_allow_ips": PROXY, "forwarded_headers": ",".join(list(headers)[1:])}
    with _serve(application, **options) as server:
        yield Entrance(server.port, {}, source=PROXY, headers=headers)


WAYS: dict[str, Way] = {
    "direct": direct,
    "nginx, HTTP (TLS ends there)": by_nginx,
    "nginx, uwsgi": by_nginx_uwsgi,
    "HAProxy, PROXY v2": by_haproxy,
    "`Forwarded`": by_forwarded,
    "`X-Forwarded-For`, `-Proto`, `-Host`, `-Port`, `-Prefix`": by_x_forwarded,
}


def seen_through(way: Way) -> list[str]:
    """What is seen of the client through a way, column by column."""
    lines = _Lines()
    seen: dict[str, str] = {}

    def view() -> str:
        seen.update({key: request.environ[key] for key in COLUMNS if key in request.environ})
        seen["request.remote_addr"] = request.remote_addr or ""
        seen["request.url"] = request.url
        return ""

    app = Flask(__name__)
    app.add_url_rule("/x", view_func=view)
    app.add_url_rule("/health", "health", lambda: "")  # HAProxy asks
    with tempfile.TemporaryDirectory(prefix="asyncwsgi-") as name, lines:
        Path(name).chmod(0o755)
        with way(app, Path(name)) as entrance:
            _ask(entrance)
            names = entrance.names
    [seen["access log"]] = lines.clients
    return [re.sub(r"\d+$", lambda m: names.get(int(m[0]), m[0]), seen[key]) for key in COLUMNS]


def table() -> str:
    """The table, in Markdown."""
    head = ["through", *(f"`{name}`" if name != "access log" else name for name in COLUMNS)]
    rows = [[name, *(f"`{value}`" for value in seen_through(way))] for name, way in WAYS.items()]
    return "".join(f"| {' | '.join(row)} |\n" for row in [head, ["---"] * len(head), *rows])


TABLE = re.compile(r"^\| through \|.*\n(?:\|.*\n)+", re.MULTILINE)


def _ask(entrance: Entrance) -> None:
    address = ("127.0.0.1", entrance.port)
    sock = socket.create_connection(address, TIMEOUT, source_address=(entrance.source, 0))
    if entrance.tls is not None:
        sock = entrance.tls.wrap_socket(sock, server_hostname="localhost")
    lines = [f"{name}: {value}\r\n" for name, value in entrance.headers.items()]
    with Client(sock) as client:
        client.send(f"GET /x HTTP/1.1\r\nHost: shop.example\r\n{''.join(lines)}\r\n".encode())
        reply = client.reply()
        assert reply.status == 200, reply


class _Lines(logging.Handler):
    """The access log, while it is entered."""

    def __init__(self) -> None:
        super().__init__()
        self.clients: list[str] = []
        self._logger = logging.getLogger("asyncwsgi.access")

    def emit(self, record: logging.LogRecord) -> None:
        if record.__dict__["target"] == "/x":
            self.clients.append(record.__dict__["client"])

    def __enter__(self) -> None:
        self._level = self._logger.level
        self._logger.setLevel(logging.INFO)
        self._logger.addHandler(self)

    def __exit__(self, *_: object) -> None:
        self._logger.removeHandler(self)
        self._logger.setLevel(self._level)


if __name__ == "__main__":
    page, count = TABLE.subn(table().replace("\\", r"\\"), PAGE.read_text(encoding="utf-8"))
    assert count == 1, "the page has no table that begins with `| through |`"
    PAGE.write_text(page, encoding="utf-8")
