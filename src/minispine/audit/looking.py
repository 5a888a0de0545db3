"""The record that every reading of the trail leaves, before anything is shown (IG-3.9.3 c).

Who looked, by which command or page and for which things stands in the open; what was typed, which may name a patient,
in the private part, by which the reading itself is found again: it was a reading about that patient.
"""

from typing import Any

from minispine.audit.events import Entry, Event, EventType
from minispine.audit.search import Query


def looked(
    query: Query,
    *,
    actor: dict[str, Any],
    command: str,
    at: int,
    private_shown: bool,
    form: str | None = None,
    as_at: int | None = None,
) -> Entry:
    """That somebody is about to read what `query` finds, or, in a `form`, to take a copy of it.

    `actor` is `Actor.as_data`, `at` UTC microseconds; `as_at` is the time as at which a record is rebuilt. Append it
    first: nothing may be shown on the strength of a reading that could not be recorded.
    """
    typed = query.conditions | ({} if as_at is None else {"as_at": as_at})
    told = {
        "actor": actor,
        "command": command,
        "criteria": sorted(typed),
        "first": query.first,
        "last": query.last,
        "private_shown": private_shown,
    }
    if form is None:
        event = Event(type=EventType.AUDIT_READ, at=at, data=told, private=typed)
    else:
        event = Event(type=EventType.AUDIT_EXPORTED, at=at, data=told | {"form": form}, private=typed)
    return Entry(events=(event,))
