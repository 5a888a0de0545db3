"""The table from what happens on the Spine side to the response code that the caller gets.

Here: the rows, the checks that make a table safe to use, and the look-ups. The rows themselves are in
``spine-codes.toml``; an operator may put another table in its place (SMSP-CONF-001 b, SMSP-ERR-004). Not here: the
response codes and their texts, which are the vocabulary's.
"""

import tomllib
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Final, Literal, get_args

import msgspec

from minispine.domain.identity import IdentityFault
from minispine.domain.outcome import BARE_KINDS, KINDS, Outcome, Superseded, Unusable
from minispine.vocabulary.tables import TableInvalid

SpineSystem = Literal["pds", "tms", "soap"]
"""Whose code: a reason given by PDS, an acknowledgement detail of TMS, an errorCode in a SOAP fault."""

SUCCESS: Final = "SMSP-0000"

WITH_A_PERSON: Final = frozenset({"found", "pds.3", "pds.5", "pds.9"})
"""The only events that may mean `found`: the others arrive without a person, or with one that must not be shown."""

_DECIDED_BY_PROVIDER = frozenset({"asid-unknown"})
"""Identity faults that are answered with a SOAP fault and so need no response code."""

REQUIRED: Final = frozenset(
    {
        "found",
        "other",
        "pds.other",
        "tms.other",
        "soap.other",
        "transport.unreachable",
        "transport.timeout",
        "transport.interrupted",
        "transport.http-status",
        "transport.breaker-open",
        "transport.forbidden",
        "answer.malformed",
        "answer.wrong-ids",
        "answer.incomplete",
        "answer.nhs-number",
        "answer.data",
        "answer.no-match",
        "answer.several-matches",
        "answer.superseded",
        "input.invalid",
        "input.not-supported",
        *(f"identity.{fault}" for fault in get_args(IdentityFault) if fault not in _DECIDED_BY_PROVIDER),
    }
)
"""The events that this software raises itself; a table without one of them is refused."""

_LATER: Final = frozenset({"cache.spine-unavailable"})
"""Events that came after operators had tables of their own: where a table lacks one, the shipped row is in force.

A table that was accepted once must not stop a newer version from serving.
"""

_FIXED: Final[dict[str, str | None]] = {
    "found": "found",
    "answer.malformed": "unusable",
    "answer.wrong-ids": "unusable",
    "answer.incomplete": "unusable",
    "answer.nhs-number": "unusable",
    "answer.data": "unusable",
    "transport.breaker-open": "unavailable",
    "cache.spine-unavailable": None,
}
"""Outcomes that no table may change, because the code that raises the event has already decided."""


class EventRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One event: what it stands for on the Spine side, the kind of outcome, and the response code.

    `system` goes with exactly one of `code`, `begins` and `contains`; an event of our own has none of the four.
    `outcome` is a key of ``domain.outcome.KINDS``, or None where the event is no answer to a question. `repeat` says
    that Spine asks for the message to be sent again, with other ids.
    """

    name: str
    system: SpineSystem | None = None
    code: str | None = None
    begins: str | None = None
    contains: str | None = None
    outcome: str | None = None
    repeat: bool = False
    response: str
    meaning: str

    def without_person(self, *, replacement: str | None = None) -> Outcome:
        """Make the outcome for an event that brings no person to show; `replacement` is the number that supersedes.

        Whatever the table says, this never makes a `Found`: a row that promises a person where there is none means
        that the answer is incomplete.
        """
        if self.outcome == "superseded":
            return Superseded(event=self.name, nhs_number=replacement)
        kind = BARE_KINDS.get(self.outcome or "")
        return Unusable(event="answer.incomplete") if kind is None else kind(event=self.name)


class _Document(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    version: str
    event: tuple[EventRow, ...]


class SpineCodes:
    """A table that was checked. Immutable; `version` says which one is in force."""

    def __init__(self, version: str, rows: tuple[EventRow, ...]) -> None:
        self.version = version
        self.rows = rows
        self._by_name = {row.name: row for row in rows}
        self._by_code: dict[tuple[str | None, str | None], EventRow] = {
            (row.system, row.code): row for row in rows if row.code is not None
        }
        self._by_text = tuple(row for row in rows if row.begins is not None or row.contains is not None)

    def listed(self, system: SpineSystem, code: str | None) -> EventRow | None:
        """Give the row of a code of Spine's, None where the table has none."""
        return self._by_code.get((system, code))

    def event_for(self, system: SpineSystem, code: str | None, text: str | None = None) -> EventRow:
        """Give the row of a code; else the first whose text fits; else the system's row ``<system>.other``."""
        row = self.listed(system, code)
        if row is not None:
            return row
        said = (text or "").strip().casefold()
        for candidate in self._by_text:
            if candidate.system == system and _fits(candidate, said):
                return candidate
        return self._by_name[f"{system}.other"]

    def event(self, name: str) -> EventRow:
        """Give the row of an event by its name; the row ``other`` for an event that has none (SMSP-ERR-006 h)."""
        return self._by_name.get(name) or self._by_name["other"]

    def response_code(self, event_name: str) -> str:
        """Give the response code of an event, that of ``other`` where it has none of its own."""
        return self.event(event_name).response


def _fits(row: EventRow, said: str) -> bool:
    if row.begins is not None:
        return said.startswith(row.begins.casefold())
    return row.contains is not None and row.contains.casefold() in said


def load_spine_codes(document: Mapping[str, Any], vocabulary_codes: Collection[str]) -> SpineCodes:
    """Check a table and make it usable; `vocabulary_codes` are the response codes that may be emitted.

    Raises:
        TableInvalid: a key that is not known or of the wrong type, an event or code twice, an outcome that is no
            kind, a response outside the vocabulary, success promised for anything but a found person (or the
            reverse), a decided outcome changed, an event missing that this software raises.
    """
    try:
        table = msgspec.convert(dict(document), _Document)
    except msgspec.ValidationError as error:
        raise TableInvalid("spine-codes", str(error)) from None
    seen_codes: set[tuple[str | None, str]] = set()
    seen_names: set[str] = set()
    for number, row in enumerate(table.event, start=1):
        key = f"event {number} ({row.name})"
        for problem in _problems(row, vocabulary_codes):
            raise TableInvalid(key, problem)
        if row.name in seen_names:
            raise TableInvalid(key, "the name is there twice")
        seen_names.add(row.name)
        if row.code is not None:
            if (row.system, row.code) in seen_codes:
                raise TableInvalid(key, "the code is there twice")
            seen_codes.add((row.system, row.code))
    missing = REQUIRED - seen_names
    if missing:
        raise TableInvalid("event", f"missing: {', '.join(sorted(missing))}")
    return SpineCodes(table.version, (*table.event, *_later(seen_names, vocabulary_codes)))


def _later(names: Collection[str], vocabulary_codes: Collection[str]) -> Iterator[EventRow]:
    """Give the shipped rows of events that a table could not know of yet."""
    for row in msgspec.convert(shipped_document(), _Document).event if _LATER - set(names) else ():
        if row.name in _LATER and row.name not in names:
            for problem in _problems(row, vocabulary_codes):
                raise TableInvalid(f"event {row.name} (as shipped)", problem)
            yield row


def _problems(row: EventRow, vocabulary_codes: Collection[str]) -> list[str]:
    """Name what is wrong with a row taken by itself, the first thing first."""
    how_known = [value for value in (row.code, row.begins, row.contains) if value is not None]
    found = row.outcome == "found"
    checks = (
        (row.response not in vocabulary_codes, f"response {row.response} is not in the vocabulary"),
        (
            row.outcome is not None and row.outcome not in KINDS,
            f"outcome {row.outcome} is not one of {', '.join(KINDS)}",
        ),
        (row.outcome is None and row.system is not None, "an event of Spine's needs an outcome"),
        (row.name.startswith(("answer.", "transport.")) and row.outcome is None, "the event needs an outcome"),
        (found and row.name not in WITH_A_PERSON, "this event brings no person, so its outcome cannot be found"),
        (found != (row.response == SUCCESS), f"{SUCCESS} goes with the outcome found and with no other"),
        (row.outcome != _FIXED.get(row.name, row.outcome), f"the outcome must be {_FIXED.get(row.name) or 'absent'}"),
        (row.repeat and row.outcome != "unavailable", "repeat goes with the outcome unavailable and with no other"),
        (row.repeat and row.system is None, "repeat goes with a code of Spine's, so it needs a system"),
        (row.system is None and bool(how_known), "code, begins and contains need a system"),
        (row.system is not None and len(how_known) != 1, "a system needs exactly one of code, begins and contains"),
        ("" in how_known, "code, begins and contains may not be empty"),
    )
    return [reason for wrong, reason in checks if wrong]


def shipped_document() -> dict[str, Any]:
    """Give the table as it is shipped, unchecked: what an operator copies and changes."""
    return tomllib.loads((files("minispine.vocabulary") / "spine-codes.toml").read_text(encoding="utf-8"))


@cache
def shipped_spine_codes() -> SpineCodes:
    """Give the shipped table, checked against the response codes that it names itself.

    Whether those are in a vocabulary is for whoever has the vocabulary in force: `load_spine_codes` with
    `shipped_document`.
    """
    document = shipped_document()
    return load_spine_codes(document, {row["response"] for row in document["event"]})
