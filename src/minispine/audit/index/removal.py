"""Taking the entries of one record out of the index, for ever."""

from collections.abc import Iterable
from typing import Final

from minispine.audit.index.layout import SHAPE, Segment, Shape, entry, split
from minispine.audit.index.turn import exclude
from minispine.storage import Session

_GIVE_UP: Final = "UPDATE audit_index_segment SET state = 'dead' WHERE state = 'building'"
_SEGMENTS: Final = "SELECT id, level, number FROM audit_index_segment"
_ROW: Final = "SELECT first, entries FROM audit_index_pending WHERE first <= ? ORDER BY first DESC LIMIT 1"
_PAGE: Final = (
    "SELECT first_key, entries FROM audit_index_page WHERE segment = ? AND first_key <= ?"
    " ORDER BY first_key DESC LIMIT 1"
)
_NEW_ROW: Final = "UPDATE audit_index_pending SET entries = ? WHERE first = ?"
_NEW_PAGE: Final = "UPDATE audit_index_page SET first_key = ?, entries = ? WHERE segment = ? AND first_key = ?"
_NO_PAGE: Final = "DELETE FROM audit_index_page WHERE segment = ? AND first_key = ?"
_BITS: Final = "SELECT bits FROM audit_index_bits WHERE segment = ? AND key = ? AND block = ?"
_NEW_BITS: Final = "UPDATE audit_index_bits SET bits = ? WHERE segment = ? AND key = ? AND block = ?"
_NO_BITS: Final = "DELETE FROM audit_index_bits WHERE segment = ? AND key = ? AND block = ?"


def remove(session: Session, sequence: int, keys: Iterable[bytes], *, shape: Shape = SHAPE) -> None:
    """Take one record's entries for these keys out of the index, wherever they are, within the caller's transaction.

    On PostgreSQL the transaction keeps folding off until it ends; a segment that is being written is made anew. Entries
    that are not there are no error. What the record's keys are has to be computed before its payload goes.
    Raises `StorageUnavailable`.
    """
    entries = {entry(key, sequence): key for key in keys}
    exclude(session)
    session.run(_GIVE_UP)
    for first, old in session.rows(_ROW, (sequence,)):
        kept = b"".join(each for each in split(bytes(old)) if each not in entries)
        session.run(_NEW_ROW, (kept, first))
    block = sequence // shape.block
    # Dead segments too: they are still on the disk.
    for segment in (Segment(*row) for row in session.rows(_SEGMENTS)):
        if segment.start(shape) <= block < segment.end(shape):
            for each, key in entries.items():
                _from_pages(session, segment.id, each)
                _from_bits(session, segment.id, key, block, sequence - block * shape.block)


def _from_pages(session: Session, segment: int, gone: bytes) -> None:
    for first_key, entries in session.rows(_PAGE, (segment, gone)):
        old = split(bytes(entries))
        kept = [each for each in old if each != gone]
        if not kept:
            session.run(_NO_PAGE, (segment, first_key))
        elif len(kept) < len(old):
            # The first entry is also what the page is found by.
            session.run(_NEW_PAGE, (kept[0], b"".join(kept), segment, first_key))


def _from_bits(session: Session, segment: int, key: bytes, block: int, number: int) -> None:
    for (bits,) in session.rows(_BITS, (segment, key, block)):
        kept = int.from_bytes(bits, "little") & ~(1 << number)
        if kept:
            session.run(_NEW_BITS, (kept.to_bytes(len(bits), "little"), segment, key, block))
        else:
            session.run(_NO_BITS, (segment, key, block))
