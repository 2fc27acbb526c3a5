"""A certificate authority for the length of a test, made with `trustme`."""

from __future__ import annotations

import functools
import ssl
import tempfile
import weakref
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from asyncwsgi.errors import ConfigError

if TYPE_CHECKING:
    import trustme

LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
"""What a server of this machine is called."""


class Authority:
    """Signs certificates that only those trust who are told to.

    A context manager: when it is left, its file is removed (see `close`).

    Raises:
        ConfigError: the package ``trustme`` is not installed.
    """

    def __init__(self) -> None:
        try:
            import trustme
        except ImportError as error:
            raise ConfigError(
                "TLS certificates for tests are made by the package trustme, which cannot be "
                f"imported ({error}); install it: pip install trustme"
            ) from error
        self._authority = trustme.CA()
        self._file: Path | None = None
        self._removal: weakref.finalize[..., Authority] | None = None

    def server_context(self, *names: str, is_mutual: bool = False) -> ssl.SSLContext:
        """A context for ``ssl_context`` of a server.

        Args:
            names: the host names and addresses that clients may know the server by; without any
                those of this machine: ``localhost``, ``127.0.0.1`` and ``::1``.
            is_mutual: only serve clients that show a certificate of this authority (see
                `client_context`).
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        # RFC 7301: say what is spoken here, for clients that would rather speak HTTP/2.
        context.set_alpn_protocols(["http/1.1"])
        self.issue(*(names or LOCAL_NAMES)).configure_cert(context)
        if is_mutual:
            context.verify_mode = ssl.CERT_REQUIRED
            self._authority.configure_trust(context)
        return context

    def client_context(self, certificate: trustme.LeafCert | None = None) -> ssl.SSLContext:
        """A context for clients that trust this authority and no other.

        Args:
            certificate: what the client shows (see `issue`), for mutual TLS.
        """
        context = ssl.create_default_context(cadata=self.pem)
        if certificate is not None:
            certificate.configure_cert(context)
        return context

    def issue(self, *names: str) -> trustme.LeafCert:
        """A new certificate and its key: for host names and addresses, or for an e-mail address."""
        return self._authority.issue_cert(*names)

    @property
    def pem(self) -> str:
        """Its own certificate."""
        return self._authority.cert_pem.bytes().decode("ascii")

    @property
    def cert_path(self) -> Path:
        """A file with its own certificate, for tools that want one; removed by `close`.

        That is what ``curl --cacert``, the environment variable ``SSL_CERT_FILE`` and ``verify`` of
        requests take.
        """
        if self._file is None:
            with tempfile.NamedTemporaryFile(
                "w", prefix="asyncwsgi-", suffix=".pem", delete=False
            ) as file:
                file.write(self.pem)
            self._file = Path(file.name)
            # Also at the end of the process, for an authority that nobody closes.
            self._removal = weakref.finalize(self, self._file.unlink, missing_ok=True)
        return self._file

    def close(self) -> None:
        """Remove the file, if there is one. What was issued stays valid."""
        if self._removal is not None:
            self._removal()
        self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


@functools.cache
def shared_authority() -> Authority:
    """The authority of this process, for whoever needs no other: made once, when first asked for.

    Raises:
        ConfigError: see `Authority`.
    """
    return Authority()
