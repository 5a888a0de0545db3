"""The file of archived payloads: what is in it, and reading it. How payloads come into one is in ``archiving.py``.

An archive is an SQLite file (application id 0x6D736172, "msar") with two tables::

    about    (key TEXT PRIMARY KEY, value TEXT)     origin, first, last: whose records, and from which to which
    payload  (sequence INTEGER PRIMARY KEY, salt BLOB, private BLOB, bodies BLOB)

The parts are encrypted, as they stood in the database. Their salts are there, so that everybody can check them against
the records; their keys are not. Those stay in the database, wrapped (`audit_archived_key`), so that an order to destroy
a payload reaches every copy of an archive, wherever it lies.
"""

import contextlib
import hashlib
import os
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

SUFFIX: Final = ".archive"
_APPLICATION: Final = 0x6D736172
_ROWS: Final = "SELECT sequence, salt, private, bodies FROM payload WHERE sequence BETWEEN ? AND ? ORDER BY sequence"

Row = tuple[int, bytes, bytes | None, bytes | None]
"""The number of a record, its payload's salt, and the encrypted parts."""


class ArchiveUnreadable(Exception):
    """A file that should be an archive and is none, or cannot be read. The text says which."""


class Archive(msgspec.Struct, frozen=True):
    """An archive at hand: its file, and which records' payloads it holds. It can be pickled."""

    file: Path
    origin: str
    first: int
    last: int

    @classmethod
    def open(cls, file: Path) -> "Archive":
        """Raises `ArchiveUnreadable`."""
        try:
            with contextlib.closing(_connect(file)) as connection:
                [(application,)] = connection.execute("PRAGMA application_id").fetchall()
                about = dict(connection.execute("SELECT key, value FROM about").fetchall())
            if application != _APPLICATION:
                raise ValueError
            return cls(file, str(about["origin"]), int(about["first"]), int(about["last"]))
        except (sqlite3.Error, KeyError, ValueError):
            raise ArchiveUnreadable(f"{file} is not an archive of payloads") from None

    @property
    def name(self) -> str:
        """By what the log names it."""
        return self.file.name

    def rows(self, first: int, last: int) -> list[Row]:
        """The payloads of a range of records. Raises `ArchiveUnreadable`."""
        try:
            with contextlib.closing(_connect(self.file)) as connection:
                return connection.execute(_ROWS, (first, last)).fetchall()
        except sqlite3.Error:
            raise ArchiveUnreadable(f"{self.file} cannot be read") from None

    def digest(self) -> bytes:
        """The SHA-256 of the file. Raises `ArchiveUnreadable`."""
        try:
            with self.file.open("rb") as stream:
                return hashlib.file_digest(stream, "sha256").digest()
        except OSError as error:
            raise ArchiveUnreadable(f"{self.file}: {(error.strerror or 'cannot be read').lower()}") from None


def within(folder: Path) -> list[Archive]:
    """Every archive in a folder, in the order of their records. Raises `ArchiveUnreadable`."""
    return sorted((Archive.open(file) for file in folder.glob(f"*{SUFFIX}")), key=lambda each: each.first)


def at(places: Iterable[Path]) -> list[Archive]:
    """The archives at some places: files, or folders that hold some. Raises `ArchiveUnreadable`."""
    return [each for place in places for each in (within(place) if place.is_dir() else [Archive.open(place)])]


def write(file: Path, rows: Iterable[Row], *, origin: str, first: int, last: int) -> Archive:
    """Make an archive, on the disk when this returns; a file of that name must not be there. Raises `OSError`."""
    os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA application_id = {_APPLICATION}")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("BEGIN")
        connection.execute("CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID")
        connection.execute(
            "CREATE TABLE payload (sequence INTEGER PRIMARY KEY, salt BLOB NOT NULL, private BLOB, bodies BLOB)"
        )
        about = {"origin": origin, "first": str(first), "last": str(last)}
        connection.executemany("INSERT INTO about VALUES (?, ?)", about.items())
        connection.executemany("INSERT INTO payload VALUES (?, ?, ?, ?)", rows)
        connection.execute("COMMIT")
    return Archive(file, origin, first, last)


def _connect(file: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
