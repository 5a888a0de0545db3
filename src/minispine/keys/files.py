"""Files that hold a secret: read only when nobody but their owner can, written so that nobody but their owner can.

Public ones, such as certificates, are read and written here too, and how any file is put in place whole is said here.
What a key or password is *for* is not known here; parsing keys is ``keys/certificates.py``'s work.
"""

import contextlib
import os
import shlex
import stat
import tempfile
from pathlib import Path
from typing import Final

MAX_SECRET_BYTES: Final = 256 * 1024
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


class KeyFileRefused(Exception):
    """A file that should hold a key, password or certificate and may not be used: which, and why."""

    def __init__(self, file: Path, reason: str) -> None:
        super().__init__(f"{file}: {reason}")
        self.file = file
        self.reason = reason


def read_secret(file: Path) -> bytes:
    """Give the content of a file that only its owner can read.

    The permissions are those of the opened file, so that it cannot be exchanged between the check and the reading.

    Raises:
        KeyFileRefused: missing, not a plain file, open to its group or to others, owned by another account, or larger
            than `MAX_SECRET_BYTES`.
    """
    try:
        with file.open("rb") as stream:
            facts = os.fstat(stream.fileno())
            if not stat.S_ISREG(facts.st_mode):
                raise KeyFileRefused(file, "is not a plain file")
            if facts.st_mode & _OTHERS:
                mode = f"{stat.S_IMODE(facts.st_mode):04o}"
                raise KeyFileRefused(file, f"is open to others (mode {mode}); run: chmod 600 {shlex.quote(str(file))}")
            if facts.st_uid not in (os.geteuid(), 0):
                raise KeyFileRefused(file, "belongs to another account; its owner must be the one that runs minispine")
            content = stream.read(MAX_SECRET_BYTES + 1)
    except OSError as error:
        raise KeyFileRefused(file, reason_of(error)) from None
    if len(content) > MAX_SECRET_BYTES:
        raise KeyFileRefused(file, "is too large to be a key or a password")
    return content


def read_password(file: Path) -> str:
    """Give the password that is the first and only line of a file.

    Raises:
        KeyFileRefused: as `read_secret`, or the file is empty, has more than one line, or is not UTF-8.
    """
    try:
        text = read_secret(file).decode()
    except UnicodeDecodeError:
        raise KeyFileRefused(file, "is not text in UTF-8") from None
    password = text.removesuffix("\n").removesuffix("\r")
    if not password:
        raise KeyFileRefused(file, "holds no password")
    if "\n" in password or "\0" in password:
        raise KeyFileRefused(file, "must hold the password alone, on one line")
    return password


def read_public(file: Path) -> bytes:
    """Give the content of a file that is no secret: a certificate, an authority, a revocation list.

    Raises:
        KeyFileRefused: it cannot be read.
    """
    try:
        return file.read_bytes()
    except OSError as error:
        raise KeyFileRefused(file, reason_of(error)) from None


def write_secret(file: Path, content: bytes) -> None:
    """Write a file for its owner only; whoever reads it sees the old content or the new, never a part."""
    put_in_place(file, content, mode=0o600)


def write_public(file: Path, content: bytes) -> None:
    """Write a file that everybody may read, whole or not at all."""
    put_in_place(file, content, mode=0o644)


def reason_of(error: OSError) -> str:
    """Say in words what the operating system would not do, without the path, which our errors name themselves."""
    return f"cannot be used: {(error.strerror or type(error).__name__).lower()}"


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk. Raises `OSError`."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def put_in_place(file: Path, content: bytes, *, mode: int) -> None:
    """Put a file in place whose reader sees the old content or the new, also after the power was cut.

    Raises `OSError`.
    """
    handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            os.fchmod(stream.fileno(), mode)
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, file)
        sync_folder(file.parent)  # what is encrypted by a new key must not outlast its file
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
