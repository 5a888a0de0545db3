"""Whose turn it is to work on the segments: one process at a time, and nobody while a record's entries are removed.

Two locks. The **turn** is held as long as somebody folds or rebuilds. A **writing** transaction is short; on SQLite
every transaction that writes excludes the others anyway, on PostgreSQL these do so by an advisory lock.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from minispine.storage import Database, Session, StorageMisconfigured, StorageUnavailable, Store
from minispine.storage.turns import Turn, take


@contextmanager
def turn(database: Database, *, wait: bool) -> Iterator[Session | None]:
    """A session to work on the segments with, or None if another process is at it and we are not to wait for it.

    Its commits do not wait for the disk. Whatever is committed by anybody else afterwards reaches the disk with them or
    after them, so a power cut can undo the last of our work, never a part of it that later work stands on; and none of
    it is a record. For that reason the session's connection is never given back for others to use.
    Raises `StorageUnavailable`, and `StorageMisconfigured` for a file of the lock that cannot be written.
    """
    if database.folder is not None:
        file = database.folder / "index.lock"
        try:
            lock = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            raise StorageUnavailable(f"there is no database in {database.folder}") from None
        except OSError as error:
            raise StorageMisconfigured(f"{file}: {error.strerror}") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            with _session(database) as session:
                session.run("PRAGMA synchronous = NORMAL")
                yield session
        except BlockingIOError:
            yield None
        finally:
            os.close(lock)
        return
    with _session(database) as session:
        session.run("SET synchronous_commit = off")
        if wait:
            session.run("SET lock_timeout = 0")
            session.run("SELECT pg_advisory_lock(?)", (Turn.INDEX.value,))
            session.run("RESET lock_timeout")
            yield session
        else:
            yield session if session.rows("SELECT pg_try_advisory_lock(?)", (Turn.INDEX.value,))[0][0] else None


@contextmanager
def writing(session: Session) -> Iterator[None]:
    """One short transaction of whoever has the turn. An exception undoes it."""
    session.begin()
    try:
        exclude(session)
        yield
    except BaseException:
        session.rollback()
        raise
    session.commit()


def exclude(session: Session) -> None:
    """Within a transaction that writes: nobody else changes segments until it ends."""
    take(session, Turn.INDEX_WRITING)


@contextmanager
def _session(database: Database) -> Iterator[Session]:
    session = database.session(Store.AUDIT)
    try:
        yield session
    finally:
        session.discard()
