"""Holding the trail against what others know: is there a record of every reply and of every message to Spine?

What the clients and Spine noted comes from `witnesses.py` and the simulator. Whether the log is intact in itself is
`minispine audit verify`'s question, which is put too.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import msgspec
from tests.journeys.house import House

from benchmarks.witnesses import Told
from minispine.audit.events import EventType
from minispine.audit.reading import events, last_sequence
from minispine.storage import Database, Store

_ENDS = {EventType.EXCHANGE_REPLIED, EventType.EXCHANGE_ABANDONED, EventType.EXCHANGE_OUTCOME_UNKNOWN}
_INTACT = {0, 3}
"""Exit codes of `audit verify`: proven, and consistent with nothing from outside to prove it by. The latter is also
that of a store that is away, so what it says counts too."""


class Reckoning(msgspec.Struct, kw_only=True):
    """What came of holding one trail against its witnesses; ids stand for what is missing in it.

    Of `unanswerable`, unrecorded replies that say that the log is away, nothing is demanded: they are what is said
    where no record can be made.
    """

    records: int
    exchanges: int
    replies: int
    asks: int
    replies_without_record: list[str]
    asks_without_record: list[str]
    gaps: list[int]
    left_open: list[str]
    closed_as_unknown: int
    unknown_yet_replied: list[str]
    unanswerable: int
    verified: bool
    verify_said: str


class Trail:
    """What a drill has to know of a log, from one reading of it."""

    def __init__(self, trail: Iterable[dict[str, Any]]) -> None:
        self.sequences: set[int] = set()
        self.replied: dict[str, list[tuple[int, dict[str, Any]]]] = defaultdict(list)
        """The replies given to a client's message: the record and what it says."""
        self.first: dict[str, int] = {}
        """The record in which what a client's message asks of Spine was first set down."""
        self.asked: dict[str, int] = {}
        """The record in which the id of each message to Spine was first set down."""
        self.opened: set[str] = set()
        self.ended: dict[str, set[EventType]] = defaultdict(set)
        self.exchanges: set[str] = set()
        for event in trail:
            self._note(event)

    def _note(self, event: dict[str, Any]) -> None:
        sequence, data, exchange = event["sequence"], event["data"], event["exchange"]
        self.sequences.add(sequence)
        if exchange is None:
            return
        self.exchanges.add(exchange)
        kind = EventType(event["type"])
        if kind is EventType.EXCHANGE_ASKED:
            self.opened.add(exchange)
            self.first.setdefault(event["client_message_id"], sequence)
            self.asked.setdefault(data["message_id"], sequence)
        elif kind is EventType.EXCHANGE_RESERVED:
            for each in data["ids"]:
                self.asked.setdefault(each["message_id"], sequence)
        elif kind is EventType.EXCHANGE_REPLIED:
            self.replied[event["client_message_id"]].append((sequence, data))
        if kind in _ENDS:
            self.ended[exchange].add(kind)

    def reply_to(self, told: Told) -> int | None:
        """The record of a reply that a client got, None where there is none."""
        for sequence, data in self.replied[told.asked]:
            known = (data.get("message_id"), data.get("code"), data.get("fault"))
            if not told.whole or known == (None if told.fault else told.reply, told.code, told.fault):
                return sequence
        return None


def read_trail(house: House) -> Trail:
    """Read the log of a provider, without what is private in it."""
    with Database.open(house.settings["storage"]["url"]) as database:
        return Trail(events(database))


def open_exchanges(house: House) -> int:
    """How many exchanges the log says are not over."""
    with Database.open(house.settings["storage"]["url"]) as database, database.reading(Store.AUDIT) as session:
        return int(session.rows("SELECT COUNT(*) FROM audit_open")[0][0])


def reckon(house: House, told: list[Told], calls: list[dict[str, Any]]) -> Reckoning:
    """Hold the trail of a provider that has stopped against what its clients and Spine noted."""
    trail = read_trail(house)
    with Database.open(house.settings["storage"]["url"]) as database:
        last = last_sequence(database)
    unrecorded = [t for t in told if t.relates_to not in (None, t.asked) or trail.reply_to(t) is None]
    done = house.run("audit", "verify", "--index")
    unknown = {e for e, kinds in trail.ended.items() if EventType.EXCHANGE_OUTCOME_UNKNOWN in kinds}
    return Reckoning(
        records=last,
        exchanges=len(trail.exchanges),
        replies=len(told),
        asks=len(calls),
        replies_without_record=[t.asked for t in unrecorded if not t.log_away],
        asks_without_record=[str(c["message_id"]) for c in calls if c["message_id"] not in trail.asked],
        gaps=sorted(set(range(1, last + 1)) ^ trail.sequences),
        left_open=sorted(trail.opened - trail.ended.keys()),
        closed_as_unknown=len(unknown),
        unknown_yet_replied=sorted(e for e in unknown if EventType.EXCHANGE_REPLIED in trail.ended[e]),
        unanswerable=sum(t.log_away for t in unrecorded),
        verified=done.returncode in _INTACT and done.stdout.startswith(f"{last} records are consistent"),
        verify_said=(done.stderr + done.stdout).partition("\n")[0][:300],
    )
