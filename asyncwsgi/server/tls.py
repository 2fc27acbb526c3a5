"""TLS contexts from certificate files, and why a handshake has failed."""

from __future__ import annotations

import dataclasses
import getpass
import re
import ssl
import sys
from typing import TYPE_CHECKING

from asyncwsgi.errors import ConfigError

if TYPE_CHECKING:
    from asyncwsgi.config import Config

PASSWORD_FILE = "file:"
"""How a `keyfile_password` begins that names a file."""
LONGEST_PASSWORD = 1024
"""Bytes; OpenSSL reads no longer one (PEM_BUFSIZE)."""
_REJECTION = re.compile(r".*_ALERT_(.*CERTIFICATE.*|UNKNOWN_CA)")


def server_context(config: Config) -> ssl.SSLContext | None:
    """The context that `config` asks for; None for plain HTTP.

    Raises:
        ConfigError: a file is missing or holds no usable certificate or key.
    """
    config = _with_adhoc_cert(config)
    if config.certfile is None:
        return config.ssl_context
    return _context_of_files(config, _Passphrase(config))


def prepared(config: Config) -> Config:
    """`config` when what is done once for several processes has been done.

    The certificate is there, if it shall be made; and the passphrase of its key is known, so that
    nobody is asked for it again.

    Raises:
        ConfigError: see `server_context`.
    """
    config = _with_adhoc_cert(config)
    if config.certfile is None or config.keyfile_password is not None:
        return config
    passphrase = _Passphrase(config)
    _context_of_files(config, passphrase)
    return dataclasses.replace(config, keyfile_password=passphrase.answer or "")


def _with_adhoc_cert(config: Config) -> Config:
    if not config.adhoc_cert:
        return config
    from asyncwsgi.server.adhoc_cert import adhoc_certificate

    return dataclasses.replace(config, adhoc_cert=False, certfile=str(adhoc_certificate()))


def _context_of_files(config: Config, passphrase: _Passphrase) -> ssl.SSLContext:
    assert config.certfile is not None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    # RFC 7301: say what is spoken here, for clients that would rather speak HTTP/2.
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(config.certfile, config.keyfile, passphrase)
        if config.ca_certs is not None:
            context.load_verify_locations(config.ca_certs)
            context.verify_mode = ssl.CERT_REQUIRED
    except OSError as error:  # ssl.SSLError is one
        files = ", ".join(filter(None, (config.certfile, config.keyfile, config.ca_certs)))
        doubt = "; the passphrase of the key may be a wrong one" if passphrase.answer else ""
        raise ConfigError(
            f"cannot use TLS files {files}: {error}; expected PEM files with a certificate chain, "
            f"its private key and, for mutual TLS, the authorities{doubt}"
        ) from error
    return context


class _Passphrase:
    """That of an encrypted key: given, or asked for, once and on a terminal only.

    OpenSSL calls it for a key that is encrypted, for each form in which it tries to read that.
    """

    def __init__(self, config: Config) -> None:
        self.answer = ""
        """It, once it was called."""
        self._given = config.keyfile_password
        self._path = config.keyfile or config.certfile

    def __call__(self) -> str:
        if not self.answer:
            self.answer = self._ask() if self._given is None else self._read(self._given)
        return self.answer

    def _read(self, given: str) -> str:
        if not given.startswith(PASSWORD_FILE):
            password = given
        else:
            path = given.removeprefix(PASSWORD_FILE)
            try:
                with open(path, encoding="utf-8") as file:  # noqa: PTH123  as the shell reads it
                    password = file.readline(LONGEST_PASSWORD + 2).rstrip("\r\n")
            except (OSError, UnicodeDecodeError) as error:
                reason = getattr(error, "strerror", None) or "it is no UTF-8"
                raise ConfigError(
                    f"keyfile_password: {path} cannot be read: {reason}; expected a file with the "
                    "passphrase in its first line"
                ) from None
        if not password or len(password.encode()) > LONGEST_PASSWORD:
            raise ConfigError(
                f"the key in {self._path} is encrypted, and keyfile_password says no passphrase of "
                f"1 to {LONGEST_PASSWORD} bytes; correct it"
            )
        return password

    def _ask(self) -> str:
        path = self._path
        if sys.stdin is None or not sys.stdin.isatty():
            raise ConfigError(
                f"the key in {path} is encrypted, and there is no terminal to ask for its "
                f"passphrase; give keyfile_password, or decrypt it: openssl pkey -in {path} "
                "-out KEYFILE"
            )
        return getpass.getpass(f"Passphrase of {path}: ")


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
