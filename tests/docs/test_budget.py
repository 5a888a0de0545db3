"""What the page on the budget names is there: metrics, commands with their options, and a table that can be loaded."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest

from minispine.cli import app
from minispine.domain.operations import NationalService
from minispine.observe import metrics
from minispine.vocabulary.budgets import load_budgets

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "budget.md").read_text(encoding="utf-8")
COMMANDS = [
    shlex.split(line.partition(">")[0], comments=True)
    for line in re.findall(r"^\s*\$ minispine (.+)$", PAGE, re.MULTILINE)
]


def test_every_metric_of_the_page_is_measured() -> None:
    named = set(re.findall(r"minispine_[a-z_]+[a-z]", PAGE))
    described = set(re.findall(r"^# TYPE (\S+) ", metrics.exposition()[0].decode(), re.MULTILINE))
    assert named
    assert {name.removesuffix("_bucket") for name in named} <= described


def test_the_table_of_the_page_can_be_loaded() -> None:
    (table,) = re.findall(r"^```toml\n(.+?)^```", PAGE, re.MULTILINE | re.DOTALL)
    budget = load_budgets(tomllib.loads(table)).of(NationalService.PDS)
    assert budget.asids
    assert budget.clients


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_of_the_page_can_be_given(command: list[str]) -> None:
    """Each is there with these options; what it does is tested elsewhere."""
    function, bound, _ = app.build().parse_args(command, exit_on_error=False, print_error=False)
    assert callable(function)
    assert bound is not None
