"""The design document on caching says what the tables and the code say (SMSP-CACHE-002)."""

import re
import tomllib
from pathlib import Path

import pytest

from minispine.domain.operations import NationalService
from minispine.provider.cache.entries import MARK_S
from minispine.provider.cache.keeping import SETTLED_S
from minispine.vocabulary.cache_rules import (
    MOST_OUTAGE_S,
    NEVER,
    load_cache_rules,
    shipped_cache_rules,
    shipped_document,
)

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "caching.md").read_text(encoding="utf-8")
MEASURED = (DOCS / "performance.md").read_text(encoding="utf-8")
_NAMES = {"PDS": "pds", "CP-IS": "cpis", "SCR": "scr", "FGM": "fgm"}


def _section(heading: str) -> str:
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None, heading
    return found[1]


def _rows(section: str, columns: int) -> list[list[str]]:
    """The rows of a section's tables that have so many columns, without their headings."""
    lines = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line] for line in lines if len(line) == columns][1:]


@pytest.mark.requirement("SMSP-CACHE-002", "a")
def test_every_national_service_has_its_row_which_is_that_of_the_table() -> None:
    rows = {_NAMES[row[0]]: row for row in _rows(_section("Which service's answers"), 5)}
    assert set(rows) == set(NationalService)
    for name, rule in shipped_cache_rules().services.items():
        kept, why = rows[name][1], rows[name][4]
        assert kept.startswith("where a rule says so" if rule.kept else "never" if name in NEVER else "no")
        assert why
    assert not shipped_cache_rules().any, "As it ships, nothing is kept."


@pytest.mark.requirement("SMSP-CACHE-002", "b")
def test_business_uses_have_times_and_reasons_and_the_example_sets_them() -> None:
    section = _section("Staleness")
    uses = {row[0].partition(":")[0]: row for row in _rows(section, 5)}
    assert len(uses) >= 2
    for row in uses.values():
        assert all(row)
        assert all(int(re.match("[0-9]+", age.replace(",", ""))[0]) <= MOST_OUTAGE_S for age in row[2:4])  # type: ignore[index]
    example = re.search(r"```toml\n(.*?)```", section, re.DOTALL)
    assert example is not None
    rules = load_cache_rules(shipped_document() | tomllib.loads(example[1])).rules
    ward, clinic = uses["Ward round"], uses["Outpatient clinic list"]
    for rule, row in zip(rules, (ward, clinic), strict=True):
        assert [f"{age:,}" for age in (rule.ttl_s, rule.outage_s)] == [age.split()[0] for age in row[2:4]]
        assert ", ".join(rule.operations) == row[1]


def test_what_the_page_says_of_times_is_what_the_code_does() -> None:
    assert (MARK_S, SETTLED_S) == (300, 2)
    assert "For five minutes afterwards" in PAGE
    assert "begins to keep two seconds later" in PAGE.replace("\n", " ")


@pytest.mark.requirement("SMSP-CACHE-002", "d")
def test_volumes_are_given_with_and_without_the_cache() -> None:
    rows = _rows(_section("Spine's load with and without"), 6)
    assert len(rows) >= 2
    for _, asked, wanted, _, without, with_cache in rows:
        assert asked
        assert wanted
        assert int(with_cache.replace(",", "")) <= int(without.replace(",", ""))


@pytest.mark.requirement("SMSP-CACHE-002", "d")
def test_volumes_and_response_times_were_measured_with_and_without_the_cache() -> None:
    """The section on the outage benchmark has rows of figures, by name, with what was measured."""
    (section,) = [found for found in re.split(r"^## ", MEASURED, flags=re.MULTILINE) if "scripts/bench outage" in found]
    measured: dict[str, float] = {}
    for names, figures in _rows(section, 2):
        found = re.findall(r"[0-9]+(?:[0-9.,]*[0-9])?", figures)
        measured |= {name: float(figure.replace(",", "")) for name, figure in zip(_named(names), found, strict=False)}
    assert 0 < measured["spine_calls_with_cache"] < measured["spine_calls_without_cache"]
    for name in ("with", "without"):
        assert 0 < measured[f"p50_ms_{name}_cache"] <= measured[f"p95_ms_{name}_cache"]
    assert "(performance.md)" in _section("Spine's load with and without")


def _named(cell: str) -> list[str]:
    return re.findall(r"`(\w+)`", cell)


@pytest.mark.requirement("SMSP-CACHE-002", "e")
def test_the_trade_off_lists_options_with_the_one_chosen() -> None:
    verdicts = [row[3] for row in _rows(_section("Performance or currency: the trade-off"), 4)]
    assert len(verdicts) >= 3
    assert sum("chosen" in verdict for verdict in verdicts) == 1
