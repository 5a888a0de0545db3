"""By what a record can be found: the terms of its events. No I/O; how they are kept is in ``index/``.

A term is a kind and a value. Which fields of an event give which kinds is the table below; it is a promise to whoever
searches, and a field that joins it is only found in records written before after `minispine audit reindex`.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

Kind = Literal[
    "event", "client", "id", "user", "authority", "organisation", "outcome", "source", "device", "patient", "item"
]
Term = tuple[Kind, str]

FIELDS: Final[Mapping[str, tuple[Kind, ...]]] = {
    "message_id": ("id",),
    "hl7_id": ("id",),
    "spine_message_id": ("id",),
    "tracking_id": ("id",),
    "request_id": ("id",),
    "exchange": ("id",),
    "leader": ("id",),
    "uri": ("id", "user"),
    "user_code": ("user",),
    "user_id": ("user",),
    "role_profile": ("user",),
    "role_profile_id": ("user",),
    "account": ("user",),
    "user": ("user",),
    "authority": ("authority",),
    "organisation": ("organisation",),
    "outcome": ("outcome",),
    "code": ("outcome",),
    "fault": ("outcome",),
    "reason": ("outcome",),
    "source": ("source",),
    "device": ("device",),
    "access_point": ("device",),
    "key": ("item",),
}
"""Fields of an event's `data`, at any depth, by name."""
PATIENT_FIELDS: Final = frozenset({"nhs_number", "nhs_numbers", "patient_id"})
"""Fields of an event's private part that say which patient it is about."""
REFUSED_IDENTITY: Final = "audit_identity"
"""The audit identities of a request, in the private part where they were not accepted: then nobody knows what they
say."""
_NOT_WITHIN: Final = frozenset({"before", "after"})
"""What a document held is not what happened."""
_UUID: Final = re.compile(r"(?:urn:)?(?:uuid:)?([0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12})", re.IGNORECASE)


def terms_of(
    *,
    exchange: str | None,
    client: str | None,
    client_message_id: str | None,
    events: Iterable[tuple[str, Mapping[str, Any]]],
    privates: Iterable[Mapping[str, Any]],
) -> set[Term]:
    """Every term of a record. `events` are types and `data`; `privates` their private parts, if they are to be had."""
    terms: set[Term] = set()
    if exchange is not None:
        terms.add(("id", bare(exchange)))
    if client is not None:
        terms.add(("client", client))
    if client_message_id is not None:
        terms.add(("id", bare(client_message_id)))
    for kind, told in events:
        terms.add(("event", kind))
        _gather(told, terms)
    for private in privates:
        if private:
            _gather_patients(private, terms)
            for identity in private.get(REFUSED_IDENTITY) or ():
                if isinstance(identity, dict) and (uri := identity.get("uri")):
                    terms |= {("id", bare(uri)), ("user", uri)}
    return terms


def patients_of(privates: Iterable[Mapping[str, Any]]) -> set[str]:
    """Whom private parts of events are about: NHS numbers, and ids that patients have here."""
    return {value for kind, value in private_terms(privates) if kind == "patient"}


def private_terms(privates: Iterable[Mapping[str, Any]]) -> set[Term]:
    """The terms that only the private parts of a record's events tell, and that go when they are destroyed."""
    return terms_of(exchange=None, client=None, client_message_id=None, events=(), privates=privates)


def bare(identifier: str) -> str:
    """An identifier as it is compared: of a UUID, the digits alone, in upper case."""
    if len(identifier) < 36:
        return identifier
    uuid = _UUID.fullmatch(identifier)
    return uuid[1].upper() if uuid else identifier


def bare_number(nhs_number: str) -> str:
    """A patient's id as it is compared: without blanks."""
    return nhs_number.replace(" ", "")


def _gather(told: Mapping[str, Any], terms: set[Term]) -> None:
    for name, value in told.items():
        if isinstance(value, str):
            if value and (kinds := FIELDS.get(name)):
                terms.update((kind, bare(value) if kind == "id" else value) for kind in kinds)
        elif isinstance(value, dict):
            if name not in _NOT_WITHIN:
                _gather(value, terms)
        elif isinstance(value, list | tuple):
            for member in value:
                if isinstance(member, dict):
                    _gather(member, terms)


def _gather_patients(value: Any, terms: set[Term]) -> None:
    if isinstance(value, dict):
        for name, member in value.items():
            if name in PATIENT_FIELDS:
                terms.update(("patient", bare_number(number)) for number in _texts(member) if number)
            else:
                _gather_patients(member, terms)
    elif isinstance(value, list | tuple):
        for member in value:
            _gather_patients(member, terms)


def _texts(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | tuple):
        for member in value:
            yield from _texts(member)
