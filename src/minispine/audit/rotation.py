"""Replacing the master key: the data key of every payload is wrapped anew, and old master keys are forgotten.

Payloads are not encrypted again, so what was copied before can still be read by whoever has the old master key with
it: rotation bounds what a *later* loss of one file gives away. A new key goes in front of the ring, its change is
recorded, and `rewrap` works through the log beside whoever serves from it; broken off, it is begun again. Processes
that began with the old ring go on wrapping by the old key. So `forget_old` first sees that they were started anew, then
**retires** the old keys in the head of the log: from then on whoever still has one in front cannot write, rather than
write what nobody could read (`sealing.MasterKeyRetired`). Only then may they be taken out of the ring, which, like
making the new key, is the caller's: the ring may stand in a file or in the environment.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from minispine.audit import index
from minispine.audit.events import Entry, Event, EventType
from minispine.audit.log import AuditLog
from minispine.audit.reading import last_sequence, records
from minispine.audit.redaction import NotTheOwner
from minispine.audit.vault import PayloadUnreadable, Vault
from minispine.keys.ring import KeyRing, MasterKey
from minispine.storage import Database, Store

KEY: Final = "audit master key"
"""What a `key.changed` calls it."""

_AT_ONCE: Final = 500
_TABLES: Final = ("audit_payload", "audit_archived_key")
"""Where wrapped keys are; in this order, because an archiving moves them from the first to the second."""
_PAGE: Final = "SELECT sequence, wrapped FROM {} WHERE sequence >= ? AND wrapped IS NOT NULL ORDER BY sequence LIMIT ?"
_REWRAP: Final = "UPDATE {} SET wrapped = ? WHERE sequence = ? AND wrapped = ?"
_UNDER_ANOTHER: Final = (
    "SELECT sequence FROM audit_payload WHERE sequence > ? AND wrapped IS NOT NULL AND substr(wrapped, 1, 4) <> ?"
    " ORDER BY sequence LIMIT 1"
)
_MAY_REWRAP: Final = "SELECT has_column_privilege('audit_payload', 'wrapped', 'UPDATE')"
_CHANGED: Final = EventType.KEY_CHANGED
_STARTED: Final = EventType.PROVIDER_STARTED


class NotForgettable(Exception):
    """An old master key is or may be needed yet. The text says by what, and what to do."""


class Rewrapped(msgspec.Struct, frozen=True):
    """How many data keys were wrapped anew; how many cannot be unwrapped, and the first record of those, 0 if none."""

    count: int
    unreadable: int
    first_unreadable: int


def check_may_rewrap(database: Database) -> None:
    """Return if the account of the database may change how data keys are wrapped.

    Raises `NotTheOwner`, `StorageUnavailable`.
    """
    with database.session(Store.AUDIT) as session:
        if session.kind == "postgresql" and not session.rows(_MAY_REWRAP)[0][0]:
            raise NotTheOwner(
                "this account of the database may not change how payloads are kept; give --owner-url of the tables'"
                " owner"
            )


def record_new(log: AuditLog, ring: KeyRing, fresh: KeyRing, *, actor: Mapping[str, Any]) -> int:
    """Record that `fresh` takes the place of `ring`, before it does; the record. Raises `AuditUnavailable`."""
    entry = Entry(events=(_changed(log, ring.newest, fresh.newest, actor),))
    return log.append_now(entry).sequence


def rewrap(
    database: Database, vault: Vault, *, first: int = 1, between: Callable[[int], None] = lambda _: None
) -> Rewrapped:
    """Wrap every data key from record `first` on by the newest master key of `vault`, where it is not already.

    Each transaction is short; `between` is called after each with the number of the record that was reached, and may
    raise to end the work. Raises `StorageUnavailable`.
    """
    done = unreadable = first_unreadable = 0
    for table in _TABLES:
        for page in _pages(database, table, first):
            fresh: list[tuple[bytes, int, bytes]] = []
            for sequence, wrapped in page:
                try:
                    anew = vault.rewrap(wrapped)
                except PayloadUnreadable:
                    unreadable += 1
                    first_unreadable = min(first_unreadable or sequence, sequence)
                else:
                    fresh += [(anew, sequence, wrapped)] if anew is not None else []
            if fresh:
                _put(database, table, fresh)
            done += len(fresh)
            between(page[-1][0])
    return Rewrapped(done, unreadable, first_unreadable)


def forget_old(
    database: Database,
    log: AuditLog,
    ring: KeyRing,
    *,
    actor: Mapping[str, Any],
    between: Callable[[int], None] = lambda _: None,
) -> Rewrapped:
    """Wrap what is left by the newest key of `ring`, and retire the others; then they may be taken out of the ring.

    `log` is one whose vault has that ring. Raises `NotForgettable`, after which nothing is retired, `AuditUnavailable`
    and `StorageUnavailable`; it can be called again.
    """
    end = last_sequence(database)
    _check_started_anew(database, log.vault, ring)
    before = rewrap(database, log.vault, between=between)
    if before.unreadable:
        raise NotForgettable(
            f"{before.unreadable} payloads cannot be opened with the keys in the ring, that of record"
            f" {before.first_unreadable} first; nothing is forgotten while a missing key may turn up"
        )
    with log.holding() as hold:
        events = tuple(_changed(log, key, None, actor) for key in ring.keys[1:] if key.id not in hold.retired)
        hold.retire([key.id for key in ring.keys[1:]])
        if events:
            log.append_in(hold, Entry(events=events))
    after = rewrap(database, log.vault, first=end + 1, between=between)
    return Rewrapped(before.count + after.count, after.unreadable, after.first_unreadable)


def _check_started_anew(database: Database, vault: Vault, ring: KeyRing) -> None:
    """Return if, as far as the log tells, everybody who writes has the newest key in front of their ring."""
    newest = ring.newest.id
    changed = _newest(database, vault, _CHANGED, {"key": KEY, "after": newest.hex()})
    if changed is None:
        raise NotForgettable("no record says since when the newest master key is there; make one that is recorded")
    started = _newest(database, vault, _STARTED, {})
    if started is None or started < changed:
        raise NotForgettable(
            f"the provider was not started since record {changed}, when the master key was replaced, and may still"
            " write under the old one; stop it and start it again"
        )
    with database.session(Store.AUDIT) as session:
        rows = session.rows(_UNDER_ANOTHER, (started, newest))
    if rows:
        raise NotForgettable(
            f"record {rows[0][0]} was written under an old master key, after the provider was started as record"
            f" {started} says: another process still has the old ring; start each anew, then run: minispine audit"
            " rotate-master-key --resume"
        )


def _newest(database: Database, vault: Vault, type_: EventType, told: Mapping[str, Any]) -> int | None:
    """The newest record with an event of a type that says all this; None if there is none."""
    term = vault.term("event", type_)
    found = index.matching(database, [[term]], first=1, last=last_sequence(database), newest_first=True)
    for record in records(database, found):
        if any(event["type"] == type_ and told.items() <= event["data"].items() for event in record.events):
            return record.sequence
    return None


def _changed(log: AuditLog, before: MasterKey, after: MasterKey | None, actor: Mapping[str, Any]) -> Event:
    said = {
        "key": KEY,
        "before": before.id.hex(),
        "after": None if after is None else after.id.hex(),
        "actor": dict(actor),
    }
    return Event(type=EventType.KEY_CHANGED, at=log.now(), data=said)


def _pages(database: Database, table: str, first: int) -> Iterator[list[tuple[int, bytes]]]:
    while True:
        with database.session(Store.AUDIT) as session:
            rows = session.rows(_PAGE.format(table), (first, _AT_ONCE))
        if not rows:
            return
        yield [(sequence, bytes(wrapped)) for sequence, wrapped in rows]
        first = rows[-1][0] + 1


def _put(database: Database, table: str, fresh: Sequence[tuple[bytes, int, bytes]]) -> None:
    """Put wrapped keys in the place of others, unless these have gone meanwhile."""
    with database.session(Store.AUDIT) as session:
        session.begin()
        session.run_many(_REWRAP.format(table), fresh)
        session.commit()
