"""The path of one request, from the bytes of an identified client to its answer.

`Exchanges._serve` reads like the picture in the README: wire, clients, identify, cache, audit, admission, Spine,
vocabulary, wire, audit. What it promises (Law 1): nothing is asked before the ids of what is asked are durable,
and no answer is returned before its record is. Where that cannot be kept the client gets a retryable fault.
"""

import asyncio
import datetime
import functools
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Final, Protocol, TypedDict

import msgspec

from minispine.audit.events import AuditUnavailable, Entry, Guard, GuardFailed, Receipt
from minispine.config.settings import Exchange as Limits
from minispine.domain import nhs_number
from minispine.domain.identity import Identified, IdentityRefused
from minispine.domain.lanes import ROOM_TO_WAIT, Lane, lane_of
from minispine.domain.operations import Operation
from minispine.domain.outcome import Found, Unusable
from minispine.domain.patient import Patient
from minispine.domain.presentation import NotPresentable, present
from minispine.domain.request import InvalidInput, PdsRequest, Reply, Source
from minispine.observe import metrics
from minispine.observe.log import LogEvent, log, where
from minispine.provider import room
from minispine.provider.asking import Asker, Asking, Ended, Keeping
from minispine.provider.cache import Scope
from minispine.provider.clients import CertificateNames, Registration, accepts, denial, in_networks
from minispine.provider.flights import Flights
from minispine.provider.identify import identify
from minispine.provider.in_force import Client, InForce
from minispine.provider.services import pds as service
from minispine.provider.trail import Trail
from minispine.spine.ports import ClientGone, MessageIds, NoSlot, OrganisationsPort, PdsPort, Sender, Turns
from minispine.storage import StorageUnavailable
from minispine.wire import itk, pds, soap

INVALID_INPUT: Final = "input.invalid"
UNUSABLE_DATA: Final = "answer.data"
SPINE_UNAVAILABLE: Final = "cache.spine-unavailable"
"""The event that a kept answer stands for, where it is given because Spine is unavailable (SMSP-ERR-006 g)."""
SIDE: Final = "hl7v3"
"""The technology by which Spine is asked: part of what makes two questions the same."""

TO_ANSWER_S: Final = 0.5
TO_ANSWER_SHARE: Final = 0.1
"""How much of the time that a client waits is kept for our own answer: so many seconds, or such a part if that is less.
"""

MOST_OWED: Final = 1000
"""How many records are kept for a log that is away; beyond that an exchange is closed as unknown at the next start."""

PAY_EVERY_S: Final = 0.5

_CONNECTIVITY_CODES: Final = {"SMSP-0004": "DEMOG-9999", "SMSP-0005": "SMSP-9999"}
"""D7: what clients get that throw on codes which the PDS column of the vocabulary's workbook does not list."""


class Log(Protocol):
    """The part of the audit log that an exchange needs."""

    async def append(self, entry: Entry) -> Receipt:
        """Make the entry durable, or raise `AuditUnavailable` or `GuardFailed`."""


class Admitting(Protocol):
    """The part of the admission to Spine that an exchange needs."""

    def refusal(self, *, asid: str, lane: Lane, client: str, calls: int, time_left_s: float) -> NoSlot | None:
        """Say whether so many calls of a newcomer cannot all leave in time; then it is refused at once."""

    def turns(
        self, *, asid: str, lane: Lane, client: str, deadline_s: float, gone: Callable[[], bool] | None = None
    ) -> Turns:
        """Give the slots of one exchange; before anything has left, none to one of which `gone` says that it is."""


class Counting(Protocol):
    """The part of the throughput records that an exchange needs."""

    def count(self, *, operation: str, organisation: str, lane: str, outcome: str) -> None:
        """Count a request that was answered."""


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One request of an identified client, as the HTTP side hands it over.

    `arrived_at` is UTC microseconds. `gone` tells, at any moment, whether the client has closed its connection.
    """

    client: Client
    certificate: CertificateNames
    peer: str
    path: str
    soap_action: str | None
    body: bytes
    arrived_at: int
    gone: Callable[[], bool]


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What goes back: an HTTP status and a SOAP message. `label` is the response code or fault, for metrics.

    `retry_after_s` and `age_s` become HTTP headers: when to try again, and how old a kept answer is.
    """

    status: int
    body: bytes
    label: str
    retry_after_s: int | None = None
    age_s: int | None = None


class _Refusal(Exception):
    """The exchange ends without Spine's word: with a SOAP fault, or with the response code of an event."""

    def __init__(
        self,
        reason: str,
        *,
        fault: soap.Fault | None = None,
        event: str | None = None,
        retry_after_s: int | None = None,
        said: dict[str, str] | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.fault = fault
        self.event = event
        self.retry_after_s = retry_after_s
        self.said = said or {}


def _fault(code: str, diagnostic: str) -> soap.Fault:
    return soap.Fault(kind="server" if code.startswith("2") else "client", code=code, diagnostic=diagnostic)


def _busy_fault(retry_after_s: int) -> soap.Fault:
    return _fault("2100", f"busy: try again in {retry_after_s} s")


def _denied(reason: str) -> _Refusal:
    return _Refusal(reason, fault=_fault("3000", _DENIALS[reason]))


class Exchanges:
    """Serves requests, given everything that a request meets on its way.

    `limits` and `in_force` give what is in force now. `new_id` gives a fresh upper-case UUID. `now` is UTC
    microseconds.
    """

    def __init__(
        self,
        *,
        limits: Callable[[], Limits],
        system_id: str,
        in_force: Callable[[], InForce],
        refresh: Callable[[], Awaitable[None]],
        log: Log,
        spine: PdsPort,
        organisations: OrganisationsPort,
        admission: Admitting,
        cache: Keeping,
        flights: Flights,
        throughput: Counting,
        has_room: Callable[[], bool],
        now: Callable[[], int],
        new_id: Callable[[], str],
    ) -> None:
        self._limits = limits
        self._system_id = system_id
        self._in_force = in_force
        self._refresh = refresh
        self._log = log
        self._spine = spine
        self._organisations = organisations
        self._admission = admission
        self._cache = cache
        self._flights = flights
        self._throughput = throughput
        self._has_room = has_room
        self._now = now
        self._new_id = new_id
        self._in_hand: Counter[str] = Counter()
        """Requests by client."""
        self._owed: deque[Entry] = deque()
        self._paying: asyncio.Task[None] | None = None

    # ── the path ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def serve(self, call: Call) -> Answer:
        """Answer one request. Never raises: a defect of our own is fault 2200, with a reference in the log.

        A task that is cancelled, because the time to stop is over, still answers: with a retryable fault.
        """
        if not self._has_room():
            return await self._refuse_for_room(call)
        name = call.client.registration.name
        self._in_hand[name] += 1
        try:
            return await self._in_full(call)
        finally:
            self._in_hand[name] -= 1
            if not self._in_hand[name]:
                del self._in_hand[name]

    async def _in_full(self, call: Call) -> Answer:
        """Answer one request of those that are in hand."""
        began = time.perf_counter()
        trail = self._trail(call)
        operation = "unknown"
        request: itk.ItkRequest | None = None
        try:
            try:
                request = self._read(call, trail)
                operation = request.operation
                answer = await self._serve(call, request, trail)
            except _Refusal as refusal:
                answer = await self._refuse(refusal, call, request, trail)
        except AuditUnavailable:
            answer = self._owe(trail)
        except asyncio.CancelledError:
            answer = await self._cut_off(trail)
        except Exception as defect:
            answer = await self._defect(defect, request, trail)
        self._count(operation, trail, answer)
        metrics.exchange_seconds(operation).observe(time.perf_counter() - began)
        return answer

    async def _serve(self, call: Call, request: itk.ItkRequest, trail: Trail) -> Answer:
        clock = _Stages()
        deadline_s = self._deadline_s(call, request)
        identified, sender = self._permit(call.client.registration, request, trail)
        asked_for = self._understand(call.client.registration, request, trail)
        asking = Asking(
            functools.partial(
                service.questions,
                asked_for,
                search_after_number=self._limits().not_verified_falls_back_to_search,
            ),
            Asker(
                sender=sender,
                scope=self._scope(call, request, identified, sender),
                lane=trail.lane,
                exchange=trail.exchange,
                deadline_s=deadline_s,
            ),
            trail,
            spine=self._spine,
            cache=self._cache,
            flights=self._flights,
            gone=call.gone,
        )
        if refusal := self._spine.refusal(asking.question):
            raise _Refusal("not-supported", event=refusal.event)
        if call.gone():
            return await self._abandon(trail, call)
        if self._too_many(trail):
            raise self._busy(self._admission.refusal(**_place(sender, trail), calls=1, time_left_s=0) or NoSlot(1))
        clock.lap("read")
        guard = _guard(call)
        try:
            ended = await asking.begin()
            clock.lap("cache")
            if ended is None:
                turns = self._turns(asking, asked_for, sender, trail, deadline_s)
                ids, guard = await self._open(asking, asked_for, call, request, sender, trail)
                clock.lap("audit-asking")
                ended = await asking.go_on(ids, turns)
                clock.lap("spine")
        except NoSlot as busy:
            raise self._busy(busy) from None
        except ClientGone:
            return await self._abandon(trail, call)
        except StorageUnavailable as problem:
            # What an answer showed to be wrong must be gone from what is kept before the answer leaves.
            raise AuditUnavailable(str(problem)) from None
        finally:
            asking.close()

        reply, event = await self._reply(call.client.registration, asked_for, ended, trail)
        answer = self._write(reply, event, ended.source, call, request, trail)
        answer = msgspec.structs.replace(answer, age_s=ended.age_s)
        clock.lap("answer")
        if call.gone():
            trail.undelivered()
        await self._close(guard, call, request, sender, trail)
        clock.lap("audit-answer")
        return answer

    def _trail(self, call: Call) -> Trail:
        return Trail(
            exchange=self._new_id(),
            client=call.client.registration.name,
            peer=call.peer,
            path=call.path,
            lane=call.client.registration.lane,
            arrived_at=call.arrived_at,
            body=call.body,
            now=self._now,
        )

    # ── reading, and whether it may be asked ────────────────────────────────────────────────────────────────────────

    def _read(self, call: Call, trail: Trail) -> itk.ItkRequest:
        """Bytes to an envelope, or a fault (SMSP-ERR-001)."""
        compatibility = call.client.registration.compatibility
        policy = itk.EnvelopePolicy(
            clock_skew_s=self._limits().clock_skew_s,
            require_security=self._limits().require_security and not compatibility.security_optional,
            lenient_ids=compatibility.lenient_ids,
        )
        try:
            request = itk.read_request(
                call.body, soap_action=call.soap_action, now=_datetime(call.arrived_at), policy=policy
            )
        except soap.PeerFault as refused:
            trail.envelope(
                message_id=refused.message_id,
                operation=refused.operation,
                service=refused.service,
                tracking_id=refused.tracking_id,
                audit_identity=refused.audit_identity,
            )
            raise _Refusal("envelope", fault=refused.fault) from None
        trail.envelope(
            message_id=request.message_id,
            operation=request.operation,
            service=request.service,
            tracking_id=request.tracking_id,
            audit_identity=request.audit_identity,
            said={"username": request.username, "sender_address": request.sender_address},
        )
        return request

    def _permit(
        self, registration: Registration, request: itk.ItkRequest, trail: Trail | None
    ) -> tuple[Identified, Sender]:
        """Who asks, and may this registration ask that for them (ACCESS-1..4, SMSP-AUDIT-002, SMSP-IG-003)."""
        asids = self._in_force().asids
        if request.operation not in registration.services:
            raise _denied("service")
        identified = identify(request.audit_identity, registration, asids.organisation)
        if isinstance(identified, IdentityRefused):
            raise self._identity_refusal(identified, registration)
        asid = asids.asid(identified.organisation)
        if trail is not None:
            trail.identified(identified, asid)
        if what := denial(registration, request.operation, identified, asid):
            raise _denied(what)
        assert asid is not None
        if trail is not None:
            trail.permitted(identified, lane_of(registration.lane, identified.method))
        return identified, Sender(asid=asid, author=identified.author)

    @staticmethod
    def _identity_refusal(refused: IdentityRefused, registration: Registration) -> _Refusal:
        reason = f"identity.{refused.fault}"
        if refused.fault == "asid-unknown":
            return _denied(reason)
        if refused.fault in ("absent", "blank") and registration.compatibility.audit_identity_fault:
            return _Refusal(reason, fault=_fault("1000", "the audit identity is missing"))
        return _Refusal(reason, event=reason)

    def _understand(self, registration: Registration, request: itk.ItkRequest, trail: Trail) -> PdsRequest:
        """The payload to a question's parameters, or SMSP-0001 (SMSP-VAL-001..003)."""
        read = pds.read_request(
            request.operation, request.payload, partial_birth_dates=self._limits().partial_birth_dates
        )
        if isinstance(read, InvalidInput):
            raise _Refusal("input", event=INVALID_INPUT, said={"field": read.field, "rule": read.reason})
        trail.asked_for(read)
        return read

    def _deadline_s(self, call: Call, request: itk.ItkRequest) -> float:
        """When, on the event loop's clock, the answer has to be known.

        The registration's time-out, never beyond the message's own validity and the permitted skew, less what it takes
        to write the answer and to make it durable.
        """
        timeout_s = call.client.registration.timeout_s
        if request.expires is not None:
            valid_s = (request.expires - _datetime(call.arrived_at)).total_seconds() + self._limits().clock_skew_s
            timeout_s = min(timeout_s, valid_s)
        left_s = timeout_s - (self._now() - call.arrived_at) / 1_000_000
        return asyncio.get_running_loop().time() + left_s - min(TO_ANSWER_S, TO_ANSWER_SHARE * timeout_s)

    # ── asking ──────────────────────────────────────────────────────────────────────────────────────────────────────

    @staticmethod
    def _scope(call: Call, request: itk.ItkRequest, identified: Identified, sender: Sender) -> Scope:
        return Scope(
            side=SIDE,
            asid=sender.asid,
            organisation=identified.organisation,
            client=call.client.registration.name,
            operation=request.operation,
            method=identified.method,
        )

    def _too_many(self, trail: Trail) -> bool:
        """Tell whether a request in hand is one too many for this worker.

        Of the room to wait lower lanes leave some to those before them: a batch must not keep a person out. Where there
        is none left, those go on who have less than their share of it: neither must one client keep out another. There
        is an end to that, too.
        """
        limits = self._limits()
        most = limits.max_in_flight + round(limits.max_waiting * ROOM_TO_WAIT[trail.lane])
        if self._in_hand.total() <= most:
            return False
        share = most // len(self._in_hand)
        return self._in_hand[trail.client] > share or self._in_hand.total() > 2 * most

    def _turns(self, asking: Asking, asked_for: PdsRequest, sender: Sender, trail: Trail, deadline_s: float) -> Turns:
        """Get in line for Spine, unless there is no hope of being served in time (SMSP-PERF-001 c).

        Raises:
            NoSlot: there is none.
        """
        place = _place(sender, trail)
        calls = self._most_questions(asked_for.operation) - asking.follows
        left_s = deadline_s - asyncio.get_running_loop().time()
        if calls and left_s > 0:  # else it ends without a question, and not because of who else waits
            busy = self._admission.refusal(**place, calls=calls, time_left_s=left_s)
            if busy is not None:
                raise busy
        return self._admission.turns(**place, deadline_s=deadline_s, gone=asking.deserted)

    def _most_questions(self, operation: Operation) -> int:
        return service.most_questions(operation, search_after_number=self._limits().not_verified_falls_back_to_search)

    async def _open(
        self,
        asking: Asking,
        asked_for: PdsRequest,
        call: Call,
        request: itk.ItkRequest,
        sender: Sender,
        trail: Trail,
    ) -> tuple[list[tuple[MessageIds, ...]], Guard]:
        """Make the ids durable of every message that may leave: those of retries and further questions too (Law 1).

        Raises:
            _Refusal: the registration no longer allows the request.
        """
        ids = [
            tuple(MessageIds(message_id=self._new_id(), hl7_id=self._new_id()) for _ in range(self._spine.attempts))
            for _ in range(self._most_questions(asked_for.operation))
        ]
        every = [each for several in ids for each in several]
        if asking.follows:
            trail.reserved(every)
        else:
            trail.asking(asking.question, self._spine.interaction(asking.question), every[0], sender)
            trail.reserved(every[1:])
        try:
            guard, cut_off = await _to_its_end(self._commit(trail.opening(_guard(call)), call, request, sender))
        except _Refusal:
            trail.withdraw_asking()
            raise
        trail.opened()
        if cut_off:
            raise asyncio.CancelledError
        return ids, guard

    # ── answering ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def _reply(
        self,
        registration: Registration,
        request: PdsRequest,
        ended: Ended,
        trail: Trail,
    ) -> tuple[Reply, str]:
        """Outcome to reply: the code by the table in force, and what may be disclosed with it (SMSP-ERR-004).

        Gives the reply and the event that it stands for; what had to be altered, or cannot be used, goes to the trail.
        """
        patient: Patient | None = None
        outcome = ended.outcome
        if isinstance(outcome, Found) and service.discloses_details(request.operation):
            shown = present(outcome.record, today=_today(self._now()), asked_number=ended.retrieved)
            if isinstance(shown, NotPresentable):
                trail.unusable(shown.rule, shown.field, shown.reason)
                outcome = Unusable(event=UNUSABLE_DATA)
            else:
                trail.altered(shown.alterations)
                patient = await self._with_practice(_styled(shown.patient, registration))
        number = service.subject_number(
            request,
            outcome,
            superseded_bare=registration.compatibility.superseded_bare,
            not_verified_component=registration.compatibility.not_verified_component,
        )
        nameless = number is None and isinstance(outcome, Found)
        if nameless or (number is not None and not nhs_number.is_valid(number)):
            trail.unusable("nhs-number.invalid", "nhs-number", "Spine named no valid NHS number")
            number, patient, outcome = None, None, Unusable(event=UNUSABLE_DATA)
        verifying = request.operation is Operation.VERIFY_NHS_NUMBER and number is not None
        event = SPINE_UNAVAILABLE if ended.stale and isinstance(outcome, Found) else outcome.event
        reply = Reply(
            code=self._code(event, registration),
            nhs_number=number,
            verified=isinstance(outcome, Found) if verifying else None,
            patient=patient,
            local_identifier=request.local_identifier if number is not None else None,
        )
        return reply, event

    def _code(self, event: str, registration: Registration) -> str:
        """The response code of an event; what is not in the vocabulary cannot leave (SMSP-ERR-002)."""
        in_force = self._in_force()
        code = in_force.spine_codes.response_code(event)
        if registration.compatibility.only_first_codes:
            code = _CONNECTIVITY_CODES.get(code, code)
        in_force.vocabulary.text(code)
        return code

    async def _with_practice(self, patient: Patient) -> Patient:
        """Fill in what is known of the practice; not knowing it never fails an answer (D21)."""
        if patient.practice is None:
            return patient
        practice = await self._organisations.practice(patient.practice.ods_code)
        return patient if practice is None else msgspec.structs.replace(patient, practice=practice)

    def _write(
        self, reply: Reply, event: str, source: Source, call: Call, request: itk.ItkRequest, trail: Trail
    ) -> Answer:
        """Reply to bytes, checked against the response schema; what cannot be represented is SMSP-0002."""
        registration = call.client.registration
        vocabulary = self._in_force().vocabulary
        response_id = self._new_id()
        try:
            payload = pds.write_response(request.operation, reply, id=response_id, vocabulary=vocabulary)
        except pds.Unrepresentable as problem:
            event = UNUSABLE_DATA
            trail.unusable("answer.unrepresentable", problem.field, problem.reason)
            reply = Reply(code=self._code(event, registration))
            payload = pds.write_response(request.operation, reply, id=response_id, vocabulary=vocabulary)
        compatibility = registration.compatibility
        message_id = self._new_id()
        moment = _datetime(self._now())
        body = itk.write_response(
            payload,
            operation=request.operation,
            message_id=message_id,
            tracking_id=self._new_id(),
            payload_id=response_id,
            relates_to=request.message_id if compatibility.relates_to else None,
            security=(moment, moment + datetime.timedelta(minutes=10)) if compatibility.security_in_response else None,
            audit_identity=f"urn:nhs-uk:identity:{self._system_id}"
            if compatibility.audit_identity_in_response
            else None,
        )
        trail.replied(
            body,
            nhs_number=reply.nhs_number,
            source=source,
            code=reply.code,
            cause=event,
            message_id=message_id,
            status=200,
            vocabulary=vocabulary.version,
            spine_codes=self._in_force().spine_codes.version,
        )
        return Answer(status=200, body=body, label=reply.code)

    # ── refusing ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _refuse(self, refusal: _Refusal, call: Call, request: itk.ItkRequest | None, trail: Trail) -> Answer:
        """End an exchange that Spine is not asked about, or no longer: recorded, then answered."""
        metrics.REFUSALS.labels(refusal.reason).inc()
        trail.refused(refusal.reason, **refusal.said)
        if refusal.event is not None and request is not None:
            reply = Reply(code=self._code(refusal.event, call.client.registration))
            answer = self._write(reply, refusal.event, "local", call, request, trail)
        else:
            assert refusal.fault is not None
            answer = self.fault(refusal.fault, trail.client_message_id, refusal.retry_after_s)
            trail.replied(
                answer.body,
                source="local",
                fault=refusal.fault.code or refusal.fault.kind,
                diagnostic=refusal.fault.diagnostic,
                status=answer.status,
            )
        if call.gone():
            trail.undelivered()
        if refusal.event is None or request is None:
            await self._log.append(trail.closing(None))
            return answer
        # A response code is an answer: none is recorded for a client after its disabling (Law 11).
        try:
            await self._close(_guard(call), call, request, None, trail)
        except _Refusal as denied:
            return await self._refuse(denied, call, None, trail)
        return answer

    async def refuse(self, call: Call, reason: str, fault: soap.Fault, retry_after_s: int | None = None) -> Answer:
        """Refuse an identified client's request without reading its body, which is neither parsed nor kept."""
        trail = self._trail(call)
        try:
            refusal = _Refusal(reason, fault=fault, retry_after_s=retry_after_s)
            answer = await self._refuse(refusal, call, None, trail)
        except AuditUnavailable:
            answer = self._owe(trail)
        self._count("unknown", trail, answer)
        return answer

    def _count(self, operation: str, trail: Trail, answer: Answer) -> None:
        metrics.exchanges(operation, answer.label).inc()
        self._throughput.count(
            operation=operation, organisation=trail.organisation, lane=trail.lane, outcome=answer.label
        )

    async def _refuse_for_room(self, call: Call) -> Answer:
        """The disk is nearly full: what is left of it is for the records of refusals, without what was sent."""
        fault = _fault("2100", "there is no room to record what would be done; try again later")
        return await self.refuse(msgspec.structs.replace(call, body=b""), "disk", fault, room.RETRY_AFTER_S)

    async def deny(self, call: Call, reason: str) -> Answer:
        """Refuse a client that may not call at all: disabled, or from a network that is not registered."""
        return await self.refuse(call, reason, _fault("3000", _DENIALS[reason]))

    def store_down(self) -> Answer:
        """The answer when no record can be made of one (Law 1)."""
        return self.fault(_fault("2100", "the audit log cannot be written; try again later"))

    async def _abandon(self, trail: Trail, call: Call) -> Answer:
        """The client has gone before anything was asked: nothing is asked (SMSP-AUDIT-008)."""
        trail.abandoned()
        await self._log.append(trail.closing(None))
        return Answer(status=499, body=b"", label="abandoned")

    def _owe(self, trail: Trail) -> Answer:
        """Answer that the log is away, and write what happened as soon as it is back.

        What was to be committed may yet turn up in the log, so the record that is owed also says what was answered.
        """
        answer = self.store_down()
        trail.withdraw_reply()
        trail.refused("audit-unavailable")
        trail.replied(answer.body, source="local", fault="2100", status=answer.status)
        if len(self._owed) < MOST_OWED:
            self._owed.append(trail.closing_whatever_opened())
        if self._paying is None or self._paying.done():
            self._paying = asyncio.create_task(self._pay())
        return answer

    async def _pay(self) -> None:
        """Write the records that are owed, in order, until none is."""
        while self._owed:
            try:
                await self._log.append(self._owed[0])
            except AuditUnavailable:
                await asyncio.sleep(PAY_EVERY_S)
            except Exception as defect:  # one that cannot be written must not keep back those behind it
                self._owed.popleft()
                log(LogEvent.DEFECT, reference=self._new_id(), exception=type(defect).__name__, where=where(defect))
            else:
                self._owed.popleft()

    async def _cut_off(self, trail: Trail) -> Answer:
        """The time to stop is over: say so, on record. What was asked of Spine may have been answered unseen."""
        answer = self.fault(_fault("2100", "the provider is stopping; what was asked may have been done"))
        trail.withdraw_reply()
        trail.cut_off()
        trail.replied(answer.body, source="local", fault="2100", status=answer.status)
        try:
            await self._log.append(trail.closing_whatever_opened())
        except AuditUnavailable:
            return self._owe(trail)
        return answer

    async def _defect(self, defect: Exception, request: itk.ItkRequest | None, trail: Trail) -> Answer:
        """A mistake of our own: fault 2200 with a reference, and where it happened in the log, never with its words."""
        reference = self._new_id()
        log(LogEvent.DEFECT, reference=reference, exception=type(defect).__name__, where=where(defect))
        fault = _fault("2200", f"reference {reference}")
        answer = self.fault(fault, request.message_id if request else None)
        trail.withdraw_reply()
        trail.refused("defect", reference=reference)
        trail.replied(answer.body, source="local", fault="2200", status=answer.status)
        try:
            await self._log.append(trail.closing_whatever_opened())
        except AuditUnavailable:
            return self._owe(trail)
        except Exception as worse:  # what happened cannot even be written down
            log(LogEvent.DEFECT, reference=reference, exception=type(worse).__name__, where=where(worse))
            return self.store_down()
        return answer

    @staticmethod
    def _busy(busy: NoSlot) -> _Refusal:
        """The busy tone (D14): HTTP 503, Retry-After, and a retryable fault in the body."""
        return _Refusal("busy", fault=_busy_fault(busy.retry_after_s), retry_after_s=busy.retry_after_s)

    def fault(self, fault: soap.Fault, relates_to: str | None = None, retry_after_s: int | None = None) -> Answer:
        """Write a SOAP fault as an answer; one that says when to try again is the busy tone."""
        body = soap.write_fault(fault, message_id=self._new_id(), relates_to=relates_to, error_id=self._new_id())
        return Answer(
            status=503 if retry_after_s else 500,
            body=body,
            label=f"fault-{fault.code or fault.kind}",
            retry_after_s=retry_after_s,
        )

    # ── the two durable points ──────────────────────────────────────────────────────────────────────────────────────

    async def _commit(self, entry: Entry, call: Call, request: itk.ItkRequest, sender: Sender | None) -> Guard:
        """Make a record durable while the registration it relies on is in force (Law 11).

        A registration that changed meanwhile is looked at again: if it still allows this request, for the same sender,
        the record is committed on its new version; otherwise nothing is committed.

        Raises:
            _Refusal: the registration no longer allows the request, or cannot be read.
        """
        guard = entry.guard
        assert guard is not None
        while True:
            try:
                await self._log.append(entry)
            except GuardFailed:
                guard = await self._still_allowed(guard, call, request, sender)
                entry = msgspec.structs.replace(entry, guard=guard)
            else:
                return guard

    async def _close(
        self, guard: Guard, call: Call, request: itk.ItkRequest, sender: Sender | None, trail: Trail
    ) -> None:
        """Commit the last record; with it on record the answer is given, also when the time to stop is over.

        Raises:
            _Refusal: the registration no longer allows the request; the reply that was noted is withdrawn.
        """
        try:
            await _to_its_end(self._commit(trail.closing(guard), call, request, sender))
        except _Refusal:
            trail.withdraw_reply()
            raise

    async def _still_allowed(self, failed: Guard, call: Call, request: itk.ItkRequest, sender: Sender | None) -> Guard:
        """Ask again everything that was asked when the request came, of the registration as it is now."""
        await self._refresh()
        found = self._in_force().clients.get(failed.client)
        if found is not None and found.version == failed.version:
            # The log knows of a later version that we cannot read, or not use: that is not the client's fault.
            raise _Refusal("registry", fault=_fault("2100", "the registry cannot be read; try again later"))
        if found is None or not found.registration.enabled:
            raise _denied("disabled")
        if not accepts(found.registration, call.certificate, _datetime(self._now())):
            raise _denied("certificate")
        if not in_networks(found.registration, call.peer):
            raise _denied("network")
        if sender is not None and self._permit(found.registration, request, None)[1] != sender:
            raise _Refusal("registry", fault=_fault("2100", "the registration has changed; try again"))
        return Guard(client=failed.client, version=found.version)


class _Place(TypedDict):
    """Where calls to Spine wait."""

    asid: str
    lane: Lane
    client: str


def _place(sender: Sender, trail: Trail) -> _Place:
    return _Place(asid=sender.asid, lane=trail.lane, client=trail.client)


async def _to_its_end(commit: Coroutine[None, None, Guard]) -> tuple[Guard, bool]:
    """Wait for a commit also where we are cancelled meanwhile: it would be done all the same, and must be known of.

    Gives its guard, and whether we were cancelled.
    """
    task = asyncio.ensure_future(commit)
    try:
        return await asyncio.shield(task), False
    except asyncio.CancelledError:
        return await task, True


def _guard(call: Call) -> Guard:
    return Guard(client=call.client.registration.name, version=call.client.version)


class _Stages:
    """Adds up where the time of exchanges goes."""

    def __init__(self) -> None:
        self._since = time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        metrics.stage_seconds(stage).observe(now - self._since)
        self._since = now


_DENIALS: Final[dict[str, str]] = {
    "disabled": "this client is not enabled",
    "certificate": "this client no longer comes by this certificate",
    "identity.asid-unknown": "the system in the audit identity maps to no single organisation",
    "network": "this client is not registered for this network",
    "service": "this client is not registered for this service",
    "organisation": "this client is not registered to act for the organisation in the audit identity",
    "method": "this client is not registered for this access method",
    "asid": "no accredited system (ASID) is registered for the organisation in the audit identity",
}


def _styled(patient: Patient, registration: Registration) -> Patient:
    """Leave out the prefix and all but the first given name for clients that want it so (D18)."""
    if not registration.compatibility.first_given_name_only or patient.name is None:
        return patient
    name = msgspec.structs.replace(patient.name, prefix=None, given=patient.name.given[:1])
    return msgspec.structs.replace(patient, name=name)


def _datetime(at: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(at / 1_000_000, datetime.UTC)


def _today(at: int) -> str:
    return _datetime(at).strftime("%Y%m%d")
