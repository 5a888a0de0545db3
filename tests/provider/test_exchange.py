"""The path of a request as transcripts: this arrives, Spine says that; this is asked, recorded and answered."""

import asyncio
import itertools
import re

import msgspec
import pytest

from minispine.audit.encoding import prepare
from minispine.audit.events import AuditUnavailable, Entry, EventType, Receipt
from minispine.config.settings import Exchange as Limits
from minispine.domain.lanes import Lane
from minispine.domain.operations import Operation
from minispine.domain.outcome import (
    AuthorRefused,
    Found,
    InputRefused,
    Invalidated,
    NoMatch,
    NotVerified,
    Outcome,
    SeveralMatches,
    Superseded,
    Unavailable,
    Unusable,
)
from minispine.domain.patient import SpineAddress, SpineName, SpineTelecom
from minispine.domain.question import CrossCheck, Retrieval, Trace
from minispine.provider.cache import Kept
from minispine.provider.clients import Compatibility
from minispine.provider.exchange import Answer
from minispine.spine.ports import NoSlot
from minispine.vocabulary.cache_rules import load_cache_rules
from minispine.vocabulary.cache_rules import shipped_document as shipped_rules
from minispine.vocabulary.spine_codes import load_spine_codes, shipped_document
from minispine.wire import soap
from tests.audit.conftest import VAULT
from tests.provider.conftest import BY_NAME, BY_NUMBER, FOUND, JSMITH, NUMBER, RECORD, Scene, read, replace

VERIFY = Operation.VERIFY_NHS_NUMBER
FIND = Operation.GET_NHS_NUMBER
BY_NHS_NUMBER = Operation.GET_PATIENT_DETAILS_BY_NHS_NUMBER
BY_SEARCH = Operation.GET_PATIENT_DETAILS_BY_SEARCH
DETAILS = Operation.GET_PATIENT_DETAILS

PARAMETERS = {VERIFY: BY_NUMBER, FIND: BY_NAME, BY_NHS_NUMBER: BY_NUMBER, BY_SEARCH: BY_NAME, DETAILS: BY_NUMBER}

NOT_FOUND = NoMatch(event="pds.1")
NEW_NUMBER = "9449310416"
NUMBERS = ("9434765919", "9434765927", "9434765935", "9434765943", "9434765951", "9434765978")
"""Numbers of six people, so that none of their questions is another's."""


@pytest.mark.requirement("SERVICE-PDS", "a")
@pytest.mark.requirement("SMSP-ERR-006", "i")
@pytest.mark.parametrize("operation", list(Operation))
def test_each_operation_succeeds(scene: Scene, operation: Operation) -> None:
    answer = scene.ask(operation, FOUND, FOUND, **PARAMETERS[operation])
    assert (answer.status, answer.label) == (200, "SMSP-0000")
    reply = read(answer, operation)
    assert reply.nhs_number == NUMBER
    assert reply.verified is (True if operation is VERIFY else None)
    if operation in (BY_NHS_NUMBER, BY_SEARCH, DETAILS):
        assert reply.patient.name.family == "LANGAN"
        assert reply.patient.practice.name == "CAPELFIELD SURGERY"
    else:
        assert reply.patient is None


def test_two_records_and_the_ids_before_anything_is_asked(scene: Scene) -> None:
    scene.ask(BY_SEARCH, FOUND, FOUND, **BY_NAME)
    assert scene.log.types() == [
        ["exchange.received", "exchange.asked", "exchange.reserved"],
        ["exchange.spine-answered", "exchange.spine-answered", "exchange.replied"],
    ]
    assert scene.spine.recorded_before == [True, True]
    assert [type(question) for question, _ in scene.spine.asked] == [Trace, Retrieval]
    opening, closing = scene.log.entries
    assert opening.opens
    assert closing.closes
    assert opening.exchange == closing.exchange
    assert {entry.client_message_id for entry in scene.log.entries} == {"B0000000-AAAA-4AAA-8AAA-AAAAAAAAAAAA"}
    for entry in scene.log.entries:
        (identity,) = [event.data["audit_identity"] for event in entry.events if "audit_identity" in event.data]
        assert identity == [{"type": "2.16.840.1.113883.2.1.3.2.4.18.27", "uri": "urn:nhs-uk:identity:ods:RXX:jsmith"}]
    assert [body.name for body in opening.bodies] == ["request"]
    assert [body.name for body in closing.bodies] == [
        *("spine-request-1", "spine-answer-1", "spine-request-2", "spine-answer-2", "reply")
    ]


def test_no_patient_datum_is_in_what_will_be_hashed(scene: Scene) -> None:
    scene.ask(BY_SEARCH, FOUND, FOUND, **BY_NAME)
    hashed = str([(event.type, event.data) for event in scene.log.events])
    private = str([event.private for event in scene.log.events])
    for datum in (NUMBER, "LANGAN", "LAURENCE", "20090310", "KT21"):
        assert datum not in hashed
        assert datum in private


@pytest.mark.requirement("ACCESS-2", "c")
def test_the_user_code_stands_beside_the_ids_of_the_call(scene: Scene) -> None:
    scene.ask(VERIFY, FOUND, **BY_NUMBER)
    received = scene.log.only(EventType.EXCHANGE_RECEIVED)
    assert (received.data["access_method"], received.data["organisation"], received.data["user_code"]) == (
        *(2, "RXX"),
        "jsmith",
    )
    asked = scene.log.only(EventType.EXCHANGE_ASKED)
    answered = scene.log.only(EventType.EXCHANGE_SPINE_ANSWERED)
    assert asked.data["message_id"] == answered.data["message_id"]


@pytest.mark.requirement("ACCESS-1", "a")
def test_an_unattended_call_is_recorded_with_its_function_and_no_person(scene: Scene) -> None:
    body = scene.message(FIND, identity="urn:nhs-uk:identity:ods:RXX:SYS:nightly", **BY_NAME)
    assert scene.serve(body, FOUND).label == "SMSP-0000"
    received = scene.log.only(EventType.EXCHANGE_RECEIVED)
    assert (received.data["access_method"], received.data["function"], received.data["user_code"]) == (
        1,
        "nightly",
        None,
    )


@pytest.mark.requirement("SMSP-IG-003", "a", "c", "d", "e")
@pytest.mark.parametrize(("organisation", "asid"), [("RXX", "200000000999"), ("RYY", "200000000888")])
def test_the_sender_is_the_initiating_organisations_asid_and_never_that_of_who_manages_client_or_provider(
    scene: Scene, organisation: str, asid: str
) -> None:
    """RZZ manages the client's connection and hosts this provider; it has an ASID of its own in the table."""
    scene.registration = replace(scene.registration, name="managed-by-RZZ", organisations=("RXX", "RYY", "RZZ"))
    scene.serve(scene.message(identity=f"urn:nhs-uk:identity:ods:{organisation}:jsmith"), FOUND)
    assert [sender.asid for _, sender in scene.spine.asked] == [asid]


@pytest.mark.requirement("SMSP-ERR-005", "a")
@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        (NOT_FOUND, "DEMOG-0001"),
        (SeveralMatches(event="pds.7"), "DEMOG-0007"),
        (Superseded(event="pds.44", nhs_number=NEW_NUMBER), "DEMOG-0017"),
        (Invalidated(event="pds.22"), "DEMOG-0022"),
        (NotVerified(event="pds.40"), "DEMOG-0040"),
        (Unavailable(event="transport.unreachable"), "SMSP-0004"),
        (Unavailable(event="transport.breaker-open"), "SMSP-0004"),
        (Unusable(event="answer.malformed"), "SMSP-0002"),
        (InputRefused(event="pds.AT002"), "SMSP-0001"),
        (AuthorRefused(event="transport.forbidden"), "SMSP-0005"),
    ],
)
@pytest.mark.requirement("SMSP-ERR-001", "c")
def test_each_outcome_has_its_code_in_the_payload(scene: Scene, outcome: Outcome, code: str) -> None:
    answer = scene.ask(BY_NHS_NUMBER, outcome, **BY_NUMBER)
    assert (answer.status, read(answer, BY_NHS_NUMBER).code) == (200, code)
    assert read(answer, BY_NHS_NUMBER).patient is None


@pytest.mark.requirement("SMSP-ERR-006", "a", "h")
def test_an_event_without_a_row_is_9999_and_named_in_the_record(scene: Scene) -> None:
    assert scene.ask(VERIFY, Unusable(event="never.heard-of"), **BY_NUMBER).label == "SMSP-9999"
    assert scene.log.only(EventType.EXCHANGE_REPLIED).data["cause"] == "never.heard-of"


def test_a_superseded_number_is_answered_with_the_new_one_alone(scene: Scene) -> None:
    new = Superseded(event="pds.44", nhs_number=NEW_NUMBER)
    reply = read(scene.ask(VERIFY, new, **BY_NUMBER))
    assert (reply.nhs_number, reply.verified) == (NEW_NUMBER, False)
    reply = read(scene.ask(BY_NHS_NUMBER, new, **BY_NUMBER), BY_NHS_NUMBER)
    assert (reply.nhs_number, reply.patient) == (NEW_NUMBER, None)
    assert [type(question) for question, _ in scene.spine.asked] == [CrossCheck, CrossCheck]


@pytest.mark.requirement("SMSP-ERR-006", "a", "f")
@pytest.mark.requirement("SMSP-VAL-004", "c")
def test_a_record_that_cannot_be_shown_safely_is_0002_with_field_and_reason_recorded(scene: Scene) -> None:
    wrong = Found(event="found", record=replace(RECORD, birth_time="20100931"))
    answer = scene.ask(BY_NHS_NUMBER, FOUND, wrong, **BY_NUMBER)
    assert read(answer, BY_NHS_NUMBER).code == "SMSP-0002"
    assert read(answer, BY_NHS_NUMBER).patient is None
    assert b"20100931" not in answer.body
    unusable = scene.log.only(EventType.EXCHANGE_UNUSABLE).data
    assert unusable["field"] == "birth-date"
    assert unusable["reason"]


@pytest.mark.requirement("SMSP-ERR-006", "j", "l")
@pytest.mark.requirement("SMSP-VAL-004", "d")
def test_a_record_that_can_be_made_fit_is_0000_and_each_change_recorded(scene: Scene) -> None:
    address = SpineAddress(use="H", lines=("", "L" * 60, "", "", ""), postcode="TOOLONGPOSTCODE")
    odd = Found(event="found", record=replace(RECORD, addresses=(address,)))
    answer = scene.ask(BY_NHS_NUMBER, FOUND, odd, **BY_NUMBER)
    reply = read(answer, BY_NHS_NUMBER)
    assert reply.code == "SMSP-0000"
    assert reply.patient.addresses[0].lines[1] == "L" * 35
    assert reply.patient.addresses[0].postcode is None
    altered = [event for event in scene.log.events if event.type is EventType.EXCHANGE_ALTERED]
    assert len(altered) == 2
    assert {"TOOLONGPOSTCODE", "L" * 60} <= {event.private["before"] for event in altered}
    assert "TOOLONG" not in str([event.data for event in altered])


def test_a_number_that_is_none_is_never_handed_on(scene: Scene) -> None:
    bad = Found(event="found", record=replace(RECORD, nhs_number="9449310468"))
    answer = scene.ask(FIND, bad, **BY_NAME)
    assert read(answer, FIND).code == "SMSP-0002"
    assert b"9449310468" not in answer.body


# ── refusals before Spine ───────────────────────────────────────────────────────────────────────────────────────────


def refused(scene: Scene, reason: str) -> None:
    """Nothing was asked, and one record says why."""
    assert scene.spine.asked == []
    (entry,) = scene.log.entries
    assert [event.data["reason"] for event in entry.events if event.type is EventType.EXCHANGE_REFUSED] == [reason]
    assert [event.type for event in entry.events] == [
        EventType.EXCHANGE_RECEIVED,
        EventType.EXCHANGE_REFUSED,
        EventType.EXCHANGE_REPLIED,
    ]
    assert not entry.opens
    assert not entry.closes


@pytest.mark.requirement("SMSP-AUDIT-005", "a", "b")
@pytest.mark.requirement("SMSP-AUDIT-002", "a")
@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b'uri="urn:nhs-uk:identity:ods:RXX:jsmith"', b'uri=""', "identity.blank"),
        (b'uri="urn:nhs-uk:identity:ods:RXX:jsmith"', b'uri="   "', "identity.blank"),
        (b"<itk:auditIdentity>.*</itk:auditIdentity>", b"", "identity.absent"),
    ],
)
def test_a_message_without_audit_identity_is_answered_0001(scene: Scene, old: bytes, new: bytes, reason: str) -> None:
    body = re.sub(old, new, scene.message(), flags=re.DOTALL)
    assert body != scene.message()
    answer = scene.serve(body)
    assert (answer.status, read(answer).code) == (200, "SMSP-0001")
    refused(scene, reason)


@pytest.mark.parametrize(
    ("identity", "reason"),
    [("urn:nhs-uk:identity:ods:RXX", "identity.organisation-alone"), ("urn:nhs-uk:identity:x", "identity.malformed")],
)
def test_an_identity_that_names_nobody_is_answered_0001(scene: Scene, identity: str, reason: str) -> None:
    assert read(scene.serve(scene.message(identity=identity))).code == "SMSP-0001"
    refused(scene, reason)


def test_a_code_that_is_not_registered_is_answered_0001(scene: Scene) -> None:
    scene.registration = replace(scene.registration, user_codes="registered")
    assert read(scene.serve(scene.message())).code == "SMSP-0001"
    refused(scene, "identity.code-unregistered")


@pytest.mark.requirement("SMSP-AUDIT-002", "b")
def test_an_incomplete_smartcard_identity_is_answered_0005(scene: Scene) -> None:
    body = scene.message(identity="100102238986").replace(
        b"2.16.840.1.113883.2.1.3.2.4.18.27", b"1.2.826.0.1285.0.2.0.67"
    )
    assert read(scene.serve(body)).code == "SMSP-0005"
    refused(scene, "identity.smartcard-incomplete")


def test_what_is_not_registered_is_fault_3000(scene: Scene) -> None:
    whole = scene.registration
    for change, reason in (
        ({"organisations": ("RZZ",)}, "organisation"),
        ({"services": (FIND,)}, "service"),
        ({"methods": {}}, "method"),
    ):
        fresh = Scene()
        fresh.registration = replace(whole, **change)
        answer = fresh.serve(fresh.message())
        fault = read(answer)
        assert (answer.status, fault.code) == (500, "3000")
        refused(fresh, reason)


@pytest.mark.requirement("SMSP-IG-003", "a")
def test_an_organisation_without_asid_is_fault_3000(scene: Scene) -> None:
    scene.asids = {"RYY": "200000000888"}
    assert read(scene.serve(scene.message())).code == "3000"
    refused(scene, "asid")


@pytest.mark.requirement("SMSP-VAL-001", "b")
@pytest.mark.requirement("SMSP-ERR-006", "b")
@pytest.mark.parametrize(
    ("old", "new"), [(b'extension="9449310467"', b'extension="123"'), (b'value="20090310"', b'value="20100931"')]
)
def test_invalid_input_is_0001_with_the_field_but_not_its_value_recorded(scene: Scene, old: bytes, new: bytes) -> None:
    assert read(scene.serve(scene.message().replace(old, new))).code == "SMSP-0001"
    refused(scene, "input")
    said = scene.log.only(EventType.EXCHANGE_REFUSED).data
    assert said["field"].startswith("Person.")
    assert "123" not in str(said)
    assert "20100931" not in str(said)


@pytest.mark.requirement("SMSP-ERR-006", "c", "d")
def test_our_refusal_and_spines_refusal_look_the_same(scene: Scene) -> None:
    other = Scene()
    ours = scene.serve(scene.message().replace(b'extension="9449310467"', b'extension="9449310468"'))
    theirs = other.serve(other.message(), InputRefused(event="pds.AT002"))
    assert len(scene.spine.asked) == 0
    assert len(other.spine.asked) == 1
    assert normalised(ours.body) == normalised(theirs.body)
    assert b"SMSP-0001" in ours.body


def normalised(body: bytes) -> bytes:
    return re.sub(rb"[0-9A-F]{8}-AAAA-4AAA-8AAA-A{12}", b"ID", body)


def test_what_the_technology_cannot_ask_is_0001_and_nothing_is_asked(scene: Scene) -> None:
    scene.spine.refuses = InputRefused(event="input.not-supported")
    assert scene.ask(FIND, **BY_NAME).label == "SMSP-0001"
    refused(scene, "not-supported")


@pytest.mark.requirement("SMSP-ERR-001", "a", "b")
@pytest.mark.parametrize("body", [b"not XML", b"<a/>", b"<!DOCTYPE a><a/>"])
def test_what_is_no_message_is_fault_1000_without_a_payload(scene: Scene, body: bytes) -> None:
    answer = scene.serve(body)
    assert (answer.status, read(answer).code) == (500, "1000")
    assert b"Response-v1-0" not in answer.body
    refused(scene, "envelope")


# ── the two durable points ──────────────────────────────────────────────────────────────────────────────────────────


def test_with_the_log_away_nothing_is_asked_and_nothing_answered(scene: Scene) -> None:
    scene.log.away_at = {1}
    answer = scene.ask(VERIFY, FOUND, **BY_NUMBER)
    assert (answer.status, read(answer).code) == (500, "2100")
    assert scene.spine.asked == []


def test_with_the_log_away_at_the_end_spines_answer_is_withheld_and_recorded_when_the_log_is_back(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minispine.provider.exchange.PAY_EVERY_S", 0)
    scene.log.away_at = {2, 3, 4}

    async def away_and_back() -> Answer:
        scene.spine.told = [FOUND, FOUND]
        answer = await scene.exchanges().serve(scene.call(scene.message(BY_NHS_NUMBER, **BY_NUMBER)))
        assert len(scene.log.entries) == 1
        while len(scene.log.entries) == 1:
            await asyncio.sleep(0)
        return answer

    answer = asyncio.run(away_and_back())
    assert read(answer, BY_NHS_NUMBER).code == "2100"
    assert b"LANGAN" not in answer.body
    assert scene.log.entries[1].closes
    assert scene.log.types()[1] == [
        *("exchange.spine-answered", "exchange.spine-answered", "exchange.refused", "exchange.replied")
    ]
    assert scene.log.only(EventType.EXCHANGE_REPLIED).data["fault"] == "2100"


def test_a_first_record_that_may_yet_turn_up_is_closed_and_says_that_nothing_left(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minispine.provider.exchange.PAY_EVERY_S", 0)
    scene.log.away_at = {1}

    async def away_and_back() -> None:
        await scene.exchanges().serve(scene.call(scene.message()))
        while not scene.log.entries:
            await asyncio.sleep(0)

    asyncio.run(away_and_back())
    assert scene.spine.asked == []
    assert scene.log.types() == [["exchange.received", "exchange.refused", "exchange.replied"]]
    assert scene.log.entries[0].closes


def test_an_entry_that_cannot_be_written_keeps_back_none_behind_it_and_never_raises(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minispine.provider.exchange.PAY_EVERY_S", 0)
    append = scene.log.append
    tried: list[Entry] = []

    async def away_then_picky(entry: Entry) -> Receipt:
        tried.append(entry)
        if len(tried) <= 2:
            raise AuditUnavailable
        if len(tried) == 3:
            raise ValueError("an entry that is wrong in itself")
        return await append(entry)

    scene.log.append = away_then_picky  # type: ignore[method-assign]

    async def two_calls() -> list[Answer]:
        exchanges = scene.exchanges()
        answers = [await exchanges.serve(scene.call(b"one")), await exchanges.serve(scene.call(b"two"))]
        while not scene.log.entries:
            await asyncio.sleep(0)
        return answers

    assert [read(answer).code for answer in asyncio.run(two_calls())] == ["2100", "2100"]
    assert len(scene.log.entries) == 1

    async def always_picky(entry: Entry) -> Receipt:
        raise ValueError("an entry that is wrong in itself")

    scene.log.append = always_picky  # type: ignore[method-assign]
    assert read(scene.serve(b"three")).code == "2100"


def test_a_refusal_is_not_answered_without_its_record(scene: Scene) -> None:
    scene.log.away_at = {1}
    assert read(scene.serve(b"not XML")).code == "2100"


def test_a_client_disabled_before_asking_gets_fault_3000_and_nothing_is_asked(scene: Scene) -> None:
    scene.log.stale_at = {1}

    def disable() -> None:
        scene.registration = replace(scene.registration, enabled=False)
        scene.version = 2

    scene.on_refresh = disable
    assert read(scene.ask(VERIFY, FOUND, **BY_NUMBER)).code == "3000"
    refused(scene, "disabled")


def test_a_client_disabled_while_spine_answers_gets_fault_3000_and_no_reply_is_recorded(scene: Scene) -> None:
    scene.log.stale_at = {2}

    def disable() -> None:
        scene.registration = replace(scene.registration, enabled=False)
        scene.version = 2

    scene.on_refresh = disable
    answer = scene.ask(BY_NHS_NUMBER, FOUND, FOUND, **BY_NUMBER)
    assert read(answer, BY_NHS_NUMBER).code == "3000"
    assert b"LANGAN" not in answer.body
    replied = scene.log.only(EventType.EXCHANGE_REPLIED)
    assert replied.data["fault"] == "3000"
    assert scene.log.types()[1][:2] == ["exchange.spine-answered", "exchange.spine-answered"]
    assert scene.log.entries[1].closes


def test_a_response_code_too_is_an_answer_and_not_recorded_after_a_disabling(scene: Scene) -> None:
    scene.log.stale_at = {1}

    def disable() -> None:
        scene.registration = replace(scene.registration, enabled=False)
        scene.version = 2

    scene.on_refresh = disable
    answer = scene.serve(scene.message().replace(b'extension="9449310467"', b'extension="123"'))
    assert read(answer).code == "3000"
    assert [event.data.get("code") for event in scene.log.events if event.type is EventType.EXCHANGE_REPLIED] == [None]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"networks": ("10.0.0.0/8",)}, "network"), ({"certificates": ()}, "certificate")],
)
def test_everything_that_the_gate_asked_is_asked_again(scene: Scene, changes: dict[str, object], reason: str) -> None:
    scene.log.stale_at = {1}

    def edit() -> None:
        scene.registration = replace(scene.registration, **changes)
        scene.version = 2

    scene.on_refresh = edit
    assert read(scene.ask(VERIFY, FOUND, **BY_NUMBER)).code == "3000"
    refused(scene, reason)


def test_a_change_that_cannot_be_read_is_not_the_clients_fault(scene: Scene) -> None:
    scene.log.stale_at = {1}
    assert read(scene.ask(VERIFY, FOUND, **BY_NUMBER)).code == "2100"
    refused(scene, "registry")


# ── the time to stop ────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_outlasts_the_time_to_stop_is_told_so_on_record(scene: Scene) -> None:
    async def stopped() -> Answer:
        scene.spine.silent = asyncio.Event()
        serving = asyncio.create_task(scene.exchanges().serve(scene.call(scene.message())))
        await scene.spine.silent.wait()
        serving.cancel()
        return await serving

    assert read(asyncio.run(stopped())).code == "2100"
    assert scene.log.types()[1] == ["exchange.outcome-unknown", "exchange.replied"]
    assert scene.log.entries[1].closes


@pytest.mark.parametrize("begun", [1, 2], ids=["opening", "closing"])
def test_a_record_that_is_being_written_when_the_time_is_over_says_what_is_answered(scene: Scene, begun: int) -> None:
    async def stopped() -> Answer:
        scene.spine.told = [FOUND]
        scene.log.slow = asyncio.Event()
        serving = asyncio.create_task(scene.exchanges().serve(scene.call(scene.message())))
        for _ in range(begun - 1):
            await let_it_run()
            scene.log.slow.set()
            scene.log.slow = asyncio.Event()
        await let_it_run()
        serving.cancel()
        await let_it_run()
        scene.log.slow.set()
        scene.log.slow = None
        return await serving

    answer = asyncio.run(stopped())
    replied = scene.log.only(EventType.EXCHANGE_REPLIED).data
    assert [entry.opens for entry in scene.log.entries] == [True, False]
    assert scene.log.entries[1].closes
    if begun == 1:
        assert (read(answer).code, replied["fault"], scene.spine.asked) == ("2100", "2100", [])
    else:
        assert (read(answer).code, replied["code"]) == ("SMSP-0000", "SMSP-0000")


async def let_it_run() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def test_an_edited_client_that_still_may_is_served_on_its_new_version(scene: Scene) -> None:
    scene.log.stale_at = {1}
    scene.on_refresh = lambda: setattr(scene, "version", 2)
    assert scene.ask(VERIFY, FOUND, **BY_NUMBER).label == "SMSP-0000"
    assert [entry.guard.version for entry in scene.log.entries if entry.guard] == [2, 2]


def test_an_edited_client_that_no_longer_may_is_refused(scene: Scene) -> None:
    scene.log.stale_at = {1}

    def take_away() -> None:
        scene.registration = replace(scene.registration, organisations=("RYY",))
        scene.version = 2

    scene.on_refresh = take_away
    assert read(scene.ask(VERIFY, FOUND, **BY_NUMBER)).code == "3000"
    assert scene.spine.asked == []


# ── half-finished exchanges ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_client_gone_before_anything_is_asked_is_recorded_abandoned(scene: Scene) -> None:
    scene.gone = lambda: True
    scene.ask(VERIFY, FOUND, **BY_NUMBER)
    assert scene.spine.asked == []
    assert scene.log.types() == [["exchange.received", "exchange.abandoned"]]


def test_a_client_gone_while_waiting_for_its_turn_is_recorded_abandoned(scene: Scene) -> None:
    looks = itertools.count()
    scene.gone = lambda: next(looks) > 0
    scene.ask(VERIFY, FOUND, **BY_NUMBER)
    assert scene.spine.asked == []
    assert scene.log.types()[-1] == ["exchange.abandoned"]
    assert scene.log.entries[-1].closes


def test_a_client_gone_while_spine_answers_leaves_its_answer_on_record(scene: Scene) -> None:
    looks = itertools.count()
    scene.gone = lambda: next(looks) > 1
    scene.ask(VERIFY, FOUND, **BY_NUMBER)
    assert scene.log.types()[-1] == ["exchange.spine-answered", "exchange.replied", "exchange.undelivered"]


def test_nothing_is_asked_after_the_message_has_run_out(scene: Scene) -> None:
    scene.limits = replace(scene.limits, clock_skew_s=0)
    assert scene.serve(scene.message(expires_s=0.5), FOUND).label == "SMSP-0004"
    assert scene.spine.asked == []


def test_busy_is_503_with_retry_after_and_a_retryable_fault(scene: Scene) -> None:
    scene.admission.busy = NoSlot(17)
    answer = scene.serve(scene.message(BY_SEARCH, **BY_NAME))
    assert (answer.status, answer.retry_after_s, read(answer).code) == (503, 17, "2100")
    refused(scene, "busy")
    assert scene.admission.asked == [("200000000999", "attended", "ward", 2)]
    assert scene.log.types() == [["exchange.received", "exchange.refused", "exchange.replied"]]


def test_there_is_a_bound_to_the_requests_in_hand(scene: Scene) -> None:
    scene.limits = replace(scene.limits, max_in_flight=1, max_waiting=1)
    first, second, third = together(scene, [scene.message(VERIFY, **BY_NUMBER) for _ in range(3)], FOUND)
    assert [first.label, second.label] == ["SMSP-0000"] * 2
    assert (third.status, third.retry_after_s) == (503, 1)
    assert len(scene.spine.asked) == 1


@pytest.mark.requirement("SMSP-PERF-007", "a")
def test_a_batch_leaves_room_for_a_person(scene: Scene) -> None:
    scene.limits = replace(scene.limits, max_in_flight=1, max_waiting=5)
    scene.registration = replace(scene.registration, lane="batch")
    several = [scene.message(VERIFY, nhs_number=number, birth_date="20090310") for number in NUMBERS]
    assert [answer.label for answer in together(scene, several, *[FOUND] * 6)].count("fault-2100") == 1
    scene.registration = replace(scene.registration, lane="attended")
    assert [answer.label for answer in together(scene, several, *[FOUND] * 6)].count("fault-2100") == 0


@pytest.mark.requirement("SMSP-PERF-007", "a")
@pytest.mark.parametrize(
    ("registered", "identity", "lane"),
    [
        ("attended", JSMITH, "attended"),
        ("attended", "urn:nhs-uk:identity:ods:RXX:SYS:nightly", "unattended"),
        ("unattended", JSMITH, "unattended"),
        ("batch", JSMITH, "batch"),
        ("batch", "urn:nhs-uk:identity:ods:RXX:SYS:nightly", "batch"),
    ],
)
def test_the_lane_is_that_of_the_registration_but_a_function_never_goes_as_a_person(
    scene: Scene, registered: Lane, identity: str, lane: str
) -> None:
    scene.registration = replace(scene.registration, lane=registered)
    assert scene.serve(scene.message(VERIFY, identity=identity, **BY_NUMBER), FOUND).label == "SMSP-0000"
    assert scene.admission.asked == [("200000000999", lane, "ward", 1)]
    assert scene.log.only(EventType.EXCHANGE_RECEIVED).data["lane"] == lane
    assert scene.counted[0][2] == lane


@pytest.mark.requirement("SMSP-PERF-001", "c")
def test_a_second_question_that_finds_no_slot_is_busy_too_and_what_was_asked_is_on_record(scene: Scene) -> None:
    ready = asyncio.Event()
    ready.set()
    scene.admission.before = [ready, NoSlot(3)]
    answer = scene.serve(scene.message(BY_SEARCH, **BY_NAME), FOUND)
    assert (answer.status, answer.retry_after_s) == (503, 3)
    assert scene.log.types()[-1] == ["exchange.spine-answered", "exchange.refused", "exchange.replied"]
    assert scene.log.entries[-1].closes


# ── what is kept ────────────────────────────────────────────────────────────────────────────────────────────────────

FETCHED = Kept(outcome=FOUND, age_s=61, from_exchange="EARLIER", rule="ward", stale=False)
STALE = replace(FETCHED, age_s=7200, stale=True)
UNREACHABLE = Unavailable(event="transport.unreachable")


def keeping(scene: Scene) -> Scene:
    document = shipped_rules() | {
        "rule": [{"name": "ward", "service": "pds", "ttl_s": 600, "outage_s": 7200, "reason": "trial"}]
    }
    scene.cache_rules = load_cache_rules(document)
    return scene


@pytest.mark.requirement("SMSP-AUDIT-006", "a")
def test_a_kept_answer_needs_one_record_and_no_question(scene: Scene) -> None:
    keeping(scene).cache.kept = {CrossCheck: FETCHED, Retrieval: FETCHED}
    answer = scene.ask(BY_NHS_NUMBER, **BY_NUMBER)
    assert (answer.label, answer.age_s) == ("SMSP-0000", 61)
    assert read(answer, BY_NHS_NUMBER).patient.name.family == "LANGAN"
    assert scene.spine.asked == []
    assert scene.log.types() == [
        ["exchange.received", *["exchange.answered-from-cache"] * 2, "exchange.replied"],
    ]
    assert scene.log.entries[0].guard is not None
    assert scene.log.only(EventType.EXCHANGE_REPLIED).data["source"] == "cache"
    kept = scene.log.events[1]
    assert (kept.data, kept.private["from_exchange"]) == ({"age_s": 61, "rule": "ward"}, "EARLIER")


def test_a_kept_proof_is_not_put_beside_a_record_that_spine_gives_now(scene: Scene) -> None:
    keeping(scene).cache.kept = {CrossCheck: FETCHED}
    answer = scene.ask(BY_NHS_NUMBER, FOUND, FOUND, **BY_NUMBER)
    assert (answer.label, answer.age_s) == ("SMSP-0000", None)
    assert [type(question) for question, _ in scene.spine.asked] == [CrossCheck, Retrieval]
    assert scene.admission.asked[0][3] == 2
    assert scene.log.types()[0] == ["exchange.received", "exchange.asked", "exchange.reserved"]
    assert scene.log.only(EventType.EXCHANGE_REPLIED).data["source"] == "spine"
    assert [type(question) for question, _, _ in scene.cache.learnt] == [CrossCheck, Retrieval]


@pytest.mark.requirement("SMSP-ERR-006", "g")
@pytest.mark.requirement("SMSP-PERF-006", "b", "d")
@pytest.mark.requirement("SMSP-AUDIT-006", "a")
@pytest.mark.parametrize("shut", [False, True])
def test_what_is_kept_answers_while_spine_is_unavailable(scene: Scene, shut: bool) -> None:
    keeping(scene).cache.stale = {CrossCheck: STALE, Retrieval: STALE}
    scene.spine.is_shut = shut
    answer = scene.ask(BY_NHS_NUMBER, *([] if shut else [UNREACHABLE]), **BY_NUMBER)
    reply = read(answer, BY_NHS_NUMBER)
    assert (reply.code, reply.patient.name.family, answer.age_s) == ("SMSP-0003", "LANGAN", 7200)
    assert len(scene.spine.asked) == (0 if shut else 1)  # not asked again for the second question
    replied = scene.log.only(EventType.EXCHANGE_REPLIED)
    assert (replied.data["source"], replied.data["cause"]) == ("cache", "cache.spine-unavailable")
    assert len(scene.log.entries) == (1 if shut else 2)


@pytest.mark.requirement("SMSP-PERF-006", "c")
@pytest.mark.parametrize("shut", [False, True])
def test_nothing_kept_and_spine_unavailable_is_said_at_once(scene: Scene, shut: bool) -> None:
    keeping(scene).cache.stale = {CrossCheck: STALE}
    scene.spine.is_shut = shut
    answer = scene.ask(BY_NHS_NUMBER, *([] if shut else [UNREACHABLE]), **BY_NUMBER)
    assert (answer.label, answer.age_s, read(answer, BY_NHS_NUMBER).patient) == ("SMSP-0004", None, None)


def test_a_search_is_not_answered_in_an_outage_not_even_its_second_question(scene: Scene) -> None:
    keeping(scene).cache.stale = {Retrieval: STALE}
    assert scene.ask(BY_SEARCH, FOUND, UNREACHABLE, **BY_NAME).label == "SMSP-0004"
    assert scene.ask(BY_NHS_NUMBER, FOUND, UNREACHABLE, **BY_NUMBER).label == "SMSP-0003"


def test_a_kept_record_is_retrieved_only_for_the_date_of_birth_that_was_asked_about(scene: Scene) -> None:
    other = replace(FETCHED, outcome=Found(event="found", record=replace(RECORD, birth_time="20090311")))
    keeping(scene).cache.kept = {Trace: FETCHED, Retrieval: other}
    assert scene.ask(BY_SEARCH, FOUND, FOUND, **BY_NAME).age_s is None
    assert [type(question) for question, _ in scene.spine.asked] == [Trace, Retrieval]
    scene.cache.kept[Retrieval] = FETCHED
    assert scene.ask(BY_SEARCH, **BY_NAME).age_s == 61


def test_a_breaker_that_comes_round_between_two_questions_leaves_nothing_recorded_that_is_not_asked(
    scene: Scene,
) -> None:
    keeping(scene).cache.stale = {CrossCheck: STALE}
    looks = itertools.count()
    scene.spine.shut = lambda: next(looks) == 0  # type: ignore[method-assign]
    assert scene.ask(BY_NHS_NUMBER, **BY_NUMBER).label == "SMSP-0004"
    assert "exchange.asked" not in scene.log.types()[0]
    assert len(scene.log.entries) == 1


def test_our_own_time_being_over_is_no_outage(scene: Scene) -> None:
    keeping(scene).cache.stale = {CrossCheck: STALE}
    scene.spine.hurried = True
    assert scene.ask(VERIFY, Unavailable(event="transport.timeout"), **BY_NUMBER).label == "SMSP-0004"
    scene.limits = replace(scene.limits, clock_skew_s=0)
    assert scene.serve(scene.message(expires_s=0.5)).label == "SMSP-0004"
    scene.limits = Limits()
    scene.spine.hurried = False
    assert scene.ask(VERIFY, Unavailable(event="transport.timeout"), **BY_NUMBER).label == "SMSP-0003"


def test_without_a_rule_what_is_kept_is_not_even_looked_at(scene: Scene) -> None:
    scene.cache.kept = scene.cache.stale = {CrossCheck: FETCHED}
    assert scene.ask(VERIFY, UNREACHABLE, **BY_NUMBER).label == "SMSP-0004"


def test_every_answer_of_spine_is_learnt_from_also_where_nothing_is_kept_for_the_client(scene: Scene) -> None:
    scene.ask(VERIFY, Superseded(event="pds.44", nhs_number=NEW_NUMBER), **BY_NUMBER)
    [(question, outcome, scope)] = scene.cache.learnt
    assert (type(question), type(outcome)) == (CrossCheck, Superseded)
    assert (scope.client, scope.asid, scope.organisation, scope.side) == ("ward", "200000000999", "RXX", "hl7v3")


def test_no_answer_leaves_before_what_it_shows_to_be_wrong_is_deleted(scene: Scene) -> None:
    scene.cache.away = True
    answer = scene.ask(VERIFY, NOT_FOUND, **BY_NUMBER)
    assert (answer.label, read(answer).code) == ("fault-2100", "2100")


# ── one question asked once ─────────────────────────────────────────────────────────────────────────────────────────


def together(scene: Scene, bodies: list[bytes], *told: Outcome, first_gone: bool = False) -> list[Answer]:
    """Serve requests at the same time; Spine answers when all of them wait."""

    async def story() -> list[Answer]:
        scene.spine.told = list(told)
        scene.spine.until = asyncio.Event()
        exchanges = scene.exchanges()
        serving = [asyncio.ensure_future(exchanges.serve(scene.call(body))) for body in bodies]
        for _ in range(50):
            await asyncio.sleep(0)
        if first_gone:
            serving[0].cancel()
            for _ in range(50):
                await asyncio.sleep(0)
        scene.spine.until.set()
        return await asyncio.gather(*serving)

    return asyncio.run(story())


def test_the_same_question_at_the_same_time_is_asked_once(scene: Scene) -> None:
    answers = together(scene, [scene.message(VERIFY, **BY_NUMBER) for _ in range(3)], FOUND)
    assert [answer.label for answer in answers] == ["SMSP-0000"] * 3
    assert len(scene.spine.asked) == 1
    asked = scene.log.only(EventType.EXCHANGE_ASKED)
    leader = next(entry.exchange for entry in scene.log.entries if asked in entry.events)
    shared = [event for event in scene.log.events if event.type is EventType.EXCHANGE_SHARED]
    assert len(shared) == 2
    for event in shared:
        assert (event.data["leader"], event.data["message_id"]) == (leader, asked.data["message_id"])
        assert event.private == {"nhs_number": NUMBER}
    followers = [entry for entry in scene.log.entries if any(event in shared for event in entry.events)]
    for entry in followers:
        assert [body.name for body in entry.bodies] == ["spine-answer-1", "reply"]
        assert entry.closes
    assert len(scene.admission.asked) == 1  # who follows needs no slot


def test_another_organisation_asks_by_itself(scene: Scene) -> None:
    other = scene.message(VERIFY, identity=JSMITH.replace("RXX", "RYY"), **BY_NUMBER)
    together(scene, [scene.message(VERIFY, **BY_NUMBER), other], FOUND, FOUND)
    assert len(scene.spine.asked) == 2


def test_a_question_of_a_client_that_has_gone_keeps_its_turn_while_others_wait_for_its_answer(scene: Scene) -> None:
    async def story() -> list[str]:
        scene.spine.told = [FOUND]
        scene.admission.before = [turn := asyncio.Event()]
        exchanges = scene.exchanges()
        hung_up = asyncio.Event()
        scene.gone = hung_up.is_set
        first = asyncio.ensure_future(exchanges.serve(scene.call(scene.message(VERIFY, **BY_NUMBER))))
        await asyncio.sleep(0.01)
        (gone,) = scene.admission.gone
        assert gone is not None
        assert not gone()
        hung_up.set()
        assert gone()
        scene.gone = lambda: False
        second = asyncio.ensure_future(exchanges.serve(scene.call(scene.message(VERIFY, **BY_NUMBER))))
        await asyncio.sleep(0.01)
        assert not gone()
        turn.set()
        return [answer.label for answer in await asyncio.gather(first, second)]

    assert asyncio.run(story()) == ["SMSP-0000"] * 2
    assert len(scene.spine.asked) == 1


def test_a_follower_outlives_its_leader(scene: Scene) -> None:
    bodies = [scene.message(VERIFY, **BY_NUMBER) for _ in range(3)]
    answers = together(scene, bodies, FOUND, FOUND, first_gone=True)
    assert [answer.label for answer in answers] == ["fault-2100", "SMSP-0000", "SMSP-0000"]
    assert len(scene.spine.asked) == 2  # the second asked anew, for itself and the third
    durable = str([event.data for event in scene.log.events if event.type is EventType.EXCHANGE_RESERVED])
    answered = scene.log.only(EventType.EXCHANGE_SPINE_ANSWERED)
    assert answered.data["message_id"] in durable


def test_every_request_that_is_answered_is_counted(scene: Scene) -> None:
    scene.ask(VERIFY, FOUND, **BY_NUMBER)
    scene.serve(b"no message")
    assert scene.counted == [
        ("verifyNHSNumber", "RXX", "attended", "SMSP-0000"),
        ("unknown", "", "attended", "fault-1000"),
    ]


def test_an_organisation_that_the_client_may_not_act_for_is_not_counted_by_its_name(scene: Scene) -> None:
    scene.serve(scene.message(identity="urn:nhs-uk:identity:ods:RZZ:jsmith"))
    assert scene.counted == [("verifyNHSNumber", "", "attended", "fault-3000")]


# ── tables and switches ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("SMSP-CONF-001", "b")
def test_an_operators_table_changes_the_code_of_an_event(scene: Scene) -> None:
    document = msgspec.json.decode(msgspec.json.encode(shipped_document()))
    for row in document["event"]:
        if row["name"] == "pds.1":
            row["response"] = "DEMOG-9999"
    scene.spine_codes = load_spine_codes(document, scene.vocabulary.texts)
    assert scene.ask(VERIFY, NOT_FOUND, **BY_NUMBER).label == "DEMOG-9999"


def with_switch(scene: Scene, **switches: bool) -> None:
    scene.registration = replace(scene.registration, compatibility=Compatibility(**switches))


def test_d7_connectivity_codes_for_clients_that_do_not_know_them(scene: Scene) -> None:
    with_switch(scene, only_first_codes=True)
    assert scene.ask(VERIFY, Unavailable(event="transport.timeout"), **BY_NUMBER).label == "DEMOG-9999"
    body = scene.message(identity="100102238986").replace(
        b"2.16.840.1.113883.2.1.3.2.4.18.27", b"1.2.826.0.1285.0.2.0.67"
    )
    assert scene.serve(body).label == "SMSP-9999"


def test_d6_component_with_a_number_that_is_not_verified(scene: Scene) -> None:
    not_verified = NotVerified(event="pds.40")
    assert read(scene.ask(VERIFY, not_verified, **BY_NUMBER)).verified is None
    with_switch(scene, not_verified_component=True)
    reply = read(scene.ask(VERIFY, not_verified, **BY_NUMBER))
    assert (reply.code, reply.verified, reply.nhs_number) == ("DEMOG-0040", False, NUMBER)


def test_d5_bare_superseded(scene: Scene) -> None:
    with_switch(scene, superseded_bare=True)
    reply = read(scene.ask(VERIFY, Superseded(event="pds.44", nhs_number=NEW_NUMBER), **BY_NUMBER))
    assert (reply.code, reply.nhs_number) == ("DEMOG-0017", None)


def test_d16_headers_of_the_answer(scene: Scene) -> None:
    plain = scene.ask(VERIFY, FOUND, **BY_NUMBER).body
    assert b"RelatesTo" in plain
    assert b"Timestamp" not in plain
    assert b"auditIdentity" not in plain
    with_switch(scene, relates_to=False, security_in_response=True, audit_identity_in_response=True)
    other = scene.ask(VERIFY, FOUND, **BY_NUMBER).body
    assert b"RelatesTo" not in other
    assert b"Timestamp" in other
    assert b"auditIdentity" in other


def test_d18_names_as_nhs_digital_wrote_them(scene: Scene) -> None:
    with_switch(scene, first_given_name_only=True)
    name = read(scene.ask(BY_NHS_NUMBER, FOUND, FOUND, **BY_NUMBER), BY_NHS_NUMBER).patient.name
    assert (name.prefix, name.given, name.family) == (None, ("LAURENCE",), "LANGAN")


def test_a_success_without_a_number_is_none(scene: Scene) -> None:
    nameless = Found(event="found", record=replace(RECORD, nhs_number=None))
    assert scene.ask(FIND, nameless, **BY_NAME).label == "SMSP-0002"
    assert scene.log.only(EventType.EXCHANGE_UNUSABLE).data["field"] == "nhs-number"


def test_d23_a_search_after_a_failed_number_only_where_it_is_configured(scene: Scene) -> None:
    both = BY_NAME | BY_NUMBER
    not_verified = NotVerified(event="pds.40")
    assert scene.ask(DETAILS, not_verified, **both).label == "DEMOG-0040"
    scene.limits = replace(scene.limits, not_verified_falls_back_to_search=True)
    other = Found(event="found", record=replace(RECORD, nhs_number=NEW_NUMBER))
    answer = scene.ask(DETAILS, not_verified, other, other, **both)
    assert (answer.label, read(answer, DETAILS).nhs_number) == ("SMSP-0000", NEW_NUMBER)
    assert [type(question) for question, _ in scene.spine.asked[1:]] == [CrossCheck, Trace, Retrieval]
    assert scene.ask(DETAILS, not_verified, **BY_NUMBER).label == "DEMOG-0040"


def test_d9_fault_for_a_missing_identity(scene: Scene) -> None:
    with_switch(scene, audit_identity_fault=True)
    body = scene.message().replace(b'uri="urn:nhs-uk:identity:ods:RXX:jsmith"', b'uri=""')
    assert isinstance(read(scene.serve(body)), soap.Fault)


def test_a_name_that_xml_cannot_carry_is_0002(scene: Scene) -> None:
    odd = replace(RECORD, names=(SpineName(use="L", given=("A\x00B",), family="LANGAN"),))
    assert scene.ask(BY_NHS_NUMBER, FOUND, Found(event="found", record=odd), **BY_NUMBER).label == "SMSP-0002"


def test_a_defect_is_fault_2200_with_a_reference_and_none_of_its_words(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    scene.spine.told = []  # a Spine port that breaks its promise not to raise
    answer = scene.serve(scene.message())
    fault = read(answer)
    assert fault.code == "2200"
    assert fault.diagnostic.startswith("reference ")
    assert scene.log.entries[-1].closes
    assert "exchange.py" in capsys.readouterr().out


def test_an_answer_with_more_alterations_than_a_record_holds_is_on_record_all_the_same(scene: Scene) -> None:
    append = scene.log.append

    async def as_written(entry: Entry) -> Receipt:
        prepare(entry, instance="provider", vault=VAULT)
        return await append(entry)

    scene.log.append = as_written  # type: ignore[method-assign]
    unfit = tuple(SpineTelecom(use="HP", value=f"gopher:{number}") for number in range(1000))
    answer = scene.ask(BY_NHS_NUMBER, FOUND, Found(event="found", record=replace(RECORD, telecoms=unfit)), **BY_NUMBER)
    assert read(answer).code == "2200"
    last = scene.log.entries[-1]
    assert last.closes
    assert [event.type.value for event in last.events[-3:]] == [
        "exchange.spine-answered",
        "exchange.refused",
        "exchange.replied",
    ]
    assert {"spine-answer-1", "reply"} <= {body.name for body in last.bodies}


MANDATORY = {
    VERIFY: ("Person.DateOfBirth", "Person.NHSNumber"),
    FIND: ("Person.DateOfBirth", "Person.Gender", "Person.Name"),
    BY_NHS_NUMBER: ("Person.DateOfBirth", "Person.NHSNumber"),
    BY_SEARCH: ("Person.DateOfBirth", "Person.Gender", "Person.Name"),
    DETAILS: ("Person.DateOfBirth", "Person.NHSNumber"),
}


@pytest.mark.requirement("SMSP-ERR-006", "e")
@pytest.mark.parametrize(("operation", "field"), [(o, f) for o, fields in MANDATORY.items() for f in fields])
def test_a_missing_mandatory_field_is_found_here_and_never_asked_of_spine(
    scene: Scene, operation: Operation, field: str
) -> None:
    whole = scene.message(operation, **PARAMETERS[operation])
    body = re.sub(rb"<(\w+:)?%b>.*</(\w+:)?%b>" % (field.encode(), field.encode()), b"", whole, flags=re.DOTALL)
    assert body != whole
    assert read(scene.serve(body), operation).code == "SMSP-0001"
    refused(scene, "input")
