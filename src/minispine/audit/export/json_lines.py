"""JSON lines: each event as `reading.told` gives it, with the hash of its record's leaf as `leaf_hash`."""

from collections.abc import Iterable, Iterator

from minispine.audit.encoding import encode_json
from minispine.audit.reading import Record
from minispine.audit.search import Query, asked_for


def as_json_lines(found: Iterable[Record], query: Query) -> Iterator[bytes]:
    """A line for each event of the records found. Times are UTC and say so, ``Z``."""
    for record in found:
        digest = record.hash.hex()
        for event in asked_for(record, query):
            members = (event | {"leaf_hash": digest}).items()
            yield b"{%b}\n" % b",".join(b"%b:%b" % (encode_json(name), encode_json(value)) for name, value in members)
