"""Faults on request: which calls they befall, and what they do.

A list of rules is in force. For each call that passed the request rules, they are gone through in order: a rule that
fits and fires adds its delay and its changes to the record, and the first one that does more than that ends the search.
What a fault looks like on the wire is `exchange` and `server`.
"""

import random
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final, Literal, NamedTuple, get_args

import msgspec

from minispine.simulator.record import AlterationRefused, HeldName, Person, altered, fits_xml

Action = Literal[
    "answer",
    "delay",
    "reset",
    "soap-fault",
    "reject",
    "reason",
    "malformed",
    "wrong-ids",
    "truncate",
    "http-status",
    "silence",
]
ACTIONS: Final[tuple[str, ...]] = get_args(Action)
_GOES_ON: Final = frozenset({"answer", "delay"})
"""Actions after which an answer is still sent, and later rules may have their turn."""


class FaultRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One rule, as `POST /control/faults` takes it.

    `interaction`, `nhs_number` (asked for, or found) and `asid` (the sender's) narrow the calls it befalls. It fires at
    most `times` times, each with `probability`. `seconds` is waited before anything else; with silence it is how long
    the connection stays open, nought being for ever. `set` alters the record in the answer.
    """

    action: Action = "answer"
    interaction: str | None = None
    nhs_number: str | None = None
    asid: str | None = None
    seconds: Annotated[float, msgspec.Meta(ge=0, le=3600)] = 0
    code: Annotated[str, msgspec.Meta(min_length=1, max_length=32)] | None = None
    status: Annotated[int, msgspec.Meta(ge=200, le=599)] = 503
    times: Annotated[int, msgspec.Meta(ge=1)] | None = None
    probability: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1
    set: dict[str, Any] = {}


class FaultsRefused(Exception):
    """A list of rules that cannot be used: `key` says where in it, `reason` what is wrong."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"{key}: {reason}")
        self.key = key
        self.reason = reason


class Plan(NamedTuple):
    """What befalls a call: a wait in seconds, changes to the record, and the rule that ends in something else."""

    seconds: float = 0
    changes: Mapping[str, Any] = {}
    rule: FaultRule | None = None
    name: str | None = None
    """The actions that fired, for the log of calls."""


_SAMPLE: Final = Person(nhs_number="9990000000", kind="plain", gender="1", birth_time="", names=(HeldName(),))
_NOTHING: Final = Plan()


def read_rules(body: bytes) -> list[FaultRule]:
    """Read a JSON list of rules.

    Raises:
        FaultsRefused: not such a list; names the key and the reason.
    """
    try:
        rules = msgspec.json.decode(body, type=list[FaultRule])
    except (msgspec.DecodeError, UnicodeDecodeError) as problem:
        reason, _, place = str(problem).partition(" - at ")
        if place.endswith(".action`"):
            reason += f"; one of {', '.join(ACTIONS)}"
        raise FaultsRefused(place.strip("`") or "$", reason) from None
    for position, rule in enumerate(rules):
        _check(f"$[{position}]", rule)
    return rules


def _check(place: str, rule: FaultRule) -> None:
    if rule.action == "delay" and not rule.seconds:
        raise FaultsRefused(f"{place}.seconds", "needed with the action delay")
    if rule.action == "reason" and rule.code is None:
        raise FaultsRefused(f"{place}.code", "needed with the action reason")
    if rule.action == "answer" and not rule.set:
        raise FaultsRefused(f"{place}.action", f"needed where nothing is set; one of {', '.join(ACTIONS)}")
    if rule.action == "http-status" and rule.status in (204, 304):
        raise FaultsRefused(f"{place}.status", "a status that cannot have a body")
    if rule.code is not None and not fits_xml(rule.code):
        raise FaultsRefused(f"{place}.code", "holds a character that XML cannot carry")
    try:
        altered(_SAMPLE, rule.set)
    except AlterationRefused as problem:
        raise FaultsRefused(f"{place}.set.{problem.key}", problem.reason) from None


class FaultBook:
    """The rules in force and how often each has fired."""

    def __init__(self, seed: int = 1) -> None:
        self._seed = seed
        self.replace([])

    def replace(self, rules: Iterable[FaultRule]) -> None:
        """Put these rules in the place of those in force; counts and chance begin anew."""
        self._rules = list(rules)
        self._fired = [0] * len(self._rules)
        self._chance = random.Random(self._seed)  # noqa: S311  # repeatable on purpose

    def in_force(self) -> list[dict[str, Any]]:
        """Give the rules as they were set, each with `fired`, the times it has befallen a call."""
        return [
            {**msgspec.to_builtins(rule), "action": rule.action, "fired": fired}
            for rule, fired in zip(self._rules, self._fired, strict=True)
        ]

    def plan(self, *, interaction: str, asid: str, numbers: frozenset[str]) -> Plan:
        """Say what befalls a call, and count the rules that fired."""
        if not self._rules:
            return _NOTHING
        seconds: float = 0
        changes: dict[str, Any] = {}
        fired: list[str] = []
        for position, rule in enumerate(self._rules):
            if not _fits(rule, interaction, asid, numbers):
                continue
            if rule.times is not None and self._fired[position] >= rule.times:
                continue
            if rule.probability < 1 and self._chance.random() >= rule.probability:
                continue
            self._fired[position] += 1
            fired.append(rule.action)
            changes |= rule.set
            if rule.action != "silence":
                seconds += rule.seconds
            if rule.action not in _GOES_ON:
                return Plan(seconds, changes, rule, "+".join(fired))
        return Plan(seconds, changes, None, "+".join(fired) or None)


def _fits(rule: FaultRule, interaction: str, asid: str, numbers: frozenset[str]) -> bool:
    return (
        rule.interaction in (None, interaction)
        and rule.asid in (None, asid)
        and (rule.nhs_number is None or rule.nhs_number in numbers)
    )
