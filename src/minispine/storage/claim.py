"""Who serves from a database: at most one process on SQLite, any number on PostgreSQL, each under its instance id.

A claim ends with its process however that ends, so whoever finds an instance without a claim knows that it is dead.
"""

import contextlib
import fcntl
import hashlib
import os
from typing import TYPE_CHECKING, Protocol

from minispine.storage.errors import AlreadyServed, StorageMisconfigured, StorageUnavailable
from minispine.storage.tables import Store

if TYPE_CHECKING:
    from pathlib import Path

    from minispine.storage.database import Database, Session


class Claim(Protocol):
    """The right to serve, held until `release` or the end of the process."""

    def living(self, instances: set[str]) -> set[str]:
        """Which of these instances still serve. Raises `StorageUnavailable`."""
        ...

    def renew(self) -> None:
        """Make sure that the claim still stands after the database was away. Raises `StorageUnavailable`."""
        ...

    def release(self) -> None:
        """Give the claim up."""
        ...


def take(database: "Database", instance: str) -> Claim:
    """See `Database.claim_for_serving`."""
    if database.folder is not None:
        return _FolderClaim(database.folder, instance)
    return _AdvisoryClaim(database, instance)


class _FolderClaim:
    """A lock on a file beside the databases; the kernel drops it with the process."""

    def __init__(self, folder: "Path", instance: str) -> None:
        self._instance = instance
        try:
            self._lock = os.open(folder / "serving.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StorageMisconfigured(f"{folder}: {error.strerror}") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise AlreadyServed(f"another process is serving from {folder}") from None

    def living(self, instances: set[str]) -> set[str]:
        return instances & {self._instance}

    def renew(self) -> None:
        return

    def release(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


class _AdvisoryClaim:
    """A session-level advisory lock on a connection that does nothing else."""

    def __init__(self, database: "Database", instance: str) -> None:
        self._database = database
        self._instance = instance
        self._session: Session | None = None
        self._session = self._locked()
        if self._session is None:
            raise AlreadyServed(f"instance {instance} is served by another process")

    def living(self, instances: set[str]) -> set[str]:
        with self._database.reading(Store.AUDIT) as session:
            held = session.rows(
                "SELECT classid::bigint, objid::bigint FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1"
                " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            )
        keys = {high << 32 | low for high, low in held}
        return {i for i in instances if _key(i) % 2**64 in keys}

    def renew(self) -> None:
        if self._session is not None:
            try:
                self._session.run("SELECT 1")
                return
            except StorageUnavailable:
                self._session.discard()
                self._session = None
        self._session = self._locked()
        if self._session is None:
            raise StorageUnavailable("our own earlier connection still holds the claim")

    def release(self) -> None:
        if self._session is not None:
            with contextlib.suppress(StorageUnavailable):
                # The server would drop it with the connection too, but not before we go on.
                self._session.run("SELECT pg_advisory_unlock(?)", (_key(self._instance),))
            self._session.discard()
            self._session = None

    def _locked(self) -> "Session | None":
        session = self._database.session(Store.AUDIT)
        if session.rows("SELECT pg_try_advisory_lock(?)", (_key(self._instance),))[0][0]:
            return session
        session.close()
        return None


def _key(instance: str) -> int:
    """The advisory lock of an instance: a signed 64-bit number, as PostgreSQL wants it."""
    return int.from_bytes(hashlib.sha256(f"minispine instance {instance}".encode()).digest()[:8], signed=True)
