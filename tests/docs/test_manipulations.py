"""The register of data manipulations is the set of rules in the software (SMSP-ERR-006 k)."""

import re
from pathlib import Path

import pytest

from minispine.domain.presentation import REFUSALS, RULES

PAGE = Path(__file__).resolve().parents[2] / "docs" / "manipulations.md"


@pytest.mark.requirement("SMSP-ERR-006", "k")
def test_the_register_lists_each_rule_with_a_place_for_its_approval() -> None:
    listed = re.findall(
        r"^\| `(.+)` \| (.+) \| (.+) \| (.+) \| (.*)\|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE
    )
    assert [row[:4] for row in listed] == [
        (rule.id, rule.field, rule.condition, rule.action) for rule in (*RULES, *REFUSALS)
    ]
