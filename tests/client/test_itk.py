import asyncio
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from minispine.client import (
    AnswerUnusable,
    AuditIdentity,
    Busy,
    Connection,
    FaultReceived,
    FoundPatient,
    IdentityIncomplete,
    LocalUser,
    RequestInvalid,
    Smartcard,
    TimedOut,
)
from minispine.domain.identity import AuditId
from minispine.domain.operations import Operation
from minispine.domain.patient import Name, Patient
from minispine.domain.request import LocalIdentifier, Reply
from minispine.vocabulary import oids
from minispine.wire import pds, xml
from minispine.wire.soap import Fault, write_fault
from tests.client.conftest import EVERY_CALL, Double, Handler, answering, calling, run, sending

USER = LocalUser("RXX", "jsmith")
NUMBER = "9449310467"
PATIENT = Patient(nhs_number=NUMBER, name=Name(family="LANGAN", given=("LAURENCE",)), gender="1", birth_date="20090310")
REPLIES = {
    Operation.VERIFY_NHS_NUMBER: Reply(code="SMSP-0000", nhs_number=NUMBER, verified=True),
    Operation.GET_NHS_NUMBER: Reply(code="SMSP-0000", nhs_number=NUMBER),
}
FOUND = Reply(code="SMSP-0000", nhs_number=NUMBER, patient=PATIENT)


def exchange(
    keys: Path,
    connection: Connection,
    handler: Handler,
    operation: Operation = Operation.VERIFY_NHS_NUMBER,
    *,
    identity: AuditIdentity | None = USER,
    options: dict[str, Any] | None = None,
    **changes: Any,
) -> tuple[Any, Double]:
    method, parameters = EVERY_CALL[operation]

    async def work() -> tuple[Any, Double]:
        async with calling(keys, connection, handler, **(options or {})) as (double, client):
            return await getattr(client, method)(identity=identity, **{**parameters, **changes}), double

    return run(work())


@pytest.mark.requirement("MSCA-AUD-04", "a", "b", "g")
@pytest.mark.requirement("SMSP-AUDIT-002", "a")
@pytest.mark.parametrize("operation", list(Operation))
def test_every_operation_carries_the_audit_identity_in_the_itk_header_and_nowhere_else(
    keys: Path, connection: Connection, operation: Operation
) -> None:
    _, double = exchange(keys, connection, answering(REPLIES.get(operation, FOUND)), operation)
    ((request, body),) = double.requests
    asked = double.read(body)
    assert asked.operation is operation
    assert asked.audit_identity == (AuditId(oids.LOCAL_IDENTITY, "urn:nhs-uk:identity:ods:RXX:jsmith"),)
    assert request.headers["SOAPAction"] == f'"{pds.MESSAGES[operation].service}"'
    (identity,) = (e for e in xml.parse(body).iter() if xml.local_name(e) == "auditIdentity")
    parent = identity.getparent()
    assert parent is not None
    assert [xml.local_name(e) for e in parent] == ["auditIdentity", "manifest"]
    assert body.count(b"urn:nhs-uk:identity") == 1


@pytest.mark.requirement("MSCA-AUD-04", "a")
@pytest.mark.parametrize("operation", list(Operation))
def test_nothing_is_sent_when_nobody_asks(keys: Path, connection: Connection, operation: Operation) -> None:
    async def work() -> Double:
        async with calling(keys, connection, answering(FOUND)) as (double, client):
            method, parameters = EVERY_CALL[operation]
            with pytest.raises(IdentityIncomplete):
                await getattr(client, method)(**parameters)
            return double

    assert run(work()).requests == []


@pytest.mark.requirement("MSCA-AUD-04", "d", "e")
@pytest.mark.parametrize("role", [None, "S8000:G8000:R8001"])
def test_a_smartcards_ids_travel_under_their_oids(keys: Path, connection: Connection, role: str | None) -> None:
    card = Smartcard("100102238986", "687227875014", role)
    _, double = exchange(keys, connection, answering(REPLIES[Operation.VERIFY_NHS_NUMBER]), identity=card)
    sent = double.read(double.requests[0][1]).audit_identity
    assert sent == card.audit_ids()
    assert [one.type for one in sent] == [oids.ROLE_PROFILE, oids.USER_ID, oids.ROLE][: 3 if role else 2]


def test_the_clients_own_identity_serves_calls_that_name_none(keys: Path, connection: Connection) -> None:
    handler = answering(REPLIES[Operation.VERIFY_NHS_NUMBER])
    _, double = exchange(keys, connection, handler, identity=None, options={"identity": USER})
    assert double.read(double.requests[0][1]).audit_identity == USER.audit_ids()


def test_every_call_has_new_ids_all_different_and_the_caller_learns_them(keys: Path, connection: Connection) -> None:
    async def work() -> list[Any]:
        async with calling(keys, connection, answering(REPLIES[Operation.VERIFY_NHS_NUMBER])) as (double, client):
            parameters = EVERY_CALL[Operation.VERIFY_NHS_NUMBER][1]
            answers = await asyncio.gather(*(client.verify_nhs_number(identity=USER, **parameters) for _ in range(8)))
            return [(double.read(body), answers) for _, body in double.requests]

    read = run(work())
    ids = [one for asked, _ in read for one in (asked.message_id, asked.tracking_id, asked.payload_id[-36:])]
    assert len(set(ids)) == 24
    known = {(answer.exchange.message_id, answer.exchange.tracking_id) for answer in read[0][1]}
    assert known == {(asked.message_id, asked.tracking_id) for asked, _ in read}


def test_a_verification_says_yes_only_when_the_code_and_the_component_do(keys: Path, connection: Connection) -> None:
    answer, _ = exchange(keys, connection, answering(REPLIES[Operation.VERIFY_NHS_NUMBER]))
    assert (answer.verified, answer.success, answer.text) == (True, True, "Success")
    answer, _ = exchange(keys, connection, answering(Reply(code="DEMOG-0040", nhs_number=NUMBER, verified=True)))
    assert (answer.verified, answer.success) == (False, False)
    answer, _ = exchange(keys, connection, answering(Reply(code="DEMOG-0001")))
    assert answer.verified is None


def test_a_replacement_number_is_told_apart_from_a_found_one(keys: Path, connection: Connection) -> None:
    reply = Reply(code="DEMOG-0017", nhs_number="9449310416")
    answer, _ = exchange(keys, connection, answering(reply), Operation.GET_PATIENT_DETAILS_BY_NHS_NUMBER)
    assert (answer.replacement_nhs_number, answer.nhs_number, answer.patient) == ("9449310416", None, None)


def test_demographics_and_the_local_identifier_come_back(keys: Path, connection: Connection) -> None:
    local = LocalIdentifier("2.16.840.1.113883.2.1.3.2.4.18.24", "RXX:00001")
    reply = Reply(code="SMSP-0000", nhs_number=NUMBER, patient=PATIENT, local_identifier=local)
    answer, double = exchange(
        keys, connection, answering(reply), Operation.GET_PATIENT_DETAILS_BY_SEARCH, local_identifier=local
    )
    assert isinstance(answer, FoundPatient)
    assert (answer.patient, answer.local_identifier) == (PATIENT, local)
    assert b"RXX:00001" in double.requests[0][1]


def test_what_was_typed_is_tidied(keys: Path, connection: Connection) -> None:
    _, double = exchange(
        keys,
        connection,
        answering(FOUND),
        Operation.GET_PATIENT_DETAILS_BY_SEARCH,
        family="  o'neill  smith ",
        given="",
    )
    request = pds.read_request(
        Operation.GET_PATIENT_DETAILS_BY_SEARCH, double.read(double.requests[0][1]).payload, partial_birth_dates=True
    )
    assert (request.family, request.given) == ("O'NEILL SMITH", None)  # type: ignore[union-attr]


FAULT = write_fault(
    Fault(kind="client", code="3000", diagnostic="Not for you"),
    message_id="A0000001-AAAA-4BBB-8CCC-000000000001",
    relates_to=None,
    error_id="A0000002-AAAA-4BBB-8CCC-000000000002",
)


@pytest.mark.parametrize("status", [200, 500])
def test_a_fault_is_a_fault_whatever_the_status(keys: Path, connection: Connection, status: int) -> None:
    with pytest.raises(FaultReceived) as received:
        exchange(keys, connection, sending(FAULT, status=status))
    assert (received.value.fault.code, received.value.fault.diagnostic) == ("3000", "Not for you")


@pytest.mark.parametrize(
    ("headers", "after_s"), [({}, None), ({"Retry-After": "7"}, 7.0), ({"Retry-After": "Wed, 21 Oct 2026"}, None)]
)
def test_the_busy_tone_is_told_with_its_delay(
    keys: Path, connection: Connection, headers: dict[str, str], after_s: float | None
) -> None:
    with pytest.raises(Busy) as received:
        exchange(keys, connection, sending(FAULT, status=503, headers=headers))
    assert received.value.retry_after_s == after_s


@pytest.mark.parametrize(
    ("handler", "reason"),
    [
        (sending(b"", status=202), "HTTP status 202"),
        (sending(b"<html/>", status=404), "HTTP status 404"),
        (sending(b"x", status=302, headers={"Location": "https://example.org/"}), "HTTP status 302"),
        (sending(b"x" * (4 * 1024 * 1024 + 1)), "larger than allowed"),
        (answering(REPLIES[Operation.VERIFY_NHS_NUMBER], relates_to="B" * 36), "another message"),
        (answering(Reply(code="SMSP-0000", nhs_number="9449310416", verified=True)), "another NHS number"),
    ],
)
def test_what_is_no_answer_to_the_question_is_unusable(
    keys: Path, connection: Connection, handler: Handler, reason: str
) -> None:
    with pytest.raises(AnswerUnusable, match=reason):
        exchange(keys, connection, handler)


def test_an_answer_of_another_operation_is_unusable(keys: Path, connection: Connection) -> None:
    async def other(double: Double, _: web.Request, body: bytes) -> web.Response:
        swapped = double.soap(body, REPLIES[Operation.VERIFY_NHS_NUMBER]).replace(b"verifyNHS", b"getNHS")
        return web.Response(body=swapped, content_type="text/xml")

    with pytest.raises(AnswerUnusable, match="not an answer of the operation"):
        exchange(keys, connection, other)


def test_a_lower_case_prefixed_or_absent_relates_to_is_accepted(keys: Path, connection: Connection) -> None:
    async def lowered(double: Double, _: web.Request, body: bytes) -> web.Response:
        relates_to = f"uuid:{double.read(body).message_id.lower()}"
        return web.Response(body=double.soap(body, REPLIES[Operation.VERIFY_NHS_NUMBER], relates_to=relates_to))

    answer, _ = exchange(keys, connection, lowered)
    assert answer.verified is True


def test_a_parameter_that_cannot_be_carried_is_the_callers_mistake(keys: Path, connection: Connection) -> None:
    with pytest.raises(RequestInvalid, match=r"Person\.Name"):
        exchange(keys, connection, answering(FOUND), family="A\x01B")


@pytest.mark.parametrize(
    ("operation", "missing", "parameter"),
    [
        (Operation.VERIFY_NHS_NUMBER, "nhs_number", "Person.NHSNumber"),
        (Operation.GET_NHS_NUMBER, "family", "Person.Name"),
        (Operation.GET_PATIENT_DETAILS_BY_SEARCH, "gender", "Person.Gender"),
        (Operation.GET_PATIENT_DETAILS_BY_NHS_NUMBER, "nhs_number", "Person.NHSNumber"),
    ],
)
def test_a_parameter_that_an_operation_needs_is_missed_by_name(
    keys: Path, connection: Connection, operation: Operation, missing: str, parameter: str
) -> None:
    with pytest.raises(RequestInvalid, match=f"is needed by {operation}") as refused:
        exchange(keys, connection, answering(FOUND), operation, **{missing: " "})
    assert refused.value.field == parameter


def test_no_answer_in_time_is_said(keys: Path, connection: Connection) -> None:
    async def never(_: Double, __: web.Request, ___: bytes) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    with pytest.raises(TimedOut, match=r"0\.2 seconds"):
        exchange(keys, connection, never, options={"timeout_s": 0.2})
