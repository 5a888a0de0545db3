"""The catalogue of audit events: what each says, field by field, and where that stands (SMSP-AUDIT-009 c, IG-3.9.4 d).

`CATALOGUE` is the one table of it, and `check` holds every entry to it before the entry is made a record: an event that
lacks a detail its type calls for is refused, and so is one with a field that nobody declared, by which something of a
patient could come into the hashed part. The types themselves are in ``events.py``; docs/audit-events.md is made from
this table by ``catalogue_page.py``.

What may stand in `data`, which is hashed and kept for ever: ids, codes, fixed words, counts, times, names of systems
and of staff. Never a patient datum, nor anything computed from one alone, nor free text, of which nobody knows what is
in it: all that is declared `private`. A time is UTC microseconds since 1970, and "or null" means that the field is
there all the same.
"""

import re
from collections.abc import Collection
from typing import Final

import msgspec

from minispine.audit.actor import ACTOR_FIELDS
from minispine.audit.events import Event, EventType

Fields = dict[str, str]
"""Names of fields, each with what it means."""


class EventInvalid(ValueError):
    """An event that is not as the catalogue says, by a mistake of ours. Names the type and fields, never a value."""


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """What events of one type say.

    `needs` and `may` are the fields of `data` that such an event has to have and may have, `private_needs` and
    `private_may` those of `private`. `writer` is the part of the product that writes it; with `planned` nothing writes
    it yet, and `writer` is what is going to.
    """

    meaning: str
    needs: Fields
    may: Fields = {}
    private_needs: Fields = {}
    private_may: Fields = {}
    writer: str
    planned: bool = False


def check(event: Event) -> None:
    """Hold an event to the catalogue.

    Raises `EventInvalid` when a field that its type needs is missing, when one is there that is not declared, and when
    an `actor` is not as `Actor.as_data` makes it.
    """
    shape = _SHAPES[event.type]
    data, private = event.data, event.private
    if (
        not shape.needs <= data.keys() <= shape.known
        or (private and not private.keys() <= shape.private_known)
        or (shape.private_needs and not shape.private_needs <= private.keys())
    ):
        raise EventInvalid(_what_is_wrong(event, shape))
    if "actor" in data:
        _check_actor(event.type, data["actor"], needed="actor" in shape.needs)


class _Shape(msgspec.Struct, frozen=True, gc=False):
    """The names in a `Kind`, as `check` compares them."""

    needs: frozenset[str]
    known: frozenset[str]
    private_needs: frozenset[str]
    private_known: frozenset[str]


_ACTOR: Final = frozenset(ACTOR_FIELDS)
_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")


def _check_actor(type_: EventType, actor: object, *, needed: bool) -> None:
    if actor is None and not needed:
        return
    if not isinstance(actor, dict) or actor.keys() != _ACTOR or not actor["user_id"]:
        raise EventInvalid(f"{type_} has an actor that is not made as one")


def _what_is_wrong(event: Event, shape: _Shape) -> str:
    data, private = event.data.keys(), event.private.keys()
    wrong = {
        "lacks": shape.needs - data,
        "lacks in private": shape.private_needs - private,
        "may not have": data - shape.known,
        "may not have in private": private - shape.private_known,
    }
    return "; ".join(f"{event.type} {what} {_listed(names)}" for what, names in wrong.items() if names)


def _listed(names: Collection[str]) -> str:
    """Names of fields; what is not written as one could be a value that got in its place."""
    return ", ".join(sorted(str(name) if _NAME.fullmatch(str(name)) else "(no name of a field)" for name in names))


# ── groups of fields ────────────────────────────────────────────────────────────────────────────────────────────────

_BY: Final[Fields] = {"actor": "who did it: see above"}
_PERHAPS_BY: Final[Fields] = {"actor": "who did it, or null where no person did"}
_FOR_WHOM: Final[Fields] = {"actor": "the person at whose request it is, in the log of a front-line application"}
_AUDIT_IDENTITY: Final[Fields] = {"audit_identity": "the audit identities of the request: type and URI of each"}
_MESSAGE: Final[Fields] = {
    "interaction": "the national interaction, or the operation of a mini service",
    "message_id": "the message's id",
    "asid": "the ASID it is sent for, or null",
}
_MESSAGE_MAY: Final[Fields] = {
    "hl7_id": "the id inside an HL7 version 3 message",
    "attempt": "which try it is, where a retry keeps its id, from 1",
    "audit_identity": "the audit identities it carries",
    "operation": "the operation of the mini service",
}
_CAME_BACK: Final[Fields] = {
    "sent_at": "when it left; the event's own time is when the answer had come, or was given up",
    "outcome": "what it came to, in one word",
    "cause": "the row of the Spine-code table by which it did",
    "spine_message_id": "the answer's id, or null where none could be read",
}
_FOUND: Final[Fields] = {
    "nhs_number": "the number that the answer names",
    "limited": "true for a record of which only a part may be shown",
}
_PATIENT: Final[Fields] = {"nhs_number": "the patient's NHS number, or null for one who has none"}
_PATIENT_MAY: Final[Fields] = {"patient_id": "the patient's identifier here"}
_SHOWN_WHERE: Final[Fields] = {"function": "the page or function by which it was done"}
_ACCESS: Final[Fields] = {"access_point": "the address or workstation it came from, or null where that is not known"}
_SESSION: Final[Fields] = {"session": "a random name of the session, not what its bearer presents"}
_WHOM: Final[Fields] = {"user": "the user id of the one concerned"}
_WHOM_MAY: Final[Fields] = {"user_name": "their name"}
_BEFORE_AFTER: Final[Fields] = {"before": "as it was, or null", "after": "as it is now, or null"}
_DOCUMENT: Final[Fields] = {
    "kind": "of what kind the document is",
    "key": "which one",
    "version": "the version that this made",
    "changed_entries": "how many of the document's values differ",
    **_BY,
    **_BEFORE_AFTER,
}
_REASON_TYPED: Final[Fields] = {"reason": "why, in the words of whoever did it, or null"}
_TYPED: Final[Fields] = _REASON_TYPED | {
    "note_before": "the document's own note, as it was",
    "note_after": "the document's own note, as it is now",
}
_LOOK_UP: Final[Fields] = {
    "directory": "which directory",
    "search": "what was searched for: a user role profile, an ASID, an organisation",
}
_BROKER: Final[Fields] = {"broker": "which broker", "token_sha256": "the SHA-256 of the token; the token is nowhere"}
_TOKEN: Final[Fields] = {"endpoint": "which token endpoint", "request_id": "the id of the request (its jti)"}
_WORKER: Final[Fields] = {"worker": "the worker's number"}
_FILE: Final[Fields] = {"file": "the file", "sha256": "its digest"}
_QUERY: Final[Fields] = {
    "command": "the command or page",
    "criteria": "by which things it was searched: names only",
    "first": "the first sequence number wanted",
    "last": "the last one, or null for the end",
    "private_shown": "whether what is recorded about patients was shown too",
}
_QUERY_TYPED: Final[Fields] = {
    "exchange": "the exchange searched for",
    "identifier": "the id searched for",
    "nhs_number": "the patient searched for",
    "user": "the user",
    "authority": "the person authorising",
    "message_id": "the message",
    "organisation": "the organisation",
    "device": "the workstation or address",
    "item": "the document or key",
    "client": "the client",
    "event": "the types of event",
    "outcome": "the outcome",
    "source": "where the answer came from",
    "from": "the earliest time",
    "to": "the latest time",
    "as_at": "the date as at which a record was rebuilt",
}
_KEYS: Final[Fields] = {"declaration": "the log's public keys, a signed note: see audit/declaration.py"}
_RANGE: Final[Fields] = {"first": "the first record", "last": "the last record"}

_PROVIDER: Final = "the provider"
_SUPERVISOR: Final = "the provider's supervisor"
_COMMANDS: Final = "the commands"
_ACCESS_ROOM: Final = "the console and the front-line application"
_FRONTLINE: Final = "the front-line application"


# ── the table ───────────────────────────────────────────────────────────────────────────────────────────────────────

CATALOGUE: Final[dict[EventType, Kind]] = {
    # exchanges
    EventType.EXCHANGE_RECEIVED: Kind(
        meaning="A request came from an identified client. What could not be read of it is not there.",
        needs={
            "peer": "the network address it came from",
            "path": "the address that was called",
            "lane": "the client's lane: attended, unattended or batch",
        },
        may={
            "message_id": "the id the client gave its message",
            "operation": "the operation of the mini service",
            "service": "the ITK service named",
            "tracking_id": "the envelope's tracking id",
            **_AUDIT_IDENTITY,
            "access_method": "the access method, 1 to 4",
            "organisation": "the ODS code of the initiating organisation",
            "user_code": "the local user's code, or null",
            "function": "the automated function, or null",
            "asid": "the initiating organisation's ASID, or null",
            "author": "user id, role profile and role of a smartcard's holder",
        },
        private_may={
            "audit_identity": "the audit identities, where they were not accepted",
            "operation": "the operation, again",
            "nhs_number": "the NHS number asked about",
            "birth_date": "the date of birth",
            "family": "the family name",
            "given": "the given name",
            "gender": "the gender",
            "postcode": "the postcode",
            "local_identifier": "the client's identifier of the patient",
            "username": "the user name in the security header, which authorises nothing",
            "sender_address": "the sender's address in the envelope, likewise",
        },
        writer=_PROVIDER,
    ),
    EventType.EXCHANGE_ASKED: Kind(
        meaning="A message is about to leave for a national service, or from the front line for a mini service.",
        needs=_MESSAGE | {"author": "the person it names: user id, role profile, role; or null"},
        may=_MESSAGE_MAY | _FOR_WHOM,
        private_may={"question": "the question, with its criteria"},
        writer=_PROVIDER,
    ),
    EventType.EXCHANGE_RESERVED: Kind(
        meaning="Ids were set aside for a second question or a retry, which may or may not be used.",
        needs={"ids": "the ids of each such message"},
        may=_FOR_WHOM,
        writer=_PROVIDER,
    ),
    EventType.EXCHANGE_SPINE_ANSWERED: Kind(
        meaning="A message was answered.",
        needs=_MESSAGE | _CAME_BACK,
        may=_MESSAGE_MAY | _FOR_WHOM,
        private_may=_FOUND,
        writer=_PROVIDER,
    ),
    EventType.EXCHANGE_SPINE_SILENT: Kind(
        meaning="A message left, or tried to, and no usable answer came: unreachable, timed out, cut short.",
        needs=_MESSAGE | _CAME_BACK,
        may=_MESSAGE_MAY | _FOR_WHOM,
        private_may=_FOUND,
        writer=_PROVIDER,
    ),
    EventType.EXCHANGE_ALTERED: Kind(
        meaning="Data from Spine was changed or left out to fit the interface.",
        needs={"rule": "the rule, as listed in docs/manipulations.md", "field": "the field"},
        private_needs={"before": "as Spine sent it", "after": "as it was passed on, or null"},
        writer=_PROVIDER,
    ),
    EventType.EXCHANGE_UNUSABLE: Kind(
        meaning="No safe answer can be made of what Spine sent.",
        needs={"rule": "the rule", "field": "the field", "reason": "why, a fixed phrase"},
        writer=_PROVIDER,
    ),
    EventType.EXCHANGE_REPLIED: Kind(
        meaning="The client was answered.",
        needs={
            "source": "where the answer came from: spine, local, cache",
            "status": "the HTTP status",
            **_AUDIT_IDENTITY,
        },
        may={
            "code": "the response code, where it is one",
            "cause": "the row of the Spine-code table that gave the code",
            "fault": "the fault, where it is one",
            "diagnostic": "the fault's diagnostic, a fixed phrase",
            "message_id": "the answer's id",
            "vocabulary": "the version of the table of response codes",
            "spine_codes": "the version of the table of Spine's codes",
            "organisation": "again, where the request is in another record: the initiating organisation",
            "user_code": "again, likewise: the local user's code",
            "function": "again, likewise: the automated function",
            "author": "again, likewise: the smartcard's holder",
        },
        private_may={
            "nhs_number": "the number given",
            "asked": "again, where the request is in another record: the NHS number asked about, if it is another",
        },
        writer=_PROVIDER,
    ),
    EventType.EXCHANGE_REFUSED: Kind(
        meaning="The request was refused.",
        needs={"reason": "why, a fixed word"},
        may={
            "field": "the field at fault",
            "rule": "what is wrong with it, a fixed phrase",
            "reference": "the reference of a defect of ours, which the application's log has too",
            **_FOR_WHOM,
        },
        writer=_PROVIDER,
    ),
    EventType.EXCHANGE_ABANDONED: Kind(
        meaning="The client had gone before anything was asked, so nothing was.",
        needs=_AUDIT_IDENTITY,
        writer=_PROVIDER,
    ),
    EventType.EXCHANGE_UNDELIVERED: Kind(
        meaning="The client had gone when its answer was ready.", needs={}, writer=_PROVIDER
    ),
    EventType.EXCHANGE_OUTCOME_UNKNOWN: Kind(
        meaning="What was asked may have been answered unseen: the process died, or was stopped before its time.",
        needs={"reason": "process-died or stopping"},
        may={
            "opened_by": "the record that opened the exchange",
            "instance": "the process that died",
            "recorded": "what that record says of messages that may have left",
        },
        writer=_PROVIDER,
    ),
    EventType.EXCHANGE_ANSWERED_FROM_CACHE: Kind(
        meaning="The question was answered by a record kept here, without asking Spine.",
        needs={"age_s": "how old the record was, in seconds", "rule": "the cache rule that allowed it"},
        private_needs={
            "nhs_number": "whose record",
            "from_exchange": "the exchange that fetched it; private, as it joins questions about one patient",
        },
        writer=_PROVIDER,
    ),
    EventType.EXCHANGE_SHARED: Kind(
        meaning="The answer is that of another exchange's question, which was on its way.",
        needs=_MESSAGE
        | {
            "leader": "that exchange",
            "spine_message_id": "the id of the answer, or null",
            "outcome": "what came of it",
            "cause": "the row of the Spine-code table that says so",
        },
        may=_MESSAGE_MAY,
        private_may=_FOUND,
        writer=_PROVIDER,
    ),
    # other national services
    EventType.DIRECTORY_ASKED: Kind(
        meaning="A look-up in the Spine directory (SDS) is about to leave.",
        needs=_LOOK_UP,
        may={"request_id": "the id of the request, where the protocol has one"},
        writer="the provider, with the Spine directory",
        planned=True,
    ),
    EventType.DIRECTORY_ANSWERED: Kind(
        meaning="The directory answered, or did not.",
        needs=_LOOK_UP | {"sent_at": "when it left", "outcome": "found, absent, several, silent, refused"},
        may={
            "request_id": "the id of the request, where the protocol has one",
            "found": "what it says: user id, role, ASID",
        },
        writer="the provider, with the Spine directory",
        planned=True,
    ),
    EventType.SESSION_ASKED: Kind(
        meaning="A broker is about to be asked whether a token's session is alive.",
        needs=_BROKER,
        may={"request_id": "the id of the request"},
        writer="the provider and the front-line application, with smartcards",
        planned=True,
    ),
    EventType.SESSION_ANSWERED: Kind(
        meaning="The broker answered, or did not.",
        needs=_BROKER
        | {
            "sent_at": "when it left",
            "outcome": "alive, expired, unknown, silent",
            "user": "the session's user id, or null where not known",
        },
        may={"request_id": "the id of the request", "role_profile": "the session's role profile"},
        writer="the provider and the front-line application, with smartcards",
        planned=True,
    ),
    EventType.TOKEN_ASKED: Kind(
        meaning="A token endpoint is about to be asked for an access token for ourselves.",
        needs=_TOKEN,
        may={"key_id": "the key that signs the request"},
        writer="the provider, with PDS FHIR",
        planned=True,
    ),
    EventType.TOKEN_ANSWERED: Kind(
        meaning="The token endpoint answered, or did not.",
        needs=_TOKEN | {"sent_at": "when it left", "outcome": "granted, refused, silent"},
        may={"expires_at": "until when the token is good"},
        writer="the provider, with PDS FHIR",
        planned=True,
    ),
    # people and what they may do
    EventType.FUNCTION_USED: Kind(
        meaning="Somebody used a protected function, and was allowed to.",
        needs=_BY | _ACCESS | {"function": "the function"},
        may={"activity": "the right by which it was allowed"} | _SESSION,
        private_may=_PATIENT | _PATIENT_MAY,
        writer=_ACCESS_ROOM,
        planned=True,
    ),
    EventType.FUNCTION_REFUSED: Kind(
        meaning="Somebody tried to use a protected function and was not allowed to.",
        needs=_BY | _ACCESS | {"function": "the function", "reason": "why not, a fixed word"},
        may={"activity": "the right that it takes"} | _SESSION,
        private_may=_PATIENT | _PATIENT_MAY,
        writer=_ACCESS_ROOM,
        planned=True,
    ),
    EventType.RECORD_DISPLAYED: Kind(
        meaning="Patient data was shown on a screen.",
        needs=_BY | _SHOWN_WHERE,
        may=_SESSION,
        private_needs=_PATIENT | {"shown": "the values, as they were shown"},
        private_may=_PATIENT_MAY,
        writer=_FRONTLINE,
        planned=True,
    ),
    EventType.RECORD_PRINTED: Kind(
        meaning="Patient data was printed.",
        needs=_BY | _SHOWN_WHERE,
        may=_SESSION,
        private_needs=_PATIENT | {"shown": "the values, as they were printed"},
        private_may=_PATIENT_MAY,
        writer=_FRONTLINE,
        planned=True,
    ),
    EventType.RECORD_DOWNLOADED: Kind(
        meaning="Patient data was taken away as a file.",
        needs=_BY | _SHOWN_WHERE | {"form": "the form of the file"},
        may=_SESSION,
        private_needs=_PATIENT | {"shown": "the values, as they stand in the file"},
        private_may=_PATIENT_MAY,
        writer=_FRONTLINE,
        planned=True,
    ),
    EventType.RECORD_CHANGED: Kind(
        meaning="Patient data held here was changed.",
        needs=_BY | _SHOWN_WHERE,
        may=_SESSION,
        private_needs=_PATIENT | _BEFORE_AFTER,
        private_may=_PATIENT_MAY | _REASON_TYPED,
        writer=_FRONTLINE,
        planned=True,
    ),
    EventType.RECORD_ARCHIVED: Kind(
        meaning="Patient data held here was archived.",
        needs=_BY | _SHOWN_WHERE,
        may=_SESSION,
        private_needs=_PATIENT,
        private_may=_PATIENT_MAY | _REASON_TYPED,
        writer=_FRONTLINE,
        planned=True,
    ),
    EventType.LOGIN_SUCCEEDED: Kind(
        meaning="Somebody logged in.",
        needs=_BY | _ACCESS | {"means": "by what: password, second factor, smartcard"},
        may=_SESSION,
        writer=_ACCESS_ROOM,
        planned=True,
    ),
    EventType.LOGIN_FAILED: Kind(
        meaning="A log-in failed.",
        needs=_ACCESS
        | {
            "attempts": "how many in succession, with this one",
            "reason": "why, a fixed word",
            "user": "the user id, or null where what was typed is none",
        },
        private_may={"typed": "what was typed as the user's name where it is none: people type passwords there"},
        writer=_ACCESS_ROOM,
        planned=True,
    ),
    EventType.LOGIN_LOGGED_OUT: Kind(
        meaning="Somebody logged out.", needs=_BY | _ACCESS, may=_SESSION, writer=_ACCESS_ROOM, planned=True
    ),
    EventType.LOGIN_SESSION_ENDED: Kind(
        meaning="A session ended without its user's doing.",
        needs=_WHOM | {"reason": "idle, expired, taken away, role gone"},
        may=_WHOM_MAY | _SESSION | {"actor": "who took it away, or null"},
        writer=_ACCESS_ROOM,
        planned=True,
    ),
    EventType.USER_ADDED: Kind(
        meaning="A user was added.",
        needs=_BY | _WHOM | {"after": "the account, without secrets"},
        may=_WHOM_MAY,
        private_may=_REASON_TYPED,
        writer=_ACCESS_ROOM,
        planned=True,
    ),
    EventType.USER_CHANGED: Kind(
        meaning="A user's account was changed, but for what has an event of its own.",
        needs=_BY | _WHOM | _BEFORE_AFTER,
        may=_WHOM_MAY,
        private_may=_REASON_TYPED,
        writer=_ACCESS_ROOM,
        planned=True,
    ),
    EventType.USER_REMOVED: Kind(
        meaning="A user was removed. Their user id is never given to another.",
        needs=_BY | _WHOM,
        may=_WHOM_MAY,
        private_may=_REASON_TYPED,
        writer=_ACCESS_ROOM,
        planned=True,
    ),
    EventType.USER_LOCKED: Kind(
        meaning="A user may not log in until unlocked.",
        needs=_WHOM | {"cause": "why, a fixed word"},
        may=_WHOM_MAY | _PERHAPS_BY | {"until": "until when, or null"},
        private_may=_REASON_TYPED,
        writer=_ACCESS_ROOM,
        planned=True,
    ),
    EventType.USER_UNLOCKED: Kind(
        meaning="A user who was locked may log in again.",
        needs=_WHOM,
        may=_WHOM_MAY | _PERHAPS_BY,
        private_may=_REASON_TYPED,
        writer=_ACCESS_ROOM,
        planned=True,
    ),
    EventType.USER_PASSWORD_CHANGED: Kind(
        meaning="A password was changed. Neither the password nor its hash is anywhere.",
        needs=_BY | _WHOM,
        may=_WHOM_MAY | {"means": "own change, reset, first password"},
        writer=_ACCESS_ROOM,
        planned=True,
    ),
    EventType.USER_SECOND_FACTOR_CHANGED: Kind(
        meaning="A second factor was added, taken away or renewed.",
        needs=_BY | _WHOM | {"change": "added, removed, renewed", "factor": "of what kind it is"},
        may=_WHOM_MAY,
        writer=_ACCESS_ROOM,
        planned=True,
    ),
    EventType.USER_ROLES_CHANGED: Kind(
        meaning="The roles that a user has were changed.",
        needs=_BY | _WHOM | _BEFORE_AFTER,
        may=_WHOM_MAY,
        private_may=_REASON_TYPED,
        writer=_ACCESS_ROOM,
        planned=True,
    ),
    EventType.USER_ROLE_SWITCHED: Kind(
        meaning="A user took up another of their own roles.",
        needs=_BY | _BEFORE_AFTER,
        may=_SESSION,
        writer=_ACCESS_ROOM,
        planned=True,
    ),
    EventType.PEER_REFUSED: Kind(
        meaning="Connections without an identified client were refused.",
        needs={
            "peer": "the network address",
            "reason": "why, a fixed word",
            "minute": "in which minute",
            "count": "how many, in that minute and not yet recorded",
        },
        writer=_PROVIDER,
    ),
    # the product itself
    EventType.PROVIDER_STARTED: Kind(
        meaning="The provider was started.",
        needs=_BY | {"version": "its version", "workers": "how many workers", "pid": "the process"},
        writer=_SUPERVISOR,
    ),
    EventType.PROVIDER_STOPPED: Kind(meaning="The provider stopped.", needs={"pid": "the process"}, writer=_SUPERVISOR),
    EventType.WORKER_STARTED: Kind(
        meaning="A worker process started.", needs=_WORKER | {"pid": "the process"}, writer=_PROVIDER
    ),
    EventType.WORKER_STOPPED: Kind(
        meaning="A worker process stopped as it was told to.",
        needs=_WORKER | {"pid": "the process", "unfinished": "how many requests had not been answered"},
        writer=_PROVIDER,
    ),
    EventType.WORKER_DIED: Kind(
        meaning="A worker process ended without being told to.",
        needs=_WORKER | {"pid": "the process", "status": "its exit code; of a signal, less than nought"},
        writer=_SUPERVISOR,
    ),
    EventType.CONFIGURATION_READ: Kind(
        meaning="The configuration was read, at the start or again.",
        needs=_FILE,
        may=_WORKER
        | {"taken": "the keys of which the new value was taken", "need_a_restart": "the changed keys that were not"},
        private_may={"settings": "all settings, and the digests of the files they name, in the supervisor's record"},
        writer="the provider, and its supervisor",
    ),
    EventType.CONFIGURATION_CHANGED: Kind(
        meaning="Settings have other values than when they were last recorded.",
        needs=_FILE | {"changes": "each changed key, with its value before and after"},
        may=_PERHAPS_BY | _WORKER,
        writer="the provider, and its supervisor",
    ),
    EventType.CERTIFICATES_READ: Kind(
        meaning="Certificates, authorities and revocation lists were read again, and all could be used.",
        needs=_WORKER | {"changed": "the keys of those that had changed"},
        may={"changes": "each file that is no secret and differs, with its SHA-256 before and after"},
        writer=_PROVIDER,
    ),
    EventType.KEY_CHANGED: Kind(
        meaning="A key of the installation was replaced.",
        needs={
            "key": "which key",
            "before": "the fingerprint of the old one, or null",
            "after": "the fingerprint of the new one, or null",
        },
        may=_PERHAPS_BY | _WORKER,
        private_may=_REASON_TYPED,
        writer=_COMMANDS,
    ),
    EventType.CLIENT_ADDED: Kind(
        meaning="A client was registered.", needs=_DOCUMENT, private_may=_TYPED, writer=_COMMANDS
    ),
    EventType.CLIENT_EDITED: Kind(
        meaning="A client's registration was changed.", needs=_DOCUMENT, private_may=_TYPED, writer=_COMMANDS
    ),
    EventType.CLIENT_DISABLED: Kind(
        meaning="A client may no longer ask.", needs=_DOCUMENT, private_may=_TYPED, writer=_COMMANDS
    ),
    EventType.CLIENT_ENABLED: Kind(
        meaning="A client may ask again.", needs=_DOCUMENT, private_may=_TYPED, writer=_COMMANDS
    ),
    EventType.TABLE_CHANGED: Kind(
        meaning="A reference table got a new version.",
        needs=_DOCUMENT,
        private_may=_REASON_TYPED,
        writer=_COMMANDS,
    ),
    EventType.BUDGET_CHANGED: Kind(
        meaning="The table of budgets got a new version: how often Spine may be called, and who goes first.",
        needs=_DOCUMENT,
        private_may=_REASON_TYPED,
        writer=_COMMANDS,
    ),
    EventType.CACHE_CHANGED: Kind(
        meaning="The table of cache rules got a new version: which answers of Spine are kept, for whom and how long.",
        needs=_DOCUMENT,
        private_may=_REASON_TYPED,
        writer=_COMMANDS,
    ),
    EventType.CACHE_PURGED: Kind(
        meaning="Kept records were thrown away on somebody's order.",
        needs=_BY | {"scope": "all, a client's, a patient's", "count": "how many"},
        may={"client": "whose, of a client"},
        private_may={"nhs_number": "whose, of a patient"} | _REASON_TYPED,
        writer=_COMMANDS,
    ),
    EventType.CLOCK_STATE: Kind(
        meaning="The clock's state is another, or was found for the first time.",
        needs={
            "state": "good, bad or unknown",
            "policy": "require or observe",
            "source": "by what it is judged: ntp, chrony, timesyncd",
            "stratum": "the source's stratum, or null",
            "offset_us": "the clock's offset in microseconds, or null",
            "servers": "each configured server, with its stratum, its offset, and why it is not counted or null",
            "reasons": "what is wrong, in phrases of our own",
        },
        may={"follows": "the server that the daemon follows by whose word the stratum is, or null"},
        writer=_PROVIDER,
    ),
    # the trail itself
    EventType.AUDIT_BEGUN: Kind(
        meaning="The log begins, or goes on as a tree: the keys by which it can be verified.",
        needs=_BY | _KEYS | {"earlier_records": "how many records of a release without a tree come before"},
        writer=_COMMANDS,
    ),
    EventType.AUDIT_KEYS_CHANGED: Kind(
        meaning="Other keys are in force from now on.",
        needs=_BY | _KEYS,
        private_may=_REASON_TYPED,
        writer=_COMMANDS,
    ),
    EventType.AUDIT_READ: Kind(
        meaning="Somebody read the trail.",
        needs=_BY | _QUERY,
        private_may=_QUERY_TYPED,
        writer=_COMMANDS,
    ),
    EventType.AUDIT_EXPORTED: Kind(
        meaning="Somebody took a copy of a part of the trail.",
        needs=_BY | _QUERY | {"form": "csv, jsonl, fhir, evidence, report"},
        private_may=_QUERY_TYPED,
        writer=_COMMANDS,
    ),
    EventType.AUDIT_PAYLOAD_REMOVED: Kind(
        meaning="The payloads of records were destroyed on the order of both authorities.",
        needs=_BY
        | {
            "records": "which records",
            "reference": "the reference of the order, which names no patient",
            "request": "the request, with both authorities' signatures",
        },
        private_may=_REASON_TYPED,
        writer=_COMMANDS,
    ),
    EventType.AUDIT_REMOVAL_REFUSED: Kind(
        meaning="Somebody asked for the destruction of a payload without what it takes.",
        needs=_BY | {"cause": "what was missing or wrong, a fixed word"},
        may={"records": "which records"},
        private_may=_REASON_TYPED | {"reference": "the reference given, which nobody vouches for"},
        writer=_COMMANDS,
    ),
    EventType.AUDIT_ARCHIVED: Kind(
        meaning="Payloads were moved to a file.",
        needs=_BY | _RANGE | {"name": "the file's name", "sha256": "its digest"},
        writer=_COMMANDS,
    ),
    EventType.AUDIT_BACKED_UP: Kind(
        meaning="A backup was made.",
        needs=_BY | {"name": "the backup's name", "size": "how many records it holds"},
        may={"sha256": "the digest of its file of the log"},
        writer=_COMMANDS,
    ),
    EventType.AUDIT_RESTORED: Kind(
        meaning="The log goes on from a backup, in a new epoch.",
        needs=_BY
        | _KEYS
        | {
            "checkpoint": "the last witnessed checkpoint, or null",
            "first_lost": "the first record that is lost, or null",
            "last_lost": "the last one, or null where that is not known",
            "approved_by": "who approved it",
        },
        private_may=_REASON_TYPED,
        writer=_COMMANDS,
    ),
}
"""Every type of event, with what it says."""

_SHAPES: Final = {
    type_: _Shape(
        frozenset(kind.needs),
        frozenset(kind.needs | kind.may),
        frozenset(kind.private_needs),
        frozenset(kind.private_needs | kind.private_may),
    )
    for type_, kind in CATALOGUE.items()
}
