"""Is Spine's budget kept and used, whatever happens, and who waits how long? Processes against a Spine that counts.

A provider with one worker on SQLite, and one of two nodes with two workers each on PostgreSQL, each at a rate at which
slots are taken one by one and at one at which they are taken in blocks. Load: people ask at random moments (attended,
Poisson, the five operations in equal parts) for half of the budget in calls; a batch of rows, so many at a time, by a
client that honours Retry-After, takes what it can get. Before that four equal clients always wait, and later a nemesis
kills, stops and restarts workers, and slows and drops Spine. Nothing is left out of the count of windows over the
limit; the other figures leave out the time from each deed of the nemesis until 5 s after recovery.
"""

import argparse
import bisect
import itertools
import operator
import random
import secrets
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import msgspec
from tests.journeys.house import fetch

from benchmarks import gate_cost
from benchmarks.clients import (
    TIMEOUT_S,
    Answered,
    Crowd,
    Question,
    at_moments,
    in_turn,
    questions,
    row_by_row,
)
from benchmarks.ideal import Request, waits_s
from benchmarks.nemesis import Deed, Nemesis
from benchmarks.quantiles import bucket_quantile, buckets, quantile, spread
from benchmarks.scene import DATABASES, SHARES, Provider, Scene, Stage, stage
from benchmarks.spans import Span, length_s, touches, without
from benchmarks.windows import arrivals_us, calls_beyond, fullest, windows_over_limit
from minispine.audit.events import EventType
from minispine.domain.operations import Operation
from minispine.provider.services.pds import most_questions

PEOPLE: Final = 4000
EQUALS: Final = ("equal-1", "equal-2", "equal-3", "equal-4")
CLIENTS: Final[dict[str, tuple[str, ...]]] = {
    "ward": (),
    "batch": ("--lane", "batch"),
    **dict.fromkeys(EQUALS, ()),
}
"""The client systems and the options of their registration."""
NODES_AND_WORKERS: Final = {"sqlite": (1, 1), "postgresql": (2, 2)}
CALLS_PER_REQUEST: Final = 8 / 5
"""The five operations in equal parts: 1, 1, 2, 2 and 2 calls."""
BUSY_PER_S: Final = 50.0
"""Below that rate the machine has so little to do that runs are made at the same time."""
BATCH_ROWS: Final = 10_000
BATCH_AT_ONCE: Final = 64
SETTLE_S: Final = 2.0
"""After a new budget is loaded until it is counted: every worker takes it within a second (Law 11)."""
BASELINE: Final = 100
"""How many requests are asked one after another, with nobody to wait for, to learn what they take by themselves."""
PAUSE_S: Final = (1.0, 4.0)
DRAWS: Final = 21
RAMP_S: Final = 1.0
"""After the load begins until the use of the budget is counted: connections are made first."""

MOST: Final = {"windows_over_limit": 0, "attended_p95_wait_s": 1.0, "fairness_spread": 0.10, "admission_cpu_us": 50.0}
LEAST: Final = {"budget_used_fraction": 0.95, "answered_before_deadline_fraction": 1.0}

_SENT: Final = (EventType.EXCHANGE_SPINE_ANSWERED, EventType.EXCHANGE_SPINE_SILENT)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """One run: where, at which rate, and for how long each part of it lasts; no equals are tried where that is 0."""

    database: str
    per_second: float
    equals_s: float
    steady_s: float
    harmed_s: float


class Ran(msgspec.Struct, kw_only=True):
    """What one run came to. Nothing is None but where there was nothing to measure."""

    plan: Plan
    calls: int
    windows_over_limit: int
    calls_beyond_limit: float | None
    """By how many calls the fullest window was beyond the limit; negative where there was room."""
    windows_over_limit_as_sent: int
    """The same of the moments at which the provider says that its messages were sent, where it lived to say so."""
    arrived_after_ms: dict[str, float | None]
    """How long after that they arrived: what the way to a busy Spine adds."""
    fullest: list[tuple[float, float | None]]
    """The fullest window: when each call arrived, in seconds since the first, and after how many milliseconds."""
    budget_used_fraction: float | None
    budget_used_by_part: dict[str, float | None]
    attended_waits_s: list[float]
    attended_p95_wait_s: float | None
    attended_p50_wait_s: float | None
    attended_p95_wait_ideal_s: float | None
    """What the same requests would have waited in one perfect queue."""
    attended_p95_slot_wait_s: float | None
    """What the provider's own histogram says of each call's wait, in the part without a nemesis."""
    fairness_spread: float | None
    served_equals: dict[str, int]
    requests: int
    left_out: int
    lost_by_nemesis: int
    in_time: int
    slowest_s: float
    attended_refused: int
    batch_rows: int
    left_out_s: float
    measured_s: float
    quiet_s: dict[str, float]
    answers: dict[str, dict[str, int]]
    """By client: how often each response code or HTTP status came."""
    deeds: list[Deed]
    arrivals_ms: list[int]
    """When each call arrived, since the load began."""


def options(arguments: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    arguments.add_argument("--database", choices=(*DATABASES, "both"), default="both", help="which database (both)")
    arguments.add_argument("--rate", type=float, default=5.0, help="calls a second, slots one by one (5)")
    arguments.add_argument("--high-rate", type=float, default=150.0, help="calls a second, slots in blocks (150)")
    arguments.add_argument("--seconds", type=float, default=90.0, help="how long the load runs before the nemesis (90)")
    arguments.add_argument("--harmed", type=float, default=160.0, help="how long the nemesis is about (160)")
    arguments.add_argument("--equals", type=float, default=60.0, help="how long equal clients are compared (60)")
    arguments.add_argument("--quick", action="store_true", help="only try it: two runs, two minutes")
    arguments.add_argument("--seed", type=int, help="draw everything from this number, which is printed")


def plans(given: argparse.Namespace) -> list[Plan]:
    """Say which runs there are."""
    databases = DATABASES if given.database == "both" else (given.database,)
    if given.quick:
        rates = {"sqlite": 20.0, "postgresql": given.high_rate}
        return [
            Plan(database=name, per_second=rates[name], equals_s=10, steady_s=10, harmed_s=25) for name in databases
        ]
    made = []
    for name in databases:
        for rate, part in ((given.rate, 1.0), (given.high_rate, 0.3)):
            made.append(
                Plan(
                    database=name,
                    per_second=rate,
                    equals_s=given.equals,
                    steady_s=part * given.seconds,
                    harmed_s=part * given.harmed,
                )
            )
    return made


def run(given: argparse.Namespace) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Measure, print, and give figures and raw measurements."""
    seed = secrets.randbelow(2**32) if given.seed is None else given.seed
    print(f"seed {seed}")
    with stage(list(CLIENTS)) as ready:
        ran = _all(ready, plans(given), seed)
    cost = gate_cost.measured(seconds=2.0 if given.quick else 8.0)
    print(gate_cost.told(cost))
    raw = [{"seed": seed}, *(msgspec.to_builtins(each) for each in ran), msgspec.to_builtins(cost)]
    return figures(ran, cost.us_per_call), raw


def figures(ran: Sequence[Ran], admission_cpu_us: float) -> dict[str, Any]:
    """Give the figures of all runs together: of each the worst, of counts the sum.

    What people waited is put together from all runs at one rate, so that chance decides less.
    """

    def worst(name: str, choose: Callable[[Iterator[float]], float]) -> float | None:
        found = [value for each in ran if (value := getattr(each, name)) is not None]
        return choose(iter(found)) if found else None

    counted = {
        name: sum(getattr(each, name) for each in ran)
        for name in ("calls", "requests", "left_out", "lost_by_nemesis", "attended_refused", "batch_rows")
    }
    by_rate: dict[float, list[float]] = {}
    for each in ran:
        by_rate.setdefault(each.plan.per_second, []).extend(each.attended_waits_s)
    at_rates = [wait_s for waits in by_rate.values() if (wait_s := quantile(waits, 0.95)) is not None]
    judged = counted["requests"] - counted["left_out"]
    return {
        "windows_over_limit": sum(each.windows_over_limit for each in ran),
        "windows_over_limit_as_sent": sum(each.windows_over_limit_as_sent for each in ran),
        "calls_beyond_limit": worst("calls_beyond_limit", max),
        "budget_used_fraction": worst("budget_used_fraction", min),
        "attended_p95_wait_s": max(at_rates, default=None),
        "attended_p95_wait_worst_run_s": worst("attended_p95_wait_s", max),
        "attended_p95_wait_ideal_s": worst("attended_p95_wait_ideal_s", max),
        "attended_p95_slot_wait_s": worst("attended_p95_slot_wait_s", max),
        "fairness_spread": worst("fairness_spread", max),
        "answered_before_deadline_fraction": sum(each.in_time for each in ran) / judged if judged else None,
        "admission_cpu_us": admission_cpu_us,
        "deeds": sum(len(each.deeds) for each in ran),
        **counted,
    }


def wrong(figures: dict[str, Any]) -> list[str]:
    """Name each bound that the figures of a run miss, and each of which nothing was measured."""
    found = [f"{name} was not measured" for name in (*MOST, *LEAST) if figures.get(name) is None]
    for bounds, missed, words in ((MOST, operator.gt, "at most"), (LEAST, operator.lt, "at least")):
        for name, bound in bounds.items():
            if figures.get(name) is not None and missed(figures[name], bound):
                found.append(f"{name} is {figures[name]:.6g}, and must be {words} {bound:g}")
    return found


def _all(ready: Stage, planned: Sequence[Plan], seed: int) -> list[Ran]:
    """Make all runs. Those at a rate at which the machine has little to do are made at the same time."""

    def one(numbered: tuple[int, Plan]) -> Ran:
        number, plan = numbered
        with ready.scene(f"run-{number}", people=PEOPLE) as scene:
            ran = _run(scene, plan, random.Random(f"{seed} {number}"))
        print(_told(ran), flush=True)
        return ran

    ran: list[Ran] = []
    rest = list(enumerate(planned))
    while rest:
        together = [each for each in rest if each[1].per_second < BUSY_PER_S] or rest[:1]
        rest = [each for each in rest if each not in together]
        with ThreadPoolExecutor(len(together)) as threads:
            ran += threads.map(one, together)
    return ran


# ── one run ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _run(scene: Scene, plan: Plan, chance: random.Random) -> Ran:
    def report(said: str) -> None:
        print(f"{plan.database} at {plan.per_second:g}/s: {said}", file=sys.stderr)

    nodes, workers = NODES_AND_WORKERS[plan.database]
    with scene.provider(plan.database, CLIENTS, nodes=nodes, workers=workers) as provider:
        provider.start()
        with Crowd(provider.nodes) as crowd:
            asked = _asked(scene.spine.people("plain", PEOPLE))
            quiet_s = _quiet(crowd.wait(in_turn(crowd.client("ward"), itertools.islice(asked["ward"], BASELINE))))
            provider.limit(plan.per_second)
            time.sleep(SETTLE_S)
            scene.spine.forget_calls()
            crowd.noted.clear()
            report("equals")
            equals = _equals(crowd, plan, asked)
            report("load")
            moments_s = typical_moments(chance, plan.per_second, plan.steady_s + plan.harmed_s)
            since_s = time.time()
            until_s = since_s + plan.steady_s + plan.harmed_s
            attended = crowd.begin(
                at_moments(crowd.client("ward"), asked["ward"], [since_s + moment_s for moment_s in moments_s])
            )
            rows = itertools.islice(asked["batch"], BATCH_ROWS)
            batch = crowd.begin(row_by_row(crowd.client("batch"), rows, at_once=BATCH_AT_ONCE, until_s=until_s))
            waits = _slot_waits(provider)
            time.sleep(plan.steady_s)
            slot_wait_s = bucket_quantile(waits, _slot_waits(provider), 0.95)
            report("nemesis")
            nemesis = Nemesis(scene, provider, chance, report)
            nemesis.harm(until_s, PAUSE_S)
            attended.result()
            batch_rows = batch.result()
            noted = list(crowd.noted)
        calls = scene.spine.calls()
        provider.stop()
        sent_us = _sent(provider)
    load = Load(
        since_s=since_s, harmed_from_s=since_s + plan.steady_s, until_s=until_s, noted=noted, deeds=nemesis.deeds
    )
    arrivals = _arrivals(calls)
    return Ran(
        plan=plan,
        calls=len(calls),
        windows_over_limit=sum(windows_over_limit(each, per_second=plan.per_second) for each in arrivals.values()),
        calls_beyond_limit=max(
            (
                beyond
                for each in arrivals.values()
                if (beyond := calls_beyond(each, per_second=plan.per_second)) is not None
            ),
            default=None,
        ),
        **_ways(calls, sent_us, plan.per_second),
        **load.used(sorted(itertools.chain(*arrivals.values())), plan.per_second),
        **load.waited(quiet_s, plan.per_second),
        attended_p95_slot_wait_s=slot_wait_s,
        fairness_spread=spread(list(equals.values())) if equals else None,
        served_equals=equals,
        **load.answered(),
        batch_rows=batch_rows,
        quiet_s=quiet_s,
        deeds=nemesis.deeds,
        arrivals_ms=[round(at / 1000 - 1000 * since_s) for at in sorted(itertools.chain(*arrivals.values()))],
    )


def typical_moments(chance: random.Random, per_second: float, seconds: float) -> list[float]:
    """Draw at which moments people ask: for half of the budget in calls, at random, in seconds from the beginning.

    In a run of some minutes chance decides how long they have to wait in any queue. So of several draws that one is
    taken which has them wait neither long nor short in a perfect one.
    """
    count = round(per_second / 2 / CALLS_PER_REQUEST * seconds)
    drawn = [sorted(chance.uniform(0, seconds) for _ in range(count)) for _ in range(DRAWS)]

    def wait_s(moments_s: list[float]) -> float:
        requests = [
            Request(at_s=at_s, calls=most_questions(operation))
            for at_s, operation in zip(moments_s, itertools.cycle(Operation), strict=False)
        ]
        waits = waits_s(requests, per_second=per_second, answer_s=0.0, lower_share=SHARES["batch"])
        return quantile(waits, 0.95) or 0.0

    return sorted(drawn, key=wait_s)[DRAWS // 2]


def _asked(people: list[dict[str, Any]]) -> dict[str, Iterator[Question]]:
    """Give each client people of its own, over and over: no two questions that are in flight are the same."""
    parts = {"ward": (0, 4, tuple(Operation)), "batch": (1, 4, tuple(Operation))}
    parts |= {name: (2 + 2 * n, 8, (Operation.VERIFY_NHS_NUMBER,)) for n, name in enumerate(EQUALS[:2])}
    parts |= {name: (3 + 2 * n, 8, (Operation.VERIFY_NHS_NUMBER,)) for n, name in enumerate(EQUALS[2:])}
    return {
        name: itertools.cycle(questions(people[first::step], operations))
        for name, (first, step, operations) in parts.items()
    }


def _quiet(asked: Sequence[Answered]) -> dict[str, float]:
    """Give what each operation takes with nobody to wait for, in seconds: the median."""
    found: dict[str, float] = {}
    for operation in Operation:
        value = quantile([each.seconds for each in asked if each.operation is operation and each.well], 0.5)
        assert value is not None, f"no answer to {operation}"
        found[operation] = value
    return found


def _equals(crowd: Crowd, plan: Plan, asked: dict[str, Iterator[Question]]) -> dict[str, int]:
    """Let equal clients always wait, and count the calls served to each. One call for each request."""
    if not plan.equals_s:
        return {}
    at_once = max(8, int(plan.per_second / len(EQUALS)))
    since_s = time.time() + SETTLE_S
    until_s = since_s + plan.equals_s
    for future in [
        crowd.begin(row_by_row(crowd.client(name), asked[name], at_once=at_once, until_s=until_s)) for name in EQUALS
    ]:
        future.result()
    served = Counter(each.client for each in crowd.noted if each.well and since_s <= each.ended_s < until_s)
    return {name: served[name] for name in EQUALS}


def _slot_waits(provider: Provider) -> dict[float, float]:
    """Read how long attended calls waited for their slots, of all nodes together."""
    together: Counter[float] = Counter()
    for node in provider.nodes:
        page = fetch(f"{node.management}/metrics")[1].decode()
        together.update(buckets(page, "minispine_slot_seconds", service="pds", lane="attended"))
    return dict(together)


def _arrivals(calls: list[dict[str, Any]]) -> dict[str, list[int]]:
    """Give when calls of each accredited system arrived, in microseconds since 1970."""
    by_asid: dict[str, list[dict[str, Any]]] = {}
    for call in calls:
        by_asid.setdefault(str(call["asid"]), []).append(call)
    return {asid: arrivals_us(each) for asid, each in by_asid.items()}


def _sent(provider: Provider) -> dict[str, int]:
    """Give when each message to Spine was sent, by its id, as the audit log has it; UTC microseconds."""
    return {
        event["data"]["message_id"]: event["data"]["sent_at"]
        for event in provider.nodes[0].trail()
        if event["type"] in _SENT and "sent_at" in event["data"]
    }


def _ways(calls: list[dict[str, Any]], sent_us: dict[str, int], per_second: float) -> dict[str, Any]:
    """Hold what arrived against what was sent: what of a full window is the provider's, and what its way to Spine?"""
    sent = (sent_us.get(call["message_id"]) for call in calls)
    arrived = sorted(zip(arrivals_us(calls), sent, strict=True), key=operator.itemgetter(0))
    after_ms = [(at - sent) / 1000 for at, sent in arrived if sent is not None]
    found = fullest([at for at, _ in arrived], per_second=per_second)
    first, last = found[1:] if found else (0, 0)
    return {
        "windows_over_limit_as_sent": windows_over_limit(
            [sent for _, sent in arrived if sent is not None], per_second=per_second
        ),
        "arrived_after_ms": {
            "p50": quantile(after_ms, 0.5),
            "p99": quantile(after_ms, 0.99),
            "most": max(after_ms, default=None),
        },
        "fullest": [
            ((at - first) / 1_000_000, None if sent is None else (at - sent) / 1000)
            for at, sent in arrived
            if first <= at <= last
        ],
    }


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked and answered in one run, and what was done to the provider meanwhile."""

    since_s: float
    harmed_from_s: float
    until_s: float
    noted: list[Answered]
    deeds: list[Deed]

    @property
    def left_out(self) -> list[Span]:
        """The time from each deed until 5 s after recovery."""
        return [deed.left_out for deed in self.deeds]

    @property
    def undisturbed(self) -> list[Answered]:
        """The requests of which no moment is left out."""
        return [each for each in self.noted if not touches((each.began_s, each.ended_s), self.left_out)]

    def used(self, arrivals: Sequence[int], per_second: float) -> dict[str, Any]:
        """Say which part of the budget was used while there were rows of the batch to ask about."""
        batch = [each for each in self.noted if each.client == "batch" and each.status is not None]
        out_of_rows = len({each.began_s for each in batch if not each.busy}) >= BATCH_ROWS
        last_s = (
            min(self.until_s, max((each.began_s for each in batch), default=self.since_s))
            if out_of_rows
            else self.until_s
        )
        first_s = self.since_s + RAMP_S
        parts = {"steady": (first_s, min(self.harmed_from_s, last_s)), "harmed": (self.harmed_from_s, last_s)}
        used: dict[str, float] = {}
        lasted: dict[str, float] = {}
        for name, part in parts.items():
            spans = without(part, self.left_out)
            lasted[name] = length_s(spans)
            used[name] = sum(_within(arrivals, span) for span in spans)
        total_s = sum(lasted.values())
        return {
            "budget_used_fraction": sum(used.values()) / (per_second * total_s) if total_s else None,
            "budget_used_by_part": {
                name: used[name] / (per_second * lasted[name]) if lasted[name] else None for name in parts
            },
            "measured_s": total_s,
            "left_out_s": sum(end - begin for begin, end in parts.values()) - total_s,
        }

    def waited(self, quiet_s: dict[str, float], per_second: float) -> dict[str, Any]:
        """Say how long attended requests waited: what they took beyond what they take when nobody has to wait.

        One that was refused, or never answered, counts as having waited as long as it would have.
        """
        ward = [each for each in self.undisturbed if each.client == "ward"]
        waits = [
            TIMEOUT_S if each.status is None or each.busy else max(0.0, each.seconds - quiet_s[each.operation])
            for each in ward
        ]
        everything = sorted((each for each in self.noted if each.client == "ward"), key=lambda each: each.began_s)
        ideal = waits_s(
            [Request(at_s=each.began_s, calls=most_questions(each.operation)) for each in everything],
            per_second=per_second,
            answer_s=min(quiet_s.values()),
            lower_share=SHARES["batch"],
        )
        undisturbed = {id(each) for each in ward}
        ideal = [wait for each, wait in zip(everything, ideal, strict=True) if id(each) in undisturbed]
        return {
            "attended_waits_s": [round(wait_s, 3) for wait_s in waits],
            "attended_p95_wait_ideal_s": quantile(ideal, 0.95),
            "attended_p50_wait_s": quantile(waits, 0.5),
            "attended_p95_wait_s": quantile(waits, 0.95),
            "attended_refused": sum(each.busy for each in ward),
        }

    def answered(self) -> dict[str, Any]:
        """Say what was answered, and when."""
        undisturbed = self.undisturbed
        answers: dict[str, Counter[str]] = {}
        for each in self.noted:
            said = "lost" if each.status is None else each.code or str(each.status)
            answers.setdefault(each.client, Counter())[said] += 1
        return {
            "requests": len(self.noted),
            "left_out": len(self.noted) - len(undisturbed),
            "lost_by_nemesis": sum(each.status is None for each in self.noted)
            - sum(each.status is None for each in undisturbed),
            "in_time": sum(each.status is not None and each.seconds <= TIMEOUT_S for each in undisturbed),
            "slowest_s": max((each.seconds for each in undisturbed), default=0.0),
            "answers": {client: dict(counts) for client, counts in answers.items()},
        }


def _within(arrivals: Sequence[int], span: Span) -> int:
    begin, end = (int(moment * 1_000_000) for moment in span)
    return bisect.bisect_left(arrivals, end) - bisect.bisect_left(arrivals, begin)


def _told(ran: Ran) -> str:
    def some(value: float | None, form: str = ".3f") -> str:
        return "not measured" if value is None else format(value, form)

    lines = [
        f"{ran.plan.database} at {ran.plan.per_second:g} calls/s:",
        f"  {ran.calls} calls, {ran.windows_over_limit} windows over the limit;"
        f" the fullest is {some(ran.calls_beyond_limit)} calls beyond it;"
        f" as sent {ran.windows_over_limit_as_sent}, arrived after {ran.arrived_after_ms} ms",
        f"  {some(ran.budget_used_fraction)} of the budget used in {ran.measured_s:.0f} s of work waiting,"
        f" {ran.left_out_s:.0f} s left out; by part {ran.budget_used_by_part}",
        f"  attended requests waited p50 {some(ran.attended_p50_wait_s)} s, p95 {some(ran.attended_p95_wait_s)} s"
        f" (in a perfect queue {some(ran.attended_p95_wait_ideal_s)} s),"
        f" {ran.attended_refused} refused; a call for its slot p95 {some(ran.attended_p95_slot_wait_s)} s",
        f"  equals were served {list(ran.served_equals.values())}, spread {some(ran.fairness_spread)}",
        f"  {ran.in_time} of {ran.requests - ran.left_out} requests answered in time, the slowest in"
        f" {ran.slowest_s:.1f} s; {ran.batch_rows} rows of the batch",
        f"  {len(ran.deeds)} deeds, {ran.lost_by_nemesis} requests lost by them; answers {ran.answers}",
    ]
    return "\n".join(lines)
