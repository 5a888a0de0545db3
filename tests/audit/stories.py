"""Exchanges and acts as the provider and a front-line application write them, for tests that read the trail."""

import uuid
from typing import Any

import msgspec

from minispine.audit.actor import Actor
from minispine.audit.events import Body, Entry, Event, EventType
from minispine.domain.operations import Operation
from minispine.domain.patient import Patient
from minispine.domain.request import Reply
from minispine.vocabulary.codes import shipped_vocabulary
from minispine.wire import itk, pds
from tests.audit.conftest import START
from tests.audit.samples import sample

VOCABULARY = shipped_vocabulary("pds")
BY_NUMBER = Operation.GET_PATIENT_DETAILS_BY_NHS_NUMBER
BY_SEARCH = Operation.GET_PATIENT_DETAILS_BY_SEARCH


def new_id(name: str) -> str:
    """An upper-case UUID, the same for the same name."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, name)).upper()


def local_user(code: str, organisation: str = "RXX") -> dict[str, str]:
    """The audit identity of a local user."""
    return {
        "type": "2.16.840.1.113883.2.1.3.2.4.18.27",
        "uri": f"urn:nhs-uk:identity:ods:{organisation}:{code}",
    }


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One call of a mini service: what was asked, and what came of it. `spine` are the outcomes of each question."""

    name: str
    user: str = "jsmith"
    organisation: str = "RXX"
    client: str = "ward"
    operation: Operation = BY_NUMBER
    patient: str | None = "9434765919"
    """The number asked about, None in a search."""
    found: str | None = "9434765919"
    code: str = "SMSP-0000"
    source: str = "spine"
    spine: tuple[str, ...] = ("found",)
    shown: Patient | None = None
    at: int = START

    @property
    def message_id(self) -> str:
        return new_id(f"{self.name} message")

    @property
    def exchange(self) -> str:
        return new_id(f"{self.name} exchange")

    @property
    def tracking_id(self) -> str:
        return new_id(f"{self.name} tracking")

    @property
    def identity(self) -> list[dict[str, str]]:
        return [local_user(self.user, self.organisation)]

    def spine_id(self, number: int = 1) -> str:
        return new_id(f"{self.name} spine {number}")

    def answer_id(self, number: int = 1) -> str:
        return new_id(f"{self.name} answer {number}")

    @property
    def asked(self) -> Entry:
        """The record before anything is asked."""
        asking = {"interaction": "QUPA_IN000005UK01", "asid": "200000000001", "author": None}
        criteria = {"operation": self.operation, "birth_date": "20090310", "nhs_number": self.patient}
        others = [{"message_id": self.spine_id(n)} for n in range(2, len(self.spine) + 1)]
        events = [
            sample(
                EventType.EXCHANGE_RECEIVED,
                at=self.at,
                private={name: value for name, value in criteria.items() if value},
                message_id=self.message_id,
                operation=self.operation.value,
                tracking_id=self.tracking_id,
                audit_identity=self.identity,
                access_method=2,
                organisation=self.organisation,
                user_code=self.user,
            ),
            Event(
                type=EventType.EXCHANGE_ASKED,
                at=self.at + 1_000,
                data=asking | {"message_id": self.spine_id()},
                private={"question": {"nhs_number": self.patient} if self.patient else {"family": "Markerby"}},
            ),
        ]
        if others:
            events.append(Event(type=EventType.EXCHANGE_RESERVED, at=self.at + 1_000, data={"ids": others}))
        return Entry(
            events=tuple(events),
            exchange=self.exchange,
            client=self.client,
            client_message_id=self.message_id,
            bodies=(Body("request", b"<request>%b</request>" % self.name.encode()),),
            opens=True,
        )

    @property
    def replied(self) -> Entry:
        """The record before the answer leaves."""
        events = [
            sample(
                EventType.EXCHANGE_SPINE_SILENT if outcome == "unavailable" else EventType.EXCHANGE_SPINE_ANSWERED,
                at=self.at + number * 100_000,
                private={"nhs_number": self.found} if self.found and outcome == "found" else {},
                message_id=self.spine_id(number),
                spine_message_id=None if outcome == "unavailable" else self.answer_id(number),
                sent_at=self.at + number * 100_000 - 50_000,
                outcome=outcome,
            )
            for number, outcome in enumerate(self.spine, start=1)
        ]
        bodies = [Body(f"spine-request-{n}", b"<query/>") for n in range(1, len(self.spine) + 1)]
        bodies += [
            Body(f"spine-answer-{n}", b"<answer/>")
            for n, outcome in enumerate(self.spine, start=1)
            if outcome != "unavailable"
        ]
        events.append(
            sample(
                EventType.EXCHANGE_REPLIED,
                at=self.at + 500_000,
                private={"nhs_number": self.found} if self.found else {},
                source=self.source,
                status=200,
                audit_identity=self.identity,
                code=self.code,
                message_id=new_id(f"{self.name} reply"),
            )
        )
        return Entry(
            events=tuple(events),
            exchange=self.exchange,
            client=self.client,
            client_message_id=self.message_id,
            bodies=(*bodies, Body("reply", self.reply)),
            closes=True,
        )

    @property
    def reply(self) -> bytes:
        """The answer, as it went over the wire."""
        reply = Reply(
            code=self.code,
            nhs_number=self.found,
            verified=True if self.operation is Operation.VERIFY_NHS_NUMBER and self.found else None,
            patient=self.shown,
        )
        payload = pds.write_response(self.operation, reply, id=new_id(self.name), vocabulary=VOCABULARY)
        return itk.write_response(
            payload,
            operation=self.operation,
            message_id=new_id(f"{self.name} reply"),
            tracking_id=new_id(f"{self.name} reply tracking"),
            relates_to=self.message_id,
        )

    @property
    def entries(self) -> tuple[Entry, Entry]:
        return self.asked, self.replied


def person(user_id: str, name: str, **known: Any) -> dict[str, Any]:
    """Somebody who acts, as `actor` in an event."""
    return Actor(user_id=user_id, name=name, **{"organisation": "RXX", "device": "WS-17"} | known).as_data()


def act(type_: EventType, actor: dict[str, Any], patient: str | None = None, *, at: int = START, **told: Any) -> Entry:
    """What a person does in the front-line application. `told` goes where the catalogue has it: see `private`."""
    private = dict(told.pop("private", {}))
    if patient is not None:
        private["nhs_number"] = patient
    return Entry(events=(sample(type_, at=at, private=private, actor=actor, **told),))
