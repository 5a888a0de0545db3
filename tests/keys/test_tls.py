import datetime
import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from minispine.keys import pki
from minispine.keys.files import KeyFileRefused, write_secret
from minispine.keys.pki import Issued, Kind
from minispine.keys.tls import load_own_certificate


@pytest.fixture
def server(pki_folder: Path, now: datetime.datetime) -> Issued:
    return pki.issue(pki_folder, "smsp", Kind.SERVER, now=now)


@pytest.fixture
def context() -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)


def test_a_key_of_ones_own_is_taken(context: ssl.SSLContext, server: Issued) -> None:
    load_own_certificate(context, server.certificate, server.key, None)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_that_others_can_read_is_refused(context: ssl.SSLContext, server: Issued, mode: int) -> None:
    server.key.chmod(mode)
    with pytest.raises(KeyFileRefused, match="open to others") as refused:
        load_own_certificate(context, server.certificate, server.key, None)
    assert refused.value.file == server.key


def test_a_password_that_others_can_read_is_refused(context: ssl.SSLContext, server: Issued, tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("secret\n")
    password.chmod(0o644)
    with pytest.raises(KeyFileRefused, match="open to others") as refused:
        load_own_certificate(context, server.certificate, server.key, password)
    assert refused.value.file == password


def test_files_that_do_not_go_together_or_are_missing_are_named(
    context: ssl.SSLContext, server: Issued, pki_folder: Path, now: datetime.datetime, tmp_path: Path
) -> None:
    other = pki.issue(pki_folder, "other", Kind.SERVER, now=now)
    none, rubbish = tmp_path / "none", tmp_path / "rubbish"
    write_secret(rubbish, b"rubbish")
    for certificate, key, file in (
        (server.certificate, other.key, other.key),
        (server.certificate, rubbish, rubbish),
        (none, server.key, none),
        (server.certificate, none, none),
    ):
        with pytest.raises(KeyFileRefused) as refused:
            load_own_certificate(context, certificate, key, None)
        assert refused.value.file == file


def test_nobody_is_asked_at_the_terminal_for_the_password_of_a_key(
    context: ssl.SSLContext, server: Issued, tmp_path: Path
) -> None:
    locked, password = tmp_path / "locked.key", tmp_path / "password"
    key = load_pem_private_key(server.key.read_bytes(), None)
    write_secret(locked, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")))
    with pytest.raises(KeyFileRefused, match="does not open with its password"):
        load_own_certificate(context, server.certificate, locked, None)
    write_secret(password, b"secret\n")
    load_own_certificate(context, server.certificate, locked, password)
