"""A line that moves is for whoever waits at a terminal, and only when there is something to wait for."""

import pytest

from minispine.cli.progress import Progress, of_records


def told(capsys: pytest.CaptureFixture[str], times_s: list[float], *, shown: bool = True) -> str:
    times = iter([0.0, *times_s])
    progress = Progress(of_records, monotonic=lambda: next(times), shown=shown)
    for number, _ in enumerate(times_s, start=1):
        progress.at(number * 1000, 4000)
    progress.end()
    return capsys.readouterr().err


def test_nothing_is_said_of_what_is_quick_or_not_watched(capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys, [0.5, 1.0, 1.9]) == ""
    assert told(capsys, [0.5, 5.0, 9.0], shown=False) == ""


def test_what_takes_longer_is_told_twice_a_second_at_most(capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys, [1.0, 2.1, 2.2, 3.0]) == ("\r2,000 of 4,000 records (50 %)\r4,000 of 4,000 records (100 %)\n")
