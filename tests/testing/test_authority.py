"""A throw-away authority, and servers that speak TLS with its certificates."""

from __future__ import annotations

import gc
import json
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import requests

from asyncwsgi import ConfigError
from asyncwsgi.testing import Authority, LiveServer, shared_authority
from tests.apps import hello, show_environ
from tests.client import connect
from tests.server.helpers import get


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


class TestLiveServer:
    @pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
    def test_a_client_that_trusts_the_authority_is_served(self, host: str) -> None:
        with LiveServer(hello, tls=True) as server:
            assert server.url == f"https://127.0.0.1:{server.port}"
            verify = server.authority.client_context()
            with httpx.Client(verify=verify, trust_env=False) as client:
                assert client.get(f"https://{host}:{server.port}/").text == "Hello, world!"

    def test_it_takes_an_authority_of_the_test(self, authority: Authority) -> None:
        with LiveServer(hello, tls=authority) as server:
            assert server.authority is authority
            with connect(server.addresses[0], authority.client_context()) as client:
                assert client.get().status == 200

    def test_without_one_it_takes_that_of_the_process(self) -> None:
        with LiveServer(hello, tls=True) as one, LiveServer(hello, tls=True) as other:
            assert one.authority is other.authority is shared_authority()

    def test_without_tls_it_has_none(self) -> None:
        with LiveServer(hello) as server:
            assert server.url.startswith("http://")
            with pytest.raises(LookupError, match="start it with tls=True"):
                _ = server.authority

    @pytest.mark.parametrize(
        "trusting",
        [ssl.create_default_context, lambda: Authority().client_context()],
        ids=["the system's", "another"],
    )
    def test_a_client_that_trusts_others_refuses_it(
        self, trusting: Callable[[], ssl.SSLContext]
    ) -> None:
        with LiveServer(hello, tls=True) as server, pytest.raises(ssl.SSLCertVerificationError):
            connect(server.addresses[0], trusting())

    def test_a_client_that_offers_http_2_learns_that_http_1_1_is_spoken(self) -> None:
        context = shared_authority().client_context()
        context.set_alpn_protocols(["h2", "http/1.1"])  # RFC 7301
        with LiveServer(hello, tls=True) as server, connect(server.addresses[0], context) as client:
            assert isinstance(client.sock, ssl.SSLSocket)
            assert client.sock.selected_alpn_protocol() == "http/1.1"


class TestNames:
    def test_a_server_may_have_other_names(self, authority: Authority) -> None:
        context = authority.server_context("localhost.example", "localhost")
        trusting = authority.client_context()
        with LiveServer(hello, ssl_context=context) as server:
            assert get(server.addresses[0], tls=trusting).status == 200

    def test_it_then_has_no_other(self, authority: Authority) -> None:
        context = authority.server_context("other.example")
        trusting = authority.client_context()
        refused = pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch")
        with LiveServer(hello, ssl_context=context) as server, refused:
            get(server.addresses[0], tls=trusting)


class TestMutual:
    def test_a_client_that_shows_a_certificate_is_served(self, authority: Authority) -> None:
        certificate = authority.issue("client@example.com")
        context = authority.server_context(is_mutual=True)
        with LiveServer(show_environ, ssl_context=context) as server:
            reply = get(server.addresses[0], tls=authority.client_context(certificate))
        shown = json.loads(reply.body)["SSL_CLIENT_CERT"]
        assert shown.split() == certificate.cert_chain_pems[0].bytes().decode().split()

    def test_a_client_that_shows_none_is_not(self, authority: Authority) -> None:
        context = authority.server_context(is_mutual=True)
        # RFC 8446 4.4.2.4: TLS 1.3 clients learn of it only after their side of the handshake.
        refused = (ssl.SSLError, ConnectionError)
        with LiveServer(hello, ssl_context=context) as server, pytest.raises(refused):
            get(server.addresses[0], tls=authority.client_context())


class TestFile:
    def test_requests_takes_it(self) -> None:
        with Authority() as authority, LiveServer(hello, tls=authority) as server:
            answer = requests.get(server.url, verify=str(authority.cert_path), timeout=30)
            assert answer.text == "Hello, world!"

    def test_openssl_takes_it_from_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with Authority() as authority, LiveServer(hello, tls=authority) as server:
            monkeypatch.setenv("SSL_CERT_FILE", str(authority.cert_path))
            with connect(server.addresses[0], ssl.create_default_context()) as client:
                assert client.get().status == 200

    def test_it_is_one_and_gone_when_the_authority_is_closed(self) -> None:
        with Authority() as authority:
            path = authority.cert_path
            assert authority.cert_path == path
            assert path.read_text() == authority.pem
        assert not path.exists()

    def test_it_is_gone_with_an_authority_that_nobody_closed(self) -> None:
        path = Authority().cert_path
        gc.collect()
        assert not path.exists()

    def test_it_is_gone_with_the_process(self) -> None:
        code = "from asyncwsgi.testing import *; print(shared_authority().cert_path)"
        done = subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=250
        )
        assert done.stdout.endswith(".pem\n")
        assert not Path(done.stdout.strip()).exists()

    def test_an_authority_whose_file_was_never_asked_for_can_be_closed(self) -> None:
        Authority().close()


def test_without_trustme_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trustme", None)
    with pytest.raises(ConfigError, match="pip install trustme"):
        Authority()
