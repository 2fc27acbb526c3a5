"""TLS contexts from certificate files."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from asyncwsgi.errors import ConfigError

if TYPE_CHECKING:
    from asyncwsgi.config import Config


def server_context(config: Config) -> ssl.SSLContext | None:
    """The context that `config` asks for; None for plain HTTP.

    Raises:
        ConfigError: a file is missing or holds no usable certificate or key.
    """
    if config.certfile is None:
        return config.ssl_context
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    # RFC 7301: say what is spoken here, for clients that would rather speak HTTP/2.
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(config.certfile, config.keyfile)
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
