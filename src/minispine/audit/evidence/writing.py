"""Writing a period of the log to a file as evidence."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, BinaryIO, Final

from minispine.audit import index
from minispine.audit.checkpoint import Checkpoint
from minispine.audit.declaration import DECLARING
from minispine.audit.evidence.form import FORM, Ending, Heading, Line, Payload, Placed, digest, encode
from minispine.audit.merkle import HashReader, inclusion_proof, leaf_hash
from minispine.audit.reading import last_sequence
from minispine.audit.tree import StoredTree
from minispine.audit.vault import Vault
from minispine.storage import Database, Session, Store

_PAGE_RECORDS: Final = 200
_NEWEST: Final = "SELECT note, size FROM audit_checkpoint WHERE size >= ? ORDER BY number DESC LIMIT 1"
_LEAF: Final = "SELECT leaf FROM audit_record WHERE sequence = ?"
_EXPLAINING: Final = (
    "SELECT record FROM audit_removal WHERE sequence >= ? AND sequence <= ?"
    " UNION SELECT record FROM audit_archive WHERE last >= ? AND first <= ? ORDER BY 1"
)
_RECORDS: Final = (
    "SELECT r.sequence, r.leaf, p.sequence, p.salt, p.private, p.bodies, p.wrapped FROM audit_record r"
    " LEFT JOIN audit_payload p ON p.sequence = r.sequence"
    " WHERE r.sequence >= ? AND r.sequence <= ? ORDER BY r.sequence"
)


class EvidenceUnavailable(Exception):
    """There can be no evidence of a period, and why."""


def write(
    database: Database,
    first: int,
    last: int,
    stream: BinaryIO,
    *,
    vault: Vault,
    checkpoint: str | None = None,
    disclose: bool = False,
) -> Checkpoint:
    """Write the records `first` to `last` as evidence, and say which checkpoint they are proven by.

    That is the newest, unless the note of another is given; the one that a witness has is the best. With `disclose`
    the payloads can be read by whoever gets the file, otherwise only with the log's master keys. `vault` is needed for
    the search index too.

    Raises `EvidenceUnavailable` for a period that no checkpoint is over, `PayloadUnreadable`, `TreeDamaged`,
    `StorageUnavailable` and `OSError`.
    """
    if not 1 <= first <= last:
        raise EvidenceUnavailable("a period is from a record to one that is no earlier")
    note, said = _checkpoint(database, last, checkpoint)
    summed = digest()

    def put(line: bytes) -> None:
        stream.write(line)
        summed.update(line)

    put(encode(_heading(database, first, last, note, said.size, vault)))
    for line in _lines(database, first, last, vault if disclose else None):
        put(encode(line))
    stream.write(encode(Ending(summed.hexdigest())))
    return said


def _checkpoint(database: Database, last: int, note: str | None) -> tuple[str, Checkpoint]:
    if note is None:
        with database.reading(Store.AUDIT) as session:
            rows = session.rows(_NEWEST, (last,))
        if not rows:
            have = last_sequence(database)
            raise EvidenceUnavailable(
                f"no checkpoint is over record {last}; run: minispine audit checkpoint"
                if last <= have
                else f"there is no record {last}; the last is {have}"
            )
        note = str(rows[0][0])
    try:
        said = Checkpoint.decode(note[: note.index("\n\n") + 1])
    except ValueError:
        raise EvidenceUnavailable("the checkpoint cannot be read") from None
    if said.size < last:
        raise EvidenceUnavailable(f"the checkpoint is over {said.size} records, and the last wanted is {last}")
    return note, said


def _heading(database: Database, first: int, last: int, note: str, size: int, vault: Vault) -> Heading:
    keys = [vault.term("event", event) for event in DECLARING]
    declaring = list(index.matching(database, [keys], first=1, last=size))
    with database.reading(Store.AUDIT) as session:
        hashes = StoredTree(session, size).hashes
        explaining = [row[0] for row in session.rows(_EXPLAINING, (first, last, first, last))]
        return Heading(
            form=FORM,
            first=first,
            last=last,
            checkpoint=note,
            left=[hashes.read(level, at) for level, at in nodes_between(0, first - 1)],
            right=[hashes.read(level, at) for level, at in nodes_between(last, size)],
            declarations=list(_placed(session, hashes, declaring, size)),
            explanations=list(_placed(session, hashes, explaining, size)),
        )


def nodes_between(start: int, end: int) -> Iterator[tuple[int, int]]:
    """The perfect subtrees over the leaves [start, end), each the largest that fits: level and index."""
    while start < end:
        level = (end - start).bit_length() - 1
        if start:
            level = min(level, (start & -start).bit_length() - 1)
        yield level, start >> level
        start += 1 << level


def _placed(session: Session, hashes: HashReader, sequences: Iterable[int], size: int) -> Iterator[Placed]:
    for sequence in sequences:
        rows = session.rows(_LEAF, (sequence,))
        if not rows:
            raise EvidenceUnavailable(f"record {sequence} is missing; run: minispine audit verify")
        proof = inclusion_proof(hashes, sequence - 1, size) if sequence <= size else None
        leaf = bytes(rows[0][0])
        yield Placed(sequence, leaf[0], _text(leaf, sequence), proof)


def _lines(database: Database, first: int, last: int, disclosing: Vault | None) -> Iterator[Line]:
    for start in range(first, last + 1, _PAGE_RECORDS):
        with database.reading(Store.AUDIT) as session:
            page = session.rows(_RECORDS, (start, min(last, start + _PAGE_RECORDS - 1)))
        for sequence, leaf, has_payload, *payload in page:
            kept = bytes(leaf)
            beside = None if has_payload is None else _payload(payload, disclosing)
            yield Line(sequence, leaf_hash(kept), kept[0], _text(kept, sequence), beside)


def _payload(columns: Sequence[Any], disclosing: Vault | None) -> Payload:
    salt, private, bodies, wrapped = columns
    data_key = None
    if disclosing is not None and wrapped is not None:
        data_key = disclosing.data_key(wrapped)
    return Payload(salt, private, bodies, wrapped if data_key is None else None, data_key)


def _text(leaf: bytes, sequence: int) -> str:
    try:
        return leaf[1:].decode("utf-8", "surrogatepass")
    except ValueError:
        raise EvidenceUnavailable(f"record {sequence} cannot be read; run: minispine audit verify") from None
