"""What the outage benchmark makes of what it saw."""

from typing import Any

import pytest
from benchmarks.clients import Answered
from benchmarks.outage import LIMIT_PER_S, Gone, wrong

from minispine.domain.operations import Operation

VERIFY = Operation.VERIFY_NHS_NUMBER


def told(at_s: float, code: str | None = "SMSP-0000", seconds: float = 0.01, **said: Any) -> Answered:
    said = {"client": "ward", "status": 200, "person": 1, "operation": VERIFY} | said
    return Answered(code=code, began_s=at_s, ended_s=at_s + seconds, **said)


def gone(*noted: Answered, arrivals: tuple[int, ...] = (1_401_000_000,)) -> Gone:
    """Spine was gone from 100 to 400 s."""
    return Gone(began_s=100, returned_s=400, noted=list(noted), arrivals_us=list(arrivals))


BEFORE = [told(50)]
SERVED = told(200, "SMSP-0003", age_s=150)
REFUSED = told(200, "SMSP-0004", person=2, seconds=0.02)
BACK = told(401)


def found(*noted: Answered, **said: Any) -> dict[str, Any]:
    return gone(*noted, BACK, **said).figures(BEFORE)


def test_what_is_permitted_and_served_is_well() -> None:
    figures = found(SERVED, REFUSED)
    assert (figures["permitted"], figures["served_from_cache"], figures["refused"]) == (1, 1, 1)
    assert figures["refused_p95_ms"] == pytest.approx(20)
    assert wrong(figures) == []


@pytest.mark.parametrize(
    ("noted", "missed"),
    [
        ([told(200, "SMSP-0004")], "permitted_not_served"),
        ([told(200, None, status=None)], "permitted_not_served"),
        ([told(200, None, status=503)], "permitted_not_served"),
        ([told(200, "SMSP-0003", age_s=150, person=2)], "served_not_permitted"),
        ([told(200, "SMSP-0003", age_s=3)], "wrong_age"),
        ([told(200, "SMSP-0003")], "wrong_age"),
        ([told(200, "SMSP-0004", person=2, seconds=0.2)], "refused_p95_ms"),
        ([told(200, "SMSP-0004", client="herd", seconds=0.2), *[REFUSED] * 20], "refused_p95_ms_of_the_herd"),
    ],
)
def test_what_is_not_well_is_named(noted: list[Answered], missed: str) -> None:
    others = [SERVED] if missed.startswith("refused") else [SERVED, *[REFUSED] * 20]
    assert [missed in each for each in wrong(found(*others, *noted))] == [True]


def test_a_rush_at_the_return_is_named() -> None:
    rush = tuple(1_401_000_000 + n * int(1e6 / LIMIT_PER_S / 2) for n in range(20))
    assert [each.startswith("return_peak_over_limit") for each in wrong(found(SERVED, REFUSED, arrivals=rush))] == [
        True
    ]


def test_that_nothing_was_measured_is_named() -> None:
    assert len(wrong(gone().figures([]))) == 3


def test_the_first_answer_is_spines_and_not_a_kept_one() -> None:
    kept = told(400.5, age_s=30)
    assert gone(kept, BACK).first_answer_s == pytest.approx(1.01)


def test_what_is_told_at_the_last_moment_may_be_told_again() -> None:
    assert found(told(99, person=3), told(200, "SMSP-0003", person=3, age_s=100))["permitted"] == 1
