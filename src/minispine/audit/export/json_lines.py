"""JSON lines: each event as `reading.told` gives it, with the hash of its record's leaf as `leaf_hash`."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from minispine.audit.encoding import encode_json
from minispine.audit.reading import Record
from minispine.audit.search import Query, asked_for


def as_json_lines(found: Iterable[Record], query: Query) -> Iterator[bytes]:
    """A line for each event of the records found. Times are UTC and say so, ``Z``."""
    for record in found:
        digest = record.hash.hex()
        for event in asked_for(record, query):
            yield encode_line(event | {"leaf_hash": digest})


def encode_line(event: Mapping[str, Any]) -> bytes:
    """One event as a line of JSON, its keys in the order in which they are given."""
    return b"{%b}\n" % b",".join(b"%b:%b" % (encode_json(name), encode_json(value)) for name, value in event.items())
