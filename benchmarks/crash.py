"""Crash and power-cut drills: is there a record of every reply and every message to Spine, whatever happens, and when?

The crash drill kills processes of a provider under load, with SIGKILL at random moments, on SQLite and on a real
PostgreSQL; then the trail is held against what the clients and Spine noted. The power-cut drill traces the system calls
of a provider, one exchange at a time: the flush that covers a record has to have returned before the first byte of what
the record is about is handed to the kernel. Then once more with flushing switched off from outside, which it must see.
"""

import argparse
import contextlib
import datetime
import os
import random
import secrets
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
from tests.databases import Postgres, PostgresUnavailable
from tests.journeys.house import House, Spine

from benchmarks.kills import Drilled, drill
from benchmarks.order import CannotTrace, Order, trace_order
from minispine.keys import pki
from minispine.keys.pki import Kind

DATABASES: Final = ("sqlite", "postgresql")
WORKERS: Final = {"sqlite": 1, "postgresql": 2}
NOUGHT: Final = (
    "replies_without_record",
    "asks_without_record",
    "gaps",
    "left_open",
    "unknown_yet_replied",
    "logs_not_verified",
    "order_violations",
    "order_violations_postgresql",
)
"""Figures that must be 0."""


def options(arguments: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    arguments.add_argument("--kills", type=int, default=100, help="how often each database's provider is killed (100)")
    arguments.add_argument("--database", choices=(*DATABASES, "both"), default="both", help="which database (both)")
    arguments.add_argument("--connections", type=int, default=8, help="how many clients ask at once (8)")
    arguments.add_argument("--exchanges", type=int, default=40, help="exchanges whose order is traced (40)")
    arguments.add_argument("--seed", type=int, help="draw what is killed and when from this number, which is printed")


def run(given: argparse.Namespace) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Drill, print, and give figures and raw measurements."""
    seed = secrets.randbelow(2**32) if given.seed is None else given.seed
    chance = random.Random(seed)
    databases = DATABASES if given.database == "both" else (given.database,)
    print(f"seed {seed}")
    drilled: dict[str, Drilled] = {}
    orders: dict[str, Order] = {}
    with _stage() as stage:
        for name in databases:
            drilled[name] = _crash(stage, name, given, chance)
            for flushing in (True, False):
                label = name if flushing else _careless(name)
                with contextlib.suppress(CannotTrace):
                    orders[label] = _power_cut(stage, name, given, label=label, flushing=flushing)
    raw: list[dict[str, Any]] = [{"seed": seed}]
    raw += [{"drill": "crash", "database": name, **msgspec.to_builtins(each)} for name, each in drilled.items()]
    raw += [{"drill": "power-cut", "run": label, **msgspec.to_builtins(each)} for label, each in orders.items()]
    return _figures(drilled, orders), raw


def _crash(stage: "_Stage", name: str, given: argparse.Namespace, chance: random.Random) -> Drilled:
    def report(said: str) -> None:
        print(f"{name}: {said}", file=sys.stderr)

    with stage.house(name) as house:
        drilled = drill(
            house, stage.spine, kills=given.kills, chance=chance, connections=given.connections, report=report
        )
    print(_told(name, drilled))
    return drilled


def _power_cut(stage: "_Stage", name: str, given: argparse.Namespace, *, label: str, flushing: bool) -> Order:
    with stage.house(name, workers=1) as house:
        try:
            order = trace_order(house, stage.spine, given.exchanges, flushing=flushing)
        except CannotTrace as reason:
            print(f"{label}: the order cannot be checked here: {reason}")
            raise
    print(f"{label}: {order.checked} exchanges traced, {len(order.violations)} in disorder")
    return order


def _careless(name: str) -> str:
    return f"{name}, flushing switched off"


def wrong(figures: dict[str, Any]) -> list[str]:
    """What the figures of a run show to be wrong; nothing where all is well."""
    found = [f"{name} is {figures[name]}, and must be 0" for name in NOUGHT if figures.get(name)]
    for suffix in ("", "_postgresql"):
        traced = figures.get(f"order_checked_with_sync_off{suffix}")
        seen = f"order_violations_with_sync_off{suffix}"
        if traced and figures[seen] != traced:
            found.append(f"{seen} is {figures[seen]} of {traced}: the check does not notice every lost flush")
    if not figures["closed_as_unknown"]:
        found.append("closed_as_unknown is 0: nothing was killed in the middle of an exchange")
    return found


def _figures(drilled: dict[str, Drilled], orders: dict[str, Order]) -> dict[str, Any]:
    reckonings = [each.reckoning for each in drilled.values()]
    figures: dict[str, Any] = {f"kills_{name}": each.kills for name, each in drilled.items()}
    for name in ("exchanges", "replies", "asks", "records", "closed_as_unknown", "unanswerable"):
        figures[name] = sum(getattr(each, name) for each in reckonings)
    for name in ("replies_without_record", "asks_without_record", "gaps", "left_open", "unknown_yet_replied"):
        figures[name] = sum(len(getattr(each, name)) for each in reckonings)
    figures["logs_not_verified"] = sum(not each.verified for each in reckonings)
    for name in drilled:
        suffix = "" if name == "sqlite" else f"_{name}"
        kept, lost = orders.get(name, Order()), orders.get(_careless(name), Order())
        figures[f"order_checked{suffix}"] = kept.checked
        figures[f"order_violations{suffix}"] = len(kept.violations)
        figures[f"order_not_told_apart{suffix}"] = len(kept.not_told_apart) + len(lost.not_told_apart)
        figures[f"order_checked_with_sync_off{suffix}"] = lost.checked
        figures[f"order_violations_with_sync_off{suffix}"] = len(lost.violations)
    return figures


def _told(name: str, drilled: Drilled) -> str:
    found = drilled.reckoning
    return (
        f"{name}: {drilled.kills} kills {drilled.targets} in {drilled.seconds:.0f} s, {drilled.cut_off} lines cut;"
        f" {found.exchanges} exchanges in {found.records} records, {found.closed_as_unknown} closed as unknown;"
        f" {found.replies} replies, {len(found.replies_without_record)} without record;"
        f" {found.asks} messages to Spine, {len(found.asks_without_record)} without record; {len(found.gaps)} gaps;"
        f" {len(found.left_open)} left open; verify: {found.verify_said or 'nothing'}"
    )


class _Stage:
    """Where the drills take place: keys, a simulated Spine, and a fresh provider for each drill."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._keys = _make_keys(folder / "pki")
        self._houses = 0
        self.spine = Spine(folder / "spine", self._keys, size=2000)

    @contextlib.contextmanager
    def house(self, database: str, workers: int | None = None) -> Iterator[House]:
        """A provider with a client that may ask, not started yet; on PostgreSQL with a server of its own."""
        self._houses += 1
        with contextlib.ExitStack() as stack:
            folder = self._folder / f"house-{self._houses}"
            house = stack.enter_context(House(folder, self._keys, self.spine.url, self.spine.practices))
            house.configure("", workers=workers or WORKERS[database])
            if database == "postgresql":
                server = _server()
                stack.callback(server.remove)
                stack.callback(house.stop)  # before the server goes
                house.configure("storage", url=server.url("postgres").replace("@/", "@localhost/"))
            house.load_organisations()
            house.register()
            yield house


@contextlib.contextmanager
def _stage() -> Iterator[_Stage]:
    """Everything in one folder that is gone afterwards, temporary files of killed processes included."""
    before = os.environ.get("TMPDIR")
    with tempfile.TemporaryDirectory(prefix="minispine-crash-") as folder:
        os.environ["TMPDIR"] = folder
        stage = _Stage(Path(folder))
        try:
            yield stage
        finally:
            stage.spine.stop()
            if before is None:
                del os.environ["TMPDIR"]
            else:
                os.environ["TMPDIR"] = before


def _server() -> Postgres:
    try:
        return Postgres()
    except PostgresUnavailable as reason:
        raise SystemExit(f"no PostgreSQL can be run here: {reason}; --database sqlite leaves it out") from None


def _make_keys(folder: Path) -> Path:
    now = datetime.datetime.now(datetime.UTC)
    pki.create(folder, now=now)
    for name, kind in {"provider": Kind.SERVER, "spine": Kind.SPINE_SERVER, "spine-client": Kind.SPINE_CLIENT}.items():
        pki.issue(folder, name, kind, now=now)
    pki.issue(folder, "ward", Kind.CLIENT, now=now, organisation="A Trust")
    return folder
