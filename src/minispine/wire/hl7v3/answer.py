"""Reading an answer: which message it is, whether it is the answer to ours, and what it comes to.

The order of decisions: not a message we read; a SOAP fault; not the answer to our message; a message or query that
was refused; a number replaced or withdrawn; nobody, one person, or several. Codes go through the table of Spine
codes; nothing that Spine wrote in words is passed on. Whatever the bytes are, an `Outcome` comes of them.
"""

import re
from typing import Final, NamedTuple

import msgspec

from minispine.domain import nhs_number
from minispine.domain.outcome import Found, Outcome
from minispine.domain.question import Question, Trace
from minispine.vocabulary import oids
from minispine.vocabulary.spine_codes import EventRow, SpineCodes, SpineSystem
from minispine.wire import xml
from minispine.wire.hl7v3.interactions import ANSWERED_BY, MESSAGE_REFUSED, QUERY_REFUSED, Ids
from minispine.wire.hl7v3.record import attribute, child, children, inside, read_record, text
from minispine.wire.hl7v3.record import nhs_number as number_of

_INTERACTION: Final = re.compile(r"([A-Z]{4}_IN[0-9]{6})UK[0-9]{2}")
_UUID: Final = re.compile(r"[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}")
_CODE_SYSTEMS: Final[dict[str, SpineSystem]] = {oids.PDS_REASON: "pds", oids.TMS_ACKNOWLEDGEMENT: "tms"}
_HELD_BACK: Final = frozenset({"5", "9"})
"""Reasons by which PDS says that a sensitive record was cut down."""
_DUPLICATE_ID: Final = "202"

_NUMBER_OUTCOMES: Final = frozenset({"no-match", "several-matches", "superseded", "invalidated", "not-verified"})
_PRECEDENCE: Final = (_NUMBER_OUTCOMES, frozenset({"input-refused"}), frozenset({"author-refused"}))
"""Which of several reasons decides: one about the person or number, one about the input, one about the sender."""


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer came to. `spine_message_id` is its own id, an upper-case UUID, where one could be read.

    `duplicate_id` says that the message was rejected because its id had been used before: asking again with new ids
    is safe and sensible.
    """

    outcome: Outcome
    spine_message_id: str | None = None
    duplicate_id: bool = False


class _Reason(NamedTuple):
    """One code with what came beside it; `system` is whose code it is."""

    system: SpineSystem
    code: str | None
    text: str | None
    error: bool


def read_answer(
    body: bytes, *, asked: Question, ids: Ids, codes: SpineCodes, max_bytes: int = xml.MAX_BYTES
) -> Answered:
    """Read what came back for `asked`, which was sent under `ids`. Never raises, whatever the bytes are."""
    try:
        top = xml.parse(body, max_bytes=max_bytes)
    except xml.XmlRefused:
        return Answered(outcome=_unusable(codes, "answer.malformed"))
    enveloped = xml.local_name(top) == "Envelope"
    header = child(top, "Header") if enveloped else None
    payload = next(inside(child(top, "Body")), None) if enveloped else top
    if payload is None:
        return Answered(outcome=_unusable(codes, "answer.malformed"))
    soap_id = _uuid(text(child(header, "MessageID")))
    relates_to = text(child(header, "RelatesTo"))

    if xml.local_name(payload) == "Fault":
        outcome = _fault(payload, codes)
        if relates_to is not None and _uuid(relates_to) != ids.message_id:
            outcome = _unusable(codes, "answer.wrong-ids")
        return Answered(outcome=outcome, spine_message_id=soap_id)

    found = _message(payload)
    if found is None or found[0] not in ANSWERED_BY[type(asked)] | {QUERY_REFUSED, MESSAGE_REFUSED}:
        return Answered(outcome=_unusable(codes, "answer.malformed"), spine_message_id=soap_id)
    kind, message = found
    spine_id = soap_id or _uuid(attribute(child(message, "id"), "root"))
    acknowledgement = child(message, "acknowledgement")
    answered_id = attribute(child(acknowledgement, "messageRef", "id"), "root")
    if not _answers_ours(relates_to, answered_id, ids):
        return Answered(outcome=_unusable(codes, "answer.wrong-ids"), spine_message_id=spine_id)

    act = child(message, "ControlActEvent")
    response = attribute(child(act, "queryAck", "queryResponseCode"), "code")
    kind_of_ack = attribute(acknowledgement, "typeCode")
    accepted = kind not in (QUERY_REFUSED, MESSAGE_REFUSED) and kind_of_ack == "AA" and response == "OK"
    reasons = _reasons(acknowledgement, act, rejected=kind_of_ack == "AR")
    if accepted:
        outcome = _with_data(act, asked, reasons, codes)
    else:
        outcome = _refused(act, reasons, codes, kind_of_ack=kind_of_ack, response=response)
    duplicate = not accepted and any(r.system == "tms" and r.code == _DUPLICATE_ID for r in reasons)
    return Answered(outcome=outcome, spine_message_id=spine_id, duplicate_id=duplicate)


def _message(payload: xml.Element) -> tuple[str, xml.Element] | None:
    """Find the interaction, which may have a wrapper around it, and its name without the version."""
    for element in (payload, next(inside(payload), None)):
        if element is not None:
            named = _INTERACTION.fullmatch(xml.local_name(element))
            if named:
                return named[1], element
    return None


def _answers_ours(relates_to: str | None, answered_id: str | None, ids: Ids) -> bool:
    """Tell whether every id that came back is ours, and at least one came."""
    came_back = [
        (_uuid(echoed), ours)
        for echoed, ours in ((relates_to, ids.message_id), (answered_id, ids.hl7_id))
        if echoed is not None
    ]
    return bool(came_back) and all(echoed == ours for echoed, ours in came_back)


def _uuid(value: str | None) -> str | None:
    """Give an id in the form we write: upper case, no prefix. None for what is no UUID, so that no text gets out."""
    bare = (value or "").upper().removeprefix("URN:").removeprefix("UUID:")
    return bare if _UUID.fullmatch(bare) else None


def _fault(fault: xml.Element, codes: SpineCodes) -> Outcome:
    """Map a SOAP fault: it may be tried again only when every error in it says so."""
    errors = [
        codes.event_for("soap", text(child(error, "errorCode")), text(child(error, "description")))
        for error in children(child(fault, "detail", "errorList"), "error")
    ]
    final = [row for row in errors if row.outcome != "unavailable"]
    row = next(iter(final or errors), None)
    return (row or codes.event("soap.other")).without_person()


def _reasons(acknowledgement: xml.Element | None, act: xml.Element | None, *, rejected: bool) -> list[_Reason]:
    """Gather the codes of the acknowledgement and of the control act, in the order in which they came."""
    coded = [child(detail, "code") for detail in children(acknowledgement, "acknowledgementDetail")]
    for reason in children(act, "reason"):
        coded += [child(issue, "code") for issue in children(reason, "justifyingDetectedIssueEvent")]
    reasons = []
    for code in coded:
        if code is None:
            continue
        system = _CODE_SYSTEMS.get(attribute(code, "codeSystem") or "", "tms" if rejected else "pds")
        said = attribute(code, "displayName") or attribute(code, "name")
        error = attribute(child(code, "qualifier"), "code") == "ER"
        reasons.append(_Reason(system, attribute(code, "code"), said, error))
    return reasons


def _refused(
    act: xml.Element | None,
    reasons: list[_Reason],
    codes: SpineCodes,
    *,
    kind_of_ack: str | None,
    response: str | None,
) -> Outcome:
    """Decide an answer that brings no data: by its reasons, else by what the acknowledgement alone says."""
    if reasons:
        row = _deciding(reasons, codes)
    elif response == "NF":
        row = codes.event("answer.no-match")
    elif kind_of_ack == "AR":
        row = codes.event("tms.other")
    elif kind_of_ack == "AE" or response is not None:
        row = codes.event("pds.other")
    else:
        row = codes.event("answer.incomplete")
    return row.without_person(replacement=_replacement(act))


def _deciding(reasons: list[_Reason], codes: SpineCodes) -> EventRow:
    """Choose the row that decides: the summary codes beside it say less than it does."""
    rows = [codes.event_for(reason.system, reason.code, reason.text) for reason in reasons]
    for kinds in _PRECEDENCE:
        for row in rows:
            if row.outcome in kinds:
                return row
    listed = (row for row in rows if row.code is not None)
    return next(listed, rows[0])


def _with_data(act: xml.Element | None, asked: Question, reasons: list[_Reason], codes: SpineCodes) -> Outcome:
    """Decide an answer that says it brings data."""
    for reason in reasons:
        # A warning that has no row is a note beside the data; an error is an error, known or not.
        known = codes.listed(reason.system, reason.code)
        row = codes.event_for(reason.system, reason.code, reason.text) if reason.error else known
        if row is not None and row.outcome != "found":
            return row.without_person(replacement=_replacement(act))
    roles = _patients(act)
    if not roles:
        return codes.event("answer.incomplete").without_person()
    if len(roles) > 1:
        return codes.event("answer.several-matches").without_person()
    returned = number_of(roles[0])
    if not isinstance(asked, Trace) and returned != asked.nhs_number:
        if returned is None or not nhs_number.is_valid(returned):
            return codes.event("answer.nhs-number").without_person()
        return codes.event("answer.superseded").without_person(replacement=returned)
    limited = any(reason.system == "pds" and reason.code in _HELD_BACK for reason in reasons)
    return Found(event="found", record=read_record(roles[0], limited=limited))


def _patients(act: xml.Element | None) -> list[xml.Element]:
    """Give every ``patientRole`` that is the subject of the answer."""
    return [
        role
        for subject in children(act, "subject")
        for content in subject
        for inner in children(content, "subject")
        for role in children(inner, "patientRole")
    ]


def _replacement(act: xml.Element | None) -> str | None:
    """Give the number that the answer is about, where it is about one person and the number is a valid one."""
    roles = _patients(act)
    number = number_of(roles[0]) if len(roles) == 1 else None
    return number if number is not None and nhs_number.is_valid(number) else None


def _unusable(codes: SpineCodes, event: str) -> Outcome:
    return codes.event(event).without_person()
