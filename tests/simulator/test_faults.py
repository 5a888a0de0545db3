import contextlib
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minispine.simulator.faults import ACTIONS, FaultBook, FaultsRefused, Plan, read_rules


def book(*rules: dict[str, object], seed: int = 1) -> FaultBook:
    made = FaultBook(seed)
    made.replace(read_rules(msgspec.json.encode(rules)))
    return made


def plan(made: FaultBook, interaction: str = "I", asid: str = "1", numbers: Sequence[str] = ()) -> Plan:
    return made.plan(interaction=interaction, asid=asid, numbers=frozenset(numbers))


def test_without_rules_nothing_befalls_a_call() -> None:
    assert plan(book()) == Plan()


@pytest.mark.parametrize("action", sorted(set(ACTIONS) - {"answer", "delay", "reason"}))
def test_an_action_alone_is_a_rule(action: str) -> None:
    decided = plan(book({"action": action}))
    assert decided.rule is not None
    assert (decided.rule.action, decided.name) == (action, action)


@pytest.mark.parametrize(
    ("narrowed", "call", "fires"),
    [
        ({"interaction": "I"}, {}, True),
        ({"interaction": "J"}, {}, False),
        ({"asid": "1"}, {}, True),
        ({"asid": "2"}, {}, False),
        ({"nhs_number": "9"}, {"numbers": ["8", "9"]}, True),
        ({"nhs_number": "9"}, {"numbers": ["8"]}, False),
    ],
)
def test_a_rule_befalls_only_what_it_names(narrowed: dict[str, object], call: dict[str, object], fires: bool) -> None:
    assert (plan(book({"action": "reset"} | narrowed), **call).rule is not None) is fires  # type: ignore[arg-type]


def test_a_rule_fires_as_often_as_it_says_and_the_next_then_has_its_turn() -> None:
    made = book({"action": "reset", "times": 2}, {"action": "malformed"})
    assert [plan(made).name for _ in range(4)] == ["reset", "reset", "malformed", "malformed"]
    assert [rule["fired"] for rule in made.in_force()] == [2, 2]


def test_delays_and_changes_add_up_before_the_first_other_action() -> None:
    made = book(
        {"action": "delay", "seconds": 0.5},
        {"set": {"gender": "7"}, "seconds": 1},
        {"action": "soap-fault", "code": "206"},
        {"action": "delay", "seconds": 9},
    )
    decided = plan(made)
    assert (decided.seconds, decided.changes) == (1.5, {"gender": "7"})
    assert decided.name == "delay+answer+soap-fault"


def test_chance_is_the_same_for_the_same_seed() -> None:
    def fired(seed: int) -> list[bool]:
        made = book({"action": "reset", "probability": 0.5}, seed=seed)
        return [plan(made).rule is not None for _ in range(200)]

    assert fired(1) == fired(1) != fired(2)
    assert 60 < sum(fired(1)) < 140


@pytest.mark.parametrize(
    ("rules", "key"),
    [
        (b"{}", "$"),
        (b"[", "$"),
        (b"\xff", "$"),
        (b'[{"action":"explode"}]', "$[0].action"),
        (b'[{"action":"reset"},{"action":"reset","times":0}]', "$[1].times"),
        (b'[{"action":"reset","probability":2}]', "$[0].probability"),
        (b'[{"action":"reset","seconds":-1}]', "$[0].seconds"),
        (b'[{"action":"http-status","status":99}]', "$[0].status"),
        (b'[{"action":"http-status","status":204}]', "$[0].status"),
        (b'[{"action":"delay"}]', "$[0].seconds"),
        (b'[{"action":"reason"}]', "$[0].code"),
        (b'[{"action":"reject","code":"\\u0000"}]', "$[0].code"),
        (b"[{}]", "$[0].action"),
        (b'[{"action":"answer","set":{"surname":"X"}}]', "$[0].set.surname"),
        (b'[{"set":{"given":"X"}}]', "$[0].set.given"),
        (b'[{"action":"reset","colour":1}]', "$[0]"),
    ],
)
def test_rules_that_cannot_be_used_are_refused_by_key_and_reason(rules: bytes, key: str) -> None:
    with pytest.raises(FaultsRefused) as refused:
        read_rules(rules)
    assert refused.value.key == key
    assert refused.value.reason


@given(st.binary(max_size=60))
def test_no_bytes_break_the_reading(body: bytes) -> None:
    """For every body, rules are read or refused by key and reason."""
    with contextlib.suppress(FaultsRefused):
        read_rules(body)
