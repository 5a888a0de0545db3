"""Which questions may be answered while Spine is away: a second opinion, from no more than what clients were told.

It knows the rules as the requirements have them (SMSP-CACHE-001, 002) and nothing of how the provider keeps answers. A
question by NHS number and full date of birth may be answered to a client to which Spine answered it not too long ago,
unless any answer about the number has been another one since. What is seen from outside is not quite certain in time,
and so neither is the opinion.
"""

import math
from collections.abc import Container, Mapping
from typing import Final, Literal

import msgspec

from benchmarks.clients import Answered
from minispine.domain.operations import Operation

Opinion = Literal["permitted", "forbidden", "undecided"]

MARGIN_S: Final = 2.0
"""By how much a moment may differ inside: what a request may take, and ages in whole seconds."""
FORGOTTEN_S: Final = 300.0
"""For so long after another answer about a number nothing of it is kept: an older one may be on its way still."""
_SAYS_NOTHING: Final = (None, "SMSP-0003", "SMSP-0004")
"""Codes that say nothing of a number: what is kept about it stays."""

Part = Literal["check", "details"]
_ASKED: Final[dict[Operation, tuple[Part, ...]]] = {
    Operation.VERIFY_NHS_NUMBER: ("check",),
    Operation.GET_NHS_NUMBER: (),
    Operation.GET_PATIENT_DETAILS_BY_NHS_NUMBER: ("check", "details"),
    Operation.GET_PATIENT_DETAILS_BY_SEARCH: ("details",),
    Operation.GET_PATIENT_DETAILS: ("check", "details"),
}
"""What Spine is asked about a number: to check it, to tell the details. Searching comes before it is known."""
SEARCHES: Final = (Operation.GET_NHS_NUMBER, Operation.GET_PATIENT_DETAILS_BY_SEARCH)


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept for a client: for which operations, and up to which ages it is given."""

    operations: tuple[Operation, ...]
    ttl_s: float
    outage_s: float


class _Fetched(msgspec.Struct, frozen=True):
    """When Spine told it: not before the first, not after the second."""

    earliest_s: float
    latest_s: float


class Ledger:
    """What Spine has told to whom.

    `rules` is by client; one without a rule has nothing kept. Of the people in `never` nothing is kept for anybody:
    their records are sensitive, superseded or invalidated.
    """

    def __init__(self, rules: Mapping[str, Rule], never: Container[int] = ()) -> None:
        self._rules = rules
        self._never = never
        self._told: dict[tuple[str, int, Part], _Fetched] = {}
        self._forgotten_s: dict[int, float] = {}

    def note(self, answered: Answered) -> None:
        """Take in what a client was told while Spine answered, in the order in which it was."""
        if answered.code in _SAYS_NOTHING or answered.person in self._never:
            return
        if answered.code != "SMSP-0000":
            if answered.operation not in SEARCHES:
                self._forget(answered.person)
                self._forgotten_s[answered.person] = answered.ended_s
            return
        since_forgotten_s = answered.ended_s - self._forgotten_s.get(answered.person, -math.inf)
        if since_forgotten_s < FORGOTTEN_S - MARGIN_S:
            return
        rule = self._rule(answered.client, answered.operation)
        if rule is None:
            return
        for part in _ASKED[answered.operation]:
            place = (answered.client, answered.person, part)
            known = self._known(answered.client, answered.person, part)
            told = _Fetched(answered.began_s, answered.ended_s)
            if known is not None and answered.ended_s - known.earliest_s < rule.ttl_s - MARGIN_S:
                continue  # it came from what was kept
            if known is not None and answered.began_s - known.latest_s < rule.ttl_s + MARGIN_S:
                told = _Fetched(known.earliest_s, answered.ended_s)  # perhaps it did
            if since_forgotten_s < FORGOTTEN_S + MARGIN_S:
                told = _Fetched(-math.inf, answered.ended_s)  # perhaps it was not kept
            self._told[place] = told

    def opinion(self, client: str, operation: Operation, person: int, at_s: float) -> Opinion:
        """Say whether such a question may be answered at a moment at which Spine is away."""
        rule = self._rule(client, operation)
        if rule is None:
            return "forbidden"
        if operation in SEARCHES:
            # Inside its time to live it is answered as long as nobody knows that Spine is away.
            return "undecided" if rule.ttl_s > 0 else "forbidden"
        age = self.age_s(client, operation, person, at_s)
        if age is None:
            return "forbidden"
        youngest, oldest = age
        limit_s = max(rule.ttl_s, rule.outage_s)
        if oldest <= limit_s - MARGIN_S:
            return "permitted"
        return "forbidden" if youngest > limit_s + MARGIN_S else "undecided"

    def age_s(self, client: str, operation: Operation, person: int, at_s: float) -> tuple[float, float] | None:
        """Give the least and greatest age that the oldest part of an answer can have; None where one is missing."""
        youngest = oldest = -math.inf
        for part in _ASKED[operation]:
            known = self._known(client, person, part)
            if known is None:
                return None
            youngest = max(youngest, at_s - known.latest_s)
            oldest = max(oldest, at_s - known.earliest_s)
        return youngest, oldest

    def _rule(self, client: str, operation: Operation) -> Rule | None:
        rule = self._rules.get(client)
        return rule if rule is not None and operation in rule.operations else None

    def _known(self, client: str, person: int, part: Part) -> _Fetched | None:
        """Details prove the number, too."""
        found = self._told.get((client, person, part))
        if part == "check":
            details = self._told.get((client, person, "details"))
            if details is not None and (found is None or details.latest_s > found.latest_s):
                return details
        return found

    def _forget(self, person: int) -> None:
        for place in [place for place in self._told if place[1] == person]:
            del self._told[place]
