"""A real nginx that serves the file of the examples: on a port and in a directory of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.client import TIMEOUT, Client, connect

EXAMPLE = Path(__file__).parents[2] / "examples" / "deployment" / "nginx-uwsgi.conf"
PARAMS = Path("/etc/nginx/uwsgi_params")

MAIN = """\
daemon off;
user {user};
worker_processes 1;
pid {directory}/nginx.pid;
error_log stderr warn;
events {{}}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    include {directory}/app.conf;
}}
"""
BY_UWSGI = "        include uwsgi_params;\n        uwsgi_pass app;\n"
BY_HTTP = (
    "        proxy_pass http://app;\n        proxy_http_version 1.1;\n"
    "        proxy_set_header Host $host;\n        proxy_set_header Connection $http_connection;\n"
)


def replaced(text: str, old: str, new: str) -> str:
    """`text` with its only `old` replaced."""
    assert text.count(old) == 1, f"the example has {old!r} {text.count(old)} times"
    return text.replace(old, new)


def _program() -> str:
    found = shutil.which("nginx", path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin")
    assert found, "nginx is not installed; `make programs` installs it"
    return found


class Nginx:
    """nginx, killed if the test leaves it running.

    Args:
        directory: of its own.
        upstream: where asyncwsgi listens, as nginx writes it.
        speaks_http: whether nginx does so to its upstream, in place of uwsgi.
    """

    def __init__(self, directory: Path, upstream: str, *, speaks_http: bool = False) -> None:
        # It inherits its listener, as a new nginx does that replaces an old one. So nobody else can
        # have taken the port, and who connects before it has begun waits in the backlog.
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(64)
        self.port: int = self._listener.getsockname()[1]
        example = replaced(EXAMPLE.read_text(), "listen 80;", f"listen 127.0.0.1:{self.port};")
        example = replaced(example, "server unix:/run/app/app.sock;", f"server {upstream};")
        if speaks_http:
            example = replaced(example, BY_UWSGI, BY_HTTP)
        (directory / "app.conf").write_text(example)
        shutil.copy(PARAMS, directory)
        user = pwd.getpwuid(os.getuid()).pw_name
        main = directory / "nginx.conf"
        main.write_text(MAIN.format(directory=directory, user=user))
        self._log = (directory / "error.log").open("w+b")
        self._process = subprocess.Popen(
            [_program(), "-p", str(directory), "-c", str(main), "-e", "stderr"],
            env={**os.environ, "NGINX": f"{self._listener.fileno()};"},
            pass_fds=[self._listener.fileno()],
            stderr=self._log,
        )

    def connect(self) -> Client:
        """A connection to it."""
        assert self._process.poll() is None, self.log
        return connect(("127.0.0.1", self.port))

    @property
    def log(self) -> str:
        """What it has written so far."""
        self._log.seek(0)
        return self._log.read().decode()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(TIMEOUT)
        finally:
            self._process.kill()
            self._process.wait()
            self._listener.close()
            print(self.log)
            self._log.close()
