"""What the page on the budget names is there: metrics, commands with their options, and a table that can be loaded."""

import asyncio
import re
import shlex
import sqlite3
import tomllib
from contextlib import closing
from functools import partial
from pathlib import Path

import psycopg
import pytest

from minispine.cli import app
from minispine.domain.operations import NationalService
from minispine.observe import metrics
from minispine.provider.throughput import HOUR_US, Throughput
from minispine.storage import Database
from minispine.vocabulary.budgets import load_budgets

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "budget.md").read_text(encoding="utf-8")
COMMANDS = [
    shlex.split(line.partition(">")[0], comments=True)
    for line in re.findall(r"^\s*\$ minispine (.+)$", PAGE, re.MULTILINE)
]


def _section(heading: str) -> str:
    found = re.search(rf"^### {re.escape(heading)}\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None, heading
    return found[1]


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


@pytest.mark.requirement("SMSP-PERF-002", "e")
def test_the_statement_for_technical_staff_gives_each_hours_throughput(database: Database, database_url: str) -> None:
    """Given to the database itself, with nothing of ours: each hour within its bounds, and none beyond them."""
    section = _section("Where it is stored")
    (statement,) = re.findall(r"^```sql\n(.+?);\n```", section, re.MULTILINE | re.DOTALL)
    first, beyond = (int(hour) for hour in re.findall(r"hour >=? (\d+) AND hour < (\d+)", statement)[0])
    for hour, times in ((first - 1, 4), (first, 5), (first + 5, 7), (beyond - 1, 1), (beyond, 9)):
        counting = Throughput(database, now=partial(int, hour * HOUR_US))
        for lane in ("attended", "batch")[:times]:
            counting.count(operation="verifyNHSNumber", organisation="RXX", lane=lane, outcome="SMSP-0000")
        for _ in range(times - 2):
            counting.count(operation="getNHSNumber", organisation="RYY", lane="attended", outcome="fault-2100")
        asyncio.run(counting.flush())
    assert _rows(database_url, statement) == [(first, 5), (first + 5, 7), (beyond - 1, 1)]
    columns = re.findall(r"`(\w+)`", section.partition("`throughput_hour`")[2].partition(". ")[0])
    assert _rows(database_url, f"SELECT {', '.join(columns)} FROM throughput_hour WHERE hour = {beyond - 1}") == [
        (beyond - 1, "verifyNHSNumber", "RXX", "attended", "SMSP-0000", 1)
    ]


def _rows(url: str, statement: str) -> list[tuple[object, ...]]:
    """What a program that knows only SQL reads; on SQLite from the file that the page names."""
    if url.startswith("sqlite:"):
        assert "`registry.db`" in PAGE
        with closing(sqlite3.connect(f"{url.removeprefix('sqlite:')}/registry.db")) as connection:
            return connection.execute(statement).fetchall()
    with psycopg.connect(url) as postgresql:
        return [(int(row[0]), *row[1:-1], int(row[-1])) for row in postgresql.execute(statement.encode())]


@pytest.mark.requirement("SMSP-PERF-002", "c", "e")
def test_the_procedure_for_a_request_of_nhs_england_is_done_by_commands_that_are_there() -> None:
    procedure = _section("Answering a request of NHS England")
    steps = re.findall(r"^\d\. ", procedure, re.MULTILINE)
    commands = [command for command in COMMANDS if f"$ minispine {shlex.join(command)} >" in procedure]
    assert len(steps) >= 4
    assert len(commands) == len(re.findall(r"\$ minispine ", procedure)) >= 1
    for command in commands:
        function, bound, _ = app.build().parse_args(command, exit_on_error=False, print_error=False)
        assert function.__name__ == "throughput"
        assert bound.arguments["form"] == "csv"
        assert {"from_", "to"} <= set(bound.arguments)
