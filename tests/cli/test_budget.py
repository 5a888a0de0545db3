"""Limits are changed one at a time, on the record, and taken whole by every worker."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minispine.domain.operations import NationalService
from minispine.provider.admission import book
from minispine.provider.admission.book import SECOND, Book, Want
from minispine.provider.admission.store import SlotStore
from minispine.provider.registry_view import RegistryView
from minispine.storage import Database, Registry
from minispine.vocabulary.budgets import Limit, ServiceBudget, shipped_document
from tests.cli.conftest import Command, Ended

pytestmark = pytest.mark.usefixtures("begun")
ASID = "200000000999"


@pytest.fixture
def budget(minispine: Command, config: Path) -> Command:
    def run(verb: str, *options: object) -> Ended:
        why = () if verb == "show" else ("--reason", "a test")
        return minispine("budget", verb, *options, *why, "--config", config)

    return run


@pytest.fixture
def pds(minispine: Command, config: Path) -> Callable[[], Any]:
    return lambda: minispine("table", "show", "budgets", "--config", config).json()["pds"]


def test_only_what_is_given_is_another(
    budget: Command, pds: Callable[[], Any], trail: Callable[[], list[dict[str, Any]]]
) -> None:
    before = pds()
    assert budget("set", "--per-second", 10).out == "budgets: in force, version 1\n"
    assert pds() == before | {"per_second": 10}
    budget("set", "--burst", 3, "--per-minute", 400)
    assert pds() == before | {"per_second": 10, "burst": 3, "per_minute": 400}
    budget("set", "--per-minute", 0)
    assert pds() == before | {"per_second": 10, "burst": 3}
    budget("set", "--asid", ASID, "--per-second", 2.5)
    budget("set", "--asid", ASID, "--burst", 4)
    budget("set", "--client", "night-run", "--per-second", 1)
    assert pds()["asids"] == {ASID: {"per_second": 2.5, "burst": 4}}
    assert budget("unset", "--asid", ASID).code == 0
    assert pds() == before | {"per_second": 10, "burst": 3, "asids": {}, "clients": {"night-run": {"per_second": 1}}}
    changes = [event["data"] for event in trail() if event["type"] == "budget.changed"]
    assert [(c["before"]["pds"]["per_second"], c["after"]["pds"]["per_second"]) for c in changes[:2]] == [
        (5, 10),
        (10, 10),
    ]
    assert [c["version"] for c in changes] == [1, 2, 3, 4, 5, 6, 7]


def test_a_service_that_the_table_does_not_name_keeps_what_it_had(
    budget: Command, minispine: Command, config: Path
) -> None:
    assert budget("set", "--service", "scr", "--asid", ASID, "--per-second", 2).code == 0
    shown = minispine("table", "show", "budgets", "--config", config).json()
    assert shown["scr"] == shipped_document()["pds"] | {"asids": {ASID: {"per_second": 2}}}


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("set",), 2, "--per-second, --burst or --per-minute"),
        (("set", "--service", "pdss", "--per-second", 1), 2, "did you mean pds?"),
        (("set", "--asid", ASID, "--client", "ward", "--per-second", 1), 2, "--asid or --client"),
        (("set", "--asid", "2000", "--per-second", 1), 2, "pds.asids.2000: is not an ASID of 12 digits"),
        (("set", "--client", "a b", "--per-second", 1), 2, "pds.clients.a b: cannot be the name of a client"),
        (("set", "--asid", ASID, "--burst", 2), 2, "needs --per-second"),
        (("set", "--per-second", 0), 2, "pds.per_second: expected `float` >= 0.001"),
        (("set", "--per-second", "nan"), 2, "pds.per_second: expected `float` >= 0.001"),
        (("set", "--per-second", "inf"), 2, "pds.per_second: expected `float` <= 100000"),
        (("set", "--per-second", "many"), 2, "is a number, not 'many'"),
        (("set", "--per-minute", -1), 2, "pds.per_minute: expected `int` >= 1"),
        (("set", "--per-second", 5), 1, "in force already"),
        (("unset", "--client", "ward"), 1, "ward has no limit of its own for pds"),
        (("unset",), 2, "--asid or --client"),
    ],
)
def test_what_cannot_be_a_limit_is_refused_and_nothing_changed(
    budget: Command, pds: Callable[[], Any], options: tuple[object, ...], code: int, said: str
) -> None:
    before = pds()
    ended = budget(*options)
    assert (ended.code, ended.err.count("\n")) == (code, 1)
    assert said in ended.err
    assert pds() == before


def test_the_limits_are_shown_with_their_use(budget: Command, config: Path) -> None:
    budget("set", "--asid", ASID, "--per-second", 20, "--per-minute", 100)
    budget("set", "--client", "ward", "--per-second", 1)
    with Database.open(f"sqlite:{config.parent}/data") as database:
        store = SlotStore(database, "pds")

        def change(page: Book, now: int) -> None:
            limits = ServiceBudget(default=Limit(per_second=5), asids={ASID: Limit(per_second=20, per_minute=100)})
            wants = [Want(asid=ASID, lane=0, client="ward", again=False, count=1, waiting=1, since=now)]
            book.take(page, now=now, instance="a", wants=wants, budget=limits, room=1)
            wants = [Want(asid=ASID, lane=2, client="ward", again=False, count=0, waiting=7, since=now)]
            book.take(page, now=now, instance="a", wants=wants, budget=limits, room=0)
            page.desks["a"].seen += 600 * SECOND  # so that it has not gone, however slow this machine is

        store.change(change, distrust=lambda *_: None)
        store.close()
    found = budget("show", "--json").json()["pds"]
    assert found["default"]["per_second"] == 5.0
    assert found["asids"][ASID]["limit"] == {"per_second": 20.0, "per_minute": 100}
    assert found["asids"][ASID]["last_minute"] == 1
    assert found["asids"][ASID]["waiting"] == found["clients"]["ward"]["waiting"] == {"batch": 7}
    assert found["shares"] == shipped_document()["pds"]["shares"]
    lines = budget("show").out.splitlines()
    assert lines[1].split() == ["pds", "every", "other", "ASID", "5", "1"]
    assert lines[2].split()[:6] == ["pds", "ASID", ASID, "20", "1", "100"]
    assert lines[2].endswith("7 batch")
    assert lines[3].split()[:5] == ["pds", "client", "ward", "1", "1"]
    assert lines[4] == "pds: unattended is guaranteed 10% of the calls while it has somebody waiting"


def test_what_is_shown_before_anything_was_asked(budget: Command) -> None:
    assert [line.split() for line in budget("show").out.splitlines()[1:2]] == [["pds", "every", "ASID", "5", "1"]]


@pytest.mark.requirement("SMSP-PERF-001", "b")
def test_every_worker_takes_a_new_limit_and_none_an_invalid_one(
    budget: Command, minispine: Command, config: Path, tmp_path: Path
) -> None:
    def limits(views: list[RegistryView]) -> list[float]:
        for view in views:
            asyncio.run(view.refresh())
        return [view.current.budgets.of(NationalService.PDS).limit(ASID).per_second for view in views]

    with Database.open(f"sqlite:{config.parent}/data") as database:
        views = [RegistryView(Registry(database)) for _ in range(2)]
        assert limits(views) == [5.0, 5.0]
        budget("set", "--per-second", 10)
        assert limits(views) == [10.0, 10.0]
        file = tmp_path / "budgets.toml"
        file.write_text('version = "2"\n[pds]\nper_second = 100\n[pds.shares]\nbatch = 0.9\n')
        ended = minispine("table", "load", "budgets", file, "--reason", "x", "--config", config)
        assert (ended.code, ended.err) == (2, f"minispine: {file}: pds.shares.batch: expected `float` <= 0.5\n")
        assert limits(views) == [10.0, 10.0]
