"""`minispine audit forecast`: how fast the trail grows, and when its disk will be full."""

import datetime
import math
from pathlib import Path
from typing import Any, Final

import msgspec

from minispine.audit import forecast as forecasts
from minispine.audit.encoding import iso_time
from minispine.audit.forecast import DAY_US, Forecast, Part
from minispine.cli.errors import Exit
from minispine.cli.output import table
from minispine.cli.trail import CONFIG, now_us, opened
from minispine.config.settings import Settings
from minispine.storage.disk import Space, space

_MONTH_DAYS: Final = 30
_UNITS: Final = ("B", "KB", "MB", "GB", "TB")
_THOUSAND: Final = 1000


def forecast(*, config: Path = CONFIG, json: bool = False) -> int:
    """Tell how fast the audit trail grows, and when its disk comes to where the provider warns and where it refuses.

    Growth is that of the last thirty days, carried on. The sizes of the parts of an SQLite database and all growth in
    bytes are estimates, from samples; that anything else on the disk grows is not reckoned with.

    Parameters
    ----------
    config
        The configuration file of the installation.
    json
        Print it as one JSON object, in bytes and days.
    """
    with opened(config) as trail:
        settings = trail.settings
        assert settings is not None, "the trail was found by the configuration"
        place = trail.database.folder or settings.storage.volume
        disk = None if place is None else space(place)
        published = place is not None and _on_one_disk(place, settings.audit.directory)
        found = forecasts.forecast(trail.database, now=now_us(), space=disk, published=published)
    if json:
        print(msgspec.json.encode(_as_object(found, settings)).decode())
    else:
        _print(found, settings)
    return Exit.DONE


def _on_one_disk(place: Path, directory: Path | None) -> bool:
    try:
        return directory is not None and place.stat().st_dev == directory.stat().st_dev
    except OSError:
        return False


def _as_object(found: Forecast, settings: Settings) -> dict[str, Any]:
    thresholds = {"warn": settings.storage.warn_free, "refuse": settings.storage.refuse_free}
    return {
        "at": iso_time(found.at),
        "measured_days": found.measured_us / DAY_US,
        "records": found.records,
        "records_a_day": found.records_a_day,
        "parts": [msgspec.structs.asdict(part) for part in found.parts],
        "bytes_a_day": found.bytes_a_day,
        "free_bytes": found.space.free if found.space else None,
        "usable_bytes": found.space.usable if found.space else None,
        "days_until": {name: found.days_until(share) for name, share in thresholds.items()},
    }


def _print(found: Forecast, settings: Settings) -> None:
    a_day = found.records_a_day
    rows = [["records, number", f"{found.records:,}", *(["", ""] if a_day is None else _counts(a_day))]]
    rows += [_row(part) for part in (*found.parts, _all(found))]
    table(["", "now", "a day", f"{_MONTH_DAYS} days"], rows)
    if a_day is None:
        print("the log is too young to tell how fast it grows")
    else:
        print(
            f"measured over the last {found.measured_us / DAY_US:.1f} days; the bytes of what is to come are estimated"
        )
    _print_space(found.space)
    for share, then in (
        (settings.storage.warn_free, "the provider warns"),
        (settings.storage.refuse_free, "requests are refused"),
    ):
        print(f"less than {share:.0%} free, and {then}: {_when(found, share)}")


def _print_space(disk: Space | None) -> None:
    if disk is None:
        print("how much of the disk is free is not known; on PostgreSQL name its volume in storage.volume")
    else:
        print(f"free: {_bytes(disk.free)} of {_bytes(disk.usable)} ({disk.share:.1%})")


def _when(found: Forecast, share: float) -> str:
    days = found.days_until(share)
    if days == 0:
        return "now"
    if found.space is None or found.records_a_day is None:
        return "not known"
    if days is None:
        return "not within a hundred years"
    date = datetime.datetime.fromtimestamp(found.at / 1_000_000, datetime.UTC) + datetime.timedelta(days=days)
    return f"about {date:%Y-%m-%d}, in {math.floor(days):,} days"


def _all(found: Forecast) -> Part:
    return Part("together", sum(part.bytes for part in found.parts), found.bytes_a_day)


def _row(part: Part) -> list[str]:
    grown = part.bytes_a_day
    return [
        part.name,
        _bytes(part.bytes),
        *(["", ""] if grown is None else [_bytes(grown), _bytes(_MONTH_DAYS * grown)]),
    ]


def _counts(a_day: float) -> list[str]:
    return [f"{a_day:,.0f}", f"{_MONTH_DAYS * a_day:,.0f}"]


def _bytes(number: float) -> str:
    """A size as people say it: 4.2 GB."""
    for unit in _UNITS[:-1]:
        if number < _THOUSAND:
            return f"{number:.0f} {unit}" if unit == _UNITS[0] else f"{number:.1f} {unit}"
        number /= _THOUSAND
    return f"{number:.1f} {_UNITS[-1]}"
