import copy
from typing import Any

import pytest

from minispine.domain.operations import NationalService
from minispine.vocabulary.budgets import Limit, load_budgets, shipped_budgets, shipped_document
from minispine.vocabulary.tables import TableInvalid

DOCUMENT: dict[str, Any] = {
    "version": "7",
    "pds": {
        "per_second": 5,
        "burst": 2,
        "per_minute": 200,
        "asids": {"200000000999": {"per_second": 12.5, "burst": 3}},
        "clients": {"night-run": {"per_second": 1}},
        "shares": {"unattended": 0.25, "batch": 0.25},
    },
}


def changed(path: str, value: Any) -> dict[str, Any]:
    document = copy.deepcopy(DOCUMENT)
    *folders, last = path.split(".")
    place = document
    for folder in folders:
        place = place.setdefault(folder, {})
    place[last] = value
    return document


def test_an_accredited_system_has_its_own_limit_and_the_others_have_that_of_the_service() -> None:
    budget = load_budgets(DOCUMENT).of(NationalService.PDS)
    assert budget.limit("200000000999") == Limit(per_second=12.5, burst=3)
    assert budget.limit("200000000888") == Limit(per_second=5.0, burst=2, per_minute=200)
    assert budget.clients == {"night-run": Limit(per_second=1.0)}
    assert budget.shares == {"unattended": 0.25, "batch": 0.25}


@pytest.mark.requirement("SMSP-PERF-001", "b")
def test_what_ships_is_the_national_default_of_five_calls_a_second() -> None:
    budget = shipped_budgets().of(NationalService.PDS)
    assert budget.limit("200000000999") == Limit(per_second=5.0, burst=1)
    assert 0 < budget.shares["batch"] < budget.shares["unattended"] < 0.5
    assert load_budgets(shipped_document()) == shipped_budgets()


def test_a_service_that_the_table_does_not_name_is_asked_no_more_than_the_default() -> None:
    budgets = load_budgets({"version": "1", "pds": {"per_second": 100}})
    assert budgets.of(NationalService.SCR).default == shipped_budgets().of(NationalService.PDS).default


def test_a_share_of_nothing_is_none() -> None:
    assert load_budgets(changed("pds.shares.batch", 0)).of(NationalService.PDS).shares == {"unattended": 0.25}


@pytest.mark.parametrize(
    ("path", "value", "key", "reason"),
    [
        ("version", 7, "version", "must be a text"),
        ("version", " ", "version", "not blank"),
        ("pdss", {"per_second": 5}, "pdss", "is no national service; there is pds"),
        ("pds", 5, "pds", "expected `object`"),
        ("pds", {}, "pds", "per_second"),
        ("pds.per_hour", 9, "pds", "per_hour"),
        ("pds.per_second", 0, "pds.per_second", ">= 0.001"),
        ("pds.per_second", -5, "pds.per_second", ">= 0.001"),
        ("pds.per_second", 1e-12, "pds.per_second", ">= 0.001"),
        ("pds.per_second", float("nan"), "pds.per_second", ">= 0.001"),
        ("pds.per_second", float("inf"), "pds.per_second", "<= 100000"),
        ("pds.per_second", "5", "pds.per_second", "got `str`"),
        ("pds.per_second", True, "pds.per_second", "got `bool`"),
        ("pds.burst", 0, "pds.burst", ">= 1"),
        ("pds.burst", 1.5, "pds.burst", "expected `int`"),
        ("pds.per_minute", 0, "pds.per_minute", ">= 1"),
        ("pds.asids.200000000999.per_second", 0, "pds.asids.200000000999.per_second", ">= 0.001"),
        ("pds.asids.20000000099", {"per_second": 1}, "pds.asids.20000000099", "12 digits"),
        ("pds.asids.200000000888", {"per_second": 1, "rate": 1}, "pds.asids.200000000888", "rate"),
        ("pds.clients.night-run.burst", 0, "pds.clients.night-run.burst", ">= 1"),
        ("pds.clients.night run", {"per_second": 1}, "pds.clients.night run", "name of a client"),
        ("pds.shares.batsch", 0.1, "pds.shares.batsch", "is no lane; there is attended, unattended, batch"),
        ("pds.shares.batch", -0.1, "pds.shares.batch", ">= 0"),
        ("pds.shares.batch", 0.6, "pds.shares.batch", "<= 0.5"),
        ("pds.shares.batch", 0.3, "pds.shares", "more than 0.5 together"),
        ("pds.shares.attended", 0.1, "pds.shares.attended", "goes first anyway"),
    ],
)
def test_a_table_that_does_not_hold_together_is_refused_by_key_and_reason(
    path: str, value: Any, key: str, reason: str
) -> None:
    with pytest.raises(TableInvalid) as refused:
        load_budgets(changed(path, value))
    assert refused.value.key == key
    assert reason in refused.value.reason
