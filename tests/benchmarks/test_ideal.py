"""The perfect queue gives every slot to the one whose turn it is."""

import pytest
from benchmarks.ideal import Request, waits_s


def waits(*requests: tuple[float, int], lower_share: float = 0) -> list[float]:
    given = [Request(at_s=at_s, calls=calls) for at_s, calls in requests]
    return waits_s(given, per_second=5, answer_s=0.05, lower_share=lower_share)


def test_one_after_another_gets_the_next_slot() -> None:
    assert waits((0, 1), (0, 1), (0, 1)) == pytest.approx([0.2, 0.4, 0.6])
    assert waits((0, 1), (1.1, 1)) == pytest.approx([0.2, 0.1])


def test_a_second_call_goes_before_anothers_first_and_waits_from_the_answer_on() -> None:
    assert waits((0, 2), (0, 1)) == pytest.approx([0.2 + 0.15, 0.6])


def test_others_get_a_slot_after_so_many_that_they_were_passed_over() -> None:
    assert waits(*[(0, 1)] * 4, lower_share=0.5) == pytest.approx([0.2, 0.6, 1.0, 1.4])
    assert waits(*[(0, 1)] * 4, lower_share=0.25) == pytest.approx([0.2, 0.4, 0.6, 1.0])


def test_a_slot_that_nobody_wants_is_others_so_that_they_have_none_to_ask_for() -> None:
    assert waits((0, 1), (0.5, 1), (0.9, 1), lower_share=0.5) == pytest.approx([0.2, 0.1, 0.1])


def test_nobody_waits_in_no_queue() -> None:
    assert waits() == []
