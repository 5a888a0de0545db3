"""What the budget benchmark makes of what it saw."""

import itertools
import random
from typing import Any

import pytest
from benchmarks.budget import BATCH_ROWS, LEAST, MOST, Load, typical_moments, wrong
from benchmarks.clients import TIMEOUT_S, Answered
from benchmarks.ideal import Request, waits_s
from benchmarks.nemesis import AFTER_S, Deed
from benchmarks.quantiles import quantile

from minispine.domain.operations import Operation

VERIFY = Operation.VERIFY_NHS_NUMBER


def asked(began_s: float, seconds: float, client: str = "ward", **said: Any) -> Answered:
    said = {"status": 200, "code": "SMSP-0000"} | said
    return Answered(client=client, operation=VERIFY, person=0, began_s=began_s, ended_s=began_s + seconds, **said)


LOST: dict[str, Any] = {"status": None, "code": None}
BUSY: dict[str, Any] = {"status": 503, "code": None}


def load(*noted: Answered, deeds: tuple[tuple[float, float], ...] = ()) -> Load:
    """A load from 0 to 100 s, harmed from 50 s on."""
    done = [Deed(what="kill a worker", began_s=begin, recovered_s=end) for begin, end in deeds]
    return Load(since_s=0, harmed_from_s=50, until_s=100, noted=list(noted), deeds=done)


def every(seconds: float, until_s: float) -> list[int]:
    return [int(n * seconds * 1_000_000) for n in range(int(until_s / seconds))]


def test_a_budget_is_used_by_what_spine_saw_while_rows_were_left() -> None:
    used = load().used(every(0.2, 100), 5)
    assert used["budget_used_fraction"] == pytest.approx(1)
    assert used["measured_s"] == 99
    assert load().used(every(0.4, 100), 5)["budget_used_fraction"] == pytest.approx(0.5, abs=0.01)


def test_what_is_left_out_counts_neither_as_time_nor_as_calls() -> None:
    harmed = load(deeds=((60.0, 70.0),))
    silent = [at for at in every(0.2, 100) if not 60_000_000 <= at < 75_000_000]
    used = harmed.used(silent, 5)
    assert used["budget_used_fraction"] == pytest.approx(1)
    assert used["left_out_s"] == 10 + AFTER_S
    longer = [at for at in silent if not 60_000_000 <= at < 85_000_000]
    assert harmed.used(longer, 5)["budget_used_fraction"] == pytest.approx(74 / 84, abs=0.01)


def test_time_without_rows_is_not_time_in_which_work_waits() -> None:
    rows = [asked(n * 20 / BATCH_ROWS, 0.1, "batch") for n in range(BATCH_ROWS)]
    assert load(*rows).used(every(0.2, 20), 5)["budget_used_fraction"] == pytest.approx(1, abs=0.01)
    assert load(*rows[1:]).used(every(0.2, 20), 5)["budget_used_fraction"] == pytest.approx(0.2, abs=0.02)


def test_waiting_is_what_a_request_takes_beyond_what_it_takes_in_quiet() -> None:
    waited = load(*(asked(n, 0.5) for n in range(9)), asked(20, 0.1)).waited({VERIFY: 0.2}, 5)
    assert waited["attended_p50_wait_s"] == pytest.approx(0.3)
    assert load(asked(1, 0.1)).waited({VERIFY: 0.2}, 5)["attended_p95_wait_s"] == 0


@pytest.mark.parametrize("said", [LOST, BUSY])
def test_who_is_refused_or_lost_has_waited_as_long_as_it_would_have(said: dict[str, Any]) -> None:
    assert load(asked(1, 0.1, **said)).waited({VERIFY: 0.0}, 5)["attended_p95_wait_s"] == TIMEOUT_S


def test_people_ask_for_half_of_the_budget_at_moments_that_are_neither_kind_nor_unkind() -> None:
    moments = typical_moments(random.Random(1), 5, 200)
    assert len(moments) == 312  # 2.5 calls a second, 1.6 calls each, 200 s
    assert moments == sorted(moments)
    assert 0 < moments[0] < moments[-1] < 200
    waits = [draw_wait_s(typical_moments(random.Random(seed), 5, 200)) for seed in range(8)]
    assert max(waits) - min(waits) < 0.4


def draw_wait_s(moments: list[float]) -> float:
    calls = itertools.cycle([1, 1, 2, 2, 2])
    requests = [Request(at_s=at_s, calls=count) for at_s, count in zip(moments, calls, strict=False)]
    return quantile(waits_s(requests, per_second=5, answer_s=0, lower_share=0.05), 0.95) or 0


def test_others_do_not_wait_as_attended() -> None:
    assert load(asked(1, 9, "batch")).waited({VERIFY: 0.0}, 5)["attended_p95_wait_s"] is None


def test_a_request_with_a_moment_that_is_left_out_is_left_out() -> None:
    both = load(asked(1, 0.1), asked(59, 2, **LOST), deeds=((60.0, 61.0),))
    assert both.waited({VERIFY: 0.0}, 5)["attended_p95_wait_s"] == pytest.approx(0.1)
    answered = both.answered()
    assert (answered["requests"], answered["left_out"], answered["lost_by_nemesis"]) == (2, 1, 1)
    assert answered["in_time"] == 1


@pytest.mark.parametrize(
    ("said", "seconds", "in_time"),
    [({}, TIMEOUT_S, 1), ({}, TIMEOUT_S + 0.1, 0), (BUSY, 0.1, 1), (LOST, 0.1, 0)],
)
def test_answered_is_any_complete_reply_within_the_time_out(said: dict[str, Any], seconds: float, in_time: int) -> None:
    answered = load(asked(0, seconds, **said)).answered()
    assert answered["in_time"] == in_time
    assert answered["lost_by_nemesis"] == 0


def test_each_bound_that_is_missed_is_named_and_what_was_not_measured_too() -> None:
    good = dict(MOST) | dict(LEAST)
    assert wrong(good) == []
    for name in MOST:
        assert [name in each for each in wrong(good | {name: MOST[name] + 0.01})] == [True]
    for name in LEAST:
        assert [name in each for each in wrong(good | {name: LEAST[name] - 0.01})] == [True]
    for name in good:
        assert wrong(good | {name: None}) == [f"{name} was not measured"]
