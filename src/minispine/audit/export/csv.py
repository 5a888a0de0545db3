"""CSV (RFC 4180), a row for each event. What a spreadsheet would take for a formula is kept from being one."""

import csv
import io
from collections.abc import Iterable, Iterator
from typing import Any, Final

from minispine.audit.encoding import encode_json
from minispine.audit.reading import Record
from minispine.audit.search import Query, asked_for
from minispine.audit.words import organisation, result, who

COLUMNS: Final = (
    "sequence",
    "index",
    "at",
    "sealed_at",
    "type",
    "who",
    "organisation",
    "authority",
    "device",
    "result",
    "source",
    "message_id",
    "system",
    "instance",
    "exchange",
    "client",
    "client_message_id",
    "repeats",
    "data",
    "private",
    "leaf_hash",
)
"""`who` to `message_id` are taken out of `data`, which is there in full; `private` is empty unless it was read."""

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""The wide forms are signs too where East Asian writing is set."""


def as_csv(found: Iterable[Record], query: Query) -> Iterator[bytes]:
    """The row of column names, and a row for each event of the records found. Times are UTC and say so, ``Z``."""
    yield _row(COLUMNS)
    for record in found:
        for event in asked_for(record, query):
            yield _row(_cells(record, event))


def harmless(cell: str) -> str:
    """A cell that no spreadsheet computes: one that begins as a formula does has an apostrophe before it."""
    return f"'{cell}" if cell.lstrip(" ").startswith(_FORMULA) else cell


def _cells(record: Record, event: dict[str, Any]) -> Iterator[str]:
    told = event["data"]
    actor = told.get("actor") or {}
    computed = {
        "who": who(told),
        "organisation": organisation(told),
        "authority": actor.get("authority"),
        "device": actor.get("device") or told.get("access_point"),
        "result": result(told),
        "source": told.get("source"),
        "message_id": told.get("message_id"),
        "data": encode_json(told).decode(),
        "private": _private(event),
        "leaf_hash": record.hash.hex(),
    }
    for column in COLUMNS:
        value = computed[column] if column in computed else event[column]
        yield "" if value is None else str(value)


def _private(event: dict[str, Any]) -> str:
    for gone in ("removed", "archived", "missing"):
        if gone in event:
            return f"({gone})" if event[gone] is True else f"({gone}: {event[gone]})"
    return encode_json(event["private"]).decode() if event.get("private") else ""


def _row(cells: Iterable[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerow([harmless(cell) for cell in cells])
    return text.getvalue().encode("utf-8", "backslashreplace")
