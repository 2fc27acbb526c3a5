"""TLS contexts from certificate files, and why a handshake has failed."""

from __future__ import annotations

import getpass
import re
import ssl
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from asyncwsgi.errors import ConfigError

if TYPE_CHECKING:
    from asyncwsgi.config import Config

_REJECTION = re.compile(r".*_ALERT_(.*CERTIFICATE.*|UNKNOWN_CA)")


def server_context(config: Config, *, may_ask: bool = True) -> ssl.SSLContext | None:
    """The context that `config` asks for; None for plain HTTP.

    Args:
        config: the options.
        may_ask: whether somebody may be asked, and waited for, for the passphrase of a key.

    Raises:
        ConfigError: a file is missing or holds no usable certificate or key.
    """
    return config.ssl_context if config.certfile is None else _context_of_files(config, may_ask)


def _context_of_files(config: Config, may_ask: bool) -> ssl.SSLContext:
    assert config.certfile is not None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    # RFC 7301: say what is spoken here, for clients that would rather speak HTTP/2.
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(
            config.certfile,
            config.keyfile,
            _passphrase_of(config.keyfile or config.certfile, may_ask),
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


def _passphrase_of(path: str, may_ask: bool) -> Callable[[], str]:
    """What asks for the passphrase of a key, if it is encrypted: once, and on a terminal only."""
    answers: list[str] = []

    def ask() -> str:
        if not may_ask:
            raise ConfigError(f"the key in {path} is encrypted, and nobody is asked for it now")
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


def handshake_failure(error: OSError) -> str | None:
    """What a client did wrong, as a predicate for log lines; None if it has just left."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"has a certificate that is not accepted ({error.verify_message})"
    if isinstance(error, ssl.SSLError):
        return _ssl_failure(error.reason or str(error))
    if isinstance(error, ConnectionAbortedError):  # so asyncio and uvloop tell of their timeout
        return "did not end its TLS handshake within tls_handshake_timeout"
    return None


def _ssl_failure(reason: str) -> str:
    # The names are OpenSSL's.
    if reason in ("HTTP_REQUEST", "HTTPS_PROXY_REQUEST"):
        return "speaks plain HTTP where HTTPS is expected"
    if reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
        return "has no certificate, and ca_certs asks for one"
    if rejection := _REJECTION.fullmatch(reason):
        return f"rejects the certificate of this server ({_words(rejection[1])})"
    return f"failed in its TLS handshake ({_words(reason)})"


def _words(reason: str) -> str:
    return reason.replace("_", " ").lower()
