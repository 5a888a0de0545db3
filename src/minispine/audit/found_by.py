"""By what each written record is found, computed from the record itself: what the search index should hold."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from minispine.audit.index import EntriesOf
from minispine.audit.reading import leaf_of, opened
from minispine.audit.terms import terms_of
from minispine.audit.vault import Part, Vault
from minispine.audit.verification.archives import NO_ARCHIVES, Archives
from minispine.storage import Database, Store

_PAGE_RECORDS: Final = 500
_RECORDS: Final = (
    "SELECT r.sequence, r.leaf, p.private, p.salt, p.wrapped, k.wrapped FROM audit_record r"
    " LEFT JOIN audit_payload p ON p.sequence = r.sequence"
    " LEFT JOIN audit_archived_key k ON k.sequence = r.sequence"
    " WHERE r.sequence BETWEEN ? AND ? ORDER BY r.sequence"
)


def entries_of(database: Database, vault: Vault, archives: Archives = NO_ARCHIVES) -> EntriesOf:
    """What gives the keys of each record of a range, in order, in the form that `index.rebuild` wants it.

    A record whose payload is destroyed, or in an archive that is not given, is found by what its leaf says only. Giving
    them raises `StorageUnavailable`, `ArchiveUnreadable`, `RecordUnreadable`, and `PayloadUnreadable` for one that
    cannot be opened.
    """

    def entries(first: int, last: int) -> Iterator[tuple[int, Sequence[bytes]]]:
        for start in range(first, last + 1, _PAGE_RECORDS):
            end = min(last, start + _PAGE_RECORDS - 1)
            with database.reading(Store.AUDIT) as session:
                page = session.rows(_RECORDS, (start, end))
            archived = archives.payloads(start, end)
            for sequence, leaf, private, salt, wrapped, archived_key in page:
                if archived_key is not None and sequence in archived:
                    salt, private, _ = archived[sequence]
                    wrapped = archived_key
                clear = opened(vault, Part.PRIVATE, private, salt, wrapped)
                privates = () if clear is None else msgspec.json.decode(clear)
                yield sequence, _keys(leaf_of(sequence, leaf), privates, vault)

    return entries


def not_given(database: Database, archives: Archives) -> list[tuple[int, int, str]]:
    """The archives that are missing here: first and last record, and name. Raises `StorageUnavailable`."""
    with database.reading(Store.AUDIT) as session:
        rows = session.rows('SELECT "first", "last", name FROM audit_archive ORDER BY "first"')
    return [(first, last, name) for first, last, name in rows if name not in archives]


def _keys(leaf: Mapping[str, Any], privates: Sequence[Mapping[str, Any]], vault: Vault) -> list[bytes]:
    terms = terms_of(
        exchange=leaf["exchange"],
        client=leaf["client"],
        client_message_id=leaf["client_message_id"],
        events=((event["type"], event["data"]) for event in leaf["events"]),
        privates=privates,
    )
    return [vault.term(kind, value) for kind, value in terms]
