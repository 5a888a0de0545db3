"""Throwing kept answers away on somebody's order: of a patient, of a client, or all. On the record."""

from typing import Any, Final

from minispine.audit.events import Entry, Event, EventType
from minispine.audit.log import AuditLog
from minispine.provider.cache.entries import Entries
from minispine.provider.cache.keys import CacheKeys
from minispine.storage import Database

ALL: Final = "all"
A_CLIENTS: Final = "a client's"
A_PATIENTS: Final = "a patient's"


def purge_now(
    database: Database,
    keys: CacheKeys,
    log: AuditLog,
    *,
    actor: dict[str, Any],
    reason: str,
    nhs_number: str | None = None,
    client: str | None = None,
) -> int:
    """Throw away what is kept of one NHS number, or for one client, or all, and say how many entries that were.

    The last of them and the record `cache.purged` are committed together, on SQLite right after each other. Of a client
    or of all, most have gone before in smaller portions, because nobody can be served while the log is held; whoever is
    stopped between has thrown away without a record, and does it again. Of a number, nothing is kept again for some
    minutes, so that no answer on its way brings it back.

    Raises:
        StorageUnavailable, AuditUnavailable: it may have been done in part, and is not recorded.
    """
    entries = Entries(database, keys)
    at = log.now()
    count = 0 if nhs_number is not None else entries.delete_most(client)
    with log.holding() as hold, hold.changing_registry():
        if nhs_number is not None:
            count = entries.forget_in_turn(hold.registry, keys.digest("patient", nhs_number), at)
        else:
            count += entries.delete_rest(hold.registry, client)
        scope = A_PATIENTS if nhs_number is not None else A_CLIENTS if client is not None else ALL
        event = Event(
            type=EventType.CACHE_PURGED,
            at=at,
            data={"actor": actor, "scope": scope, "count": count} | ({} if client is None else {"client": client}),
            private={"reason": reason} | ({} if nhs_number is None else {"nhs_number": nhs_number}),
        )
        log.append_in(hold, Entry(events=(event,)))
    return count
