"""What is remembered of each recipient: which checkpoint it took last, and why it took no later one.

All processes share it, so that each can say of a witness what another found out. It proves nothing.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from minispine.audit.checkpointing import StoredCheckpoint
from minispine.audit.witnesses.recipient import Taken
from minispine.storage import Database, Session, Store

_ALL: Final = "SELECT name, number, epoch, size, at, note, problem, conflict FROM audit_witness"
_ONE: Final = "SELECT name, number, epoch, size, at, note, problem, conflict FROM audit_witness WHERE name = ?"
_TOOK: Final = (
    "INSERT INTO audit_witness (name, number, epoch, size, at, note, problem, conflict)"
    " VALUES (?, ?, ?, ?, ?, ?, NULL, 0) ON CONFLICT (name) DO UPDATE SET"
    " number = excluded.number, epoch = excluded.epoch, size = excluded.size, at = excluded.at, note = excluded.note,"
    " problem = NULL, conflict = 0 WHERE audit_witness.number <= excluded.number"
)
_DID_NOT_TAKE: Final = (
    "INSERT INTO audit_witness (name, number, epoch, size, at, note, problem, conflict)"
    " VALUES (?, 0, 0, 0, NULL, NULL, ?, ?) ON CONFLICT (name) DO UPDATE SET"
    " problem = CASE WHEN audit_witness.conflict > excluded.conflict THEN audit_witness.problem"
    " ELSE excluded.problem END,"
    " conflict = CASE WHEN audit_witness.conflict > excluded.conflict THEN audit_witness.conflict"
    " ELSE excluded.conflict END WHERE audit_witness.number < ?"
)
"""A conflict stays until a checkpoint is taken: that the witness is then away makes it no better."""
_WAITING: Final = "SELECT MIN(at) FROM audit_checkpoint WHERE number > ?"


class Remembered(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a recipient.

    `taken` is the last checkpoint it took, `at` when that was (UTC microseconds) and `note` that checkpoint with its
    signatures. `problem` is why it took no later one; with `conflict` because the log does not extend what it has seen.
    `waiting_since` is when the first checkpoint was made that it has not taken.
    """

    name: str
    taken: Taken = Taken()
    at: int | None = None
    note: str | None = None
    problem: str | None = None
    conflict: bool = False
    waiting_since: int | None = None


def remembered(database: Database, name: str) -> Remembered:
    """What is known of one recipient, but for how long it has been waited for. Raises `StorageUnavailable`."""
    with database.reading(Store.AUDIT) as session:
        return _read(session.rows(_ONE, (name,))).get(name, Remembered(name=name))


def all_remembered(database: Database, names: Iterable[str]) -> list[Remembered]:
    """What is known of these recipients. Raises `StorageUnavailable`."""
    with database.reading(Store.AUDIT) as session:
        known = _read(session.rows(_ALL))
        return [_waiting(session, known.get(name, Remembered(name=name))) for name in names]


def took(database: Database, name: str, stored: StoredCheckpoint, note: str, *, at: int) -> None:
    """Remember that a recipient took a checkpoint. Raises `StorageUnavailable`."""
    _write(database, _TOOK, (name, stored.number, stored.epoch, stored.size, at, note))


def did_not_take(database: Database, name: str, stored: StoredCheckpoint, problem: str, *, conflict: bool) -> None:
    """Remember why it did not, unless it has taken that one or a later one by now. Raises `StorageUnavailable`."""
    _write(database, _DID_NOT_TAKE, (name, problem, int(conflict), stored.number))


def _write(database: Database, statement: str, values: tuple[object, ...]) -> None:
    with database.session(Store.AUDIT) as session:
        session.begin()
        session.run(statement, values)
        session.commit()


def _read(rows: list[tuple[object, ...]]) -> dict[str, Remembered]:
    known = {}
    for row in rows:
        name, number, epoch, size, at, note, problem, conflict = msgspec.convert(row, _Row)
        taken = Taken(number, epoch, size)
        known[name] = Remembered(name=name, taken=taken, at=at, note=note, problem=problem, conflict=bool(conflict))
    return known


_Row = tuple[str, int, int, int, int | None, str | None, str | None, int]


def _waiting(session: Session, known: Remembered) -> Remembered:
    since = session.rows(_WAITING, (known.taken.number,))[0][0]
    return msgspec.structs.replace(known, waiting_since=since)
