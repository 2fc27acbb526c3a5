"""A certificate that is made for this machine, and kept."""

from __future__ import annotations

import datetime
import os
import ssl
import stat
import sys
from pathlib import Path

import pytest
from cryptography import x509

from asyncwsgi import Config, ConfigError
from asyncwsgi.server import adhoc_cert
from asyncwsgi.server.adhoc_cert import adhoc_certificate
from asyncwsgi.testing import LiveServer
from tests.apps import hello
from tests.client import connect

AUTHORITY = "localhost-authority.pem"


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory in which it is kept."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "asyncwsgi"


def leaf_of(file: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(file.read_bytes())


def test_it_is_for_this_machine_and_no_longer_valid_than_browsers_take(state: Path) -> None:
    leaf = leaf_of(adhoc_certificate())
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert list(map(str, names.get_values_for_type(x509.IPAddress))) == ["127.0.0.1", "::1"]
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc < datetime.timedelta(days=398)
    assert leaf.not_valid_before_utc < datetime.datetime.now(datetime.UTC)


def test_it_is_kept_for_this_user_alone(state: Path) -> None:
    file = adhoc_certificate()
    before = file.read_bytes()
    assert adhoc_certificate().read_bytes() == before
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    assert {path.name for path in state.iterdir()} == {file.name, AUTHORITY}


def test_the_key_of_its_authority_is_gone(state: Path) -> None:
    adhoc_certificate()
    kept = b"".join(path.read_bytes() for path in state.iterdir())
    assert kept.count(b"PRIVATE KEY-----") == 2  # where the one begins, and where it ends
    assert b"PRIVATE" not in (state / AUTHORITY).read_bytes()


def test_one_that_is_about_to_expire_is_replaced(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as old:
        old.setattr(adhoc_cert, "VALIDITY", datetime.timedelta(days=29))
        before = leaf_of(adhoc_certificate())
    assert leaf_of(adhoc_certificate()) != before


def test_one_that_others_may_have_read_is_replaced(state: Path) -> None:
    file = adhoc_certificate()
    before = leaf_of(file)
    file.chmod(0o640)
    assert leaf_of(adhoc_certificate()) != before
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("content", [b"", b"spam", b"-----BEGIN CERTIFICATE-----\n"])
def test_what_is_none_is_replaced(state: Path, content: bytes) -> None:
    file = adhoc_certificate()
    file.write_bytes(content)
    assert b"PRIVATE KEY" in adhoc_certificate().read_bytes()


def test_the_authority_is_always_that_of_the_certificate(state: Path) -> None:
    adhoc_certificate()
    (state / AUTHORITY).write_text("another one")
    adhoc_certificate()
    serve_and_trust(state)


def test_who_trusts_its_authority_trusts_the_server(state: Path) -> None:
    adhoc_certificate()
    serve_and_trust(state)


def serve_and_trust(state: Path) -> None:
    trusting = ssl.create_default_context(cafile=str(state / AUTHORITY))
    with LiveServer(hello, adhoc_cert=True) as server:
        assert server.url.startswith("https://")
        with connect(server.addresses[0], trusting) as client:
            assert client.get().body == b"Hello, world!"


def test_without_trustme_the_error_names_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trustme", None)
    with pytest.raises(
        ConfigError, match=r"trustme, which cannot .*; install it: pip install trustme"
    ):
        adhoc_certificate()


def test_where_nothing_can_be_kept_the_error_says_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    with pytest.raises(ConfigError, match=f"in {tmp_path}/file/asyncwsgi, which cannot be used"):
        adhoc_certificate()


@pytest.mark.skipif(os.name != "posix", reason="others have other places")
def test_it_is_kept_where_programs_keep_such_things(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert adhoc_certificate() == tmp_path / ".local/state/asyncwsgi/localhost.pem"


@pytest.mark.parametrize("name", ["certfile", "ssl_context"])
def test_another_certificate_beside_it_is_an_error(name: str) -> None:
    value = {"certfile": "cert.pem", "ssl_context": ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)}[name]
    with pytest.raises(ConfigError, match=f"adhoc_cert and {name} exclude each other"):
        Config.from_options({"adhoc_cert": True, name: value})
