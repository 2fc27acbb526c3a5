"""HTTPS: contexts, client certificates, and clients that do not keep to the protocol."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import getpass
import io
import json
import logging
import queue
import re
import socket
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from asyncwsgi import Config, ConfigError, Server
from asyncwsgi.frontends.http import HttpConnection
from asyncwsgi.server.tls import prepared, server_context
from tests.apps import echo, hello, show_environ
from tests.client import TIMEOUT, Client, connect
from tests.conftest import Serve
from tests.http.helpers import Paths
from tests.server.certificates import Certificates
from tests.server.helpers import FOREVER, connected, descriptors, get, soon, turns

MIB = 1024 * 1024


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def trusting(certificates: Certificates) -> ssl.SSLContext:
    """The context of a client without a certificate of its own."""
    return certificates.client_context()


@pytest.fixture
def own(certificates: Certificates) -> dict[str, Any]:
    """The options that turn TLS on."""
    return {"certfile": certificates.files.both}


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def noise(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged besides the server's own reports of normal life."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno >= logging.WARNING or record.exc_info
    ]


class TestContext:
    @pytest.mark.parametrize(
        "files", [("both", None), ("chain", "key")], ids=["in one file", "in two files"]
    )
    def test_certificate_and_key(
        self,
        serve: Serve,
        certificates: Certificates,
        trusting: ssl.SSLContext,
        files: tuple[str, str | None],
    ) -> None:
        chain, key = [name and getattr(certificates.files, name) for name in files]
        server = serve(hello, certfile=chain, keyfile=key)
        assert server.url == f"https://127.0.0.1:{server.port}"
        assert get(server.addresses[0], tls=trusting).body == b"Hello, world!"

    def test_a_context_of_the_embedding_program(
        self, serve: Serve, certificates: Certificates, trusting: ssl.SSLContext
    ) -> None:
        server = serve(hello, ssl_context=certificates.server_context())
        assert server.url == f"https://127.0.0.1:{server.port}"
        assert get(server.addresses[0], tls=trusting).body == b"Hello, world!"

    def test_the_environ_says_https(
        self, serve: Serve, own: dict[str, Any], trusting: ssl.SSLContext
    ) -> None:
        server = serve(show_environ, **own)
        environ = json.loads(get(server.addresses[0], tls=trusting).body)
        assert environ["wsgi.url_scheme"] == "https"
        assert "SSL_CLIENT_CERT" not in environ

    def test_a_client_that_offers_http_2_learns_that_http_1_1_is_spoken(
        self, serve: Serve, own: dict[str, Any], trusting: ssl.SSLContext
    ) -> None:
        trusting.set_alpn_protocols(["h2", "http/1.1"])  # RFC 7301
        with connect(serve(hello, **own).addresses[0], trusting) as client:
            assert isinstance(client.sock, ssl.SSLSocket)
            assert client.sock.selected_alpn_protocol() == "http/1.1"
            assert client.get().status == 200

    def test_a_unix_socket_can_speak_tls(
        self, serve: Serve, own: dict[str, Any], trusting: ssl.SSLContext, tmp_path: Path
    ) -> None:
        server = serve(hello, bind=f"unix:{tmp_path}/socket", **own)
        assert get(server.addresses[0], tls=trusting).status == 200


class TestClientCertificate:
    """Mutual TLS."""

    @pytest.fixture
    def mutual(self, own: dict[str, Any], certificates: Certificates) -> dict[str, Any]:
        return {**own, "ca_certs": certificates.files.authority}

    def test_it_is_in_the_environ(
        self, serve: Serve, mutual: dict[str, Any], certificates: Certificates
    ) -> None:
        server = serve(show_environ, **mutual)
        context = certificates.client_context(is_certified=True)
        environ = json.loads(get(server.addresses[0], tls=context).body)
        assert environ["SSL_CLIENT_CERT"].split() == certificates.client_pem.split()

    def test_a_client_without_one_is_not_served(
        self,
        serve: Serve,
        mutual: dict[str, Any],
        trusting: ssl.SSLContext,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        server = serve(hello, **mutual)
        # RFC 8446 4.4.2.4: TLS 1.3 clients learn of it only after their side of the handshake.
        with pytest.raises((ssl.SSLError, ConnectionError)):
            get(server.addresses[0], tls=trusting)
        server.close()
        assert noise(caplog) == []

    def test_one_of_another_authority_is_not_served(
        self, serve: Serve, mutual: dict[str, Any], certificates: Certificates, tmp_path: Path
    ) -> None:
        context = Certificates(tmp_path).client_context(is_certified=True)
        context.load_verify_locations(certificates.files.authority)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            get(serve(hello, **mutual).addresses[0], tls=context)


class TestBadFiles:
    @pytest.mark.parametrize(
        "options",
        [
            pytest.param({"certfile": "missing.pem"}, id="missing"),
            pytest.param({"certfile": "garbage"}, id="no certificate"),
            pytest.param({"certfile": "chain"}, id="no key"),
            pytest.param({"certfile": "chain", "keyfile": "garbage"}, id="a bad key"),
            pytest.param({"certfile": "both", "ca_certs": "garbage"}, id="bad authorities"),
            pytest.param({"certfile": "both", "ca_certs": "missing.pem"}, id="no authorities"),
        ],
    )
    async def test_they_are_refused_by_name_and_nothing_stays_open(
        self, certificates: Certificates, options: dict[str, str]
    ) -> None:
        files = {o: getattr(certificates.files, name, name) for o, name in options.items()}
        before = descriptors()
        with pytest.raises(ConfigError) as caught:
            await Server(hello, Config.from_options({"port": 0, **files})).start()
        assert str(caught.value).startswith(f"cannot use TLS files {', '.join(files.values())}: ")
        assert descriptors() == before

    async def test_a_key_of_another_certificate_is_refused(
        self, certificates: Certificates, tmp_path: Path
    ) -> None:
        other = Certificates(tmp_path).files.key
        with pytest.raises(ConfigError, match=r"(?i)mismatch"):
            await Server(hello, port=0, certfile=certificates.files.chain, keyfile=other).start()


class TestEncryptedKey:
    PASSPHRASE = "spam and eggs"

    @pytest.fixture
    def config(self, certificates: Certificates, tmp_path: Path) -> Config:
        key = load_pem_private_key(Path(certificates.files.key).read_bytes(), None)
        path = tmp_path / "encrypted.pem"
        path.write_bytes(
            key.private_bytes(
                Encoding.PEM,
                PrivateFormat.TraditionalOpenSSL,
                BestAvailableEncryption(self.PASSPHRASE.encode()),
            )
        )
        return Config(certfile=certificates.files.chain, keyfile=str(path))

    @pytest.fixture
    def questions(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """What the user of a terminal, who knows the answer, is asked."""
        asked: list[str] = []

        def answer(prompt: str) -> str:
            asked.append(prompt)
            return self.PASSPHRASE

        monkeypatch.setattr(sys, "stdin", Terminal())
        monkeypatch.setattr(getpass, "getpass", answer)
        return asked

    def test_whoever_sits_at_the_terminal_is_asked_once(
        self, config: Config, questions: list[str]
    ) -> None:
        assert server_context(config) is not None
        assert questions == [f"Passphrase of {config.keyfile}: "]

    def test_a_wrong_answer_is_refused_without_another_question(
        self, config: Config, questions: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(self, "PASSPHRASE", "a wrong one")
        with pytest.raises(ConfigError, match="cannot use TLS files"):
            server_context(config)
        assert len(questions) == 1

    @pytest.mark.parametrize("stdin", [io.StringIO(), None], ids=["no terminal", "closed"])
    def test_without_a_terminal_the_error_names_the_cure(
        self, config: Config, monkeypatch: pytest.MonkeyPatch, stdin: io.StringIO | None
    ) -> None:
        monkeypatch.setattr(sys, "stdin", stdin)
        with pytest.raises(ConfigError, match=r"is encrypted, .*; give keyfile_password, or dec"):
            server_context(config)

    @pytest.mark.parametrize("given", ["spam and eggs", "file:secret"])
    def test_nobody_is_asked_for_what_is_given(
        self, config: Config, questions: list[str], in_tmp_path: Path, given: str
    ) -> None:
        (in_tmp_path / "secret").write_text("spam and eggs\r\nmore\n")
        given_config = dataclasses.replace(config, keyfile_password=given)
        assert server_context(given_config) is not None
        assert questions == []

    @pytest.mark.parametrize(
        ("given", "reason"),
        [
            pytest.param("eggs alone", "the passphrase of the key may be a wrong one", id="wrong"),
            pytest.param("", "says no passphrase of 1 to 1024 bytes", id="empty"),
            pytest.param("\N{SNOWMAN}" * 400, "says no passphrase of 1 to 1024 b", id="too long"),
            pytest.param("file:nowhere", "nowhere cannot be read: No such file", id="no file"),
            pytest.param("file:empty", "says no passphrase of 1 to 1024 bytes", id="an empty file"),
            pytest.param("file:bytes", "bytes cannot be read: it is no UTF-8", id="no text"),
        ],
    )
    def test_an_error_names_the_cure_and_not_the_passphrase(
        self, config: Config, questions: list[str], in_tmp_path: Path, given: str, reason: str
    ) -> None:
        (in_tmp_path / "empty").write_text("\n")
        (in_tmp_path / "bytes").write_bytes(b"\xff\n")
        with pytest.raises(ConfigError, match=reason) as raised:
            server_context(dataclasses.replace(config, keyfile_password=given))
        assert questions == []
        assert given.startswith("file:") or not given or given not in str(raised.value)

    def test_several_processes_are_told_what_one_was_asked(
        self, config: Config, questions: list[str]
    ) -> None:
        told = prepared(config)
        assert server_context(told) is not None
        assert prepared(told) == told
        assert len(questions) == 1

    def test_a_key_that_is_encrypted_later_asks_nobody(
        self, config: Config, certificates: Certificates, questions: list[str]
    ) -> None:
        plain = prepared(dataclasses.replace(config, keyfile=certificates.files.key))
        with pytest.raises(ConfigError, match="is encrypted, and keyfile_password says no"):
            server_context(dataclasses.replace(plain, keyfile=config.keyfile))
        assert questions == []

    def test_the_passphrase_is_not_shown_by_who_shows_the_options(self, config: Config) -> None:
        config = dataclasses.replace(config, keyfile_password="spam and eggs")
        assert "spam" not in repr(config)
        with pytest.raises(ConfigError, match=r"keyfile_password must be a str, got bytes$"):
            Config(certfile="cert.pem", keyfile_password=b"spam")  # type: ignore[arg-type]


@pytest.fixture
def in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


class TestLargeBodies:
    def test_a_response_arrives_whole(
        self, serve: Serve, own: dict[str, Any], trusting: ssl.SSLContext
    ) -> None:
        body = bytes(range(256)) * (8 * MIB // 256)

        def large(_environ: dict[str, Any], start_response: Any) -> list[bytes]:
            start_response("200 OK", [("Content-Type", "application/octet-stream")])
            return [body]

        assert get(serve(large, **own).addresses[0], tls=trusting).body == body

    def test_an_upload_arrives_whole(
        self, serve: Serve, own: dict[str, Any], trusting: ssl.SSLContext
    ) -> None:
        body = bytes(range(256)) * (8 * MIB // 256)
        with connect(serve(echo, **own).addresses[0], trusting) as client:
            assert client.post("/", body).body == body
            assert client.post("/", b"again").body == b"again"


class TestTheEndOfAConnection:
    @pytest.mark.parametrize(
        "request_", [b"GET / HTTP/1.0\r\n\r\n", b"no HTTP\r\n\r\n"], ids=["answered", "refused"]
    )
    def test_the_server_says_that_it_is_the_end(
        self, serve: Serve, own: dict[str, Any], trusting: ssl.SSLContext, request_: bytes
    ) -> None:
        # RFC 8446 6.1: without close_notify a client cannot tell the end from a cut.
        sock = socket.create_connection(("127.0.0.1", serve(hello, **own).port), 10)
        with trusting.wrap_socket(
            sock, server_hostname="localhost", suppress_ragged_eofs=False
        ) as tls:
            tls.sendall(request_)
            received = b""
            while block := tls.recv(65536):
                received += block
        assert received.startswith(b"HTTP/1.1 ")

    def test_a_client_that_leaves_without_a_word_is_no_error(
        self,
        serve: Serve,
        own: dict[str, Any],
        trusting: ssl.SSLContext,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        server = serve(hello, **own)
        client = connect(server.addresses[0], trusting)
        assert client.get().status == 200
        client.close()
        server.close()
        assert noise(caplog) == []


def test_tls_clients_that_say_nothing_block_no_others(
    serve: Serve,
    own: dict[str, Any],
    trusting: ssl.SSLContext,
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = serve(hello, threads=1, **own)
    silent = [connect(server.addresses[0]) for _ in range(20)]
    assert get(server.addresses[0], tls=trusting).status == 200
    for client in silent:
        client.close()
    server.close()
    assert noise(caplog) == []


def test_tls_clients_that_say_nothing_are_closed_after_tls_handshake_timeout(
    serve: Serve, own: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    server = serve(hello, tls_handshake_timeout=0.2, **own)
    silent = [connect(server.addresses[0]) for _ in range(20)]
    assert all(client.is_closed() for client in silent)
    for client in silent:
        client.close()
    server.close()
    assert noise(caplog) == []


def test_http_clients_that_say_nothing_block_no_others(serve: Serve) -> None:
    server = serve(hello, threads=1)
    silent: list[Client] = []
    for words in (b"", b"GET / HTT", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab"):
        for _ in range(10):
            silent.append(connect(server.addresses[0]))
            silent[-1].send(words)
    assert get(server.addresses[0]).status == 200
    for client in silent:
        client.close()


def test_plain_http_to_a_tls_port_is_closed_without_a_traceback(
    serve: Serve,
    own: dict[str, Any],
    trusting: ssl.SSLContext,
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = serve(hello, **own)
    with connect(server.addresses[0]) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        # At most a TLS alert comes back, and a reset if the server did not read it all.
        with contextlib.suppress(ConnectionResetError):
            assert b"HTTP" not in client.read_all()
    assert get(server.addresses[0], tls=trusting).status == 200
    server.close()
    assert noise(caplog) == []


def send_with_handshake(sock: socket.socket, tls: ssl.SSLContext, data: bytes) -> ssl.SSLObject:
    """Send `data` together with the last bytes of the handshake; the server reads both at once."""
    received, unsent = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = tls.wrap_bio(received, unsent, server_hostname="localhost")
    while True:
        try:
            client.do_handshake()
            break
        except ssl.SSLWantReadError:
            sock.sendall(unsent.read())
            received.write(sock.recv(65536))
    client.write(data)
    sock.sendall(unsent.read())
    while block := sock.recv(65536):
        received.write(block)
    return client


@pytest.mark.parametrize("most_lingering", [32, 0], ids=["it lingers", "it is closed at once"])
def test_a_request_on_a_connection_too_many_is_not_run(
    serve: Serve,
    own: dict[str, Any],
    trusting: ssl.SSLContext,
    monkeypatch: pytest.MonkeyPatch,
    most_lingering: int,
) -> None:
    # asyncio hands on what it has decrypted from within the closing.
    monkeypatch.setattr("asyncwsgi.frontends.registry.MOST_LINGERING", most_lingering)
    app = Paths()
    server = serve(app, max_connections=1, drain_timeout=0.1, **own)
    with connect(server.addresses[0], trusting) as first:
        assert first.get("/first").status == 200
        with connect(server.addresses[0]) as second:
            request = b"GET /second HTTP/1.1\r\nHost: test\r\n\r\n"
            client = send_with_handshake(second.sock, trusting, request)
            assert client.read(65536).startswith(b"HTTP/1.1 503 ")
        assert first.get("/again").status == 200
    server.close()
    assert app.calls == ["GET /first", "GET /again"]


class TestAFailedHandshake:
    """One line says what the client did wrong."""

    @pytest.fixture
    def lines(self) -> Iterator[queue.SimpleQueue[str]]:
        """What the server says at level INFO of clients that it has closed."""
        found: queue.SimpleQueue[str] = queue.SimpleQueue()

        class Handler(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                if record.getMessage().endswith("; closed"):
                    found.put(record.getMessage())

        handler, logger = Handler(logging.INFO), logging.getLogger("asyncwsgi.server")
        logger.addHandler(handler)
        level = logger.level
        logger.setLevel(logging.INFO)
        yield found
        logger.setLevel(level)
        logger.removeHandler(handler)

    @pytest.mark.parametrize(
        ("sent", "line"),
        [
            pytest.param(
                b"GET / HTTP/1.1\r\nHost: test\r\n\r\n",
                r"speaks plain HTTP where HTTPS is expected",
                id="plain HTTP",
            ),
            pytest.param(
                b"no HTTP, and no TLS\r\n\r\n",
                r"failed in its TLS handshake \(\w+ version number\)",
                id="something else",
            ),
            pytest.param(
                b"", r"did not end its TLS handshake within tls_handshake_timeout", id="nothing"
            ),
        ],
    )
    def test_of_a_client_that_speaks_no_tls(
        self,
        serve: Serve,
        own: dict[str, Any],
        lines: queue.SimpleQueue[str],
        sent: bytes,
        line: str,
    ) -> None:
        timeout = FOREVER if sent else 0.1
        server = serve(hello, tls_handshake_timeout=timeout, **own)
        with connect(server.addresses[0]) as client:
            client.send(sent)
            number = client.sock.getsockname()[1]
            assert re.fullmatch(
                rf"127\.0\.0\.1:{number} {line}; closed", lines.get(timeout=TIMEOUT)
            )
        server.close()
        assert lines.empty()

    @pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
    def test_of_a_client_that_rejects_the_certificate(
        self,
        serve: Serve,
        own: dict[str, Any],
        lines: queue.SimpleQueue[str],
        version: ssl.TLSVersion,
    ) -> None:
        server = serve(hello, **own)
        context = ssl.create_default_context()
        context.minimum_version = context.maximum_version = version
        with pytest.raises(ssl.SSLCertVerificationError):
            connect(server.addresses[0], context)
        line = lines.get(timeout=TIMEOUT)
        assert line.endswith(" rejects the certificate of this server (unknown ca); closed")

    def test_of_a_client_whose_certificate_is_missing(
        self,
        serve: Serve,
        own: dict[str, Any],
        certificates: Certificates,
        trusting: ssl.SSLContext,
        lines: queue.SimpleQueue[str],
    ) -> None:
        server = serve(hello, ca_certs=certificates.files.authority, **own)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            get(server.addresses[0], tls=trusting)
        line = lines.get(timeout=TIMEOUT)
        assert line.endswith(" has no certificate, and ca_certs asks for one; closed")

    def test_of_a_client_whose_certificate_is_of_another_authority(
        self,
        serve: Serve,
        own: dict[str, Any],
        certificates: Certificates,
        lines: queue.SimpleQueue[str],
        tmp_path: Path,
    ) -> None:
        server = serve(hello, ca_certs=certificates.files.authority, **own)
        context = Certificates(tmp_path).client_context(is_certified=True)
        context.load_verify_locations(certificates.files.authority)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            get(server.addresses[0], tls=context)
        line = lines.get(timeout=TIMEOUT)
        assert re.search(r" has a certificate that is not accepted \(.+\); closed$", line)

    def test_is_not_what_a_client_has_that_just_leaves(
        self, serve: Serve, own: dict[str, Any], lines: queue.SimpleQueue[str]
    ) -> None:
        server = serve(hello, **own)
        connect(server.addresses[0]).close()
        connect(server.addresses[0]).reset()
        with connect(server.addresses[0]) as client:
            client.send(b"GET / HTTP/1.1\r\n\r\n")
            assert "plain HTTP" in lines.get(timeout=TIMEOUT)
        server.close()
        assert lines.empty()


class TestShutdown:
    async def test_a_protocol_that_fails_behind_the_handshake_is_not_waited_for(
        self, monkeypatch: pytest.MonkeyPatch, own: dict[str, Any], trusting: ssl.SSLContext
    ) -> None:
        class Failing(HttpConnection):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                raise ZeroDivisionError

        monkeypatch.setattr(Server, "connection_class", Failing)
        loop, heard = asyncio.get_running_loop(), asyncio.Event()
        loop.set_exception_handler(lambda *_: heard.set())
        async with connected(hello, graceful_timeout=FOREVER, **own) as (server, plain):
            tls = asyncio.to_thread(trusting.wrap_socket, plain.sock, server_hostname="localhost")
            with contextlib.suppress(OSError):
                (await tls).close()
            await soon(heard.wait())
            await soon(server.shutdown())

    @pytest.fixture
    def arrival_timeout(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nothing that arrives comes too late."""
        monkeypatch.setattr(Server, "arrival_timeout", FOREVER)

    async def test_a_client_in_mid_handshake_is_closed_if_it_does_not_end_that_soon(
        self, own: dict[str, Any]
    ) -> None:
        options = {"tls_handshake_timeout": FOREVER, "graceful_timeout": FOREVER, **own}
        async with connected(hello, **options) as (server, silent):
            await soon(server.shutdown())
            assert await asyncio.to_thread(silent.is_closed)

    @pytest.mark.usefixtures("arrival_timeout")
    async def test_the_request_of_a_client_in_mid_handshake_is_answered(
        self, own: dict[str, Any], trusting: ssl.SSLContext
    ) -> None:
        server = Server(hello, port=0, graceful_timeout=FOREVER, **own)
        await server.start()
        sock = socket.create_connection(("127.0.0.1", server.port), 10)
        stopping = asyncio.create_task(server.shutdown())
        await soon(server.stop_accepting())
        await turns()
        tls = await asyncio.to_thread(trusting.wrap_socket, sock, server_hostname="localhost")
        with Client(tls) as client:
            client.request()
            reply = await asyncio.to_thread(client.reply)
        assert (reply.status, reply.header("Connection")) == (200, "close")
        await soon(stopping)

    @pytest.mark.usefixtures("arrival_timeout")
    async def test_a_client_in_mid_handshake_is_cut_with_the_others(
        self, own: dict[str, Any]
    ) -> None:
        options = {"tls_handshake_timeout": FOREVER, "graceful_timeout": FOREVER, **own}
        async with connected(hello, **options) as (server, silent):
            stopping = asyncio.create_task(server.shutdown())
            await soon(server.stop_accepting())
            await turns()
            server.abort()
            assert await asyncio.to_thread(silent.is_closed)
            await soon(stopping)

    async def test_an_idle_client_that_ignores_the_end_is_cut(
        self, own: dict[str, Any], trusting: ssl.SSLContext
    ) -> None:
        # It reads nothing, so it never answers the close_notify (RFC 8446 6.1).
        server = Server(hello, port=0, graceful_timeout=0.05, drain_timeout=FOREVER, **own)
        async with server:
            client = await asyncio.to_thread(connect, server.addresses[0], trusting)
            client.request()
            assert (await asyncio.to_thread(client.reply)).status == 200
            await soon(server.shutdown())
            client.close()

    async def test_a_client_that_never_answers_the_end_is_cut_after_drain_timeout(
        self, own: dict[str, Any], trusting: ssl.SSLContext
    ) -> None:
        server = Server(hello, port=0, graceful_timeout=FOREVER, drain_timeout=0.1, **own)
        async with server:
            client = await asyncio.to_thread(connect, server.addresses[0], trusting)
            client.request()
            assert (await asyncio.to_thread(client.reply)).status == 200
            await soon(server.shutdown())
            client.close()
