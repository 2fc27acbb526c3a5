"""nginx and HAProxy as processes of their own, by the very files of examples/deployment.

What is theirs alone on a machine - ports, users' directories, the service that Debian runs - is
replaced in the text, by patterns that have to be met; all the rest is as a reader finds it.
"""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from asyncwsgi.testing import Authority
from tests.client import reserved_port
from tests.doors.processes import Process

FILES = Path(__file__).parents[2] / "examples" / "deployment"
UNIX_UPSTREAM = "server unix:/run/app/app.sock;"


@dataclass(frozen=True)
class Neighbour:
    """A proxy that runs."""

    process: Process
    port: int
    tls_port: int = 0


def replaced(text: str, *changes: tuple[str, str]) -> str:
    """`text` with each of `changes` made, once at least."""
    for old, new in changes:
        assert old in text, f"the file has no {old!r} any more"
        text = text.replace(old, new)
    return text


def program(name: str) -> str:
    """Where a program is."""
    # Users other than root have no sbin on their PATH.
    path = shutil.which(name, path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin")
    assert path is not None, f"there is no {name}; `make programs` installs it"
    return path


@contextmanager
def nginx(
    directory: Path,
    upstream: tuple[str, int] | str,
    *changes: tuple[str, str],
    authority: Authority | None = None,
) -> Iterator[Neighbour]:
    """nginx by ``nginx.conf``.

    Args:
        directory: its own, which its workers, who are another user's, may enter.
        upstream: where the application listens.
        changes: of the file, besides those that are made for any test.
        authority: issues its certificate.
    """
    issued = (authority or Authority()).issue("localhost", "127.0.0.1")
    issued.private_key_and_cert_chain_pem.write_to_path(str(directory / "app.pem"))
    if isinstance(upstream, str):
        server = f"server unix:{upstream};"
        Path(upstream).chmod(0o666)  # the units of systemd give it to nginx's user
    else:
        server = f"server {upstream[0]}:{upstream[1]};"
    temporary = "".join(
        f"    {kind}_temp_path {directory}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    with reserved_port() as port, reserved_port() as tls_port:
        text = replaced(
            (FILES / "nginx.conf").read_text(),
            ("listen 80;", f"listen 127.0.0.1:{port};"),
            ("listen 443 ssl;", f"listen 127.0.0.1:{tls_port} ssl;"),
            (UNIX_UPSTREAM, server),
            ("worker_processes auto;", "worker_processes 1;"),
            ("pid /run/nginx.pid;", f"pid {directory}/nginx.pid;"),
            ("error_log /var/log/nginx/error.log;", "error_log stderr notice;"),
            ("access_log /var/log/nginx/access.log;", f"access_log {directory}/access.log;"),
            ("/etc/ssl/certs/app.pem", f"{directory}/app.pem"),
            ("/etc/ssl/private/app.key", f"{directory}/app.pem"),
            ("http {\n", f"http {{\n{temporary}"),
            *changes,
        )
        file = directory / "nginx.conf"
        file.write_text(text)
        arguments = ("-p", str(directory), "-e", "stderr", "-g", "daemon off;", "-c", str(file))
        process = Process(*arguments, directory=directory, executable=program("nginx"))
        try:
            process.read_until("start worker process ")  # it listens by then
            yield Neighbour(process, port, tls_port)
        finally:
            process.close()


@contextmanager
def haproxy(
    directory: Path, upstream: tuple[str, int], *changes: tuple[str, str]
) -> Iterator[Neighbour]:
    """HAProxy by ``haproxy.cfg``.

    Its listener is made here and inherited, so that clients may connect before it has started.
    """
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        text = replaced(
            (FILES / "haproxy.cfg").read_text(),
            ("bind :80", f"bind fd@{listener.fileno()}"),
            ("server app1 127.0.0.1:8000", f"server app1 {upstream[0]}:{upstream[1]}"),
            *changes,
        )
        file = directory / "haproxy.cfg"
        file.write_text(text)
        process = Process(
            "-db",
            "-f",
            str(file),
            directory=directory,
            executable=program("haproxy"),
            descriptors=[listener.fileno()],
        )
        try:
            yield Neighbour(process, listener.getsockname()[1])
        finally:
            process.close()
