"""TLS contexts from certificate files, and a word in the log for each handshake that fails."""

from __future__ import annotations

import getpass
import logging
import ssl
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from asyncwsgi.errors import ConfigError

if TYPE_CHECKING:
    from asyncwsgi.config import Config

logger = logging.getLogger("asyncwsgi.server")


def server_context(config: Config) -> ssl.SSLContext | None:
    """The context that `config` asks for; None for plain HTTP.

    Raises:
        ConfigError: a file is missing or holds no usable certificate or key.
    """
    context = config.ssl_context if config.certfile is None else _context_of_files(config)
    if context is not None and context.sslobject_class is ssl.SSLObject:
        context.sslobject_class = _LoggedSSLObject
    return context


def _context_of_files(config: Config) -> ssl.SSLContext:
    assert config.certfile is not None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    # RFC 7301: say what is spoken here, for clients that would rather speak HTTP/2.
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(
            config.certfile, config.keyfile, _passphrase_of(config.keyfile or config.certfile)
        )
        if config.ca_certs is not None:
            context.load_verify_locations(config.ca_certs)
            context.verify_mode = ssl.CERT_REQUIRED
    except OSError as error:  # ssl.SSLError is one
        files = ", ".join(filter(None, (config.certfile, config.keyfile, config.ca_certs)))
        raise ConfigError(
            f"cannot use TLS files {files}: {error}; expected PEM files with a certificate chain, "
            "its private key and, for mutual TLS, the authorities"
        ) from error
    return context


def _passphrase_of(path: str) -> Callable[[], str]:
    """What asks for the passphrase of a key, if it is encrypted: once, and on a terminal only."""
    answers: list[str] = []

    def ask() -> str:
        if sys.stdin is None or not sys.stdin.isatty():
            raise ConfigError(
                f"the key in {path} is encrypted, and there is no terminal to ask for its "
                f"passphrase; decrypt it: openssl pkey -in {path} -out KEYFILE"
            )
        # OpenSSL asks again for each form in which it tries to read the key.
        if not answers:
            answers.append(getpass.getpass(f"Passphrase of {path}: "))
        return answers[0]

    return ask


class _LoggedSSLObject(ssl.SSLObject):
    """One TLS connection, as the loop speaks it.

    asyncio and uvloop say nothing of a handshake that fails, and make no connection known to the
    server before it has succeeded: this is the only place to hear of it. A client of TLS 1.3 that
    refuses the certificate says so when the server's part of the handshake is over already, and
    the next read tells.
    """

    def do_handshake(self) -> None:
        try:
            super().do_handshake()
        except ssl.SSLError as error:
            _log_failure(error)
            raise

    def read(self, *args: Any) -> Any:
        try:
            return super().read(*args)
        except ssl.SSLError as error:
            _log_failure(error)
            raise


_SILENT = (ssl.SSLWantReadError, ssl.SSLWantWriteError, ssl.SSLSyscallError)
"""What says that the other side has not gone on yet."""
_GOODBYES = (ssl.SSLZeroReturnError, ssl.SSLEOFError)
"""Clients that leave, with or without a word."""
_CURES = {
    "HTTP_REQUEST": "the client speaks plain HTTP, and its URL has to begin with https://",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "the client has shown no certificate, which ca_certs asks "
    "for",
}
_REFUSED = "the client refused the certificate, and has to be told of the authority that signed it"


def _log_failure(error: ssl.SSLError) -> None:
    if isinstance(error, (*_SILENT, *_GOODBYES)):
        return
    reason = error.reason or str(error)
    is_refusal = reason.endswith(("_ALERT_UNKNOWN_CA", "_BAD_CERTIFICATE", "_CERTIFICATE_UNKNOWN"))
    meaning = _REFUSED if is_refusal else _CURES.get(reason)
    words = reason.lower().replace("_", " ")
    logger.info("TLS with a client failed: %s%s", words, f" ({meaning})" if meaning else "")
