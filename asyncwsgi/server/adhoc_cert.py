"""A certificate for this machine, made here and kept between runs: ``--adhoc-cert``.

It is for development, where a browser has to be convinced by hand. So that this is done once, the
certificate is kept, with its key, until it is about to expire. It is signed by an authority of its
own, whose certificate may be put among those that a browser trusts. Nobody has the authority's key:
it is gone when the certificate is signed. Whoever could steal it would be believed to be any site.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import ssl
import sys
import tempfile
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING

from asyncwsgi.errors import ConfigError
from asyncwsgi.server_log import logger

if TYPE_CHECKING:
    from types import ModuleType

NAMES = ("localhost", "127.0.0.1", "::1")
"""Whom the certificate is for."""
VALIDITY = datetime.timedelta(days=397)
"""Safari takes no certificate for more than 398 days (support.apple.com/en-us/102028)."""
REST = datetime.timedelta(days=30)
"""One that is valid for less than that is replaced: a server may run for days."""
_PRIVATE = 0o077
"""Bits of a mode that let others read or write."""


def adhoc_certificate() -> Path:
    """The file with the certificate, its key and its authority; made if there is none to keep.

    Raises:
        ConfigError: it cannot be made, or kept.
    """
    trustme = _trustme()
    directory = _directory()
    file, authority = directory / "localhost.pem", directory / "localhost-authority.pem"
    try:
        if not _is_good(file):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write(file, _make(trustme))
            logger.info(
                "made a certificate for %s; browsers trust it if %s is among their authorities",
                ", ".join(NAMES),
                authority,
            )
        _show_authority(file, authority)
    except OSError as error:
        raise ConfigError(
            f"adhoc_cert keeps its certificate in {directory}, which cannot be used: "
            f"{error.strerror}; name another place by the variable XDG_STATE_HOME, or give certfile"
        ) from error
    return file


def _trustme() -> ModuleType:
    try:
        import trustme
    except ImportError as error:
        raise ConfigError(
            f"adhoc_cert makes its certificate with the package trustme, which cannot be imported "
            f"({error}); install it: pip install trustme"
        ) from error
    return trustme


def _directory() -> Path:
    """Where programs keep for this user what they need again."""
    try:
        home = Path.home()
    except RuntimeError as error:
        raise ConfigError(
            f"adhoc_cert keeps its certificate for this user, whose home is not known: {error}; "
            "set HOME, or give certfile"
        ) from error
    variable, usual = {
        "win32": ("LOCALAPPDATA", home / "AppData" / "Local"),
        "darwin": ("XDG_STATE_HOME", home / "Library" / "Application Support"),
    }.get(sys.platform, ("XDG_STATE_HOME", home / ".local" / "state"))
    return Path(os.environ.get(variable) or usual) / "asyncwsgi"


def _is_good(file: Path) -> bool:
    """Whether there is one, that nobody else may have read, and that will not expire soon."""
    from cryptography import x509

    try:
        status = file.stat()
        content = file.read_bytes()
        certificate = x509.load_pem_x509_certificate(content)
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(file)
    except (OSError, ValueError):  # ssl.SSLError is an OSError
        return False
    is_private = os.name != "posix" or not status.st_mode & _PRIVATE
    return is_private and certificate.not_valid_after_utc - REST > datetime.datetime.now(UTC)


def _make(trustme: ModuleType) -> bytes:
    now = datetime.datetime.now(UTC)
    authority = trustme.CA(
        organization_name="asyncwsgi", organization_unit_name="a certificate for this machine"
    )
    leaf = authority.issue_cert(
        *NAMES,
        common_name=NAMES[0],
        organization_name="asyncwsgi",
        # Clocks differ, those of containers and virtual machines for instance.
        not_before=now - datetime.timedelta(days=1),
        not_after=now - datetime.timedelta(days=1) + VALIDITY,
    )
    chain = [pem.bytes() for pem in leaf.cert_chain_pems]
    return b"".join([leaf.private_key_pem.bytes(), *chain, authority.cert_pem.bytes()])


def _show_authority(file: Path, shown: Path) -> None:
    """Have the authority's certificate in a file of its own, for those who want to trust it."""
    begin = b"-----BEGIN CERTIFICATE-----"
    content = begin + file.read_bytes().rpartition(begin)[2]
    if not shown.exists() or shown.read_bytes() != content:
        _write(shown, content)


def _write(path: Path, content: bytes) -> None:
    """Write a file for this user alone. Whoever reads it finds all of it, or what was there."""
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=path.name)  # with mode 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        Path(draft).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(draft).unlink()
        raise
