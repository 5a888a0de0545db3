"""Why a payload is not there: destroyed on the order of both authorities, archived, or for no good reason."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from minispine.audit.encoding import read_leaf
from minispine.audit.events import EventType
from minispine.audit.removal_request import RemovalRequest, RequestInvalid, signed_request
from minispine.audit.verification.archives import Archives
from minispine.audit.verification.findings import Broken
from minispine.audit.verification.observing import Observations
from minispine.audit.verification.sources import Source
from minispine.audit.verification.stated import StatedKeys

EXPLAINING: Final = (EventType.AUDIT_PAYLOAD_REMOVED, EventType.AUDIT_ARCHIVED)
"""The events that say why payloads are not there."""


class _Archived(msgspec.Struct):
    """What a record says of an archive."""

    first: int
    last: int
    name: str
    sha256: str


class MissingPayloads:
    """The payloads that are not where they were written, and the records that say why, taken in order.

    The tables of removals and archives are believed only as far as such records say the same. `claimed` says that
    something is to be said of payloads at all.
    """

    def __init__(self, source: Source, archives: Archives, observations: Observations, *, claimed: bool) -> None:
        self._source = source
        self._files = archives
        self._observe = observations.add
        self._doubt = observations.doubt
        self._claimed = claimed
        self._orders: Final[dict[int, RemovalRequest]] = {}
        self._archived: Final[dict[int, _Archived]] = {}
        self._read_tables()

    def take(self, missing: Iterable[int]) -> Broken | None:
        """Take the next records without their payload."""
        for sequence in missing:
            if not self._has_reason(sequence):
                self._read_tables()  # it may just have gone
            if not self._has_reason(sequence):
                return Broken(sequence, "payload", "the payload is missing, and nothing says why")
            if sequence not in self._removals and self._archive_of(sequence) in self._files:
                return Broken(sequence, "payload", "the payload is neither here nor in its archive")
        return None

    def take_keyless(self, keyless: Iterable[int]) -> Broken | None:
        """Take the next records without the key of their payload, which goes only where the payload is destroyed."""
        for sequence in keyless:
            if sequence not in self._removals:
                self._read_tables()  # it may just have gone
            if sequence not in self._removals:
                return Broken(sequence, "payload", "the key of the payload is missing, and nothing says why")
        return None

    def explain(self, sequence: int, event: dict[str, Any], keys: StatedKeys) -> Broken | None:
        """Take a record that says why payloads are not there; `keys` are those stated when it was written."""
        if event["type"] == EventType.AUDIT_PAYLOAD_REMOVED:
            return self._take_order(sequence, event["data"], keys)
        return self._take_archive(sequence, event["data"])

    def finish(self, last: int, keys: StatedKeys) -> Broken | None:
        """Every record up to the last was taken. Those that say why a payload went meanwhile may come after it."""
        records = {*self._removals.values(), *(each.record for each in self._archives)}
        for record in sorted(record for record in records if record > last):
            leaf = self._source.leaf(record)
            for event in read_leaf(leaf)["events"] if leaf else ():
                found = self.explain(record, event, keys) if event["type"] in EXPLAINING else None
                if found is not None:
                    return found
        return self._unsaid(set(self._removals.values()), [each.record for each in self._archives])

    def _read_tables(self) -> None:
        self._removals = self._source.removals()
        self._archives = self._source.archives()

    def _has_reason(self, sequence: int) -> bool:
        return sequence in self._removals or self._archive_of(sequence) is not None

    def _archive_of(self, sequence: int) -> str | None:
        return next((each.name for each in self._archives if each.first <= sequence <= each.last), None)

    def _take_order(self, sequence: int, data: dict[str, Any], keys: StatedKeys) -> Broken | None:
        try:
            order = signed_request(data.get("request"), keys.last)
        except RequestInvalid as error:
            return Broken(sequence, "removal", f"it is not what both authorities have signed: {error}")
        # Later records have numbers that were others' when it was ordered.
        order = msgspec.structs.replace(order, ranges=order.ranges_up_to(keys.end_of(order.epoch)))
        self._orders[sequence] = order
        self._observe("removed", sequence, f"payloads were destroyed on the order {order.reference}: {order.records}")
        for first, last in order.ranges:
            held = self._source.payloads_within(first, last)
            if held:
                self._observe("removed", held[0], f"the payload is there, which record {sequence} says was destroyed")
        return self._unsaid({sequence}, ())

    def _take_archive(self, sequence: int, data: dict[str, Any]) -> Broken | None:
        try:
            archived = self._archived[sequence] = msgspec.convert(data, _Archived)
        except msgspec.ValidationError:
            return Broken(sequence, "archive", "it does not say what was archived")
        digest = self._files.digest_of(archived.name)
        if digest is None:
            text = f"the payloads of records {archived.first} to {archived.last} are in {archived.name}, not looked at"
            self._observe("archived", sequence, text)
            if self._claimed:
                self._doubt(f"the archive {archived.name} was not looked at: give it with --archive")
        elif digest != archived.sha256:
            return Broken(archived.first, "archive", f"{archived.name} is not the file that record {sequence} names")
        return self._unsaid((), [sequence])

    def _unsaid(self, removing: Iterable[int], archiving: Sequence[int]) -> Broken | None:
        """The first payload that the tables say went by one of these records, of which the record says nothing."""
        found = []
        for sequence, record in self._removals.items():
            if record in removing:
                order = self._orders.get(record)
                if order is None or record <= sequence or not order.names(sequence):
                    found.append(
                        Broken(sequence, "removal", f"its payload is said to be destroyed, but not by record {record}")
                    )
        for each in self._archives:
            if each.record in archiving:
                said = self._archived.get(each.record)
                kept = _Archived(each.first, each.last, each.name, each.digest.hex())
                if said != kept or each.record <= each.last:
                    found.append(
                        Broken(
                            each.first, "archive", f"payloads are said to be archived, but not by record {each.record}"
                        )
                    )
        return min(found, key=lambda broken: broken.sequence, default=None)
