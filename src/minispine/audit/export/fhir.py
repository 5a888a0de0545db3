"""FHIR R4 AuditEvent, one a line (NDJSON), in the shape of IHE's Basic Audit Log Patterns (BALP).

BALP has a pattern for each RESTful interaction, with a client, a server and perhaps a user as agents. A question to a
mini service is told as the search that it is, by whichever protocol it came; what a person is shown, or changes, in a
front-line application as a read or an update, the workstation being the client. An event names its pattern in
`meta.profile` where it has all that the pattern asks for, which the ones of success do; every other event has the same
agents and entities, and DICOM's code for its type.

Facts: the profiles at https://profiles.ihe.net/ITI/BALP, and DICOM PS3.16, CID 400 and 401.
"""

import base64
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from minispine.audit.encoding import encode_json
from minispine.audit.events import EventType
from minispine.audit.reading import Record
from minispine.audit.search import Query, asked_for
from minispine.audit.terms import patients_of
from minispine.audit.words import organisation, result
from minispine.domain.nhs_number import is_valid

Json = dict[str, Any]

BALP: Final = "https://profiles.ihe.net/ITI/BALP"
DCM: Final = "http://dicom.nema.org/resources/ontology/DCM"
EVENT_TYPES: Final = "https://minispine.example/audit-events"
"""The code system of our own types of event; docs/audit-events.md has them."""
NHS_NUMBER: Final = "https://fhir.nhs.uk/Id/nhs-number"
ODS_CODE: Final = "https://fhir.nhs.uk/Id/ods-organization-code"

_TYPE_CODES: Final = "http://terminology.hl7.org/CodeSystem/audit-event-type"
_INTERACTIONS: Final = "http://hl7.org/fhir/restful-interaction"
_ENTITY_TYPES: Final = "http://terminology.hl7.org/CodeSystem/audit-entity-type"
_ROLES: Final = "http://terminology.hl7.org/CodeSystem/object-role"
_SOURCES: Final = "http://terminology.hl7.org/CodeSystem/security-source-type"
_PARTICIPATION: Final = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType"

_MACHINE, _ADDRESS, _URI = "1", "2", "5"
_SUCCESS, _MINOR, _SERIOUS = "0", "4", "8"
_REQUESTS_REMEMBERED: Final = 10_000


class _Pattern(msgspec.Struct, frozen=True):
    """A RESTful interaction: BALP's name for it, FHIR's, its action; whether data flows from the server (DICOM)."""

    profile: str
    interaction: str
    action: str
    server_is_source: bool = False


_QUERY: Final = _Pattern("Query", "search", "E")
_READ: Final = _Pattern("Read", "read", "R", server_is_source=True)
_UPDATE: Final = _Pattern("Update", "update", "U")
_PATTERNS: Final = {
    EventType.EXCHANGE_REPLIED: _QUERY,
    EventType.EXCHANGE_SPINE_ANSWERED: _QUERY,
    EventType.EXCHANGE_SPINE_SILENT: _QUERY,
    EventType.RECORD_DISPLAYED: _READ,
    EventType.RECORD_PRINTED: _READ,
    EventType.RECORD_DOWNLOADED: _READ,
    EventType.RECORD_CHANGED: _UPDATE,
    EventType.RECORD_ARCHIVED: _UPDATE,
}

_ACTIVITY, _LOG_USED, _QUERIED = ("110100", "Application Activity"), ("110101", "Audit Log Used"), ("110112", "Query")
_ALERT, _AUTHENTICATION = ("110113", "Security Alert"), ("110114", "User Authentication")
_RESTRICTED: Final = ("110132", "Use of Restricted Function")
_ROLES_CHANGED: Final = ("110136", "Security Roles Changed")
_USER_CHANGED: Final = ("110137", "User Security Attributes Changed")
_CONFIGURED: Final = ("110131", "Software Configuration")
_SECURED: Final = ("110129", "Security Configuration")
_NODE: Final = ("110126", "Node Authentication")

_Coded = tuple[str, str]
_BY_TYPE: Final[dict[EventType, tuple[_Coded, _Coded | None, str]]] = {
    EventType.PROVIDER_STARTED: (_ACTIVITY, ("110120", "Application Start"), "E"),
    EventType.PROVIDER_STOPPED: (_ACTIVITY, ("110121", "Application Stop"), "E"),
    EventType.WORKER_STARTED: (_ACTIVITY, ("110120", "Application Start"), "E"),
    EventType.WORKER_STOPPED: (_ACTIVITY, ("110121", "Application Stop"), "E"),
    EventType.WORKER_DIED: (_ACTIVITY, ("110121", "Application Stop"), "E"),
    EventType.LOGIN_SUCCEEDED: (_AUTHENTICATION, ("110122", "Login"), "E"),
    EventType.LOGIN_FAILED: (_AUTHENTICATION, ("110122", "Login"), "E"),
    EventType.LOGIN_LOGGED_OUT: (_AUTHENTICATION, ("110123", "Logout"), "E"),
    EventType.LOGIN_SESSION_ENDED: (_AUTHENTICATION, ("110123", "Logout"), "E"),
    EventType.SESSION_ASKED: (_AUTHENTICATION, None, "E"),
    EventType.SESSION_ANSWERED: (_AUTHENTICATION, None, "E"),
    EventType.TOKEN_ASKED: (_AUTHENTICATION, _NODE, "E"),
    EventType.TOKEN_ANSWERED: (_AUTHENTICATION, _NODE, "E"),
    EventType.FUNCTION_USED: (_ALERT, _RESTRICTED, "E"),
    EventType.FUNCTION_REFUSED: (_ALERT, _RESTRICTED, "E"),
    EventType.PEER_REFUSED: (_ALERT, _NODE, "E"),
    EventType.USER_ADDED: (_ALERT, _USER_CHANGED, "C"),
    EventType.USER_CHANGED: (_ALERT, _USER_CHANGED, "U"),
    EventType.USER_REMOVED: (_ALERT, _USER_CHANGED, "D"),
    EventType.USER_LOCKED: (_ALERT, _USER_CHANGED, "U"),
    EventType.USER_UNLOCKED: (_ALERT, _USER_CHANGED, "U"),
    EventType.USER_PASSWORD_CHANGED: (_ALERT, _USER_CHANGED, "U"),
    EventType.USER_SECOND_FACTOR_CHANGED: (_ALERT, _USER_CHANGED, "U"),
    EventType.USER_ROLES_CHANGED: (_ALERT, _ROLES_CHANGED, "U"),
    EventType.USER_ROLE_SWITCHED: (_ALERT, _ROLES_CHANGED, "E"),
    EventType.CONFIGURATION_READ: (_ALERT, _CONFIGURED, "R"),
    EventType.CONFIGURATION_CHANGED: (_ALERT, _CONFIGURED, "U"),
    EventType.CERTIFICATES_READ: (_ALERT, _SECURED, "R"),
    EventType.KEY_CHANGED: (_ALERT, _SECURED, "U"),
    EventType.CLIENT_ADDED: (_ALERT, _CONFIGURED, "C"),
    EventType.CLIENT_EDITED: (_ALERT, _CONFIGURED, "U"),
    EventType.CLIENT_DISABLED: (_ALERT, _CONFIGURED, "U"),
    EventType.CLIENT_ENABLED: (_ALERT, _CONFIGURED, "U"),
    EventType.TABLE_CHANGED: (_ALERT, _CONFIGURED, "U"),
    EventType.BUDGET_CHANGED: (_ALERT, _CONFIGURED, "U"),
    EventType.CACHE_CHANGED: (_ALERT, _CONFIGURED, "U"),
    EventType.AUDIT_BEGUN: (_ALERT, ("110134", "Audit Recording Started"), "C"),
    EventType.AUDIT_KEYS_CHANGED: (_ALERT, _SECURED, "U"),
    EventType.AUDIT_READ: (_LOG_USED, None, "R"),
    EventType.AUDIT_EXPORTED: (_LOG_USED, None, "R"),
    EventType.AUDIT_PAYLOAD_REMOVED: (_LOG_USED, None, "D"),
    EventType.AUDIT_REMOVAL_REFUSED: (_LOG_USED, None, "D"),
}
"""DICOM's type, subtype and FHIR's action. What is not here is application activity; an exchange's events queries."""

_FAILED: Final = {
    EventType.EXCHANGE_REFUSED: _MINOR,
    EventType.EXCHANGE_ABANDONED: _MINOR,
    EventType.EXCHANGE_UNDELIVERED: _MINOR,
    EventType.EXCHANGE_UNUSABLE: _SERIOUS,
    EventType.EXCHANGE_SPINE_SILENT: _SERIOUS,
    EventType.EXCHANGE_OUTCOME_UNKNOWN: _SERIOUS,
    EventType.FUNCTION_REFUSED: _MINOR,
    EventType.LOGIN_FAILED: _MINOR,
    EventType.PEER_REFUSED: _MINOR,
    EventType.AUDIT_REMOVAL_REFUSED: _MINOR,
    EventType.WORKER_DIED: _SERIOUS,
}
_OVER: Final = (EventType.EXCHANGE_REPLIED, EventType.EXCHANGE_ABANDONED, EventType.EXCHANGE_OUTCOME_UNKNOWN)
_TECHNICAL: Final = ("SMSP-0001", "SMSP-0002", "SMSP-0004", "SMSP-0005", "SMSP-9999", "DEMOG-9999")
"""Response codes of a question that was not answered; any other is an answer, if only that nobody was found."""


def as_fhir(found: Iterable[Record], query: Query) -> Iterator[bytes]:
    """A line of NDJSON for each event of the records found.

    The answer to a client is told with the question, which stands in an earlier record: so many of these are remembered
    while their exchanges go on.
    """
    requests: OrderedDict[str, Json] = OrderedDict()
    for record in found:
        asked = requests.pop(record.exchange, None) if record.exchange else None
        for at, event in enumerate(record.events):
            if event["type"] == EventType.EXCHANGE_RECEIVED:
                asked = event | {"private": record.privates[at] if record.privates else {}}
        if asked is not None and record.exchange and not any(e["type"] in _OVER for e in record.events):
            requests[record.exchange] = asked
            if len(requests) > _REQUESTS_REMEMBERED:
                requests.popitem(last=False)
        for event in asked_for(record, query):
            yield encode_json(audit_event(event, record, asked)) + b"\n"


def audit_event(event: Json, record: Record, asked: Json | None) -> Json:
    """One event, as `reading.told` gives it. `asked` is the request of its exchange, where that is known."""
    type_ = EventType(event["type"])
    data, private = event["data"], event.get("private") or {}
    pattern = _PATTERNS.get(type_)
    patients = _patients(private, asked if type_ is EventType.EXCHANGE_REPLIED else None)
    client, server = _ends(type_, event, asked)
    users = _users(data, asked, _AUTHOR if pattern is _UPDATE else _RECIPIENT)
    entities = [_patient(number) for number in patients]
    entities += _objects(pattern, event, asked)
    if event["client_message_id"]:
        entities.append(_transaction(event["client_message_id"]))
    entities.append(_place(event, record))
    outcome = _outcome(type_, data)
    told: Json = {
        "resourceType": "AuditEvent",
        "id": f"{event['sequence']}-{event['index']}",
        **_codes(type_, pattern),
        "period": {"start": event["at"], "end": event["at"]},
        "recorded": event["sealed_at"],
        "outcome": outcome,
    }
    if said := result(data):
        told["outcomeDesc"] = said
    told["agent"] = [_agent(pattern, "client", client), _agent(pattern, "server", server), *users]
    told["source"] = {
        "site": event["system"],
        "observer": _device(event["system"]),
        "type": [_coding(_SOURCES, "4", "Application Server")],
    }
    told["entity"] = entities
    if pattern is not None and outcome == _SUCCESS and "network" in told["agent"][0].keys() & told["agent"][1].keys():
        profile = f"IHE.BasicAudit.{'Patient' if len(patients) == 1 else ''}{pattern.profile}"
        told["meta"] = {"profile": [f"{BALP}/StructureDefinition/{profile}"]}
    return told


# ── what happened ───────────────────────────────────────────────────────────────────────────────────────────────────


def _codes(type_: EventType, pattern: _Pattern | None) -> Json:
    ours = _coding(EVENT_TYPES, type_)
    if pattern is not None:
        return {
            "type": _coding(_TYPE_CODES, "rest", "RESTful Operation"),
            "subtype": [_coding(_INTERACTIONS, pattern.interaction, pattern.interaction), ours],
            "action": pattern.action,
        }
    otherwise = _QUERIED if type_.startswith(("exchange.", "directory.")) else _ACTIVITY
    main, sub, action = _BY_TYPE.get(type_, (otherwise, None, "E"))
    subtypes = [_coding(DCM, *sub)] if sub else []
    return {"type": _coding(DCM, *main), "subtype": [*subtypes, ours], "action": action}


def _outcome(type_: EventType, data: Json) -> str:
    if type_ is EventType.EXCHANGE_REPLIED:
        return _SERIOUS if data.get("fault") else _MINOR if data.get("code") in _TECHNICAL else _SUCCESS
    return _FAILED.get(type_, _SUCCESS)


# ── who was part of it ──────────────────────────────────────────────────────────────────────────────────────────────

_End = tuple[Json, Json | None]
"""Who it is, and its place in the network."""


def _ends(type_: EventType, event: Json, asked: Json | None) -> tuple[_End, _End]:
    """The client and the server: those of a question to us, of one of ours, or of a person's doing here."""
    data, ourselves = event["data"], _device(event["system"])
    if service := data.get("interaction"):  # we ask
        return (ourselves, _network(event["system"], _MACHINE)), (_device(service), _network(f"urn:{service}", _URI))
    if event["client"]:
        request = asked["data"] if asked else data
        path = request.get("path")
        place = _network(request["peer"], _ADDRESS) if request.get("peer") else None
        return (_device(event["client"]), place), (ourselves, _network(path, _URI) if path else None)
    actor = data.get("actor") or {}
    device = actor.get("device") or data.get("access_point") or data.get("peer") or event["system"]
    return (_device(device), _network(device, _MACHINE)), (ourselves, _network(event["system"], _MACHINE))


def _agent(pattern: _Pattern | None, end: str, who: _End) -> Json:
    source = (end == "server") == (pattern is not None and pattern.server_is_source)
    coding = _coding(DCM, "110153", "Source Role ID") if source else _coding(DCM, "110152", "Destination Role ID")
    agent: Json = {"type": {"coding": [coding]}, "who": who[0], "requestor": False}
    return agent | {"network": who[1]} if who[1] else agent


def _users(data: Json, asked: Json | None, part: _Coded) -> list[Json]:
    """The person at whose request it is, and the one on whose authority, if there is one."""
    request = asked["data"] if asked else data
    if actor := data.get("actor"):
        user = _user(part, actor["user_id"], actor.get("name"), actor.get("role_profile"), actor.get("organisation"))
        authority = actor.get("authority")
        return [user, _user(_RESPONSIBLE, authority)] if authority else [user]
    if author := data.get("author") or request.get("author"):
        return [_user(part, author["user_id"], None, author["role_profile_id"], organisation(request))]
    if code := request.get("user_code") or request.get("function"):
        return [_user(part, code, organisation=organisation(request))]
    identities = data.get("audit_identity") or request.get("audit_identity") or ()
    if identities:
        return [_user(part, identities[0]["uri"], organisation=organisation(request))]
    return [_user(part, data["user"], data.get("user_name"))] if data.get("user") else []


_RECIPIENT: Final = ("IRCP", "information recipient")
_AUTHOR: Final = ("AUT", "author (originator)")
_RESPONSIBLE: Final = ("RESP", "responsible party")


def _user(
    part: _Coded, user_id: str, name: str | None = None, role: str | None = None, organisation: str | None = None
) -> Json:
    identifier: Json = {"value": user_id}
    if organisation:
        identifier["assigner"] = {"identifier": {"system": ODS_CODE, "value": organisation}}
    agent: Json = {"type": {"coding": [_coding(_PARTICIPATION, *part)]}}
    if role:
        agent["role"] = [{"text": role}]
    agent["who"] = {"identifier": identifier}
    if name:
        agent["name"] = name
    return agent | {"requestor": part is not _RESPONSIBLE}


# ── what it was about ───────────────────────────────────────────────────────────────────────────────────────────────


def _patients(private: Json, asked: Json | None) -> list[str]:
    privates = (private, asked["private"]) if asked else (private,)
    return sorted(patients_of(privates))


def _patient(number: str) -> Json:
    identifier = {"system": NHS_NUMBER, "value": number} if is_valid(number) else {"value": number}
    return {
        "what": {"type": "Patient", "identifier": identifier},
        "type": _coding(_ENTITY_TYPES, "1", "Person"),
        "role": _coding(_ROLES, "1", "Patient"),
    }


def _objects(pattern: _Pattern | None, event: Json, asked: Json | None) -> list[Json]:
    """The question of a query, as it was put; the data of a read or an update."""
    if pattern is None:
        return []
    of_type = {"type": _coding(_ENTITY_TYPES, "2", "System Object")}
    if pattern is not _QUERY:
        what = {"display": event["data"].get("function") or event["type"]}
        return [{"what": what, **of_type, "role": _coding(_ROLES, "4", "Domain Resource")}]
    put = asked or event
    known = ("operation", "service", "interaction")
    question = {name: put["data"][name] for name in known if put["data"].get(name)} | (put.get("private") or {})
    return [
        {
            **of_type,
            "role": _coding(_ROLES, "24", "Query"),
            "query": base64.b64encode(encode_json(question)).decode(),
        }
    ]


def _transaction(message_id: str) -> Json:
    return {
        "what": {"identifier": {"value": message_id}},
        "type": _coding(f"{BALP}/CodeSystem/BasicAuditEntityType", "XrequestId"),
    }


def _place(event: Json, record: Record) -> Json:
    """Where the event stands in the log, and all that it says in the open."""
    details = {
        "sequence": str(event["sequence"]),
        "index": str(event["index"]),
        "leaf-hash": record.hash.hex(),
        "exchange": event["exchange"],
        "repeats": event["repeats"],
        "data": encode_json(event["data"]).decode(),
    }
    if record.absent is not None:
        details[record.absent.why] = record.absent.reference or "true"
    return {
        "type": _coding(_ENTITY_TYPES, "4", "Other"),
        "name": "record of the audit log",
        "detail": [{"type": name, "valueString": value} for name, value in details.items() if value],
    }


def _device(name: str) -> Json:
    return {"type": "Device", "identifier": {"value": name}, "display": name}


def _network(address: str, kind: str) -> Json:
    return {"address": address, "type": kind}


def _coding(system: str, code: str, display: str | None = None) -> Json:
    coding = {"system": system, "code": str(code)}
    return coding | {"display": display} if display else coding
