"""The files of a log's secret keys: one folder, made by `minispine audit init`, readable by its owner alone.

| File | Is | When it is lost |
|---|---|---|
| `log.key` | the Ed25519 key that signs checkpoints (PEM) | none is signed again, as only it can name another |
| `master.keys` | the master keys of the payloads (see ``keys/ring.py``) | every payload is lost |
| `index.key` | the key of the search index, 32 bytes in base64 | the index is made anew with another |

`master.keys` may come from the environment instead, as `MINISPINE_AUDIT_MASTER_KEYS`.
"""

import base64
import binascii
import fcntl
import os
import shlex
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from minispine.audit.vault import Vault
from minispine.keys.files import KeyFileRefused, read_secret, reason_of, write_secret
from minispine.keys.ring import KEY_BYTES, KeyRing, new_ring, read_ring

LOG_KEY: Final = "log.key"
NEXT_LOG_KEY: Final = "log.key.next"
"""The log's key to be, until a record puts it in force."""
MASTER_KEYS: Final = "master.keys"
INDEX_KEY: Final = "index.key"
MASTER_KEYS_VARIABLE: Final = "MINISPINE_AUDIT_MASTER_KEYS"


class AuditKeys(msgspec.Struct, frozen=True):
    """The secret keys of one log."""

    log_key: Ed25519PrivateKey
    ring: KeyRing
    index_key: bytes

    def vault(self) -> Vault:
        """What encrypts under them."""
        return Vault(self.ring, self.index_key)

    def __repr__(self) -> str:
        return f"AuditKeys({self.ring!r})"


def load(folder: Path, environment: Mapping[str, str] = os.environ) -> AuditKeys:
    """Read the keys of a log. Raises `KeyFileRefused`, which says what to do when they were never made.

    The folder is refused, too, where others than its owner can put another file in the place of a key.
    """
    if not folder.is_dir():
        raise KeyFileRefused(folder, "holds no keys of an audit log; run: minispine audit init")
    mode = folder.stat().st_mode
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        said = f"can be written by others (mode {stat.S_IMODE(mode):04o})"
        raise KeyFileRefused(folder, f"{said}; run: chmod 700 {shlex.quote(str(folder))}")
    ring = read_ring(folder / MASTER_KEYS, environment, MASTER_KEYS_VARIABLE)
    return AuditKeys(read_log_key(folder / LOG_KEY), ring, _index_key(folder / INDEX_KEY))


def make(
    folder: Path, random_bytes: Callable[[int], bytes] = os.urandom, environment: Mapping[str, str] = os.environ
) -> tuple[AuditKeys, tuple[Path, ...]]:
    """Make the keys that are not there yet, and give all of them with the files that are new.

    Of two that do so at once, the second finds the keys of the first.

    Raises `KeyFileRefused` when the folder cannot be made, or for what is there and cannot be used.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise KeyFileRefused(folder, reason_of(error)) from None
    contents: dict[str, Callable[[], bytes]] = {
        LOG_KEY: lambda: encode_private(Ed25519PrivateKey.from_private_bytes(random_bytes(32))),
        INDEX_KEY: lambda: base64.b64encode(random_bytes(KEY_BYTES)) + b"\n",
    }
    if not environment.get(MASTER_KEYS_VARIABLE):
        contents[MASTER_KEYS] = lambda: new_ring(random_bytes).encode()
    made = []
    with _alone(folder):
        for name, content in contents.items():
            file = folder / name
            if not file.exists():
                write_secret(file, content())
                made.append(file)
    return load(folder, environment), tuple(made)


def replace_ring(folder: Path, ring: KeyRing) -> None:
    """Put another ring of master keys in the place of the one that is there. Raises `KeyFileRefused`."""
    _write(folder / MASTER_KEYS, ring.encode())


def make_next_log_key(folder: Path, random_bytes: Callable[[int], bytes] = os.urandom) -> Ed25519PrivateKey:
    """Make the log's next key beside the one in use, or give the one that was made before. Raises `KeyFileRefused`."""
    file = folder / NEXT_LOG_KEY
    if not file.exists():
        _write(file, encode_private(Ed25519PrivateKey.from_private_bytes(random_bytes(32))))
    return read_log_key(file)


def take_next_log_key(folder: Path) -> None:
    """Put the log's next key in the place of the one in use, which is gone then. Raises `KeyFileRefused`."""
    _write(folder / LOG_KEY, read_secret(folder / NEXT_LOG_KEY))
    (folder / NEXT_LOG_KEY).unlink()


def read_log_key(file: Path) -> Ed25519PrivateKey:
    """Read an Ed25519 private key in PEM. Raises `KeyFileRefused`."""
    try:
        key = serialization.load_pem_private_key(read_secret(file), password=None)
    except (ValueError, TypeError):
        raise KeyFileRefused(file, "is not an unencrypted private key in PEM") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyFileRefused(file, "is not an Ed25519 key")
    return key


def encode_private(key: Ed25519PrivateKey) -> bytes:
    """A private key in PEM, not encrypted."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep others who would make keys in this folder out of it meanwhile."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _write(file: Path, content: bytes) -> None:
    try:
        write_secret(file, content)
    except OSError as error:
        raise KeyFileRefused(file, reason_of(error)) from None


def _index_key(file: Path) -> bytes:
    try:
        key = base64.b64decode(read_secret(file).strip(), validate=True)
    except (ValueError, binascii.Error):
        raise KeyFileRefused(file, "is not base64") from None
    if len(key) != KEY_BYTES:
        raise KeyFileRefused(file, f"is not a key of {KEY_BYTES} bytes")
    return key
