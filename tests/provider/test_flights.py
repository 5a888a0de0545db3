"""One question asked once, and who may not wait for whom."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from minispine.domain.identity import SpineAuthor
from minispine.domain.lanes import Lane
from minispine.domain.outcome import NoMatch
from minispine.domain.question import CrossCheck, Question
from minispine.provider.flights import Flights
from minispine.spine.ports import Asked, Sender

CHECK = CrossCheck(nhs_number="9449310467", birth_date="20090310")
SENDER = Sender(asid="200000000999")
ANSWER = Asked(outcome=NoMatch(event="pds.1"), attempts=())


def run(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(story)


def key(
    flights: Flights, question: Question = CHECK, sender: Sender = SENDER, organisation: str = "RXX"
) -> bytes | None:
    return flights.key(question, sender, organisation)


def test_what_makes_two_questions_the_same() -> None:
    flights = Flights("hl7v3")
    assert key(flights) == key(flights, CrossCheck(nhs_number="9449310467", birth_date="20090310"))
    others = [
        key(flights, CrossCheck(nhs_number="9449310467", birth_date="20090310", family="LANGAN")),
        key(flights, CrossCheck(nhs_number="9449310475", birth_date="20090310")),
        key(flights, sender=Sender(asid="200000000888")),
        key(flights, organisation="RYY"),
        key(Flights("fhir")),
    ]
    assert len({key(flights), *others}) == 6


def test_a_person_with_a_smartcard_shares_with_nobody() -> None:
    author = SpineAuthor(role_profile_id="1", user_id="2", role_id="R8000")
    assert key(Flights("hl7v3"), sender=Sender(asid="200000000999", author=author)) is None


def test_everybody_who_waits_gets_the_one_answer_and_then_it_is_over() -> None:
    async def story() -> None:
        flights = Flights("hl7v3")
        same = key(flights)
        assert same is not None
        assert flights.under_way(same, "attended", "ward") is None
        leading = flights.lead(same, "LEADER", "attended", "ward")
        following = [flights.under_way(same, lane, "ward") for lane in ("attended", "unattended", "batch")]
        waiting = [asyncio.ensure_future(flight.wait(5)) for flight in following if flight]
        assert len(waiting) == 3
        await asyncio.sleep(0)
        flights.over(same, leading, ANSWER)
        assert await asyncio.gather(*waiting) == [ANSWER] * 3
        assert flights.under_way(same, "attended", "ward") is None
        assert len(flights) == 0

    run(story())


@pytest.mark.parametrize(
    ("lane", "leader"), [("attended", "unattended"), ("attended", "batch"), ("unattended", "batch")]
)
def test_nobody_waits_behind_a_later_lane_unless_the_question_has_left(lane: Lane, leader: Lane) -> None:
    async def story() -> None:
        flights = Flights("hl7v3")
        same = key(flights)
        assert same is not None
        slow = flights.lead(same, "SLOW", leader, "ward")
        assert flights.under_way(same, lane, "ward") is None
        quick = flights.lead(same, "QUICK", lane, "ward")
        assert flights.under_way(same, lane, "ward") is quick
        flights.over(same, quick, ANSWER)
        slow.left = True
        assert flights.under_way(same, lane, "ward") is slow
        flights.over(same, slow)

    run(story())


def test_before_it_has_left_only_the_same_client_waits_for_a_question() -> None:
    async def story() -> None:
        flights = Flights("hl7v3")
        same = key(flights)
        assert same is not None
        leading = flights.lead(same, "LEADER", "attended", "ward")
        assert flights.under_way(same, "attended", "clinic") is None
        leading.left = True
        assert flights.under_way(same, "attended", "clinic") is leading
        flights.over(same, leading)

    run(story())


def test_a_follower_keeps_its_own_deadline_and_takes_nobody_with_it() -> None:
    async def story() -> None:
        flights = Flights("hl7v3")
        same = key(flights)
        assert same is not None
        leading = flights.lead(same, "LEADER", "attended", "ward")
        patient = asyncio.ensure_future(leading.wait(5))
        with pytest.raises(TimeoutError):
            await leading.wait(0)
        flights.over(same, leading, ANSWER)
        assert await patient == ANSWER

    run(story())


def test_a_leader_that_gives_up_lets_the_others_go_on() -> None:
    async def story() -> None:
        flights = Flights("hl7v3")
        same = key(flights)
        assert same is not None
        leading = flights.lead(same, "LEADER", "attended", "ward")
        waiting = asyncio.ensure_future(leading.wait(5))
        await asyncio.sleep(0)
        assert leading.followed
        flights.over(same, leading)
        assert await waiting is None

    run(story())
