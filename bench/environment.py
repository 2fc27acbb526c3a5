"""The benchmark's own ground: its virtual environment, its tools and the limits it needs.

Every refusal is one line that names the cure.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from bodies import DATA, make_file

BENCH = Path(__file__).resolve().parent
ROOT = BENCH.parent
VENV = BENCH / ".venv"
PYTHON = VENV / "bin" / "python"
REQUIREMENTS = BENCH / "requirements.txt"
PROJECT = ROOT / "pyproject.toml"
CERTIFICATE = DATA / "certificate.pem"
KEY = DATA / "key.pem"

DESCRIPTORS = 8192
SPARE_DESCRIPTORS = 1000
LEAST_SPARE_DESCRIPTORS = 100


class UnreadyError(Exception):
    """This machine lacks something; the message names the cure."""


def require_tools() -> None:
    """wrk, taskset and openssl are on the path; as root, apt-get may install wrk."""
    if shutil.which("wrk") is None and os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["apt-get", "install", "-y", "wrk"], stdout=sys.stderr, check=False)
    for tool, package in (("wrk", "wrk"), ("taskset", "util-linux"), ("openssl", "openssl")):
        if shutil.which(tool) is None:
            raise UnreadyError(f"{tool} is missing: apt-get install {package}")


def raise_descriptor_limit(connections: int) -> None:
    """Server and client, which inherit the limit, can hold `connections` sockets each."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max(DESCRIPTORS, connections + SPARE_DESCRIPTORS)
    wanted = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if wanted < connections + LEAST_SPARE_DESCRIPTORS:
        raise UnreadyError(
            f"{connections} connections need more open files than {hard}: ulimit -Hn"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


def can_hold(connections: int) -> bool:
    """Whether the limit of open files can be raised so far."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return hard == resource.RLIM_INFINITY or hard >= connections + LEAST_SPARE_DESCRIPTORS


def require_data() -> None:
    """The file that is served, and a certificate by which it could be."""
    make_file()
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "3650", "-subj", "/CN=localhost"]
    command += ["-keyout", str(KEY), "-out", str(CERTIFICATE)]
    if not CERTIFICATE.exists() and subprocess.run(command, stderr=sys.stderr).returncode:
        raise UnreadyError("openssl could not make a certificate: see what it says above")


def require_peers() -> None:
    """The virtual environment exists and holds the pinned peers."""
    if not PYTHON.exists():
        print(f"making {VENV.relative_to(ROOT)}", file=sys.stderr)
        venv.create(VENV, clear=True, with_pip=True)
    _install("peers", REQUIREMENTS, "--requirement", str(REQUIREMENTS))


def require_project() -> None:
    """The project is installed, editable, so that the working tree is what is measured."""
    if not PROJECT.exists():
        raise UnreadyError(f"no {PROJECT.name} in the repository root: select other --servers")
    _install("project", PROJECT, "--editable", str(ROOT))


def versions() -> dict[str, str]:
    """Everything installed in the virtual environment."""
    command = [str(PYTHON), "-m", "pip", "list", "--format=json", "--disable-pip-version-check"]
    listing = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return {package["name"].lower(): package["version"] for package in json.loads(listing)}


def _install(name: str, source: Path, *arguments: str) -> None:
    stamp = VENV / f".{name}.stamp"
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return
    print(f"installing the {name} into {VENV.relative_to(ROOT)}", file=sys.stderr)
    command = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if subprocess.run([*command, *arguments], stdout=sys.stderr, check=False).returncode != 0:
        raise UnreadyError(f"pip could not install the {name}: mend what it says above")
    stamp.write_text(digest)
