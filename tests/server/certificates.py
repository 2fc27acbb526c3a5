"""Certificates for the TLS tests, made once and then on disk."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from asyncwsgi.testing import Authority


@dataclass(frozen=True)
class Files:
    """PEM files by what is in them."""

    both: str
    """Certificate chain and key of the server."""
    chain: str
    key: str
    authority: str
    """The authority that signed the server's and the client's certificate."""
    garbage: str


class Certificates:
    """An authority, a server's certificate for localhost and a client's."""

    def __init__(self, directory: Path) -> None:
        self._authority = Authority()
        self._server = self._authority.issue("localhost", "127.0.0.1", "::1")
        self._client = self._authority.issue("client@example.com")
        self.files = Files(*(str(directory / f"{n}.pem") for n in Files.__annotations__))
        self._server.private_key_and_cert_chain_pem.write_to_path(self.files.both)
        self._server.cert_chain_pems[0].write_to_path(self.files.chain)
        self._server.private_key_pem.write_to_path(self.files.key)
        Path(self.files.authority).write_text(self._authority.pem)
        Path(self.files.garbage).write_text("no certificate")

    @property
    def client_pem(self) -> str:
        """The client's certificate."""
        return self._client.cert_chain_pems[0].bytes().decode("ascii")

    def client_context(self, *, is_certified: bool = False) -> ssl.SSLContext:
        """A context for clients that trust the authority."""
        return self._authority.client_context(self._client if is_certified else None)

    def server_context(self) -> ssl.SSLContext:
        """A context as an embedding program makes one."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._server.configure_cert(context)
        return context
