"""What can be recorded: the events, and the entry that carries them into the log.

Grammar of an event's name: ``<subject>.<past participle or state>``, both in lower case with hyphens; a name is never
reused for something else. An entry becomes one record: an ordered list of events with, apart from them, what may
only be kept encrypted.

The hashed part of a record (an event's `data`) holds ids, codes, names of systems and users, times: never a patient
datum, nor anything derived from one. Patient ids, criteria, alterations and bodies go into `private` and `bodies`.
"""

from enum import StrEnum
from typing import Any

import msgspec


class EventType(StrEnum):
    """Every kind of event, by the name it has in the log for ever."""

    EXCHANGE_RECEIVED = "exchange.received"
    """A request reached us from an identified client. Ids, audit identity, access method, organisation."""
    EXCHANGE_ASKED = "exchange.asked"
    """The ids of a message to a national service, written before its first byte leaves."""
    EXCHANGE_RESERVED = "exchange.reserved"
    """Ids set aside for a second question or a retry, which may or may not be used."""
    EXCHANGE_SPINE_ANSWERED = "exchange.spine-answered"
    """A national service answered one message. Its ids, the outcome, how long it took."""
    EXCHANGE_SPINE_SILENT = "exchange.spine-silent"
    """A message left, or tried to, and no usable reply came: unreachable, timed out, cut short."""
    EXCHANGE_ALTERED = "exchange.altered"
    """Data from Spine was changed or left out to fit the interface; rule and field here, values in the private part."""
    EXCHANGE_UNUSABLE = "exchange.unusable"
    """No safe answer can be made of what Spine sent: rule, field and reason."""
    EXCHANGE_REPLIED = "exchange.replied"
    """The answer given to the client: response code or fault, source."""
    EXCHANGE_REFUSED = "exchange.refused"
    """The request was refused, and why: as a rule before any national service was asked. Where Spine's answer comes
    before it, the client was disabled meanwhile or a defect of our own struck, and that answer did not go out."""
    EXCHANGE_ABANDONED = "exchange.abandoned"
    """The client had gone before anything was asked, so nothing was."""
    EXCHANGE_UNDELIVERED = "exchange.undelivered"
    """The client had gone when its answer was ready."""
    EXCHANGE_OUTCOME_UNKNOWN = "exchange.outcome-unknown"
    """The process that was serving an exchange died; found and closed at the next start."""
    PEER_REFUSED = "peer.refused"
    """A connection without an identified client was refused: peer, reason, how many in that minute."""
    PROVIDER_STARTED = "provider.started"
    PROVIDER_STOPPED = "provider.stopped"
    WORKER_STARTED = "worker.started"
    WORKER_STOPPED = "worker.stopped"
    WORKER_DIED = "worker.died"
    """A worker process ended without being told to; written by the supervisor, which starts another."""
    CONFIGURATION_READ = "configuration.read"
    """The configuration was read: by the supervisor at its start, with the file's digest; after a re-reading by each
    worker, with the digest, the keys that it took, and the changed ones that need a restart."""
    CERTIFICATES_READ = "certificates.read"
    """A worker read certificates, authorities and revocation lists again, and all could be used: the keys of those that
    had changed."""
    CLIENT_ADDED = "client.added"
    CLIENT_EDITED = "client.edited"
    CLIENT_DISABLED = "client.disabled"
    CLIENT_ENABLED = "client.enabled"
    TABLE_CHANGED = "table.changed"
    """A reference table got a new version: before and after."""
    AUDIT_READ = "audit.read"
    """Somebody read the trail: who, and what was searched for."""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened. `at` is UTC microseconds since 1970, as read when it happened.

    `data` and `private` hold JSON values. `private` is for everything about a patient.
    """

    type: EventType
    at: int
    data: dict[str, Any] = {}
    private: dict[str, Any] = {}


class Body(msgspec.Struct, frozen=True):
    """A message as it was on the wire; `name` says which: request, spine-request-1, spine-answer-1, reply."""

    name: str
    content: bytes


class Guard(msgspec.Struct, frozen=True):
    """The registration an entry relies on: it is only committed while this version is the one in force (Law 11)."""

    client: str
    version: int


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """What is handed to the log to become one record.

    `exchange` joins the records of one exchange. `client` and `client_message_id` let the log link a repeated message
    id to the earlier exchange. An entry with `opens` says that something is now awaited, one with `closes` that it is
    over: exchanges opened by a process that died are closed at the next start.
    """

    events: tuple[Event, ...]
    exchange: str | None = None
    client: str | None = None
    client_message_id: str | None = None
    bodies: tuple[Body, ...] = ()
    opens: bool = False
    closes: bool = False
    guard: Guard | None = None


class Receipt(msgspec.Struct, frozen=True):
    """Proof that an entry is durable: its sequence number, and the earlier exchange with the same client message id."""

    sequence: int
    repeats: str | None = None


class AuditUnavailable(Exception):
    """The log could not make the entry durable. Nothing may be asked or answered on the strength of it (Law 1)."""


class GuardFailed(Exception):
    """The registration changed since it was read; `client` names it. The entry was not written."""

    def __init__(self, client: str) -> None:
        super().__init__(f"the registration of {client} has changed")
        self.client = client
