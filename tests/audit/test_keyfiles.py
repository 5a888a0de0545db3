"""The folder of a log's keys: made once, never written over, refused when anything in it cannot be the right key."""

import base64
import contextlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from minispine.audit import keyfiles
from minispine.audit.keyfiles import INDEX_KEY, LOG_KEY, MASTER_KEYS, MASTER_KEYS_VARIABLE, AuditKeys, load, make
from minispine.audit.vault import Part
from minispine.keys.files import KeyFileRefused
from minispine.keys.ring import new_ring


def counting() -> Callable[[int], bytes]:
    """Random bytes that are different each time, and the same each time that a test runs."""
    numbers = count(1)
    return lambda wanted: bytes([next(numbers)]) * wanted


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "audit-keys"


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def bare(keys: AuditKeys) -> tuple[bytes, object, bytes]:
    """Keys in a form that can be compared."""
    return keys.log_key.private_bytes_raw(), keys.ring, keys.index_key


def test_what_is_made_is_what_is_loaded_and_only_its_owner_can_read_it(folder: Path) -> None:
    keys, made = make(folder, environment={})
    assert {file.name for file in made} == {LOG_KEY, MASTER_KEYS, INDEX_KEY} == set(contents(folder))
    assert bare(load(folder, {})) == bare(keys)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in made} == {0o600}
    assert len({keys.log_key.private_bytes_raw(), keys.ring.newest.secret, keys.index_key}) == 3


def test_what_is_there_is_never_written_over(folder: Path) -> None:
    make(folder, environment={})
    before = contents(folder)
    assert make(folder, environment={})[1] == ()
    (folder / INDEX_KEY).unlink()
    assert [file.name for file in make(folder, environment={})[1]] == [INDEX_KEY]
    after = contents(folder)
    assert before.keys() == after.keys()
    assert [name for name in before if before[name] != after[name]] == [INDEX_KEY]


def test_of_two_who_make_keys_at_once_the_second_finds_those_of_the_first(folder: Path) -> None:
    draws = threading.Barrier(2)

    def slow(wanted: int) -> bytes:
        with contextlib.suppress(threading.BrokenBarrierError):
            draws.wait(0.1)  # another thread that draws as well would write over what this one writes
        return os.urandom(wanted)

    with ThreadPoolExecutor(2) as pool:
        keys, others = (made.result()[0] for made in [pool.submit(make, folder, slow, {}) for _ in range(2)])
    assert bare(keys) == bare(others) == bare(load(folder, {}))


def test_master_keys_of_the_environment_are_not_put_into_a_file(folder: Path) -> None:
    ring = new_ring(counting())
    environment = {MASTER_KEYS_VARIABLE: ring.encode().decode()}
    keys, made = make(folder, environment=environment)
    assert keys.ring == ring
    assert {file.name for file in made} == {LOG_KEY, INDEX_KEY}
    with pytest.raises(KeyFileRefused, match=MASTER_KEYS):
        load(folder, {})


def test_the_vault_is_that_of_these_keys(folder: Path) -> None:
    keys, _ = make(folder, counting(), {})
    sealed = keys.vault().seal(b"content", None)
    assert sealed.private is not None
    again = load(folder, {}).vault()
    assert again.open(Part.PRIVATE, sealed.private, salt=sealed.salt, wrapped=sealed.wrapped) == b"content"
    assert again.term("patient", "1") == keys.vault().term("patient", "1")


def test_keys_that_were_never_made_are_refused_with_the_remedy(folder: Path) -> None:
    with pytest.raises(KeyFileRefused, match="run: minispine audit init"):
        load(folder, {})


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(KeyFileRefused, match="cannot be used"):
        make(tmp_path / "file" / "audit-keys", environment={})


def pem(key: Ed25519PrivateKey, passphrase: bytes) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(passphrase),
    )


def elliptic() -> bytes:
    return generate_private_key(SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        (LOG_KEY, b"", "is not an unencrypted private key"),
        (LOG_KEY, b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "is not an unencrypted private"),
        (LOG_KEY, pem(Ed25519PrivateKey.generate(), b"secret"), "is not an unencrypted private key"),
        (LOG_KEY, elliptic(), "is not an Ed25519 key"),
        (INDEX_KEY, b"not base64!", "is not base64"),
        (INDEX_KEY, base64.b64encode(bytes(31)), "is not a key of 32 bytes"),
        (INDEX_KEY, b"", "is not a key of 32 bytes"),
        (MASTER_KEYS, b"", "holds no master key"),
    ],
)
def test_a_file_that_holds_no_such_key_is_refused_by_name_and_left(
    folder: Path, name: str, content: bytes, reason: str
) -> None:
    make(folder, environment={})
    (folder / name).write_bytes(content)
    for use in (lambda: load(folder, {}), lambda: make(folder, environment={})):
        with pytest.raises(KeyFileRefused, match=f"{name}: {reason}"):
            use()
    assert (folder / name).read_bytes() == content


@pytest.mark.parametrize("name", [LOG_KEY, MASTER_KEYS, INDEX_KEY])
def test_a_key_that_others_can_read_or_that_is_gone_is_refused(folder: Path, name: str) -> None:
    make(folder, environment={})
    (folder / name).chmod(0o640)
    with pytest.raises(KeyFileRefused, match=f"{name}: is open to others"):
        load(folder, {})
    (folder / name).unlink()
    with pytest.raises(KeyFileRefused, match=f"{name}: .*no such file"):
        load(folder, {})


def test_no_key_is_shown(folder: Path) -> None:
    keys, _ = make(folder, counting(), {})
    assert repr(keys) == f"AuditKeys(KeyRing(keys=(MasterKey({keys.ring.newest.id.hex()}),)))"


def test_a_private_key_is_written_and_read(tmp_path: Path) -> None:
    key, file = Ed25519PrivateKey.generate(), tmp_path / "key"
    file.write_bytes(keyfiles.encode_private(key))
    file.chmod(0o600)
    assert keyfiles.read_log_key(file).private_bytes_raw() == key.private_bytes_raw()


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o777])
def test_a_folder_in_which_others_can_put_a_key_is_refused(folder: Path, mode: int) -> None:
    make(folder, environment={})
    folder.chmod(mode)
    with pytest.raises(KeyFileRefused, match=f"can be written by others .mode {mode:04o}.; run: chmod 700 "):
        load(folder, {})
    folder.chmod(0o755)
    load(folder, {})
