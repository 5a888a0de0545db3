"""docs/time.md is the time section of the deployment guide, and the compliance statement on time zones."""

import re
from pathlib import Path
from typing import get_args

import pytest

from minispine.config import Settings, check, example, load
from minispine.config.settings import Clock
from minispine.observe.log import LogEvent
from minispine.observe.metrics import exposition

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "time.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return re.split(r"(?m)^## ", PAGE.partition(f"\n## {title}\n")[2])[0]


@pytest.mark.requirement("SMSP-AUDIT-010", "b")
def test_the_guide_compares_stratum_2_with_stratum_3_and_recommends_one() -> None:
    compared = section("Stratum 2 or stratum 3")
    heading, _, *rows = [line for line in compared.splitlines() if line.startswith("|")]
    assert heading == "| | Stratum 3 source | Stratum 2 source |"
    assert len(rows) >= 5
    assert all(cell.strip() for row in rows for cell in row.strip("|").split("|"))
    assert "**Recommended: three sources at stratum 2 or better.**" in compared


@pytest.mark.requirement("SMSP-AUDIT-010", "b")
def test_the_configuration_that_the_guide_gives_for_it_is_one_to_serve_with(tmp_path: Path) -> None:
    (given,) = re.findall(r"(?ms)^```toml\n(\[clock\]\n.*?)^```$", section("Configuration"))
    file = tmp_path / "minispine.toml"
    file.write_text(re.sub(r"(?ms)^\[clock\]\n.*?\n\n", f"{given}\n", example()))
    settings: Settings = load(file)
    assert settings.clock.policy == "require"
    assert len(settings.clock.servers) == 3
    assert check(settings) == []
    for daemon in ("chrony", "systemd-timesyncd"):
        named = PAGE.partition(f"### {daemon}\n")[2].partition("\n### ")[0]
        assert all(server in named for server in settings.clock.servers)


def test_every_source_log_line_and_metric_of_the_clock_is_explained() -> None:
    sources = get_args(Clock.__annotations__["source"])
    assert sources
    assert all(f"| `{source}` |" in PAGE for source in sources)
    lines = [event.reference for event in LogEvent if event.name.startswith("CLOCK_")]
    assert lines
    assert all(reference in PAGE for reference in lines)
    metrics = set(re.findall(r"minispine_clock_\w+", exposition()[0].decode()))
    assert metrics
    assert all(f"`{metric}`" in PAGE for metric in metrics)


@pytest.mark.requirement("SMSP-AUDIT-011", "a")
def test_the_compliance_statement_names_the_guidance_on_time_zones() -> None:
    assert '**NPFIT-FNT-TO-SCG-0005, "Clarification on Time Zone"**' in section("Time zones")
