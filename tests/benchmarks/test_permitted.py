"""The second opinion on what may be answered while Spine is away."""

from typing import Any

import pytest
from benchmarks.clients import Answered
from benchmarks.permitted import SEARCHES, Ledger, Opinion, Rule

from minispine.domain.operations import Operation

VERIFY = Operation.VERIFY_NHS_NUMBER
DETAILS = Operation.GET_PATIENT_DETAILS_BY_NHS_NUMBER
BY_SEARCH = Operation.GET_PATIENT_DETAILS_BY_SEARCH
ALL = Rule(operations=tuple(Operation), ttl_s=100, outage_s=1000)
RULES = {"ward": ALL, "clinic": Rule(operations=(VERIFY,), ttl_s=0, outage_s=500)}


def told(operation: Operation = VERIFY, at_s: float = 0, client: str = "ward", **said: Any) -> Answered:
    said = {"status": 200, "code": "SMSP-0000", "person": 1} | said
    return Answered(client=client, operation=operation, began_s=at_s, ended_s=at_s + 0.1, **said)


def opinion(
    *noted: Answered, about: Operation = VERIFY, at_s: float = 50, client: str = "ward", person: int = 1
) -> Opinion:
    ledger = Ledger(RULES)
    for each in noted:
        ledger.note(each)
    return ledger.opinion(client, about, person, at_s)


def test_what_spine_told_this_client_of_this_person_may_be_told_again() -> None:
    assert opinion(told()) == "permitted"
    assert opinion() == "forbidden"
    assert opinion(told(), client="clinic") == "forbidden"
    assert opinion(told(), person=2) == "forbidden"
    assert opinion(told(client="desk"), client="desk") == "forbidden"


@pytest.mark.parametrize(
    ("client", "at_s", "expected"),
    [
        ("ward", 997, "permitted"),
        ("ward", 1000, "undecided"),
        ("ward", 1003, "forbidden"),
        ("clinic", 497, "permitted"),
        ("clinic", 503, "forbidden"),
    ],
)
def test_until_it_is_too_old(client: str, at_s: float, expected: Opinion) -> None:
    assert opinion(told(client=client), client=client, at_s=at_s) == expected


def test_details_are_not_told_on_the_strength_of_a_check_and_prove_the_number_themselves() -> None:
    assert opinion(told(VERIFY), about=DETAILS) == "forbidden"
    assert opinion(told(DETAILS), about=VERIFY) == "permitted"
    assert opinion(told(BY_SEARCH), about=DETAILS) == "permitted"
    assert opinion(told(Operation.GET_NHS_NUMBER), about=VERIFY) == "forbidden"


def test_an_operation_without_a_rule_neither_keeps_nor_gives() -> None:
    assert opinion(told(DETAILS, client="clinic"), client="clinic") == "forbidden"
    assert opinion(told(client="clinic"), about=DETAILS, client="clinic") == "forbidden"


@pytest.mark.parametrize("search", SEARCHES)
def test_a_search_is_never_permitted(search: Operation) -> None:
    assert opinion(told(search), about=search) == "undecided"  # inside its time to live, before anybody notices
    assert opinion(told(search, client="clinic"), about=search, client="clinic") == "forbidden"


@pytest.mark.parametrize(
    ("again_s", "expected"), [(20, "forbidden"), (290, "forbidden"), (300, "undecided"), (320, "permitted")]
)
def test_any_other_answer_about_a_number_to_anybody_forbids_it_for_a_while(again_s: float, expected: Opinion) -> None:
    other = told(client="desk", code="DEMOG-0040", at_s=10)
    assert opinion(told(), other) == "forbidden"
    assert opinion(told(), other, told(at_s=10 + again_s), at_s=400) == expected


@pytest.mark.parametrize("code", [None, "SMSP-0003", "SMSP-0004"])
def test_an_answer_that_says_nothing_of_a_number_changes_nothing(code: str | None) -> None:
    assert opinion(told(), told(client="desk", code=code, at_s=10)) == "permitted"


def test_an_answer_out_of_what_is_kept_makes_nothing_younger() -> None:
    inside = told(at_s=50)
    assert opinion(told(), inside, at_s=1010) == "forbidden"
    assert opinion(told(), told(at_s=110), at_s=1010) == "permitted"
    assert opinion(told(), told(at_s=100), at_s=1050) == "undecided"


def test_an_answer_is_as_old_as_its_oldest_part() -> None:
    ledger = Ledger(RULES)
    for each in (told(DETAILS, 0), told(VERIFY, 150)):
        ledger.note(each)
    young, old = ledger.age_s("ward", DETAILS, 1, 200) or (0, 0)
    assert young == pytest.approx(199.9)
    assert old == 200
    assert ledger.age_s("ward", VERIFY, 1, 200) == (pytest.approx(49.9), 50)


def test_of_some_people_nothing_is_kept() -> None:
    ledger = Ledger(RULES, {1})
    ledger.note(told())
    assert ledger.opinion("ward", VERIFY, 1, 50) == "forbidden"
