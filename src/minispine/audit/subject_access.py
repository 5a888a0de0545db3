"""The subject-access report: who looked at a patient's data or changed it, in plain words (IG-3.9.2 b, IG-3.9.3 b).

It is written to the patient. A question to a national service is one entry, whatever records it took, and says what the
one who asked was told; an act of a member of staff at a screen is one, by its kind: displayed, printed, downloaded,
changed, archived; a look at this very trail, too. Questions that were refused or came to nothing say so. Times are
those of the United Kingdom with their offset; the bounds of a report are those at which records were sealed.
"""

import datetime
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec

from minispine.audit.as_answered import details_of, replies
from minispine.audit.events import EventType
from minispine.audit.reading import Record
from minispine.audit.search import Exchange, Query, exchanges
from minispine.audit.search import found as records_found
from minispine.audit.terms import bare_number, patients_of
from minispine.audit.vault import Vault
from minispine.audit.words import organisation, uk_time, who
from minispine.domain.nhs_number import grouped
from minispine.domain.operations import Operation
from minispine.domain.request import Reply
from minispine.storage import Database

Told = dict[str, Any]


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """One act that concerned a patient. `at` is UTC microseconds; what is not known is empty."""

    at: int
    sequence: int
    """The record of it."""
    event: EventType
    who: str
    role: str = ""
    organisation: str = ""
    authority: str = ""
    system: str
    """The client system that asked, or the installation where it was done."""
    device: str = ""
    did: str
    """What was done, to be read after the name."""
    outcome: str = ""
    """What came of it, a sentence."""
    shown: tuple[tuple[str, str], ...] = ()
    """The values that were shown, by name."""
    reason: str = ""


_OPERATIONS: Final[dict[str, str]] = {
    Operation.VERIFY_NHS_NUMBER: "asked whether your NHS number is yours",
    Operation.GET_NHS_NUMBER: "traced you to find out your NHS number",
    Operation.GET_PATIENT_DETAILS_BY_NHS_NUMBER: "asked for your details by your NHS number",
    Operation.GET_PATIENT_DETAILS_BY_SEARCH: "traced you to find out your details",
    Operation.GET_PATIENT_DETAILS: "asked for your details",
}
_ACTS: Final[dict[str, str]] = {
    EventType.RECORD_DISPLAYED: "displayed your data on a screen",
    EventType.RECORD_PRINTED: "printed your data",
    EventType.RECORD_DOWNLOADED: "downloaded your data as a file",
    EventType.RECORD_CHANGED: "changed your data",
    EventType.RECORD_ARCHIVED: "archived your data",
    EventType.FUNCTION_USED: "used the function {function} about you",
    EventType.FUNCTION_REFUSED: "tried to use the function {function} about you, and was not allowed to",
    EventType.CACHE_PURGED: "threw away the copies of your data kept here",
    EventType.AUDIT_READ: "looked at the audit trail about you",
    EventType.AUDIT_EXPORTED: "took a copy of the audit trail about you",
}


def accesses(
    database: Database,
    vault: Vault,
    nhs_number: str,
    *,
    from_: int | None = None,
    to: int | None = None,
    last: int | None = None,
) -> Iterator[Access]:
    """Everything that was done about a patient, in the order in which it is found in the log.

    `from_` and `to` (not included) are UTC microseconds of sealed time, `last` is the last sequence number looked at.
    Raises `StorageUnavailable`, `index.IndexBroken`, `PayloadUnreadable`.
    """
    number = bare_number(nhs_number)
    query = Query(patient=number, from_=from_, to=to, last=last)
    for exchange in exchanges(database, vault, query, private=True):
        events = [
            (record, event, record.privates[at] if record.privates else {})
            for record in exchange.records
            for at, event in enumerate(record.events)
        ]
        first = next((told for told in events if told[1]["type"] in _QUESTIONS), None)
        if first is not None:
            yield _question(database, vault, number, exchange, first, [(e, p) for _, e, p in events])
        for record, event, private in events:
            if event["type"] in _ACTS and number in patients_of((private,)):
                yield _act(record, event, private)


def unnamed_looks(
    database: Database,
    vault: Vault,
    nhs_number: str,
    *,
    from_: int | None = None,
    to: int | None = None,
    last: int | None = None,
) -> Iterator[Access]:
    """Looks at the trail that showed what it holds of patients and did not name this one, who may have been among them.

    Without them somebody who searched by another way than the NHS number would not be in any patient's report. Bounds
    and errors as of `accesses`.
    """
    number = bare_number(nhs_number)
    query = Query(event=(EventType.AUDIT_READ, EventType.AUDIT_EXPORTED), from_=from_, to=to, last=last)
    for record in records_found(database, vault, query, private=True):
        for at, event in enumerate(record.events):
            private = record.privates[at] if record.privates else {}
            if event["data"].get("private_shown") and number not in patients_of((private,)):
                yield _act(record, event, private)


def report(nhs_number: str, found: Iterable[Access], *, period: str, unnamed: Iterable[Access] = ()) -> Iterator[str]:
    """The report, line by line. `period` says in words which time it is about, `unnamed` are `unnamed_looks`."""
    yield f"Who has looked at or changed data about NHS number {grouped(bare_number(nhs_number))}"
    yield f"Period: {period}. Times are those of the United Kingdom, with the offset from UTC."
    count = 0
    for access in found:
        count += 1
        yield ""
        yield from _entry(access)
    yield ""
    yield "Nothing is recorded." if not count else f"{count} {'entry' if count == 1 else 'entries'}."
    looks = [f"{uk_time(each.at, fraction=0)}  {each.who}, record {each.sequence}" for each in unnamed]
    if looks:
        yield ""
        yield "The audit trail was also looked at in ways that did not name you, with what it holds of patients shown."
        yield "Your data may have been seen then:"
        yield from (f"  {look}" for look in looks)


def _entry(access: Access) -> Iterator[str]:
    yield f"{uk_time(access.at, fraction=0)}  {access.who or 'Somebody who is not named'} {access.did}."
    if access.outcome:
        yield f"  {access.outcome}"
    facts = {
        "Organisation": access.organisation,
        "Role": access.role,
        "On the authority of": access.authority,
        "System": access.system,
        "Workstation": access.device,
        "Reason given": access.reason,
        "Record of the audit trail": str(access.sequence),
    }
    yield from (f"  {name}: {value}" for name, value in facts.items() if value)
    if access.shown:
        yield "  What was shown:" if access.event != EventType.RECORD_CHANGED else "  What was changed:"
        yield from (f"    {name}: {_in_words(name, value)}" for name, value in access.shown)


_GENDERS: Final = {"0": "not known", "1": "male", "2": "female", "9": "not specified"}
_USES: Final = {
    "H": "home",
    "TMP": "temporary",
    "PST": "correspondence",
    "MC": "mobile",
    "WP": "work",
    "HV": "holiday home",
    "EC": "emergency contact",
}


def _in_words(name: str, value: str) -> str:
    """A value as a patient reads it, who knows none of our codes; any that is not known to us stays as it is."""
    if name.endswith("gender"):
        return _GENDERS.get(value, value)
    if name.endswith(" use"):
        return _USES.get(value, value)
    if name.endswith(("birth date", "death date", " since")) and len(value) == 8:
        try:
            day = datetime.date.fromisoformat(value)
        except ValueError:
            return value
        return f"{day.day} {day:%B %Y}"
    return value


# ── acts at a screen ────────────────────────────────────────────────────────────────────────────────────────────────


def _act(record: Record, event: Told, private: Told) -> Access:
    data = event["data"]
    actor = data.get("actor") or {}
    shown: Sequence[tuple[str, str]] = tuple(details_of(private.get("shown")))
    if event["type"] == EventType.RECORD_CHANGED:
        shown = [(f"before, {n}" if n else "before", v) for n, v in details_of(private.get("before"))]
        shown += [(f"after, {n}" if n else "after", v) for n, v in details_of(private.get("after"))]
    return Access(
        at=event["at"],
        sequence=record.sequence,
        event=EventType(event["type"]),
        who=who(data),
        role=actor.get("role_profile") or "",
        organisation=organisation(data),
        authority=actor.get("authority") or "",
        system=record.system,
        device=actor.get("device") or data.get("access_point") or "",
        did=_ACTS[event["type"]].format_map({"function": data.get("function") or ""}),
        shown=tuple(shown),
        reason=private.get("reason") or "",
    )


# ── questions ───────────────────────────────────────────────────────────────────────────────────────────────────────

_QUESTIONS: Final = (EventType.EXCHANGE_RECEIVED, EventType.EXCHANGE_ASKED)
"""The first of these in an exchange says who asked: a client system, or in a front-line application a person."""


def _question(
    database: Database,
    vault: Vault,
    number: str,
    exchange: Exchange,
    first: tuple[Record, Told, Told],
    events: Sequence[tuple[Told, Told]],
) -> Access:
    record, event, _ = first
    data = event["data"]
    author = data.get("author") or {}
    actor = data.get("actor") or {}
    told = [reply for each in exchange.records if each.absent is None for reply in replies(database, vault, each)]
    ours = [reply for reply in told if reply.nhs_number == number]
    operation = data.get("operation") or ""
    return Access(
        at=event["at"],
        sequence=record.sequence,
        event=EventType(event["type"]),
        who=who(data),
        role=author.get("role_profile_id") or actor.get("role_profile") or "",
        organisation=organisation(data),
        authority=actor.get("authority") or "",
        system=record.client or record.system,
        device=actor.get("device") or "",
        did=_OPERATIONS.get(operation, "asked about you"),
        outcome=_outcome(number, exchange, events, ours),
        shown=tuple(_shown(ours)),
    )


def _outcome(number: str, exchange: Exchange, events: Sequence[tuple[Told, Told]], ours: Sequence[Reply]) -> str:
    """What came of a question, in one sentence or two."""
    last = {event["type"]: (event["data"], private) for event, private in events}
    said = []
    if gone := next((r.absent for r in exchange.records if r.absent is not None), None):
        where = {"archived": f"moved to the archive {gone.reference}", "removed": f"destroyed: order {gone.reference}"}
        said.append(f"What was said is no longer here, it was {where.get(gone.why, 'lost')}.")
    if EventType.EXCHANGE_REFUSED in last:
        said.append(f"It was refused ({last[EventType.EXCHANGE_REFUSED][0]['reason']}). Nothing about you was given.")
    elif EventType.EXCHANGE_REPLIED in last:
        data, private = last[EventType.EXCHANGE_REPLIED]
        code = data.get("code") or data.get("fault")
        if data.get("fault"):
            said.append(f"It failed ({code}). Nothing about you was given.")
        elif number in patients_of(({"nhs_number": private.get("nhs_number")},)) or ours:
            said.append(f"It was answered ({code}).")
            if data["source"] == "cache":
                said.append("The answer was a copy kept here from before.")
        elif not gone:
            said.append(f"It was answered ({code}). Nothing about you was given.")
    elif EventType.EXCHANGE_ABANDONED in last:
        said.append("It was given up before anything was asked. Nothing about you was given.")
    elif EventType.EXCHANGE_OUTCOME_UNKNOWN in last:
        said.append("It was interrupted, and it is not known whether it was answered.")
    elif not ours:
        said.append("No answer to it is recorded.")
    if EventType.EXCHANGE_UNDELIVERED in last:
        said.append("Nobody was there any more to take the answer.")
    return " ".join(said)


def _shown(ours: Iterable[Reply]) -> Iterator[tuple[str, str]]:
    for reply in ours:
        if reply.patient is not None:
            yield from details_of(msgspec.to_builtins(reply.patient))
        elif reply.verified is not None:
            yield "nhs number", "confirmed" if reply.verified else "not confirmed"
        elif reply.nhs_number is not None:
            yield "nhs number", reply.nhs_number
