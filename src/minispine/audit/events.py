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
    EXCHANGE_ANSWERED_FROM_CACHE = "exchange.answered-from-cache"
    """The question was answered by a record kept here, without asking Spine: whose, how old (SMSP-AUDIT-006)."""
    EXCHANGE_SHARED = "exchange.shared"
    """The answer came from another exchange's question in flight: that exchange's ids and Spine's."""
    DIRECTORY_ASKED = "directory.asked"
    """A look-up in the Spine directory (SDS) is about to leave: its search key (SMSP-AUDIT-008 b)."""
    DIRECTORY_ANSWERED = "directory.answered"
    """The directory answered, or did not: the outcome."""
    SESSION_ASKED = "session.asked"
    """A broker is about to be asked whether a token's session is alive: the token's hash, never the token."""
    SESSION_ANSWERED = "session.answered"
    """The broker answered, or did not (IG-3.9.2 d)."""
    TOKEN_ASKED = "token.asked"  # noqa: S105
    """A token endpoint is about to be asked for an access token for ourselves."""
    TOKEN_ANSWERED = "token.answered"  # noqa: S105
    """The token endpoint answered, or did not."""
    FUNCTION_USED = "function.used"
    """Somebody used a protected function, and was allowed to (IG-3.9.2 a)."""
    FUNCTION_REFUSED = "function.refused"
    """Somebody tried to use a protected function and was not allowed to."""
    RECORD_DISPLAYED = "record.displayed"
    """Patient data was shown on a screen: what, in the private part (IG-3.9.2 c)."""
    RECORD_PRINTED = "record.printed"
    RECORD_DOWNLOADED = "record.downloaded"
    RECORD_CHANGED = "record.changed"
    """Patient data held here was changed: before and after, in the private part."""
    RECORD_ARCHIVED = "record.archived"
    LOGIN_SUCCEEDED = "login.succeeded"
    LOGIN_FAILED = "login.failed"
    """A log-in failed: how many in succession, and the access point where it is known (SMSP-AUDIT-009 d)."""
    LOGIN_LOGGED_OUT = "login.logged-out"
    LOGIN_SESSION_ENDED = "login.session-ended"
    """A session ended without its user's doing: idle, expired, or taken away."""
    USER_ADDED = "user.added"
    USER_CHANGED = "user.changed"
    USER_REMOVED = "user.removed"
    USER_LOCKED = "user.locked"
    USER_UNLOCKED = "user.unlocked"
    USER_PASSWORD_CHANGED = "user.password-changed"  # noqa: S105
    """A password was changed: whose (SMSP-AUDIT-009 e). Neither the password nor its hash."""
    USER_SECOND_FACTOR_CHANGED = "user.second-factor-changed"
    USER_ROLES_CHANGED = "user.roles-changed"
    """What roles a user has was changed: before and after."""
    USER_ROLE_SWITCHED = "user.role-switched"
    """A user took up another of their own roles."""
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
    CONFIGURATION_CHANGED = "configuration.changed"
    """A setting has another value than when it was last recorded: each with before and after, also when the file was
    changed while nothing ran (IG-3.9.11 a)."""
    CERTIFICATES_READ = "certificates.read"
    """A worker read certificates, authorities and revocation lists again, and all could be used: the keys of those that
    had changed."""
    KEY_CHANGED = "key.changed"
    """A key of the installation was replaced: which, the fingerprints before and after, never the key."""
    CLIENT_ADDED = "client.added"
    CLIENT_EDITED = "client.edited"
    CLIENT_DISABLED = "client.disabled"
    CLIENT_ENABLED = "client.enabled"
    TABLE_CHANGED = "table.changed"
    """A reference table got a new version: before and after."""
    BUDGET_CHANGED = "budget.changed"
    """The table of budgets got a new version: before and after."""
    CACHE_CHANGED = "cache.changed"
    """The table of cache rules got a new version: before and after."""
    CACHE_PURGED = "cache.purged"
    """Kept answers were thrown away on somebody's order: all, a client's, or a patient's."""
    CLOCK_STATE = "clock.state"
    """The clock's state is another: source, stratum, offset, reasons (SMSP-AUDIT-010 a)."""
    AUDIT_BEGUN = "audit.begun"
    """The first record of a log: its origin, its public key, those of the two redaction authorities."""
    AUDIT_KEYS_CHANGED = "audit.keys-changed"
    """Other public keys are in force from now on; signed with the keys before them."""
    AUDIT_READ = "audit.read"
    """Somebody read the trail: who, and what was searched for."""
    AUDIT_EXPORTED = "audit.exported"
    """Somebody took a copy of a part of the trail: who, what, in which form."""
    AUDIT_PAYLOAD_REMOVED = "audit.payload-removed"
    """The payload of a record was destroyed on the order of both redaction authorities, whose signatures it holds."""
    AUDIT_REMOVAL_REFUSED = "audit.removal-refused"
    """Somebody asked for the destruction of a payload without what it takes."""
    AUDIT_ARCHIVED = "audit.archived"
    """Payloads were moved to a file: the records, the file's name and digest."""
    AUDIT_BACKED_UP = "audit.backed-up"
    AUDIT_RESTORED = "audit.restored"
    """The log goes on from a backup: the last witnessed checkpoint, the lost records, who approved it. A new epoch."""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened. `at` is UTC microseconds since 1970, as read when it happened.

    `data` and `private` hold JSON values. `private` is for everything about a patient.
    """

    type: EventType
    at: int
    data: dict[str, Any] = {}
    private: dict[str, Any] = {}


class Cut(msgspec.Struct, frozen=True):
    """What is known of a message that was too long to be kept: its length in bytes and its SHA-256."""

    length: int
    digest: bytes


class Body(msgspec.Struct, frozen=True):
    """A message as it was on the wire; `name` says which: request, spine-request-1, spine-answer-1, reply.

    Of one that is read back with `cut`, `content` is only the beginning.
    """

    name: str
    content: bytes
    cut: Cut | None = None


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
