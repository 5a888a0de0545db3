"""The five PDS operations over ITK: each a call with named parameters that returns what it found.

Every request carries the audit identity of whoever asks; without one nothing is sent (MSCA-AUD-04 a). Ids are new
for every call. An answer is checked against its question before it is handed on.
"""

import datetime
import uuid
from collections.abc import Callable
from typing import Final, Self

import msgspec

from minispine.client.answers import SUCCESS, SUPERSEDED, Exchange, FoundNumber, FoundPatient, Verification
from minispine.client.connection import Channel, Connection
from minispine.client.errors import AnswerUnusable, FaultReceived, IdentityIncomplete, RequestInvalid
from minispine.client.identity import AuditIdentity
from minispine.domain import nhs_number as number_rules
from minispine.domain.operations import Operation
from minispine.domain.request import LocalIdentifier, PdsRequest, Reply
from minispine.wire import itk, pds
from minispine.wire.soap import AnswerUnreadable, Fault, Timestamp

TIMEOUT_S: Final = 30.0
VALIDITY_S: Final = 600.0
"""From wsu:Created to wsu:Expires; ten minutes is what providers of this interface expect."""


class Sender(msgspec.Struct, frozen=True, kw_only=True):
    """What the SOAP and ITK headers say of the system that sends; none of it authorises anything.

    `username` is the name of the client system. `address` is a toolkit address such as
    ``urn:nhs-uk:addressing:ods:RXX:msca``, and `from_address` a URL; both may be left out.
    """

    username: str
    address: str | None = None
    from_address: str | None = None


class ItkClient:
    """Calls one provider. Use as an asynchronous context manager; safe for many calls at once in one event loop.

    `identity` is for clients in which one function or user asks for everything; a call's own identity goes before it.
    """

    def __init__(
        self,
        url: str,
        *,
        connection: Connection,
        sender: Sender,
        identity: AuditIdentity | None = None,
        timeout_s: float = TIMEOUT_S,
        clock: Callable[[], datetime.datetime] = lambda: datetime.datetime.now(datetime.UTC),
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()).upper(),
    ) -> None:
        """Make ready to call; nothing is opened yet.

        Raises:
            KeyFileRefused: a file of `connection` cannot be used.
        """
        self._url = url
        self._channel = Channel(url, connection)
        self._sender = sender
        self._identity = identity
        self._timeout_s = timeout_s
        self._clock = clock
        self._new_id = new_id

    async def verify_nhs_number(
        self,
        *,
        nhs_number: str,
        birth_date: str,
        family: str | None = None,
        given: str | None = None,
        identity: AuditIdentity | None = None,
    ) -> Verification:
        """Ask whether a number is a person's. `birth_date` is YYYYMMDD. Raises `ClientError`."""
        return await self.verify(
            _request(
                Operation.VERIFY_NHS_NUMBER, birth_date=birth_date, nhs_number=nhs_number, family=family, given=given
            ),
            identity=identity,
        )

    async def get_nhs_number(
        self,
        *,
        family: str,
        gender: str,
        birth_date: str,
        given: str | None = None,
        postcode: str | None = None,
        local_identifier: LocalIdentifier | None = None,
        identity: AuditIdentity | None = None,
    ) -> FoundNumber:
        """Ask for a person's number. `birth_date` is YYYYMMDD, YYYYMM or YYYY. Raises `ClientError`."""
        request = _request(
            Operation.GET_NHS_NUMBER,
            birth_date=birth_date,
            family=family,
            given=given,
            gender=gender,
            postcode=postcode,
            local_identifier=local_identifier,
        )
        return await self.find_number(request, identity=identity)

    async def get_patient_details_by_nhs_number(
        self,
        *,
        nhs_number: str,
        birth_date: str,
        family: str | None = None,
        given: str | None = None,
        local_identifier: LocalIdentifier | None = None,
        identity: AuditIdentity | None = None,
    ) -> FoundPatient:
        """Ask for the demographics of a person whose number is known. Raises `ClientError`."""
        request = _request(
            Operation.GET_PATIENT_DETAILS_BY_NHS_NUMBER,
            birth_date=birth_date,
            nhs_number=nhs_number,
            family=family,
            given=given,
            local_identifier=local_identifier,
        )
        return await self.find_patient(request, identity=identity)

    async def get_patient_details_by_search(
        self,
        *,
        family: str,
        gender: str,
        birth_date: str,
        given: str | None = None,
        postcode: str | None = None,
        local_identifier: LocalIdentifier | None = None,
        identity: AuditIdentity | None = None,
    ) -> FoundPatient:
        """Ask for the demographics of the one person that matches. Raises `ClientError`."""
        request = _request(
            Operation.GET_PATIENT_DETAILS_BY_SEARCH,
            birth_date=birth_date,
            family=family,
            given=given,
            gender=gender,
            postcode=postcode,
            local_identifier=local_identifier,
        )
        return await self.find_patient(request, identity=identity)

    async def get_patient_details(
        self,
        *,
        birth_date: str,
        nhs_number: str | None = None,
        family: str | None = None,
        given: str | None = None,
        gender: str | None = None,
        postcode: str | None = None,
        local_identifier: LocalIdentifier | None = None,
        identity: AuditIdentity | None = None,
    ) -> FoundPatient:
        """Ask for demographics by number or by search, whichever the parameters allow. Raises `ClientError`."""
        request = _request(
            Operation.GET_PATIENT_DETAILS,
            birth_date=birth_date,
            nhs_number=nhs_number,
            family=family,
            given=given,
            gender=gender,
            postcode=postcode,
            local_identifier=local_identifier,
        )
        return await self.find_patient(request, identity=identity)

    async def ask(
        self, request: PdsRequest, *, identity: AuditIdentity | None = None
    ) -> Verification | FoundNumber | FoundPatient:
        """Ask whichever operation the request names. Raises `ClientError`."""
        if request.operation is Operation.VERIFY_NHS_NUMBER:
            return await self.verify(request, identity=identity)
        if request.operation is Operation.GET_NHS_NUMBER:
            return await self.find_number(request, identity=identity)
        return await self.find_patient(request, identity=identity)

    async def verify(self, request: PdsRequest, *, identity: AuditIdentity | None = None) -> Verification:
        """Ask a verifyNHSNumber that is already a request value. Raises `ClientError`."""
        reply, exchange = await self._exchange(request, identity)
        verified = reply.verified if reply.code in SUCCESS else False if reply.code == _NOT_VERIFIED else None
        return Verification(
            code=reply.code, replacement_nhs_number=_replacement(reply), exchange=exchange, verified=verified
        )

    async def find_number(self, request: PdsRequest, *, identity: AuditIdentity | None = None) -> FoundNumber:
        """Ask a getNHSNumber that is already a request value. Raises `ClientError`."""
        reply, exchange = await self._exchange(request, identity)
        return FoundNumber(
            code=reply.code,
            replacement_nhs_number=_replacement(reply),
            exchange=exchange,
            nhs_number=reply.nhs_number if reply.code in SUCCESS else None,
            local_identifier=reply.local_identifier,
        )

    async def find_patient(self, request: PdsRequest, *, identity: AuditIdentity | None = None) -> FoundPatient:
        """Ask any getPatientDetails operation that is already a request value. Raises `ClientError`."""
        reply, exchange = await self._exchange(request, identity)
        success = reply.code in SUCCESS
        return FoundPatient(
            code=reply.code,
            replacement_nhs_number=_replacement(reply),
            exchange=exchange,
            nhs_number=reply.nhs_number if success else None,
            patient=reply.patient if success else None,
            local_identifier=reply.local_identifier,
        )

    async def close(self) -> None:
        """Close the connections to the provider."""
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _exchange(self, request: PdsRequest, identity: AuditIdentity | None) -> tuple[Reply, Exchange]:
        identity = identity or self._identity
        if identity is None:
            raise IdentityIncomplete("no audit identity: say who asks")
        _check_complete(request)
        message_id, tracking_id = self._new_id(), self._new_id()
        sent_at = self._clock()
        try:
            body = itk.write_request(
                pds.write_request(request, id=self._new_id()),
                operation=request.operation,
                message_id=message_id,
                tracking_id=tracking_id,
                payload_id=self._new_id(),
                to=self._url,
                timestamp=Timestamp(
                    created=sent_at, expires=sent_at + datetime.timedelta(seconds=VALIDITY_S), id=self._new_id()
                ),
                username=self._sender.username,
                audit_identity=identity.audit_ids(),
                sender_address=self._sender.address,
                from_address=self._sender.from_address,
            )
        except pds.Unrepresentable as refused:
            raise RequestInvalid(refused.field, refused.reason) from None
        except ValueError:
            raise RequestInvalid("the sender", "holds a character that XML cannot carry") from None
        service = pds.MESSAGES[request.operation].service
        received = await self._channel.post(body, soap_action=service, timeout_s=self._timeout_s)
        reply, answer_message_id = _read(received.status, received.body, request, message_id)
        return reply, Exchange(
            message_id=message_id,
            tracking_id=tracking_id,
            answer_message_id=answer_message_id,
            sent_at=sent_at,
            received_at=self._clock(),
            sent=body,
            received=received.body,
        )


_NEEDED: Final[dict[Operation, tuple[str, ...]]] = {
    Operation.VERIFY_NHS_NUMBER: ("Person.NHSNumber",),
    Operation.GET_NHS_NUMBER: ("Person.Gender", "Person.Name"),
    Operation.GET_PATIENT_DETAILS_BY_NHS_NUMBER: ("Person.NHSNumber",),
    Operation.GET_PATIENT_DETAILS_BY_SEARCH: ("Person.Gender", "Person.Name"),
    Operation.GET_PATIENT_DETAILS: (),
}
"""What a message cannot be made without, beside the date of birth."""
_NOT_VERIFIED: Final = "DEMOG-0040"
_NOT_FOUND: Final = 404
_ABOUT_ONE_NUMBER: Final = frozenset({Operation.VERIFY_NHS_NUMBER, Operation.GET_PATIENT_DETAILS_BY_NHS_NUMBER})


def _request(operation: Operation, *, birth_date: str, **given: str | LocalIdentifier | None) -> PdsRequest:
    """Make the request of an operation from what a caller wrote: trimmed, single blanks, upper case."""
    tidied = {
        name: " ".join(value.upper().split()) or None if isinstance(value, str) else value
        for name, value in given.items()
    }
    return msgspec.convert({"operation": operation, "birth_date": birth_date.strip(), **tidied}, PdsRequest)


def _check_complete(request: PdsRequest) -> None:
    given = {
        "Person.NHSNumber": request.nhs_number,
        "Person.Gender": request.gender,
        "Person.Name": request.family or request.given,
    }
    for parameter in _NEEDED[request.operation]:
        if not given[parameter]:
            raise RequestInvalid(parameter, f"is needed by {request.operation}")


def _read(status: int, body: bytes, request: PdsRequest, message_id: str) -> tuple[Reply, str | None]:
    """Read the answer to `request`; the fault or the mismatch in it becomes an error."""
    try:
        answer = itk.read_response(body)
        if isinstance(answer, Fault):
            raise FaultReceived(answer)
        reply = pds.read_response(request.operation, answer.payload)
    except AnswerUnreadable as unreadable:
        if status == _NOT_FOUND:
            raise AnswerUnusable("there is no service at that address (HTTP status 404)") from None
        raise AnswerUnusable(f"{unreadable.reason} (HTTP status {status})") from None
    if answer.relates_to is not None and _bare(answer.relates_to) != message_id:
        raise AnswerUnusable("the answer is to another message")
    if reply.nhs_number is not None and reply.code in SUCCESS | {SUPERSEDED}:
        if not number_rules.is_valid(reply.nhs_number):
            raise AnswerUnusable("the NHS number in the answer is not a valid one")
        if request.operation in _ABOUT_ONE_NUMBER and reply.code in SUCCESS and reply.nhs_number != request.nhs_number:
            raise AnswerUnusable("the answer is about another NHS number")
    return reply, answer.message_id


def _bare(message_id: str) -> str:
    """Take the UUID out of a message id, whose prefix and case vary (D12)."""
    return message_id[-36:].upper()


def _replacement(reply: Reply) -> str | None:
    return reply.nhs_number if reply.code == SUPERSEDED else None
