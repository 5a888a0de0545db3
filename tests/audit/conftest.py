"""A clock, logs and entries for the tests of the audit room."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from minispine.audit.declaration import begin, in_force
from minispine.audit.events import Body, Entry, Event, EventType, Guard
from minispine.audit.log import AuditLog
from minispine.audit.note import Signer
from minispine.audit.reading import events
from minispine.audit.vault import Vault
from minispine.keys.ring import KeyRing, MasterKey
from minispine.storage import Database
from tests.audit.samples import ACTOR

START = 1_790_000_000_000_000
FIRST = 2
"""The number of the first record after the one that begins a log."""
ORIGIN = "minispine/SMSP-1"
IDENTITY = {"type": "2.16.840.1.113883.2.1.3.2.4.18.27", "uri": "urn:nhs-uk:identity:ods:RXX:jo"}
SIGNER = Signer(ORIGIN, Ed25519PrivateKey.from_private_bytes(bytes(31) + b"\x01"))
AUTHORITY_SIGNERS = (
    Signer("caldicott-guardian", Ed25519PrivateKey.from_private_bytes(bytes(31) + b"\x02")),
    Signer("chief-executive", Ed25519PrivateKey.from_private_bytes(bytes(31) + b"\x03")),
)
AUTHORITIES = tuple(signer.verifier for signer in AUTHORITY_SIGNERS)
RING = KeyRing((MasterKey.of(bytes(32)),))
VAULT = Vault(RING, bytes(32))


class Clock:
    """Microseconds since 1970, as the test says."""

    def __init__(self) -> None:
        self.us = START

    def __call__(self) -> int:
        return self.us


@pytest.fixture
def clock() -> Clock:
    return Clock()


LogMaker = Callable[..., AuditLog]


@pytest.fixture
def make_log(clock: Clock) -> Iterator[LogMaker]:
    """Makes logs, each of a process of its own, and closes them in the end; the first one begins the log."""
    numbers = itertools.count(1)
    with ExitStack() as closing:

        def make(database: Database, **options: Any) -> AuditLog:
            settings: dict[str, Any] = {
                "system_id": "SMSP-1",
                "instance": f"instance-{next(numbers)}",
                "vault": VAULT,
                "now": clock,
                "begun": True,
            } | options
            begun = settings.pop("begun")
            log = AuditLog(database, **settings)
            closing.callback(log.close_now)
            if begun and in_force(database) is None:
                begin(log, origin=ORIGIN, signer=SIGNER, authorities=AUTHORITIES, actor=ACTOR.as_data())
            return log

        yield make


@pytest.fixture
def log(database: Database, make_log: LogMaker) -> AuditLog:
    """A log on each database in turn."""
    return make_log(database)


def received(exchange: str, message_id: str | None = None, *, client: str = "ward", **options: Any) -> Entry:
    """An entry that opens an exchange, with patient data in its private part and its body."""
    return Entry(
        events=(
            Event(
                type=EventType.EXCHANGE_RECEIVED,
                at=START,
                data={"peer": "10.20.0.7", "path": "/smsp/pds", "lane": "attended", "audit_identity": [IDENTITY]},
                private={"nhs_number": "9434765919", "family": "Markerby"},
            ),
            Event(
                type=EventType.EXCHANGE_ASKED,
                at=START,
                data={"interaction": "QUPA", "message_id": f"SPINE-{exchange}", "asid": "2000", "author": None},
                private={"question": {"nhs_number": "9434765919"}},
            ),
        ),
        exchange=exchange,
        client=client,
        client_message_id=message_id,
        bodies=(Body("request", b"<family>Markerby</family>"),),
        opens=True,
        **options,
    )


def replied(exchange: str, message_id: str | None = None, *, client: str = "ward", **options: Any) -> Entry:
    """The entry that closes it."""
    return Entry(
        events=(
            Event(
                type=EventType.EXCHANGE_REPLIED,
                at=START,
                data={"source": "spine", "status": 200, "audit_identity": [IDENTITY], "code": "SMSP-0000"},
            ),
        ),
        exchange=exchange,
        client=client,
        client_message_id=message_id,
        closes=True,
        **options,
    )


def note(text: str = "", guard: Guard | None = None, at: int = START) -> Entry:
    """An entry about no exchange, with a text as its reason."""
    told = {"peer": "10.20.0.7", "reason": text, "minute": "2026-09-21T14:13:00.000000Z", "count": 1}
    return Entry(events=(Event(type=EventType.PEER_REFUSED, at=at, data=told),), guard=guard)


def reasons(database: Database) -> list[str]:
    """The texts of all notes in the log, in order."""
    return [each["data"]["reason"] for each in events(database) if each["type"] == EventType.PEER_REFUSED]
