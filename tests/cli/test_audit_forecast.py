"""The forecast as an operator reads it."""

from pathlib import Path

import pytest

from minispine.audit.forecast import DAY_US, Forecast, Part
from minispine.cli import audit_forecast
from minispine.config import load as load_settings
from minispine.storage.disk import Space
from tests.audit.conftest import START
from tests.cli.conftest import Command

GB = 1_000_000_000


def test_a_young_log_is_told_as_one(minispine: Command, config: Path, begun: None) -> None:
    done = minispine("audit", "forecast", "--config", config)
    assert done.code == 0, done.err
    assert "the log is too young to tell how fast it grows" in done.out
    assert "free: " in done.out
    told = minispine("audit", "forecast", "--json", "--config", config).json()
    assert (told["records"], told["records_a_day"], told["days_until"]) == (1, None, _none(told["days_until"]))
    assert told["usable_bytes"] > told["free_bytes"] > 0
    assert {part["name"] for part in told["parts"]} == {"records", "payloads", "search index", "everything else"}


def _none(days: dict[str, float | None]) -> dict[str, float | None]:
    """Unless the disk of the tests is already nearly full."""
    return {name: 0.0 if value == 0 else None for name, value in days.items()}


def test_the_published_log_is_counted_on_the_same_disk(minispine: Command, config: Path, begun: None) -> None:
    published = config.parent / "published"
    published.mkdir()
    config.write_text(config.read_text().replace("[clock]", f'[audit]\ndirectory = "{published}"\n[clock]'))
    assert "published log" in minispine("audit", "forecast", "--config", config).out


def told(config: Path, capsys: pytest.CaptureFixture[str], space: Space | None, grown: float | None) -> list[str]:
    records_a_day = None if grown is None else 86_400.0
    found = Forecast(START, 30 * DAY_US, 1_000_000, records_a_day, (Part("payloads", 4 * GB, grown),), space)
    audit_forecast._print(found, load_settings(config))
    return capsys.readouterr().out.splitlines()


def test_it_says_when_the_provider_warns_and_when_it_refuses(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = told(config, capsys, Space(50 * GB, 100 * GB), 0.5 * GB)
    assert [line.split() for line in lines[1:4]] == [
        ["records,", "number", "1,000,000", "86,400", "2,592,000"],
        ["payloads", "4.0", "GB", "500.0", "MB", "15.0", "GB"],
        ["together", "4.0", "GB", "500.0", "MB", "15.0", "GB"],
    ]
    assert lines[4:] == [
        "measured over the last 30.0 days; the bytes of what is to come are estimated",
        "free: 50.0 GB of 100.0 GB (50.0%)",
        "less than 20% free, and the provider warns: about 2026-11-20, in 60 days",
        "less than 5% free, and requests are refused: about 2026-12-20, in 90 days",
    ]


@pytest.mark.parametrize(
    ("space", "grown", "when"),
    [
        (Space(2 * GB, 100 * GB), 1.0, "now"),
        (Space(50 * GB, 100 * GB), None, "not known"),
        (None, 1.0, "not known"),
        (Space(50 * GB, 100 * GB), 0.0, "not within a hundred years"),
    ],
)
def test_what_is_not_known_is_not_told(
    config: Path, capsys: pytest.CaptureFixture[str], space: Space | None, grown: float | None, when: str
) -> None:
    assert told(config, capsys, space, grown)[-1] == f"less than 5% free, and requests are refused: {when}"


def test_a_small_number_is_told_in_bytes_and_a_large_one_not(config: Path) -> None:
    assert [audit_forecast._bytes(n) for n in (0, 999, 1000, 2.5e6, 3e15)] == [
        *("0 B", "999 B", "1.0 KB", "2.5 MB", "3000.0 TB")
    ]
