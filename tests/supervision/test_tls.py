"""TLS of several processes: made and asked for once, and told to nobody else."""

from __future__ import annotations

import io
import os
import pty
import signal
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from asyncwsgi.testing import Authority
from tests.client import connect
from tests.doors.processes import address_of
from tests.reloading.conftest import Project, project

__all__ = ["project"]

PASSPHRASE = "spam and eggs"
MANY = pytest.mark.parametrize(
    "options",
    [
        pytest.param(["--reload"], id="a child"),
        pytest.param(["--workers", "2"], id="workers"),
        pytest.param(["--workers", "2", "--preload"], id="forked workers"),
    ],
)


@pytest.fixture
def authority(project: Project) -> Authority:
    """The one of a certificate in the project, whose key is encrypted."""
    authority = Authority()
    issued = authority.issue("localhost", "127.0.0.1")
    issued.cert_chain_pems[0].write_to_path(str(project.directory / "cert.pem"))
    key = load_pem_private_key(issued.private_key_pem.bytes(), None)
    (project.directory / "key.pem").write_bytes(
        key.private_bytes(
            Encoding.PEM,
            PrivateFormat.PKCS8,
            BestAvailableEncryption(PASSPHRASE.encode()),
        )
    )
    return authority


@pytest.fixture
def keyboard() -> Iterator[tuple[int, int]]:
    """A terminal: its keyboard and its other end."""
    ends = pty.openpty()
    yield ends
    for end in ends:
        os.close(end)


FILES = ("--certfile", "cert.pem", "--keyfile", "key.pem")


def serves(url: str, context: ssl.SSLContext) -> bool:
    with connect(address_of(url), context) as client:
        return client.get().status == 200


def processes_below(pid: int) -> list[int]:
    """A process and all that it has started."""
    found = [pid]
    for each in found:
        for task in Path(f"/proc/{each}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    return found


@MANY
def test_who_sits_at_the_terminal_is_asked_once(
    project: Project, authority: Authority, keyboard: tuple[int, int], options: list[str]
) -> None:
    project.write_version("one")
    reading, writing = os.pipe()
    process = project.start(*FILES, *options, terminal=keyboard[1], errors=writing)
    os.close(writing)
    with os.fdopen(reading, "rb", buffering=0) as errors:
        said = read_until(errors, b"Passphrase of key.pem: ")
        os.write(keyboard[0], f"{PASSPHRASE}\n".encode())
        said += (line := read_until(errors, b"listening on https://127.0.0.1:", b"\n"))
        url = line.decode().rpartition("listening on ")[2].strip()
        assert serves(url, authority.client_context())
        if "--reload" in options:
            if b"watching for changes" not in said:
                said += read_until(errors, b"watching for changes")
            project.write_version("two")
        else:
            process.send_signal(signal.SIGHUP)
        said += read_until(errors, b"stopping; ")  # those before, behind those that follow them
        assert serves(url, authority.client_context())
        assert process.interrupt() == 0
        said += errors.read()
    assert said.count(b"Passphrase") == 1
    assert PASSPHRASE.encode() not in said


def read_until(file: io.RawIOBase, *texts: bytes) -> bytes:
    """Read until there is one text behind the other."""
    said = b""
    for text in texts:
        begin = len(said)
        while text not in said[begin:]:
            data = file.read(1)
            assert data, said
            said += data
    return said


@MANY
def test_no_environment_and_no_command_line_of_a_child_shows_the_passphrase(
    project: Project, authority: Authority, options: list[str]
) -> None:
    project.write_version("one")
    process = project.start(*FILES, "--keyfile-password", PASSPHRASE, *options)
    url = process.urls()[0]
    assert serves(url, authority.client_context())
    _, *children = processes_below(process.pid)
    assert children
    for pid in children:
        for name in ("environ", "cmdline"):
            assert PASSPHRASE.encode() not in Path(f"/proc/{pid}/{name}").read_bytes()
    assert process.interrupt() == 0
    assert PASSPHRASE not in process.log


def test_a_wrong_passphrase_ends_the_command(project: Project, authority: Authority) -> None:
    project.write_version("one")
    process = project.start(*FILES, "--keyfile-password", "eggs alone", "--workers", "2")
    assert process.wait() == 2
    assert "the passphrase of the key may be a wrong one" in process.log
    assert "eggs" not in process.log


@pytest.mark.parametrize("options", [[], ["--workers", "2"], ["--reload"]], ids=str)
def test_all_serve_the_certificate_that_is_made_for_this_machine(
    project: Project, tmp_path: Path, options: list[str]
) -> None:
    project.write_version("one")
    state = {"XDG_STATE_HOME": str(tmp_path / "state")}
    process = project.start("--adhoc-cert", *options, environment=state)
    url = process.urls()[0]
    assert url.startswith("https://127.0.0.1:")
    authority = tmp_path / "state" / "asyncwsgi" / "localhost-authority.pem"
    trusting = ssl.create_default_context(cafile=str(authority))
    assert all(serves(url, trusting) for _ in range(5))
    assert process.interrupt() == 0
    assert process.log.count("made a certificate for localhost, 127.0.0.1, ::1") == 1
