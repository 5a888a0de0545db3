"""What every test shares: the register's marker, the shared reference material, and build/requirements.json."""

import json
import os
from collections import defaultdict
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

pytest_plugins = ["tests.databases"]

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("MINISPINE_SHARED", ROOT.parent / "shared"))

_passed: dict[tuple[str, str], set[str]] = defaultdict(set)


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The folder of official schemas and samples; a test that needs it skips where it is absent."""
    folder = SHARED / "corpus"
    if not folder.is_dir():
        pytest.skip(f"the official schemas and samples are not at {folder} (set MINISPINE_SHARED)")
    return folder


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, None]:
    """Have the report of a test say which clauses it proves; of several processes it may be another that hears it."""
    outcome = yield
    clauses = [(mark.args[0], clause) for mark in item.iter_markers("requirement") for clause in mark.args[1:]]
    outcome.get_result().user_properties.append(("clauses", clauses))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Remember which clauses a passed test proves."""
    if report.when == "call" and report.passed:
        for name, clauses in report.user_properties:
            if name == "clauses":
                for requirement, clause in clauses:  # type: ignore[union-attr]
                    _passed[requirement, clause].add(report.nodeid)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write build/requirements.json: for each clause, the tests that passed (only a whole run is worth writing)."""
    if hasattr(session.config, "workerinput"):
        return  # one of several processes: the one that hears all of them writes
    if not session.config.option.collectonly and os.environ.get("MINISPINE_REQUIREMENTS"):
        target = Path(os.environ["MINISPINE_REQUIREMENTS"])
        target.parent.mkdir(parents=True, exist_ok=True)
        rows = [{"id": i, "clause": c, "tests": sorted(t)} for (i, c), t in sorted(_passed.items())]
        target.write_text(json.dumps(rows, indent=1) + "\n")
