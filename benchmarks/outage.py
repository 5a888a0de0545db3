"""What is served while Spine is gone for five minutes under load, and does anybody rush at it when it is back?

Two clients may be answered from what is kept, by rules of their own, and one may not. They ask at random moments
before, during and after; others with nothing kept for them keep trying throughout. For half of the time connections to
Spine are refused, then it takes everything and says nothing. Which questions may be answered from what is kept is
reckoned beside the provider (`permitted.py`), from what clients were told before. Before all that one and the same load
is offered without and with rules, to see what keeping answers saves Spine.
"""

import argparse
import contextlib
import random
import secrets
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, Final

import msgspec
from tests.journeys.house import until

from benchmarks.clients import Answered, Crowd, Question, at_moments, in_turn, random_moments, trying_again
from benchmarks.load import template
from benchmarks.permitted import MARGIN_S, SEARCHES, Ledger, Opinion, Rule
from benchmarks.quantiles import quantile
from benchmarks.scene import DATABASES, Scene, stage
from benchmarks.windows import arrivals_us, calls_beyond, windows_over_limit
from minispine.domain.operations import Operation

PEOPLE: Final = 3000
VERIFY: Final = Operation.VERIFY_NHS_NUMBER
RULES: Final = {
    "ward": Rule(operations=tuple(Operation), ttl_s=120, outage_s=3600),
    "clinic": Rule(operations=(VERIFY,), ttl_s=30, outage_s=150),
}
"""What is kept for whom: on the ward all that may be; in the clinic checks only, which grow too old meanwhile."""
CLIENTS: Final = ("ward", "clinic", "desk", "herd")
NODES_AND_WORKERS: Final = {"sqlite": (1, 1), "postgresql": (2, 2)}
LIMIT_PER_S: Final = 20.0
"""The budget while Spine is gone and when it is back."""
WARD: Final = 300
"""How many people the ward asks about: each several times in the time of a volume."""
VOLUME_PER_S: Final = 20.0
LOAD_PER_S: Final = 10.0
PARTS: Final = {"ward": 0.6, "clinic": 0.2, "desk": 0.2}
IMPATIENT: Final = 40
"""How many try again and again although nothing is kept for them: the herd of the return."""
IMPATIENT_PAUSE_S: Final = (0.5, 1.0)
LEAD_S: Final = 5.0
"""For how long the load runs before Spine is gone."""
RETURN_S: Final = 30.0
"""For how long calls are counted after Spine's first answer."""
PATIENCE_S: Final = 120.0
"""How long after its return Spine's first answer is waited for."""
SETTLE_S: Final = 4.0
"""After a table is loaded until it is relied on."""
LIMIT_MS: Final = 100.0
NOUGHT: Final = ("return_peak_over_limit", "permitted_not_served", "served_not_permitted", "wrong_age")
"""Figures that must be 0."""


def options(arguments: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    arguments.add_argument("--seconds", type=float, default=300.0, help="for how long Spine is gone (300)")
    arguments.add_argument("--volume", type=float, default=60.0, help="how long the load lasts that is compared (60)")
    arguments.add_argument("--database", choices=DATABASES, default="sqlite", help="which database (sqlite)")
    arguments.add_argument("--seed", type=int, help="draw everything from this number, which is printed")


class Kinds(msgspec.Struct, frozen=True, kw_only=True):
    """Who of all people is asked about by whom; places in the list of people."""

    ward: list[int]
    clinic: list[int]
    desk: list[int]
    doubted: list[int]
    """Asked about by the ward; then somebody gives a wrong birth date, and Spine says that it is not theirs."""
    never: list[int]
    """Sensitive and superseded records, which the ward asks about, too."""
    impatient: list[int]


class Volume(msgspec.Struct, frozen=True, kw_only=True):
    """What a load came to: requests, calls to Spine, and how long answers took."""

    requests: int
    calls: int
    p50_ms: float
    p95_ms: float


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked while Spine was gone, and what came of it, by the second opinion on it."""

    opinion: Opinion
    answered: Answered
    age: tuple[float, float] | None

    @property
    def served(self) -> bool:
        """Whether it was answered with what was kept."""
        return self.answered.code in ("SMSP-0000", "SMSP-0003")

    @property
    def aged_wrongly(self) -> bool:
        """Whether the answer says another age than it can have."""
        if not self.served or self.age is None:
            return False
        age_s = self.answered.age_s
        return age_s is None or not self.age[0] - MARGIN_S <= age_s <= self.age[1] + MARGIN_S


def run(given: argparse.Namespace) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Measure, print, and give figures and raw measurements."""
    seed = secrets.randbelow(2**32) if given.seed is None else given.seed
    chance = random.Random(seed)
    print(f"seed {seed}")
    nodes, workers = NODES_AND_WORKERS[given.database]
    with stage(CLIENTS) as ready, ready.scene(given.database, people=PEOPLE) as scene:
        asker = _Asker(scene)
        with scene.provider(given.database, dict.fromkeys(CLIENTS, ()), nodes=nodes, workers=workers) as provider:
            provider.start()
            with Crowd(provider.nodes) as crowd:
                drawn = chance.random()
                volumes = {}
                kept_from = 0
                for name in ("without", "with"):
                    if name == "with":
                        provider.load("cache", _rules())
                        time.sleep(SETTLE_S)
                        kept_from = len(crowd.noted)
                    volumes[name] = _volume(scene, crowd, asker, given.volume, random.Random(drawn))
                    print(_volume_told(name, volumes[name]))
                _warm(crowd, asker, chance)
                provider.limit(LIMIT_PER_S)
                time.sleep(SETTLE_S)
                before = crowd.noted[kept_from:]
                gone = _outage(scene, crowd, asker, given.seconds, chance)
    figures = gone.figures(before)
    for name, volume in volumes.items():
        figures |= {f"spine_calls_{name}_cache": volume.calls, f"requests_{name}_cache": volume.requests}
        figures |= {f"p50_ms_{name}_cache": volume.p50_ms, f"p95_ms_{name}_cache": volume.p95_ms}
    print(gone.told(figures))
    return figures, [{"seed": seed}, {"volumes": msgspec.to_builtins(volumes)}, gone.raw(before)]


def wrong(figures: dict[str, Any]) -> list[str]:
    """Name each bound that the figures of a run miss, and each of which nothing was measured."""
    found = [f"{name} is {figures[name]}, and must be 0" for name in NOUGHT if figures[name]]
    found += [
        f"{name} is {figures[name]:.0f}, and must be at most {LIMIT_MS:g}"
        for name in ("refused_p95_ms", "refused_p95_ms_of_the_herd")
        if (figures[name] or 0) > LIMIT_MS
    ]
    if not figures["refused"]:
        found.append("refused is 0: nobody was there to be refused")
    if not figures["permitted"]:
        found.append("permitted is 0: nothing was there to be served")
    if figures["first_answer_after_return_s"] is None:
        found.append("nothing was answered after Spine's return")
    return found


def _rules() -> dict[str, Any]:
    """Give the table of cache rules."""
    kept = {"kept": True, "source": "benchmark"}
    not_kept = {"kept": False, "source": "benchmark"}
    rules = [
        {
            "name": client,
            "service": "pds",
            "clients": [client],
            "operations": list(rule.operations),
            "ttl_s": rule.ttl_s,
            "outage_s": rule.outage_s,
            "entries": 100_000,
            "reason": "benchmark",
        }
        for client, rule in RULES.items()
    ]
    return {"services": {"pds": kept, "cpis": not_kept, "scr": not_kept, "fgm": not_kept}, "rule": rules}


class _Asker:
    """Questions about people, made once each, and whom each client asks about."""

    def __init__(self, scene: Scene) -> None:
        plain = scene.spine.people("plain", PEOPLE)
        others = [person for kind in ("sensitive", "superseded") for person in scene.spine.people(kind, 30)]
        self.people: list[dict[str, Any]] = plain + others
        places = iter(range(len(plain)))
        self.kinds = Kinds(
            ward=[next(places) for _ in range(WARD)],
            clinic=[next(places) for _ in range(100)],
            desk=[next(places) for _ in range(100)],
            doubted=[next(places) for _ in range(30)],
            never=list(range(len(plain), len(self.people))),
            impatient=list(places),
        )
        self.about = cache(self._about)

    def _about(self, operation: Operation, place: int, wrongly: bool = False) -> Question:
        person = self.people[place]
        if wrongly:
            person = person | {"birth_date": "19010101" if person["birth_date"] != "19010101" else "19020202"}
        head, body = template(operation, person, "localhost")
        return Question(operation=operation, person=place, head=head, body=body)

    @property
    def load(self) -> list[tuple[str, list[int], float]]:
        """Who asks about whom, and how often a second, before, during and after the outage."""
        kinds = self.kinds
        about = {"ward": kinds.ward + kinds.doubted + kinds.never, "clinic": kinds.clinic, "desk": kinds.desk}
        return [(name, about[name], part * LOAD_PER_S) for name, part in PARTS.items()]

    def drawn(self, chance: random.Random, places: Sequence[int]) -> Iterator[Question]:
        """Draw questions about some of the people, the five operations alike."""
        while True:
            yield self.about(chance.choice(list(Operation)), chance.choice(places))

    def by_number(self, places: Sequence[int]) -> Iterator[Question]:
        """Give a check and the details of each."""
        for place in places:
            yield self.about(VERIFY, place)
            yield self.about(Operation.GET_PATIENT_DETAILS_BY_NHS_NUMBER, place)


# ── before Spine is gone ────────────────────────────────────────────────────────────────────────────────────────────


def _volume(scene: Scene, crowd: Crowd, asker: _Asker, seconds: float, chance: random.Random) -> Volume:
    """Offer the load of a ward; the same for the same `chance`."""
    scene.spine.forget_calls()
    before = len(crowd.noted)
    asked = asker.drawn(random.Random(chance.random()), asker.kinds.ward)
    now_s = time.time()
    crowd.wait(at_moments(crowd.client("ward"), asked, random_moments(chance, VOLUME_PER_S, now_s, now_s + seconds)))
    noted = crowd.noted[before:]
    taken_ms = [1000 * each.seconds for each in noted]
    return Volume(
        requests=len(noted),
        calls=len(scene.spine.calls()),
        p50_ms=quantile(taken_ms, 0.5) or 0.0,
        p95_ms=quantile(taken_ms, 0.95) or 0.0,
    )


def _volume_told(name: str, volume: Volume) -> str:
    return (
        f"{name} rules: {volume.requests} requests about {WARD} people, {volume.calls} calls to Spine;"
        f" p50 {volume.p50_ms:.1f} ms, p95 {volume.p95_ms:.1f} ms"
    )


def _warm(crowd: Crowd, asker: _Asker, chance: random.Random) -> None:
    """Have everybody asked about whom nothing is known yet; then give a wrong birth date for those to be doubted."""
    kinds = asker.kinds
    ward = crowd.client("ward")
    futures = [
        crowd.begin(in_turn(ward, asker.by_number(kinds.doubted + kinds.never))),
        crowd.begin(in_turn(crowd.client("clinic"), asker.by_number(kinds.clinic))),
        crowd.begin(in_turn(crowd.client("desk"), asker.by_number(kinds.desk))),
    ]
    for future in futures:
        future.result()
    doubts = [asker.about(VERIFY, place, wrongly=True) for place in kinds.doubted]
    crowd.wait(in_turn(crowd.client("desk"), doubts))


# ── while it is gone, and when it is back ───────────────────────────────────────────────────────────────────────────


class Gone(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen of an outage; times are seconds since 1970. `arrivals_us` are those after the return."""

    began_s: float
    returned_s: float
    noted: list[Answered]
    arrivals_us: list[int]
    never: frozenset[int] = frozenset()
    """Of whom nothing may be kept."""

    def asked(self, before: Sequence[Answered]) -> list[Asked]:
        """Hold each answer during the outage against what may be answered."""
        ledger = Ledger(RULES, self.never)
        for each in [*before, *(one for one in self.noted if one.ended_s < self.began_s)]:
            ledger.note(each)
        return [
            Asked(
                opinion=ledger.opinion(each.client, each.operation, each.person, each.began_s),
                answered=each,
                age=ledger.age_s(each.client, each.operation, each.person, each.ended_s)
                if each.operation not in SEARCHES
                else None,
            )
            for each in self.noted
            if each.began_s >= self.began_s and each.ended_s < self.returned_s
        ]

    @property
    def first_answer_s(self) -> float | None:
        """How long after the return Spine's first answer was given."""
        return min(
            (
                each.ended_s - self.returned_s
                for each in self.noted
                if each.ended_s > self.returned_s and each.code == "SMSP-0000" and each.age_s is None
            ),
            default=None,
        )

    def figures(self, before: Sequence[Answered]) -> dict[str, Any]:
        """Sum it up."""
        asked = self.asked(before)
        permitted = [each for each in asked if each.opinion == "permitted"]
        refused = [each for each in asked if each.opinion != "permitted" and not each.served]
        herd_ms, refused_ms = (
            [1000 * each.answered.seconds for each in refused if (each.answered.client == "herd") is herd]
            for herd in (True, False)
        )
        return {
            "permitted": len(permitted),
            "served_from_cache": sum(each.served for each in permitted),
            "permitted_not_served": sum(not each.served for each in permitted),
            "served_as_smsp_0003": sum(each.answered.code == "SMSP-0003" for each in permitted),
            "served_p95_ms": quantile([1000 * each.answered.seconds for each in permitted], 0.95),
            "served_not_permitted": sum(each.served for each in asked if each.opinion == "forbidden"),
            "wrong_age": sum(each.aged_wrongly for each in asked),
            "undecided": sum(each.opinion == "undecided" for each in asked),
            "refused": len(refused),
            "refused_p95_ms": quantile(refused_ms, 0.95),
            "refused_p95_ms_of_the_herd": quantile(herd_ms, 0.95),
            "refused_slowest_ms": max(refused_ms + herd_ms, default=None),
            "first_answer_after_return_s": self.first_answer_s,
            "return_peak_over_limit": windows_over_limit(self.arrivals_us, per_second=LIMIT_PER_S),
            "return_calls": len(self.arrivals_us),
            "return_calls_beyond_limit": calls_beyond(self.arrivals_us, per_second=LIMIT_PER_S),
        }

    def told(self, figures: dict[str, Any]) -> str:
        """Say what came of it."""
        return "\n".join(f"  {name:<28} {value}" for name, value in figures.items())

    def raw(self, before: Sequence[Answered]) -> dict[str, Any]:
        """Give counts and times by opinion, operation and answer."""
        found: dict[str, list[float]] = {}
        for each in self.asked(before):
            said = "lost" if each.answered.status is None else each.answered.code or str(each.answered.status)
            found.setdefault(f"{each.opinion} {each.answered.client} {each.answered.operation}: {said}", []).append(
                1000 * each.answered.seconds
            )
        after = Counter(
            f"{each.client}: {'lost' if each.status is None else each.code or each.status}"
            for each in self.noted
            if each.ended_s >= self.returned_s
        )
        amiss = [
            {
                "after_s": each.answered.began_s - self.began_s,
                "opinion": each.opinion,
                "age": each.age,
                "answered": msgspec.to_builtins(each.answered),
            }
            for each in self.asked(before)
            if each.aged_wrongly or each.opinion == ("forbidden" if each.served else "permitted")
        ]
        return {
            "outage_s": self.returned_s - self.began_s,
            "amiss": amiss[:50],
            "answers": {
                name: {"count": len(ms), "p50_ms": quantile(ms, 0.5), "p95_ms": quantile(ms, 0.95), "max_ms": max(ms)}
                for name, ms in sorted(found.items())
            },
            "after_return": dict(after),
        }


def _outage(scene: Scene, crowd: Crowd, asker: _Asker, seconds: float, chance: random.Random) -> Gone:
    def report(said: str) -> None:
        print(f"{time.time() - load_s:5.0f} s: {said}", file=sys.stderr)

    load_s = time.time()
    since = len(crowd.noted)
    until_s = load_s + LEAD_S + seconds + PATIENCE_S + RETURN_S
    asking = [
        crowd.begin(
            at_moments(
                crowd.client(name),
                asker.drawn(random.Random(chance.random()), about),
                random_moments(random.Random(chance.random()), per_second, load_s, until_s),
            )
        )
        for name, about, per_second in asker.load
    ]
    time.sleep(LEAD_S)
    report("Spine refuses connections")
    began_s = time.time()
    scene.relay.turn("refuse")
    herd = random.Random(chance.random())
    asking.append(
        crowd.begin(
            trying_again(
                crowd.client("herd"),
                asker.drawn(herd, asker.kinds.impatient),
                at_once=IMPATIENT,
                pause_s=IMPATIENT_PAUSE_S,
                chance=herd,
            )
        )
    )
    time.sleep(seconds / 2)
    report("Spine says nothing")
    scene.relay.turn("swallow")
    time.sleep(seconds / 2)
    report("Spine is back")
    scene.spine.forget_calls()
    returned_s = time.time()
    scene.relay.turn("open")

    def seen() -> Gone:
        return Gone(
            began_s=began_s,
            returned_s=returned_s,
            noted=crowd.noted[since:],
            arrivals_us=[],
            never=frozenset(asker.kinds.never),
        )

    with contextlib.suppress(AssertionError):  # then there is no figure, which is said
        until(lambda: seen().first_answer_s, PATIENCE_S, "an answer of Spine")
        report("Spine is asked again")
        time.sleep(RETURN_S)
    gone = msgspec.structs.replace(seen(), arrivals_us=arrivals_us(scene.spine.calls()))
    for future in asking:
        future.cancel()
    return gone
