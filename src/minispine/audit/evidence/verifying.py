"""Verifying a file of evidence by itself: no database, no keys but the log's public one."""

from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, Final

import msgspec

from minispine.audit.checkpoint import Checkpoint
from minispine.audit.declaration import DECLARING, Declaration
from minispine.audit.encoding import read_leaf
from minispine.audit.events import EventType
from minispine.audit.evidence.form import (
    FORM,
    MOST_LINE_BYTES,
    Ending,
    Heading,
    Line,
    Malformed,
    Placed,
    decode,
    digest,
    leaf_of,
)
from minispine.audit.evidence.writing import nodes_between
from minispine.audit.merkle import Frontier, ProofInvalid, check_inclusion, leaf_hash
from minispine.audit.note import Verifier
from minispine.audit.removal_request import RequestInvalid, signed_request
from minispine.audit.vault import Part, PayloadUnreadable, unlock
from minispine.audit.verification.chunk import Before, Follower, PayloadRow, Row
from minispine.audit.verification.findings import Broken, Observation, Proof
from minispine.audit.verification.observing import Observations
from minispine.audit.verification.stated import StatedKeys, wrong_with
from minispine.audit.verification.trusted import Trusted

_AT_ONCE: Final = 1024


class Upheld(msgspec.Struct, frozen=True):
    """The records are those of this period in the tree of the checkpoint: which, and how many that is over.

    They are proven only as far as `proof` goes, and not while there are `doubts`; see `verification.Verified`.
    """

    first: int
    last: int
    size: int
    root: bytes
    proof: Proof | None
    observations: tuple[Observation, ...]
    doubts: tuple[str, ...]


def verify(stream: BinaryIO, *, trusted: Sequence[Trusted] = (), known_key: Verifier | None = None) -> Upheld | Broken:
    """Check a file of evidence: each record, each payload, the proof, the signatures, and every byte of the file.

    `trusted` are checkpoints that were kept elsewhere, and prove something if they are over as many records as the
    file's own, or over a number within the period. Raises `OSError`.
    """
    try:
        return _Evidence(_Lines(stream), trusted, known_key).verdict()
    except Malformed as error:
        return Broken(0, "file", str(error))
    except _Wrong as wrong:
        return wrong.found


class _Wrong(Exception):
    """A record of which something is wrong that only this form has."""

    def __init__(self, found: Broken) -> None:
        super().__init__(found.detail)
        self.found = found


class _Lines:
    """The lines of a file; the last one is its ending, which is of all before it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._summed = digest()
        self._next = self._read()

    def __iter__(self) -> Iterator[bytes]:
        while self._next:
            line, self._next = self._next, self._read()
            if not self._next:
                if decode(line, Ending).sha256 != self._summed.hexdigest():
                    raise Malformed("the file is not as it was written")
                return
            self._summed.update(line)
            yield line

    def _read(self) -> bytes:
        return self._stream.readline(MOST_LINE_BYTES)


class _Evidence:
    def __init__(self, lines: _Lines, trusted: Sequence[Trusted], known_key: Verifier | None) -> None:
        self._lines = iter(lines)
        self._known_key = known_key
        first = next(self._lines, None)
        if first is None:
            raise Malformed("the file is empty")
        self._heading = decode(first, Heading)
        note = self._heading.checkpoint
        try:
            self._checkpoint = Checkpoint.decode(note[: note.index("\n\n") + 1])
        except ValueError:
            raise Malformed("the checkpoint cannot be read") from None
        heading = self._heading
        if heading.form != FORM or not 1 <= heading.first <= heading.last <= self._checkpoint.size:
            raise Malformed("this is no evidence in a form that this release knows")
        self._keys = StatedKeys()
        self._observations = Observations()
        self._trusted = trusted
        self._roots: dict[int, bytes] = {self._checkpoint.size: self._checkpoint.root}
        """Of the sizes at which it is known, the root of the log."""
        self._removed: set[int] = set()
        self._archived: list[tuple[int, int]] = []

    def verdict(self) -> Upheld | Broken:
        heading, checkpoint = self._heading, self._checkpoint
        found = self._take_declarations() or self._take_explanations() or self._follow() or self._wrong_key()
        if found is not None:
            return found
        proof = self._proof()
        if isinstance(proof, Broken):
            return proof
        return Upheld(
            first=heading.first,
            last=heading.last,
            size=checkpoint.size,
            root=checkpoint.root,
            proof=proof,
            observations=self._observations.told(),
            doubts=self._observations.doubts(),
        )

    def _take_declarations(self) -> Broken | None:
        """The keys of the log, and that the checkpoint is signed with those in force."""
        for placed in self._heading.declarations:
            found = self._misplaced(placed)
            for event in () if found else _events(placed):
                if event["type"] in DECLARING:
                    found = found or self._keys.take(placed.sequence, event)
            if found is not None:
                return found
        declared = self._keys.last
        if declared is None:
            return Broken(self._heading.first, "declaration", "nothing in the file says what the log's keys are")
        size, root = self._checkpoint.size, self._checkpoint.root
        wrong = wrong_with(self._heading.checkpoint, key=declared.log_key, size=size, root=root)
        return None if wrong is None else Broken(self._heading.first, "checkpoint", wrong)

    def _take_explanations(self) -> Broken | None:
        """Why payloads are not there. An order that both authorities signed speaks for itself."""
        for placed in self._heading.explanations:
            found = self._misplaced(placed) if placed.proof is not None else None
            for event in () if found else _events(placed):
                if event["type"] == EventType.AUDIT_PAYLOAD_REMOVED:
                    found = found or self._take_order(placed.sequence, event["data"])
                elif event["type"] == EventType.AUDIT_ARCHIVED:
                    if placed.proof is None:
                        return Broken(placed.sequence, "archive", "the record is not proven to be in the log")
                    self._take_archive(placed.sequence, event["data"])
            if found is not None:
                return found
        return None

    def _take_order(self, sequence: int, data: dict[str, Any]) -> Broken | None:
        try:
            order = signed_request(data.get("request"), self._in_force(sequence))
        except RequestInvalid as error:
            return Broken(sequence, "removal", f"it is not what both authorities have signed: {error}")
        end = self._keys.end_of(order.epoch)
        self._removed.update(each for each in order.sequences if each < sequence and (end is None or each <= end))
        self._observations.add("removed", sequence, f"payloads were destroyed on the order {order.reference}")
        return None

    def _take_archive(self, sequence: int, data: dict[str, Any]) -> None:
        first, last, name = data.get("first"), data.get("last"), data.get("name")
        if isinstance(first, int) and isinstance(last, int) and last < sequence:
            self._archived.append((first, last))
            self._observations.add("archived", sequence, f"the payloads of records {first} to {last} are in {name}")

    def _follow(self) -> Broken | None:
        heading = self._heading
        held: dict[int, PayloadRow] = {}
        follower = Follower(heading.first, Before(), False, held)
        frontier = Frontier(heading.first - 1, tuple(heading.left))
        wanted = {each.checkpoint.size for each in self._trusted}
        lines = self._lines
        for start in range(heading.first, heading.last + 1, _AT_ONCE):
            end = min(heading.last, start + _AT_ONCE - 1)
            follower.hashes.clear()
            found = follower.run(_rows(lines, held, end - start + 1), end)
            if found is not None:
                return found
            done = 0
            for size in sorted(size for size in wanted if start <= size <= end):
                frontier = frontier.extend(follower.hashes[done : size - start + 1])
                done = size - start + 1
                self._roots[size] = frontier.root()
            frontier = frontier.extend(follower.hashes[done:])
        if next(lines, None) is not None:
            raise Malformed("there are more records than the heading says")
        for sequence in follower.missing:
            if sequence not in self._removed and not any(a <= sequence <= b for a, b in self._archived):
                return Broken(sequence, "payload", "the payload is missing, and nothing says why")
        return self._unproven(frontier)

    def _unproven(self, frontier: Frontier) -> Broken | None:
        """Whether the tree of the records is not that of the checkpoint."""
        right = self._heading.right
        nodes = list(nodes_between(self._heading.last, self._checkpoint.size))
        if len(nodes) == len(right):
            for (level, _), root in zip(nodes, right, strict=True):
                frontier = frontier.append_perfect(root, level)
            if frontier.root() == self._checkpoint.root:
                return None
        return Broken(self._heading.first, "proof", "these are not the records that the checkpoint is over")

    def _proof(self) -> Proof | Broken | None:
        """How far checkpoints from elsewhere prove it."""
        proof = None
        for each in sorted(self._trusted, key=lambda trusted: trusted.checkpoint.size):
            size = each.checkpoint.size
            declared = self._in_force(size + 1)
            root = self._roots.get(size)
            epoch = self._keys.epoch_of(each.checkpoint.origin)
            if epoch is None:
                self._observations.doubt(f"a checkpoint given is of another log, {each.checkpoint.origin}")
            elif root is None or declared is None or declared.epoch != epoch:
                text = f"{each.source} is over {size} records, which says nothing of these"
                self._observations.add("checkpoints", 0, text)
            else:
                wrong = wrong_with(each.note, key=declared.log_key, size=size, root=root)
                if wrong is not None:
                    return Broken(self._heading.first, "trusted-checkpoint", f"{each.source}: {wrong}")
                proof = Proof(min(size, self._heading.last), each.source)
        return proof

    def _wrong_key(self) -> Broken | None:
        """Whether the key known from elsewhere is not this log's: the first it stated, or the one that has signed."""
        stated = [each.log_key for _, each in self._keys.declarations]
        if self._known_key is None:
            self._observations.add("key", 0, f"signatures are by the key that the log states: {stated[0]}")
        elif self._known_key not in (stated[0], stated[-1]):
            return Broken(self._heading.first, "key", "the log states another key as its own")
        return None

    def _in_force(self, sequence: int) -> Declaration | None:
        """The keys in force when a record was written."""
        return next((keys for at, keys in reversed(self._keys.declarations) if at < sequence), None)

    def _misplaced(self, placed: Placed) -> Broken | None:
        size, root = self._checkpoint.size, self._checkpoint.root
        try:
            check_inclusion(placed.proof or [], placed.sequence - 1, size, leaf_hash(leaf_of(placed)), root)
        except ProofInvalid:
            return Broken(placed.sequence, "proof", "the record is not in the tree that the checkpoint is over")
        return None


def _events(placed: Placed) -> list[dict[str, Any]]:
    try:
        fields = read_leaf(leaf_of(placed))
    except (ValueError, RecursionError):
        raise Malformed("a leaf cannot be read") from None
    events: list[dict[str, Any]] = fields["events"] if fields.get("sequence") == placed.sequence else []
    return events


def _rows(lines: Iterator[bytes], held: dict[int, PayloadRow], count: int) -> Iterator[Row]:
    """The next records; before each is given, `held` has its payload and no other. Raises `_Wrong`, `Malformed`."""
    for _ in range(count):
        encoded = next(lines, None)
        if encoded is None:
            return
        line = decode(encoded, Line)
        leaf = leaf_of(line)
        if leaf_hash(leaf) != line.hash:
            raise _Wrong(Broken(line.sequence, "hash", "the hash beside the leaf is not the leaf's"))
        held.clear()
        if line.payload is not None:
            held[line.sequence] = _payload(line)
        yield line.sequence, None, b"", leaf


def _payload(line: Line) -> PayloadRow:
    """The payload of a record; what was disclosed has to be what was encrypted."""
    payload = line.payload
    assert payload is not None
    if payload.data_key is not None:
        try:
            for part, content in ((Part.PRIVATE, payload.private), (Part.BODIES, payload.bodies)):
                if content is not None:
                    unlock(part, content, salt=payload.salt, data_key=payload.data_key)
        except PayloadUnreadable as error:
            raise _Wrong(Broken(line.sequence, "payload", str(error))) from None
    return payload.salt, payload.private, payload.bodies
