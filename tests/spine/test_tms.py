"""Asking PDS over TMS: attempts, ids, deadline, breaker, and what HTTP alone says."""

import asyncio
import datetime
from collections.abc import Callable, Container, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from minispine.config.settings import SpinePds
from minispine.domain.outcome import AuthorRefused, Found, InputRefused, NoMatch, Outcome, Unavailable, Unusable
from minispine.domain.question import CrossCheck, Question, Retrieval, Trace
from minispine.observe import metrics
from minispine.spine.http import HttpAnswer, Interrupted, TimedOut, TooLarge, TransportFailure, Unreachable
from minispine.spine.ports import Asked, MessageIds, NoSlot, PdsPort, Sender, ServiceShut, Turns
from minispine.spine.retries import PER_REPEAT, RESERVE
from minispine.spine.tms import TmsPds, endpoint
from minispine.vocabulary.spine_codes import load_spine_codes, shipped_document, shipped_spine_codes
from tests.spine.turns import FreeSlot, FreeTurns

NUMBER = "9449310467"
QUESTION = Retrieval(nhs_number=NUMBER)
SENDER = Sender(asid="200000000999")
IDS = tuple(
    MessageIds(message_id=f"5B0C1A2E-000{n}-4C5D-8E9F-000000000001", hl7_id=f"5B0C1A2E-000{n}-4C5D-8E9F-000000000002")
    for n in range(4)
)
SETTINGS = SpinePds(
    url="https://spine.example/sync-service",
    to_asid="928942012545",
    certificate=Path("c"),
    key=Path("k"),
    ca=Path("a"),
    read_timeout_s=7.0,
    timeout_s=10.0,
    retries=2,
    breaker_failures=3,
    breaker_open_s=5.0,
)
START = datetime.datetime(2024, 7, 1, 9, 15, 30, 250000, tzinfo=datetime.UTC)


def message(ids: MessageIds, ack: str, inside: str, interaction: str, detail: str = "") -> bytes:
    return (
        f'<{interaction} xmlns="urn:hl7-org:v3"><id root="AAAAAAAA-BBBB-4CCC-8DDD-EEEEEEEEEEEE"/>'
        f'<acknowledgement typeCode="{ack}">{detail}<messageRef><id root="{ids.hl7_id}"/></messageRef>'
        "</acknowledgement>"
        f"<ControlActEvent>{inside}</ControlActEvent></{interaction}>"
    ).encode()


def found(ids: MessageIds) -> bytes:
    person = (
        f'<subject><PDSResponse><subject><patientRole><id root="2.16.840.1.113883.2.1.4.1" extension="{NUMBER}"/>'
        '</patientRole></subject></PDSResponse></subject><queryAck><queryResponseCode code="OK"/></queryAck>'
    )
    return message(ids, "AA", person, "QUPA_IN000009UK03")


def no_match(ids: MessageIds) -> bytes:
    reason = (
        '<reason><justifyingDetectedIssueEvent><code code="1" codeSystem="2.16.840.1.113883.2.1.3.2.4.17.42"/>'
        '</justifyingDetectedIssueEvent></reason><queryAck><queryResponseCode code="ID"/></queryAck>'
    )
    return message(ids, "AE", reason, "QUQI_IN010000UK14")


def used_id(ids: MessageIds) -> bytes:
    detail = (
        '<acknowledgementDetail><code code="202" codeSystem="2.16.840.1.113883.2.1.3.2.4.17.32"/>'
        "</acknowledgementDetail>"
    )
    return message(ids, "AR", "", "MCCI_IN010000UK13", detail)


def fault(code: str) -> bytes:
    return (
        '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><s:Fault><detail><errorList><error>'
        f"<errorCode>{code}</errorCode></error></errorList></detail></s:Fault></s:Body></s:Envelope>"
    ).encode()


Step = TransportFailure | HttpAnswer | Callable[[MessageIds], bytes] | asyncio.CancelledError


class Line:
    """Stands for Spine and the connections to it: answers each call with the next step, and keeps what it was sent and
    how long it had. `gone` are the takings, by number, that find no connection.
    """

    def __init__(self, *steps: Step, takes_s: float = 0.0) -> None:
        self.steps = list(steps)
        self.takes_s = takes_s
        self.seconds = 0.0
        self.calls: list[tuple[bytes, Mapping[str, str], float]] = []
        self.taken = 0
        self.given_back = 0
        self.gone: Container[int] = ()
        self.connecting: asyncio.Future[int] | None = None
        """What becomes of connections that are being opened, where that takes its time."""

    async def prepare(self, calls: int) -> int:
        return calls if self.connecting is None else await asyncio.shield(self.connecting)

    def take(self) -> object | None:
        self.taken += 1
        return None if self.taken - 1 in self.gone else self

    def give_back(self, connection: object) -> None:
        assert connection is self
        self.given_back += 1

    async def exchange(
        self, connection: object, body: bytes, *, headers: Mapping[str, str], timeout_s: float
    ) -> HttpAnswer:
        assert connection is self
        self.calls.append((body, headers, timeout_s))
        self.seconds += self.takes_s
        step = self.steps.pop(0)
        if isinstance(step, BaseException):
            raise step
        return step if isinstance(step, HttpAnswer) else HttpAnswer(200, step(IDS[len(self.calls) - 1]))

    def now(self) -> datetime.datetime:
        return START + datetime.timedelta(seconds=self.seconds)


def adapter(line: Line, **settings: Any) -> TmsPds:
    return TmsPds(
        msgspec.structs.replace(SETTINGS, **settings),
        line,
        shipped_spine_codes,
        now=line.now,
        monotonic=lambda: line.seconds,
    )


def ask(
    pds: TmsPds,
    ids: tuple[MessageIds, ...] = IDS[:3],
    timeout_s: float = 25.0,
    question: Question = QUESTION,
    turns: Turns | None = None,
) -> Asked:
    turns = turns or FreeTurns(pds)
    return asyncio.run(pds.ask(question, sender=SENDER, ids=ids, timeout_s=timeout_s, turns=turns))


class ToldTurns:
    """Gives these slots, or raises these, one after another; `meanwhile` happens during each wait."""

    def __init__(self, *told: FreeSlot | BaseException, meanwhile: Callable[[], None] = lambda: None) -> None:
        self.told = list(told)
        self.meanwhile = meanwhile

    async def wait(self) -> FreeSlot:
        self.meanwhile()
        step = self.told.pop(0)
        if isinstance(step, BaseException):
            raise step
        return step


class InLine:
    """Gives these slots at once, and then the one that the test puts there, when it does."""

    def __init__(self, *at_once: FreeSlot) -> None:
        self.slot: asyncio.Future[FreeSlot] = asyncio.get_running_loop().create_future()
        self._at_once = list(at_once)

    async def wait(self) -> FreeSlot:
        return self._at_once.pop() if self._at_once else await self.slot


def events(asked: Asked) -> list[str]:
    return [attempt.outcome.event for attempt in asked.attempts]


def test_one_question_one_answer() -> None:
    line = Line(found, takes_s=0.5)
    pds: PdsPort = adapter(line)
    asked = asyncio.run(pds.ask(QUESTION, sender=SENDER, ids=IDS[:3], timeout_s=25.0, turns=FreeTurns(pds)))
    assert isinstance(asked.outcome, Found)
    (attempt,) = asked.attempts
    sent, headers, _ = line.calls[0]
    start = int(START.timestamp() * 1_000_000)
    assert attempt.ids == IDS[0]
    assert attempt.interaction == "QUPA_IN000008UK02"
    assert (attempt.sent_at, attempt.ended_at) == (start, start + 500_000)
    assert (attempt.sent, attempt.received) == (sent, found(IDS[0]))
    assert attempt.spine_message_id == "AAAAAAAA-BBBB-4CCC-8DDD-EEEEEEEEEEEE"
    assert attempt.outcome == asked.outcome
    assert headers == {
        "Content-Type": "text/xml; charset=UTF-8",
        "SOAPAction": "urn:nhs:names:services:pdsquery/QUPA_IN000008UK02",
    }
    assert IDS[0].message_id.encode() in sent
    assert b'extension="200000000999"' in sent


def test_a_connection_that_fails_is_tried_again_with_the_next_ids() -> None:
    line = Line(Unreachable("x"), Unreachable("x"), found)
    asked = ask(adapter(line))
    assert isinstance(asked.outcome, Found)
    assert events(asked) == ["transport.unreachable", "transport.unreachable", "found"]
    assert [attempt.ids for attempt in asked.attempts] == list(IDS[:3])
    assert [attempt.received for attempt in asked.attempts[:2]] == [None, None]
    for (sent, _, _), ids in zip(line.calls, IDS, strict=False):
        assert ids.message_id.encode() in sent
        assert ids.hl7_id.encode() in sent


def test_there_are_as_many_attempts_as_ids() -> None:
    line = Line(Unreachable("x"), Unreachable("x"), found)
    asked = ask(adapter(line), ids=IDS[:2])
    assert asked.outcome == Unavailable(event="transport.unreachable")
    assert len(asked.attempts) == 2
    assert adapter(line).attempts == 3


@pytest.mark.parametrize(
    ("step", "outcome"),
    [
        (TimedOut("x"), Unavailable(event="transport.timeout")),
        (Interrupted("x"), Unavailable(event="transport.interrupted")),
        (TooLarge("x"), Unusable(event="answer.malformed")),
        (HttpAnswer(500, fault("101")), Unusable(event="soap.101")),
        (HttpAnswer(500, fault("300")), Unusable(event="soap.other")),
        (HttpAnswer(500, no_match(IDS[0])), NoMatch(event="pds.1")),
        (HttpAnswer(500, b"<html>Internal error</html>"), Unavailable(event="transport.http-status")),
        (HttpAnswer(502, b""), Unavailable(event="transport.http-status")),
        (HttpAnswer(404, b"?"), Unavailable(event="transport.http-status")),
        (HttpAnswer(302, b""), Unavailable(event="transport.http-status")),
        (HttpAnswer(202, found(IDS[0])), Unavailable(event="transport.http-status")),
        (HttpAnswer(408, b""), Unavailable(event="transport.timeout")),
        (HttpAnswer(401, b""), AuthorRefused(event="transport.forbidden")),
        (HttpAnswer(403, b""), AuthorRefused(event="transport.forbidden")),
        (HttpAnswer(200, b"<html>Welcome</html>"), Unusable(event="answer.malformed")),
        (HttpAnswer(200, b""), Unusable(event="answer.malformed")),
        (HttpAnswer(200, found(IDS[1])), Unusable(event="answer.wrong-ids")),
        (no_match, NoMatch(event="pds.1")),
    ],
)
def test_what_is_not_tried_again(step: Step, outcome: Outcome) -> None:
    line = Line(step)
    asked = ask(adapter(line))
    assert asked.outcome == outcome
    assert events(asked) == [outcome.event]
    received = step.body if isinstance(step, HttpAnswer) else None if isinstance(step, Exception) else no_match(IDS[0])
    assert asked.attempts[0].received == received


def test_an_id_used_before_is_replaced_once() -> None:
    assert events(ask(adapter(Line(used_id, found)))) == ["tms.202", "found"]
    assert events(ask(adapter(Line(used_id, used_id)))) == ["tms.202", "tms.202"]
    assert events(ask(adapter(Line(used_id)), ids=IDS[:1])) == ["tms.202"]


# What is asked again


@pytest.mark.parametrize("code", ["200", "206", "208"])
def test_a_fault_that_spine_asks_to_repeat_is_tried_again(code: str) -> None:
    asked = ask(adapter(Line(HttpAnswer(500, fault(code)), found)))
    assert events(asked) == [f"soap.{code}", "found"]
    assert isinstance(asked.outcome, Found)
    assert [attempt.ids for attempt in asked.attempts] == list(IDS[:2])


def test_the_table_in_force_says_what_is_repeated() -> None:
    document = shipped_document()
    row = next(row for row in document["event"] if row["name"] == "soap.206")
    del row["repeat"]
    changed = load_spine_codes(document, {row["response"] for row in document["event"]})
    line = Line(HttpAnswer(500, fault("206")))
    pds = TmsPds(SETTINGS, line, lambda: changed, now=line.now, monotonic=lambda: line.seconds)
    assert events(ask(pds)) == ["soap.206"]


def test_a_spine_that_fails_is_not_asked_twice_as_often() -> None:
    questions = 100
    line = Line(*[HttpAnswer(500, fault("206"))] * 2 * questions)
    pds = adapter(line, breaker_failures=1000)
    metric = {result: metrics.RETRIES.labels("pds", result) for result in ("made", "refused")}
    before = {result: metric[result]._value.get() for result in metric}
    for _ in range(questions):
        ask(pds, ids=IDS[:2])
    repeats = len(line.calls) - questions
    assert RESERVE + questions // PER_REPEAT - 1 <= repeats <= RESERVE + questions / PER_REPEAT
    counted = {result: metric[result]._value.get() - before[result] for result in metric}
    assert counted == {"made": repeats, "refused": questions - repeats}


def test_a_used_id_is_replaced_within_the_same_budget() -> None:
    line = Line(*[used_id] * RESERVE * 2, used_id)
    pds = adapter(line)
    for place in range(RESERVE):
        line.calls.clear()
        assert len(ask(pds, ids=IDS[:2]).attempts) == 2, place
    line.calls.clear()
    assert events(ask(pds, ids=IDS[:2])) == ["tms.202"]


def test_nothing_is_repeated_that_the_breaker_would_not_let_through() -> None:
    line = Line(HttpAnswer(500, fault("206")), found)
    made = metrics.RETRIES.labels("pds", "made")
    before = made._value.get()
    asked = ask(adapter(line, breaker_failures=1))
    assert events(asked) == ["soap.206"]
    assert made._value.get() == before


# Slots


def test_every_call_has_a_slot_of_its_own_and_says_what_came_of_it() -> None:
    line = Line(Unreachable("x"), found)
    pds = adapter(line)
    turns = FreeTurns(pds)
    assert isinstance(ask(pds, turns=turns).outcome, Found)
    assert turns.results == ["failed", "succeeded"]


def test_a_lost_slot_uses_no_ids_and_the_connection_is_kept() -> None:
    line = Line(found)
    pds = adapter(line)
    turns = FreeTurns(pds, lost=frozenset({0, 1}))
    asked = ask(pds, turns=turns)
    assert [attempt.ids for attempt in asked.attempts] == [IDS[0]]
    assert len(line.calls) == 1
    assert line.given_back == 2
    assert turns.results == ["succeeded"]


def test_the_message_is_of_the_moment_at_which_it_leaves() -> None:
    line = Line(found)

    def wait() -> None:
        line.seconds += 2.0

    asked = ask(adapter(line), turns=ToldTurns(FreeSlot(lost=True), FreeSlot(), meanwhile=wait), timeout_s=9.0)
    start = int(START.timestamp() * 1_000_000)
    assert asked.attempts[0].sent_at == start + 4_000_000
    assert b"20240701091534" in line.calls[0][0]
    assert line.calls[0][2] == 5.0


def test_a_slot_without_a_connection_is_not_used() -> None:
    line = Line(found)
    line.gone = {0}
    pds = adapter(line)
    turns = FreeTurns(pds)
    asked = ask(pds, turns=turns)
    assert isinstance(asked.outcome, Found)
    assert [slot.used for slot in turns.slots] == [False, True]
    assert [attempt.ids for attempt in asked.attempts] == [IDS[0]]


def test_connections_that_never_last_are_a_failure_of_spine() -> None:
    line = Line()
    line.gone = range(100)
    pds = adapter(line, breaker_failures=2)
    turns = FreeTurns(pds)
    asked = ask(pds, turns=turns)
    assert events(asked) == ["transport.unreachable"] * 2
    assert len(turns.slots) <= 6
    assert not any(slot.used for slot in turns.slots)
    assert pds.breaker.state == "open"


def test_a_connection_that_cannot_be_made_is_an_attempt_that_did_not_leave() -> None:
    line = Line(lambda _: found(IDS[1]))
    pds = adapter(line)
    slot = FreeSlot()
    asked = ask(pds, turns=ToldTurns(Unreachable("x"), slot))
    assert events(asked) == ["transport.unreachable", "found"]
    assert [attempt.ids for attempt in asked.attempts] == list(IDS[:2])
    assert IDS[0].message_id.encode() in asked.attempts[0].sent
    assert asked.attempts[0].received is None
    assert len(line.calls) == 1
    assert slot.results == ["succeeded"]


def test_connections_that_cannot_be_made_open_the_breaker() -> None:
    pds = adapter(Line())
    ask(pds, turns=ToldTurns(*[Unreachable("x")] * 3))
    assert pds.breaker.state == "open"
    assert pds.shut()


def test_no_slot_before_the_deadline_is_said_as_it_is() -> None:
    none = NoSlot(7)
    pds = adapter(Line(Unreachable("x"), found))
    asked = ask(pds, turns=ToldTurns(none))
    assert (asked.busy, asked.attempts) == (none, ())
    asked = ask(pds, turns=ToldTurns(FreeSlot(), none))
    assert asked.busy is none
    assert events(asked) == ["transport.unreachable"]
    assert isinstance(ask(pds, ids=IDS[1:]).outcome, Found)


def test_a_breaker_that_opens_while_a_call_waits_is_an_open_breaker() -> None:
    pds = adapter(Line(Unreachable("x"), found))
    shut = Asked(outcome=Unavailable(event="transport.breaker-open"), attempts=(), away=True)
    assert ask(pds, turns=ToldTurns(ServiceShut())) == shut
    asked = ask(pds, turns=ToldTurns(FreeSlot(), ServiceShut()))
    assert (events(asked), asked.outcome, asked.busy) == (
        ["transport.unreachable"],
        Unavailable(event="transport.unreachable"),
        None,
    )


def test_a_slot_that_comes_after_the_breaker_opened_is_not_used() -> None:
    line = Line(TimedOut("x"), found)
    pds = adapter(line, breaker_failures=1)

    def another_fails() -> None:
        permit = pds.breaker.permit(line.seconds)
        assert permit is not None
        pds.breaker.settle(permit, "failed", line.seconds)

    slot = FreeSlot()
    asked = ask(pds, turns=ToldTurns(slot, meanwhile=another_fails))
    assert asked == Asked(outcome=Unavailable(event="transport.breaker-open"), attempts=(), away=True)
    assert not slot.used
    assert line.calls == []


def test_a_slot_that_comes_after_the_deadline_is_not_used() -> None:
    line = Line(found)

    def wait() -> None:
        line.seconds += 25.0

    slot = FreeSlot()
    asked = ask(adapter(line), turns=ToldTurns(slot, meanwhile=wait))
    assert asked == Asked(outcome=Unavailable(event="transport.timeout"), attempts=())
    assert not slot.used


def test_whether_it_is_shut_is_known_without_asking() -> None:
    line = Line(TimedOut("x"), found)
    pds = adapter(line, breaker_failures=1)
    assert not pds.shut()
    ask(pds)
    assert pds.shut()
    line.seconds += 5.0
    assert not pds.shut()
    assert pds.breaker.state == "open"


def test_a_call_given_up_says_so_to_its_slot() -> None:
    pds = adapter(Line(asyncio.CancelledError()))
    turns = FreeTurns(pds)
    with pytest.raises(asyncio.CancelledError):
        ask(pds, turns=turns)
    assert turns.results == ["given up"]


def test_the_silence_that_is_allowed_is_silence_enough_to_count() -> None:
    pds = adapter(Line(*[TimedOut("x")] * 3), read_timeout_s=2.0)
    for _ in range(3):
        ask(pds, timeout_s=3.0)
    assert pds.breaker.state == "open"


def test_the_time_of_an_answer_is_measured() -> None:
    histogram = metrics.spine_seconds("QUPA_IN000008UK02")
    before = histogram._sum.get()
    ask(adapter(Line(found, takes_s=0.75)))
    assert histogram._sum.get() - before == pytest.approx(0.75)


# The time that there is, and the breaker


def test_an_attempt_has_the_time_that_is_left() -> None:
    line = Line(Unreachable("x"), Unreachable("x"), takes_s=8.0)
    asked = ask(adapter(line), timeout_s=15.0)
    assert [timeout for _, _, timeout in line.calls] == [10.0, 7.0]
    assert len(asked.attempts) == 2


def test_no_attempt_is_made_when_no_time_is_left() -> None:
    line = Line()
    asked = ask(adapter(line), timeout_s=0.0)
    assert asked == Asked(outcome=Unavailable(event="transport.timeout"), attempts=())
    assert line.calls == []


def test_an_open_breaker_asks_nobody_until_its_time_is_up() -> None:
    line = Line(TimedOut("x"), TimedOut("x"), TimedOut("x"), found)
    pds = adapter(line)
    for _ in range(3):
        ask(pds)
    assert ask(pds) == Asked(outcome=Unavailable(event="transport.breaker-open"), attempts=(), away=True)
    assert len(line.calls) == 3
    line.seconds += 5.0
    assert isinstance(ask(pds, ids=IDS[3:]).outcome, Found)
    assert pds.breaker.state == "closed"


def test_the_few_last_moments_of_a_caller_do_not_open_the_breaker_for_everybody() -> None:
    hurried, patient = 0.01, 6.0
    pds = adapter(Line(*[TimedOut("x")] * 20), retries=0)
    for _ in range(10):
        ask(pds, timeout_s=hurried)
    assert pds.breaker.state == "closed"
    for _ in range(3):
        ask(pds, timeout_s=patient)
    assert pds.breaker.state == "open"


# Whether Spine is back


AWAY = Asked(outcome=Unavailable(event="transport.breaker-open"), attempts=(), away=True)


def shut(line: Line, **settings: Any) -> TmsPds:
    """An adapter whose breaker has just opened, for 5 seconds."""
    pds = adapter(line, breaker_failures=1, **settings)
    line.steps.insert(0, TimedOut("x"))
    ask(pds)
    line.calls.clear()
    line.taken = 0
    assert pds.shut()
    return pds


class Gone(Exception):
    """Whatever else may end a wait: the client has gone, say."""


class BrokenSlot(FreeSlot):
    """A slot that cannot be used because of a defect."""

    def use(self) -> bool:
        raise Gone


@pytest.mark.parametrize(
    ("told", "waits_s", "without_connection"),
    [
        pytest.param([FreeSlot()], 20.0, (), id="too late"),
        pytest.param([FreeSlot()] * 3, 0.0, range(3), id="no connection lasts"),
        pytest.param([FreeSlot(lost=True), NoSlot(7)], 0.0, (), id="no slot"),
        pytest.param([FreeSlot(lost=True), ServiceShut()], 0.0, (), id="shut"),
        pytest.param([FreeSlot(lost=True), Unreachable("x")], 0.0, (), id="no connection"),
        pytest.param([FreeSlot(lost=True), Gone()], 0.0, (), id="gone"),
        pytest.param([FreeSlot(lost=True), asyncio.CancelledError()], 0.0, (), id="cancelled"),
        pytest.param([BrokenSlot()], 0.0, (), id="defect"),
        pytest.param([NoSlot(7)], 0.0, (), id="no slot at all"),
        pytest.param([asyncio.CancelledError()], 0.0, (), id="cancelled at once"),
    ],
)
@pytest.mark.parametrize("opens_meanwhile", [False, True])
def test_however_a_call_ends_that_did_not_leave_another_may_try_whether_spine_is_back(
    told: list[FreeSlot | BaseException], waits_s: float, without_connection: Container[int], opens_meanwhile: bool
) -> None:
    line = Line(found)
    pds = adapter(line, breaker_failures=1) if opens_meanwhile else shut(line)
    line.gone = without_connection

    def another_fails_and_time_passes() -> None:
        if opens_meanwhile and pds.breaker.state == "closed":
            permit = pds.breaker.permit(line.seconds)
            assert permit is not None
            pds.breaker.settle(permit, "failed", line.seconds)
            line.seconds += 5.0
        line.seconds += waits_s

    line.seconds += 5.0
    turns = ToldTurns(*told, meanwhile=another_fails_and_time_passes)
    with suppress(Gone, asyncio.CancelledError):
        ask(pds, timeout_s=12.0, turns=turns)
    assert turns.told == []
    assert line.calls == []
    assert pds.breaker.state == "open"
    line.seconds += 60.0
    line.gone = ()
    assert isinstance(ask(pds).outcome, Found)
    assert pds.breaker.state == "closed"


async def begun(pds: TmsPds, turns: Turns) -> asyncio.Task[Asked]:
    """A question that has gone as far as it gets."""
    asking = asyncio.create_task(pds.ask(QUESTION, sender=SENDER, ids=IDS[:1], timeout_s=25.0, turns=turns))
    await asyncio.sleep(0)
    return asking


def test_who_waits_for_a_slot_keeps_nobody_from_trying_whether_spine_is_back() -> None:
    line = Line(found, lambda _: found(IDS[0]))
    pds = shut(line)
    line.seconds += 5.0

    async def story() -> None:
        limited = InLine()
        waiting = await begun(pds, limited)
        answered = await pds.ask(QUESTION, sender=SENDER, ids=IDS[:1], timeout_s=25.0, turns=FreeTurns(pds))
        assert isinstance(answered.outcome, Found)
        assert pds.breaker.state == "closed"
        limited.slot.set_result(FreeSlot())
        assert isinstance((await waiting).outcome, Found)

    asyncio.run(story())


def test_while_one_tries_whether_spine_is_back_nobody_else_waits_or_leaves() -> None:
    line = Line()
    pds = shut(line)
    line.seconds += 5.0

    async def story() -> None:
        first, second = InLine(), InLine()
        waiting = await begun(pds, first)
        trial = pds.breaker.permit(line.seconds)
        assert trial is not None
        none = ToldTurns()
        assert await (await begun(pds, none)) == AWAY
        slot = FreeSlot()
        first.slot.set_result(slot)
        assert await waiting == AWAY
        assert not slot.used
        assert line.given_back == 1
        assert pds.breaker.state == "trying"
        pds.breaker.settle(trial, "succeeded", line.seconds)
        line.steps = [found]
        waiting = await begun(pds, second)
        second.slot.set_result(slot)
        assert isinstance((await waiting).outcome, Found)

    asyncio.run(story())


def test_a_trial_whose_slot_is_over_leaves_it_to_another() -> None:
    line = Line(found)
    pds = shut(line)
    line.seconds += 5.0

    async def story() -> None:
        again = InLine(FreeSlot(lost=True))
        waiting = await begun(pds, again)
        assert line.given_back == 1
        assert isinstance((await (await begun(pds, FreeTurns(pds)))).outcome, Found)
        again.slot.set_exception(NoSlot(7))
        assert (await waiting).busy is not None

    asyncio.run(story())


def test_a_connection_that_cannot_be_made_is_a_trial_that_failed() -> None:
    line = Line()
    pds = shut(line)
    for open_s in (5.0, 10.0, 10.0):
        line.seconds += open_s - 0.1
        assert ask(pds, turns=ToldTurns()) == AWAY
        line.seconds += 0.1
        asked = ask(pds, turns=ToldTurns(Unreachable("x")))
        assert events(asked) == ["transport.unreachable"]
        assert asked.away


def test_while_a_connection_is_opened_to_a_spine_that_was_away_nobody_else_waits() -> None:
    line = Line()
    pds = shut(line)

    async def story() -> None:
        for open_s, fails in [(5.0, True), (10.0, True), (10.0, False)]:
            line.seconds += open_s - 0.1
            assert pds.shut()
            line.seconds += 0.1
            assert not pds.shut()
            line.connecting = asyncio.get_running_loop().create_future()
            turns = InLine()
            waiting = await begun(pds, turns)
            connecting = asyncio.create_task(pds.prepare(1))
            await asyncio.sleep(0)
            assert await (await begun(pds, ToldTurns())) == AWAY
            assert not pds.shut()
            if fails:
                failure = Unreachable("x")
                line.connecting.set_exception(failure)
                with pytest.raises(Unreachable):
                    await connecting
                assert pds.shut()
                turns.slot.set_exception(failure)
                assert events(await waiting) == ["transport.unreachable"]
            else:
                line.connecting.set_result(1)
                assert await connecting == 1
                other = InLine()
                other_waiting = await begun(pds, other)
                line.steps = [found, lambda _: found(IDS[0])]
                for each, asking in [(turns, waiting), (other, other_waiting)]:
                    each.slot.set_result(FreeSlot())
                    assert isinstance((await asking).outcome, Found)

    asyncio.run(story())


def test_a_connection_of_which_nobody_waits_to_hear_is_a_trial_that_failed_too() -> None:
    line = Line()
    pds = shut(line)
    line.seconds += 5.0

    async def story() -> None:
        line.connecting = asyncio.get_running_loop().create_future()
        connecting = asyncio.create_task(pds.prepare(1))
        await asyncio.sleep(0)
        line.connecting.set_exception(TimedOut("x"))
        with pytest.raises(TimedOut):
            await connecting

    asyncio.run(story())
    line.seconds += 9.9
    assert pds.shut()


def test_who_stops_opening_a_connection_leaves_the_trial_to_others() -> None:
    line = Line(found)
    pds = shut(line)
    line.seconds += 5.0

    async def story() -> None:
        line.connecting = asyncio.get_running_loop().create_future()
        connecting = asyncio.create_task(pds.prepare(1))
        await asyncio.sleep(0)
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        line.connecting = None

    asyncio.run(story())
    assert isinstance(ask(pds).outcome, Found)


def test_a_connection_that_cannot_be_made_counts_once_for_each_call_that_is_told() -> None:
    line = Line()
    pds = adapter(line, breaker_failures=2, retries=0)

    async def story() -> None:
        line.connecting = asyncio.get_running_loop().create_future()
        line.connecting.set_exception(Unreachable("x"))
        for state in ("closed", "open"):
            await pds.ask(QUESTION, sender=SENDER, ids=IDS[:1], timeout_s=25.0, turns=FreeTurns(pds))
            assert pds.breaker.state == state

    asyncio.run(story())


def test_a_connection_that_cannot_be_made_has_no_say_while_a_trial_is_under_way() -> None:
    line = Line()
    pds = shut(line)
    line.seconds += 5.0

    async def story() -> None:
        turns = InLine()
        waiting = await begun(pds, turns)
        trial = pds.breaker.permit(line.seconds)
        assert trial is not None
        turns.slot.set_exception(Unreachable("x"))
        assert events(await waiting) == ["transport.unreachable"]
        assert pds.breaker.state == "trying"
        pds.breaker.settle(trial, "succeeded", line.seconds)
        assert pds.breaker.state == "closed"

    asyncio.run(story())


@pytest.mark.parametrize(
    ("steps", "timeout_s", "away"),
    [
        ([TimedOut("x")], 6.0, True),
        ([TimedOut("x")], 0.1, False),
        ([Interrupted("x")], 0.1, True),
        ([Unreachable("x")] * 3, 0.1, True),
        ([HttpAnswer(502, b"")], 0.1, True),
        ([HttpAnswer(500, fault("206"))] * 3, 0.1, True),
        ([HttpAnswer(500, fault("206")), found], 6.0, False),
        ([HttpAnswer(403, b"")], 6.0, False),
        ([TooLarge("x")], 6.0, False),
        ([no_match], 6.0, False),
        ([found], 6.0, False),
    ],
)
def test_spine_is_away_where_that_there_is_no_answer_is_its_own_doing(
    steps: list[Step], timeout_s: float, away: bool
) -> None:
    assert ask(adapter(Line(*steps)), timeout_s=timeout_s).away is away


def test_spine_is_away_where_it_failed_and_its_repetition_had_no_time() -> None:
    asked = ask(adapter(Line(HttpAnswer(500, fault("206")), TimedOut("x"), takes_s=5.0)), timeout_s=6.0)
    assert events(asked) == ["soap.206", "transport.timeout"]
    assert asked.away
    asked = ask(adapter(Line(Unreachable("x"))), turns=ToldTurns(FreeSlot(), NoSlot(7)))
    assert (asked.busy is not None, asked.away) == (True, True)


def test_spine_is_not_away_where_nothing_left() -> None:
    asked = ask(adapter(Line()), turns=ToldTurns(NoSlot(7)))
    assert (asked.busy is not None, asked.away) == (True, False)
    assert not ask(adapter(Line()), timeout_s=0.0).away


def test_a_breaker_that_opens_in_between_leaves_the_last_outcome() -> None:
    line = Line(Unreachable("x"), Unreachable("x"))
    asked = ask(adapter(line, breaker_failures=2))
    assert asked.outcome == Unavailable(event="transport.unreachable")
    assert len(asked.attempts) == 2


def test_only_silence_counts_against_spine() -> None:
    line = Line(*[HttpAnswer(403, b"")] * 3, *[HttpAnswer(200, b"?")] * 3, *[HttpAnswer(500, fault("300"))] * 3, found)
    pds = adapter(line)
    for _ in range(9):
        ask(pds)
    assert pds.breaker.state == "closed"


def test_a_call_that_is_given_up_frees_the_trial() -> None:
    line = Line(TimedOut("x"), asyncio.CancelledError(), found)
    pds = adapter(line, breaker_failures=1)
    ask(pds)
    line.seconds += 5.0
    with pytest.raises(asyncio.CancelledError):
        ask(pds)
    assert isinstance(ask(pds, ids=IDS[2:]).outcome, Found)


def test_the_table_in_force_at_the_answer_decides() -> None:
    document = shipped_document()
    row = next(row for row in document["event"] if row["name"] == "pds.1")
    row.update(outcome="unusable", response="DEMOG-9999")
    changed = load_spine_codes(document, {row["response"] for row in document["event"]})
    tables = [shipped_spine_codes(), changed]
    line = Line(no_match)
    pds = TmsPds(SETTINGS, line, lambda: tables[-1], now=line.now, monotonic=lambda: line.seconds)
    assert ask(pds).outcome == Unusable(event="pds.1")


@pytest.mark.parametrize(
    ("question", "refused"),
    [
        (Trace(family="LANGAN", gender="1", birth_date="20090310", given="L", postcode="KT21 2PN"), False),
        (Trace(family="LAN*", gender="1", birth_date="20090310"), True),
        (Trace(family="LANGAN", gender="1", birth_date="20090310", given="LA*"), True),
        (Trace(family="LANGAN", gender="1", birth_date="20090310", postcode="KT*"), True),
        (Trace(family="LANGAN", gender="1", birth_date="2009"), True),
        (CrossCheck(nhs_number=NUMBER, birth_date="20090310", family="LANGAN"), False),
        (CrossCheck(nhs_number=NUMBER, birth_date="20090310", family="LAN*"), True),
        (CrossCheck(nhs_number=NUMBER, birth_date="200903"), True),
        (QUESTION, False),
    ],
)
def test_what_needs_the_advanced_trace_is_refused(question: Question, refused: bool) -> None:
    expected = InputRefused(event="input.not-supported") if refused else None
    assert adapter(Line()).refusal(question) == expected


def test_interactions() -> None:
    assert adapter(Line()).interaction(QUESTION) == "QUPA_IN000008UK02"


def test_the_endpoint_takes_every_setting_of_the_connection() -> None:
    made = endpoint(SETTINGS)
    shared = set(made.__struct_fields__) & set(SETTINGS.__struct_fields__)
    assert set(made.__struct_fields__) - shared == {"idle_s", "max_answer_bytes"}
    assert all(getattr(made, field) == getattr(SETTINGS, field) for field in shared)
