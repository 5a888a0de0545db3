"""By what each written record is found, computed from the record itself: what the search index should hold."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from minispine.audit.encoding import read_leaf
from minispine.audit.index import EntriesOf
from minispine.audit.reading import opened
from minispine.audit.terms import terms_of
from minispine.audit.vault import Part, Vault
from minispine.storage import Database, Store

_PAGE_RECORDS: Final = 500
_RECORDS: Final = (
    "SELECT r.sequence, r.leaf, p.private, p.salt, p.wrapped FROM audit_record r"
    " LEFT JOIN audit_payload p ON p.sequence = r.sequence"
    " WHERE r.sequence BETWEEN ? AND ? ORDER BY r.sequence"
)


def entries_of(database: Database, vault: Vault) -> EntriesOf:
    """What gives the keys of each record of a range, in order, in the form that `index.rebuild` wants it.

    A record whose payload is gone is found by what its leaf says only. Giving them raises `StorageUnavailable`, and
    `PayloadUnreadable` for a payload that cannot be opened.
    """

    def entries(first: int, last: int) -> Iterator[tuple[int, Sequence[bytes]]]:
        for start in range(first, last + 1, _PAGE_RECORDS):
            with database.reading(Store.AUDIT) as session:
                page = session.rows(_RECORDS, (start, min(last, start + _PAGE_RECORDS - 1)))
            for sequence, leaf, private, salt, wrapped in page:
                clear = opened(vault, Part.PRIVATE, private, salt, wrapped)
                privates = () if clear is None else msgspec.json.decode(clear)
                yield sequence, _keys(read_leaf(bytes(leaf)), privates, vault)

    return entries


def _keys(leaf: Mapping[str, Any], privates: Sequence[Mapping[str, Any]], vault: Vault) -> list[bytes]:
    terms = terms_of(
        exchange=leaf["exchange"],
        client=leaf["client"],
        client_message_id=leaf["client_message_id"],
        events=((event["type"], event["data"]) for event in leaf["events"]),
        privates=privates,
    )
    return [vault.term(kind, value) for kind, value in terms]
