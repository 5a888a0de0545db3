"""A provider without sockets: the real path and codecs, with a log and a Spine that can be told what to do."""

import asyncio
import datetime
import itertools
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from minispine.audit.catalogue import check
from minispine.audit.events import AuditUnavailable, Entry, Event, EventType, GuardFailed, Receipt
from minispine.config.settings import Exchange as Limits
from minispine.domain.identity import AccessMethod, AuditId
from minispine.domain.lanes import Lane
from minispine.domain.operations import NationalService, Operation
from minispine.domain.outcome import Found, InputRefused, Outcome, Unavailable
from minispine.domain.patient import Practice, SpineAddress, SpineName, SpineRecord, SpineRegistration, SpineTelecom
from minispine.domain.question import Question
from minispine.domain.request import PdsRequest
from minispine.provider.cache import Kept, Scope
from minispine.provider.clients import CertificateNames, ClientCertificate, Registration
from minispine.provider.exchange import SIDE, Answer, Call, Exchanges
from minispine.provider.flights import Flights
from minispine.provider.in_force import Client, InForce
from minispine.spine.ports import Asked, Attempt, CallResult, MessageIds, NoSlot, Sender, Turns
from minispine.storage import StorageUnavailable
from minispine.vocabulary import oids
from minispine.vocabulary.asids import load_asids
from minispine.vocabulary.budgets import shipped_budgets
from minispine.vocabulary.cache_rules import CacheRule, CacheRules, shipped_cache_rules
from minispine.vocabulary.codes import shipped_vocabulary
from minispine.vocabulary.spine_codes import shipped_spine_codes
from minispine.wire import itk, pds, soap

NOW = datetime.datetime(2026, 11, 21, 12, 0, tzinfo=datetime.UTC)
NOW_US = int(NOW.timestamp()) * 1_000_000
NUMBER = "9449310467"
JSMITH = "urn:nhs-uk:identity:ods:RXX:jsmith"

RECORD = SpineRecord(
    nhs_number=NUMBER,
    names=(SpineName(use="L", prefix="MR", given=("LAURENCE", "WISDOM"), family="LANGAN"),),
    gender="1",
    birth_time="20090310",
    addresses=(
        SpineAddress(use="H", lines=("", "10 MOLE VALLEY PLACE", "", "ASHTEAD", "SURREY"), postcode="KT21 2PN"),
    ),
    telecoms=(SpineTelecom(use="H", value="tel:01133973555"),),
    registrations=(SpineRegistration(ods_code="H81109"),),
)
FOUND = Found(event="found", record=RECORD)

BY_NUMBER = {"nhs_number": NUMBER, "birth_date": "20090310"}
BY_NAME = {"family": "LANGAN", "given": "LAURENCE", "gender": "1", "birth_date": "20090310", "postcode": "KT21 2PN"}

CERTIFICATE = CertificateNames(subject="CN=ward", issuer="CN=Issuing", fingerprint="aa")
WARD = Registration(
    name="ward",
    certificates=(ClientCertificate(subject="CN=ward", issuer="CN=Issuing"),),
    organisations=("RXX", "RYY"),
    services=tuple(Operation),
    methods={NationalService.PDS: (AccessMethod.UNATTENDED, AccessMethod.ATTENDED)},
    user_codes="asserted",
)

replace = msgspec.structs.replace


class RememberingLog:
    """An audit log in memory, which holds events to the catalogue as the real one does.

    `away_at` and `stale_at`: at which append it is away, or finds a changed registration.
    """

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.appends = itertools.count(1)
        self.away_at: set[int] = set()
        self.stale_at: set[int] = set()
        self.slow: asyncio.Event | None = None

    async def append(self, entry: Entry) -> Receipt:
        await asyncio.sleep(0)
        number = next(self.appends)
        if self.slow is not None:
            await self.slow.wait()
        if number in self.away_at:
            raise AuditUnavailable
        if number in self.stale_at and entry.guard is not None:
            raise GuardFailed(entry.guard.client)
        for event in entry.events:
            check(event)
        self.entries.append(entry)
        return Receipt(sequence=len(self.entries))

    @property
    def events(self) -> list[Event]:
        return [event for entry in self.entries for event in entry.events]

    def types(self) -> list[list[str]]:
        return [[event.type.value for event in entry.events] for entry in self.entries]

    def only(self, kind: EventType) -> Event:
        (found,) = [event for event in self.events if event.type is kind]
        return found


class ToldSpine:
    """A Spine that answers what it is told, one outcome for each question."""

    attempts = 2

    def __init__(self, log: RememberingLog) -> None:
        self._log = log
        self.told: list[Outcome] = []
        self.asked: list[tuple[Question, Sender]] = []
        self.recorded_before: list[bool] = []
        self.refuses: InputRefused | None = None
        self.silent: asyncio.Event | None = None
        """Set when a question has come that is never answered."""
        self.is_shut = False
        self.hurried = False
        """Set where an unavailable outcome is because our own time was short."""
        self.until: asyncio.Event | None = None
        """Answers wait for it, where it is there."""

    def refusal(self, question: Question) -> InputRefused | None:
        return self.refuses

    def interaction(self, question: Question) -> str:
        return f"ask-{type(question).__name__}"

    async def prepare(self, calls: int) -> int:
        return calls

    def shut(self) -> bool:
        return self.is_shut

    async def ask(
        self, question: Question, *, sender: Sender, ids: tuple[MessageIds, ...], timeout_s: float, turns: Turns
    ) -> Asked:
        assert timeout_s > 0
        try:
            slot = await turns.wait()
        except NoSlot as busy:
            return Asked(outcome=Unavailable(event="transport.timeout"), attempts=(), busy=busy)
        assert slot.use()
        if self.silent is not None:
            self.silent.set()
            await asyncio.Event().wait()
        self.asked.append((question, sender))
        durable = str([event.data for event in self._log.events])
        self.recorded_before.append(all(one.message_id in durable and one.hl7_id in durable for one in ids))
        outcome = self.told.pop(0)
        if self.until is not None:
            await self.until.wait()
        slot.finish("succeeded")
        attempt = Attempt(
            ids=ids[0],
            interaction=self.interaction(question),
            sent_at=NOW_US,
            ended_at=NOW_US,
            sent=b"<asked/>",
            received=b"<answered/>",
            spine_message_id="SPINE",
            outcome=outcome,
        )
        return Asked(outcome=outcome, attempts=(attempt,), away=isinstance(outcome, Unavailable) and not self.hurried)


class _Slot:
    def use(self) -> bool:
        return True

    def finish(self, result: CallResult) -> None:
        assert result == "succeeded"


class OpenAdmission:
    """Slots for everybody, unless `busy` says otherwise; `before` is awaited before each.

    `gone` has what tells, for each that got in line, whether nobody is there any more to be answered.
    """

    def __init__(self) -> None:
        self.busy: NoSlot | None = None
        self.asked: list[tuple[str, Lane, str, int]] = []
        self.before: list[asyncio.Event | NoSlot] = []
        self.gone: list[Callable[[], bool] | None] = []

    def refusal(self, *, asid: str, lane: Lane, client: str, calls: int, time_left_s: float) -> NoSlot | None:
        self.asked.append((asid, lane, client, calls))
        return self.busy

    def turns(
        self, *, asid: str, lane: Lane, client: str, deadline_s: float, gone: Callable[[], bool] | None = None
    ) -> Turns:
        self.gone.append(gone)
        return _Turns(self.before)


class _Turns:
    def __init__(self, before: list[asyncio.Event | NoSlot]) -> None:
        self._before = before

    async def wait(self) -> _Slot:
        first = self._before.pop(0) if self._before else None
        if isinstance(first, NoSlot):
            raise first
        if first is not None:
            await first.wait()
        return _Slot()


class ToldCache:
    """A cache that keeps nothing by itself: `kept` has what it gives, by kind of question."""

    def __init__(self, rules: Callable[[], CacheRules]) -> None:
        self._rules = rules
        self.kept: dict[type, Kept] = {}
        self.stale: dict[type, Kept] = {}
        """What it gives while Spine is unavailable."""
        self.learnt: list[tuple[Question, Outcome, Scope]] = []
        self.away = False

    def concerns(self, operation: Operation, client: str) -> CacheRule | None:
        return self._rules().rule(operation, client)

    async def answer(self, question: Question, scope: Scope, *, outage: bool) -> Kept | None:
        return (self.stale if outage else self.kept).get(type(question))

    async def learn(self, question: Question, outcome: Outcome, scope: Scope, *, exchange: str) -> None:
        if self.away:
            raise StorageUnavailable("away")
        self.learnt.append((question, outcome, scope))


class Counted(list[tuple[str, str, str, str]]):
    """What throughput was told: operation, organisation, lane, outcome."""

    def count(self, *, operation: str, organisation: str, lane: str, outcome: str) -> None:
        self.append((operation, organisation, lane, outcome))


class KnownPractices:
    async def practice(self, ods_code: str) -> Practice | None:
        return Practice(ods_code=ods_code, name="CAPELFIELD SURGERY") if ods_code == "H81109" else None


class Scene:
    """A provider, and one call after another."""

    def __init__(self) -> None:
        self.log = RememberingLog()
        self.spine = ToldSpine(self.log)
        self.registration = WARD
        self.version = 1
        self.limits = Limits()
        self.asids = {"RXX": "200000000999", "RYY": "200000000888", "RZZ": "200000000777"}
        self.spine_codes = shipped_spine_codes()
        self.vocabulary = shipped_vocabulary("pds")
        self.cache_rules = shipped_cache_rules()
        self.admission = OpenAdmission()
        self.cache = ToldCache(lambda: self.cache_rules)
        self.counted = Counted()
        self.has_room = True
        self.on_refresh: Callable[[], None] = lambda: None
        self.gone: Callable[[], bool] = lambda: False
        self._ids = itertools.count(1)

    def in_force(self) -> InForce:
        return InForce(
            version=self.version,
            clients={"ward": Client(self.registration, self.version)},
            vocabulary=self.vocabulary,
            spine_codes=self.spine_codes,
            asids=load_asids(self.asids),
            budgets=shipped_budgets(),
            cache_rules=self.cache_rules,
            by_subject={},
        )

    def new_id(self) -> str:
        return f"{next(self._ids):08X}-AAAA-4AAA-8AAA-AAAAAAAAAAAA"

    async def _refresh(self) -> None:
        self.on_refresh()

    def exchanges(self) -> Exchanges:
        return Exchanges(
            limits=lambda: self.limits,
            system_id="test-system",
            in_force=self.in_force,
            refresh=self._refresh,
            log=self.log,
            spine=self.spine,
            organisations=KnownPractices(),
            admission=self.admission,
            cache=self.cache,
            flights=Flights(SIDE),
            throughput=self.counted,
            has_room=lambda: self.has_room,
            now=lambda: NOW_US,
            new_id=self.new_id,
        )

    def message(
        self,
        operation: Operation = Operation.VERIFY_NHS_NUMBER,
        identity: str = JSMITH,
        expires_s: float = 300,
        **parameters: str,
    ) -> bytes:
        request = PdsRequest(operation=operation, **(parameters or BY_NUMBER))  # type: ignore[arg-type]
        return itk.write_request(
            pds.write_request(request, id=self.new_id()),
            operation=operation,
            message_id="B0000000-AAAA-4AAA-8AAA-AAAAAAAAAAAA",
            tracking_id=self.new_id(),
            payload_id=self.new_id(),
            to="https://smsp.example.nhs.uk/smsp/pds",
            timestamp=soap.Timestamp(created=NOW, expires=NOW + datetime.timedelta(seconds=expires_s)),
            username="test client",
            audit_identity=(AuditId(oids.LOCAL_IDENTITY, identity),),
        )

    def call(self, body: bytes) -> Call:
        return Call(
            client=Client(self.registration, self.version),
            certificate=CERTIFICATE,
            peer="127.0.0.1",
            path="/smsp/pds",
            soap_action=None,
            body=body,
            arrived_at=NOW_US,
            gone=self.gone,
        )

    def serve(self, body: bytes, *told: Outcome) -> Answer:
        self.spine.told = list(told)
        return asyncio.run(self.exchanges().serve(self.call(body)))

    def ask(self, operation: Operation, *told: Outcome, **parameters: str) -> Answer:
        return self.serve(self.message(operation, **parameters), *told)


@pytest.fixture
def scene() -> Scene:
    return Scene()


def read(answer: Answer, operation: Operation = Operation.VERIFY_NHS_NUMBER) -> Any:
    """The reply of an answer, or its fault."""
    read = itk.read_response(answer.body)
    return read if isinstance(read, soap.Fault) else pds.read_response(operation, read.payload)
