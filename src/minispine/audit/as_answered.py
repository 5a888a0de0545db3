"""A patient's record as it was answered on a given date, rebuilt from what the trail keeps (IG-3.9.2 h).

What counts is what was told: the details in the answer to a client, or, in the log of a front-line application, in the
answer it got; and what a record held there was changed to. The newest of these up to the moment asked for is the one.
Nothing is pieced together from several.
"""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from minispine.audit.events import Body, EventType
from minispine.audit.reading import Absent, Record, bodies, records
from minispine.audit.search import Query, matching
from minispine.audit.terms import bare_number, patients_of
from minispine.audit.vault import Vault
from minispine.domain.patient import Address, Name, Patient, Practice, Telecom
from minispine.domain.request import Reply
from minispine.storage import Database
from minispine.wire import itk, pds, xml
from minispine.wire.soap import AnswerUnreadable, Fault

_TELLING: Final = (EventType.EXCHANGE_REPLIED, EventType.EXCHANGE_SPINE_ANSWERED, EventType.RECORD_CHANGED)

_ORDER: Final = {
    field: place
    for place, field in enumerate(
        dict.fromkeys(f for known in (Patient, Name, Address, Telecom, Practice) for f in known.__struct_fields__)
    )
}
"""Fields in the order in which people expect them; the trail keeps them in that of the alphabet."""


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """A patient's record as it was told last. `at` is when, in UTC microseconds, and `sequence` the record of it.

    `details` are the fields of `domain.patient.Patient`, or what a front-line application's record was changed to;
    None where it was changed to nothing.
    """

    sequence: int
    at: int
    event: EventType
    details: dict[str, Any] | None


class Gone(msgspec.Struct, frozen=True, kw_only=True):
    """The record was told last in a log record whose payload is no longer in the database, for the reason given."""

    sequence: int
    sealed_at: int
    absent: Absent


def as_answered(
    database: Database, vault: Vault, nhs_number: str, *, at: int, last: int | None = None
) -> Answered | Gone | None:
    """A patient's record as it was last told at `at` or before, in UTC microseconds; None if it had not been.

    That is judged by when it was told, not by when its record was sealed, and `last` bounds the sequence numbers looked
    at. Rather than go on to an older answer, it gives `Gone` where there may have been one that can no longer be read.
    Raises `StorageUnavailable`, `index.IndexBroken`, `PayloadUnreadable`.
    """
    number = bare_number(nhs_number)
    query = Query(patient=number, event=_TELLING, last=last)
    for sequence in matching(database, vault, query, newest_first=True):
        (record,) = records(database, [sequence], vault=vault)
        if not any(event["type"] in _TELLING and event["at"] <= at for event in record.events):
            continue
        if record.absent is not None:
            return Gone(sequence=sequence, sealed_at=record.sealed_at, absent=record.absent)
        for answered in _told(database, vault, record, number):
            if answered.at <= at:
                return answered
    return None


def details_of(told: Any) -> Iterator[tuple[str, str]]:
    """What was told of a patient as names and values that people read, in the order in which they expect them."""
    yield from _flat("", told)


def replies(database: Database, vault: Vault, record: Record) -> Iterator[Reply]:
    """The answers kept with a record that are those of a mini service. Raises as `reading.bodies` does."""
    for body in bodies(database, record.sequence, vault):
        if body.name == "reply" or body.name.startswith("spine-answer-"):
            reply = _reply(body)
            if reply is not None:
                yield reply


def _told(database: Database, vault: Vault, record: Record, number: str) -> Iterator[Answered]:
    """What a record tells of a patient, the last thing first."""
    for event, private in zip(reversed(record.events), reversed(record.privates or ()), strict=True):
        if number not in patients_of((private,)):
            continue
        told: dict[str, Any] | None
        if event["type"] == EventType.RECORD_CHANGED:
            told = private["after"]
        elif event["type"] in _TELLING:
            patient = next((p for p in _disclosed(database, vault, record) if p.nhs_number == number), None)
            if patient is None:
                continue
            told = msgspec.to_builtins(patient)
        else:
            continue
        yield Answered(sequence=record.sequence, at=event["at"], event=EventType(event["type"]), details=told)


def _disclosed(database: Database, vault: Vault, record: Record) -> Iterator[Patient]:
    for reply in replies(database, vault, record):
        if reply.patient is not None:
            yield reply.patient


def _reply(body: Body) -> Reply | None:
    """An answer of a mini service, or None for anything else: a fault, a message of Spine's, only a beginning."""
    if body.cut is not None:
        return None
    try:
        response = itk.read_response(body.content)
        if isinstance(response, Fault):
            return None
        root = xml.local_name(response.payload)
        operation = next((names.operation for names in pds.MESSAGES.values() if names.response_root == root), None)
        return None if operation is None else pds.read_response(operation, response.payload)
    except AnswerUnreadable:
        return None


def _flat(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for member, inner in sorted(value.items(), key=lambda each: _ORDER.get(each[0], len(_ORDER))):
            yield from _flat(f"{name} {member}".strip().replace("_", " "), inner)
    elif isinstance(value, list | tuple):
        if all(isinstance(member, str) for member in value):
            if text := ", ".join(member for member in value if member):
                yield name, text
        else:
            for number, member in enumerate(value, start=1):
                yield from _flat(f"{name} {number}" if len(value) > 1 else name, member)
    elif value is not None:
        yield name, str(value)
