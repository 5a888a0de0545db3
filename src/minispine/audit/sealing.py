"""One transaction of the log: lock the head, check the guards, give each entry its place, commit.

Here is everything that is true of a record because of *when* it is written: its sequence, sealed time and place in the
tree, the exchange it repeats, whether its registration is still in force. Threads and waiting are in ``writer.py``.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from minispine.audit.encoding import Prepared, encode_text, leaf_of
from minispine.audit.events import GuardFailed, Receipt
from minispine.audit.merkle import Frontier, leaf_hash
from minispine.keys.ring import ID_BYTES
from minispine.storage import ConnectionLost, Database, Session, StorageUnavailable, Store
from minispine.storage.registry import version_counter, version_in_force

Outcome = Receipt | GuardFailed

_HEAD: Final = {
    "sqlite": "SELECT sequence, sealed_at, hash, frontier, epoch, declared, retired FROM audit_head WHERE id = 1",
    "postgresql": (
        "SELECT sequence, sealed_at, hash, frontier, epoch, declared, retired FROM audit_head WHERE id = 1 FOR UPDATE"
    ),
}
_ADVANCE: Final = "UPDATE audit_head SET sequence = ?, sealed_at = ?, hash = ?, frontier = ? WHERE id = 1"
_RETIRE: Final = "UPDATE audit_head SET retired = ? WHERE id = 1"
_DECLARE: Final = "UPDATE audit_head SET declared = ?, epoch = ? WHERE id = 1"
_RECORD: Final = "INSERT INTO audit_record (sequence, exchange, hash, leaf) VALUES (?, ?, ?, ?)"
_PAYLOAD: Final = "INSERT INTO audit_payload (sequence, salt, private, bodies, wrapped) VALUES (?, ?, ?, ?, ?)"
_FOUND_BY: Final = "INSERT INTO audit_index_pending (first, last, entries) VALUES (?, ?, ?)"
_OPEN: Final = "INSERT INTO audit_open (exchange, instance, sequence) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
_CLOSE: Final = "DELETE FROM audit_open WHERE exchange = ?"
_FIRST: Final = "SELECT exchange FROM audit_message WHERE key = ?"
_NEW_FIRST: Final = "INSERT INTO audit_message (key, exchange) VALUES (?, ?) ON CONFLICT DO NOTHING"


class NotBegun(StorageUnavailable):
    """The log has no first record yet, which states its keys; nothing can be written before it."""

    def __init__(self) -> None:
        super().__init__("the audit log has not been begun; run: minispine audit init")


class MasterKeyRetired(StorageUnavailable):
    """This process wraps data keys by a master key that was retired; nobody else could read what it writes."""

    def __init__(self) -> None:
        super().__init__("the master key that this process began with was retired; start it again")


class CommitUnconfirmed(StorageUnavailable):
    """The connection broke while a transaction was being committed, so that it may be durable or not."""

    def __init__(self, sequence: int, digest: bytes) -> None:
        super().__init__("the connection broke during a commit")
        self.sequence = sequence
        self.digest = digest


class Hold:
    """The log's head, held: nobody else can append until the transaction ends.

    `audit` and `registry` are sessions of that transaction; on PostgreSQL they are the same one, on SQLite the
    registry's is of another file and in no transaction. `sequence` and `digest` are the last record's number and hash,
    `frontier` is the tree over all of them, `declared` the record that states the keys in force, `retired` the ids of
    master keys that are not to be used any more.
    """

    def __init__(self, sealer: "Sealer", audit: Session, registry: Session) -> None:
        self.audit: Final = audit
        self.registry: Final = registry
        self._sealer = sealer
        self.read()

    def read(self) -> None:
        """Read the head; once more only by whoever has put records in place within this transaction, as a restore does.

        Raises `StorageUnavailable` where it is not there or is damaged, and `MasterKeyRetired`.
        """
        rows = self.audit.rows(_HEAD[self.audit.kind])
        if not rows:
            raise StorageUnavailable("the log has no head")
        self.sequence: int = rows[0][0]
        self.digest = bytes(rows[0][2])
        self.sealed_at: int = rows[0][1]
        try:
            self.frontier = Frontier.decode(self.sequence, bytes(rows[0][3]))
        except ValueError:
            raise StorageUnavailable("the head of the log is damaged; run: minispine audit verify") from None
        self.epoch: int = rows[0][4]
        self.declared: int = rows[0][5]
        ids = bytes(rows[0][6])
        self.retired = tuple(ids[n : n + ID_BYTES] for n in range(0, len(ids), ID_BYTES))
        if self._sealer.master_key in self.retired:
            raise MasterKeyRetired

    @contextmanager
    def changing_registry(self) -> Iterator[None]:
        """The registry in this transaction, or, on SQLite, in one of its own that is committed right before it."""
        if self.registry is self.audit:
            yield
            return
        self.registry.begin()
        try:
            yield
        except BaseException:
            self.registry.rollback()
            raise
        self.registry.commit()

    def retire(self, ids: Sequence[bytes]) -> None:
        """Let nobody write under these master keys from the end of this transaction on."""
        self.retired = tuple(dict.fromkeys((*self.retired, *ids)))
        self.audit.run(_RETIRE, (b"".join(self.retired),))

    def declare(self, prepared: Prepared, *, epoch: int) -> Receipt:
        """Append the record that states the keys in force from now on, or that begins an epoch."""
        self.declared = self.sequence + 1
        receipt = self.append([prepared])[0]
        assert isinstance(receipt, Receipt), "a declaration relies on no registration"
        self.epoch = epoch
        self.audit.run(_DECLARE, (self.declared, epoch))
        return receipt

    def append(self, batch: Sequence[Prepared]) -> list[Outcome]:
        """Give each entry its place and write it; the outcome of each, in the same order.

        An entry whose guard fails is left out and takes no sequence number; the others are written. Raises `NotBegun`.
        """
        if not self.declared:
            raise NotBegun
        sealer = self._sealer
        sealed_at = max(sealer.now(), self.sealed_at)
        sequence = self.sequence
        hashes: list[bytes] = []
        entries: list[bytes] = []
        in_force = sealer.registrations_in_force(self.registry, batch)
        firsts: dict[bytes, str] = {}
        records: list[tuple[Any, ...]] = []
        payloads: list[tuple[Any, ...]] = []
        opened: list[tuple[Any, ...]] = []
        closed: list[tuple[Any, ...]] = []
        new_firsts: list[tuple[Any, ...]] = []
        outcomes: list[Outcome] = []
        for prepared in batch:
            entry = prepared.entry
            if entry.guard is not None and in_force[entry.guard.client] != entry.guard.version:
                outcomes.append(GuardFailed(entry.guard.client))
                continue
            sequence += 1
            repeats = None
            if prepared.message_key is not None and entry.exchange is not None:
                first = firsts.get(prepared.message_key) or self._first(prepared.message_key)
                if first is None:
                    first = entry.exchange
                    new_firsts.append((prepared.message_key, first))
                firsts[prepared.message_key] = first
                repeats = first if first != entry.exchange else None
            leaf = leaf_of(
                prepared, repeats=repeats, sealed_at=sealed_at, sequence=sequence, system_id=sealer.system_id
            )
            digest = leaf_hash(leaf)
            hashes.append(digest)
            records.append((sequence, entry.exchange, digest, leaf))
            number = sequence.to_bytes(8)
            entries += [term + number for term in prepared.terms]
            if (payload := prepared.payload) is not None:
                payloads.append((sequence, payload.salt, payload.private, payload.bodies, payload.wrapped))
            if entry.opens and not entry.closes:
                opened.append((entry.exchange, sealer.instance, sequence))
            elif entry.closes:
                closed.append((entry.exchange,))
            outcomes.append(Receipt(sequence, repeats))
        if not records:
            return outcomes
        audit = self.audit
        for statement, rows in (
            (_RECORD, records),
            (_PAYLOAD, payloads),
            (_OPEN, opened),
            (_CLOSE, closed),
            (_NEW_FIRST, new_firsts),
        ):
            if rows:
                audit.run_many(statement, rows)
        audit.run(_FOUND_BY, (self.sequence + 1, sequence, b"".join(entries)))
        frontier = self.frontier.extend(hashes)
        audit.run(_ADVANCE, (sequence, sealed_at, hashes[-1], frontier.encode()))
        self.sequence, self.sealed_at, self.digest, self.frontier = sequence, sealed_at, hashes[-1], frontier
        return outcomes

    def _first(self, key: bytes) -> str | None:
        rows = self.audit.rows(_FIRST, (key,))
        return rows[0][0] if rows else None


class Sealer:
    """Appends to a log, one transaction at a time. Owned by one thread, or by a lock.

    `now` gives UTC microseconds since 1970; `system_id` is the installation, `instance` this process, `master_key` the
    id of the master key under which its payloads are sealed.
    """

    def __init__(
        self, database: Database, *, system_id: str, instance: str, master_key: bytes, now: Callable[[], int]
    ) -> None:
        self.instance: Final = instance
        self.master_key: Final = master_key
        self.now: Final = now
        self.system_id: Final = encode_text(system_id)
        self._database = database
        self._audit: Session | None = None
        self._registry: Session | None = None
        self._counter = -1
        self._versions: dict[str, int | None] = {}

    @contextmanager
    def hold(self) -> Iterator[Hold]:
        """Hold the head for one transaction, committed at the end; an exception undoes it.

        Raises `StorageUnavailable`; the connections are then given up, and the next call makes new ones.
        """
        hold = self._begin()
        try:
            yield hold
            try:
                hold.audit.commit()
            except ConnectionLost:
                raise CommitUnconfirmed(hold.sequence, hold.digest) from None
        except StorageUnavailable:
            self.disconnect()
            raise
        except BaseException:
            hold.audit.rollback()
            raise

    def seal(self, batch: Sequence[Prepared]) -> list[Outcome]:
        """Append a batch in one transaction. Raises `StorageUnavailable`.

        A connection that breaks is made anew once. If that was during the commit, the log itself tells whether it was
        done.
        """
        outcomes: list[Outcome] = []
        try:
            with self.hold() as hold:
                outcomes = hold.append(batch)
        except CommitUnconfirmed as doubt:
            if self._is_durable(doubt):
                return outcomes
        except ConnectionLost:
            pass  # nothing was committed
        else:
            return outcomes
        with self.hold() as hold:
            return hold.append(batch)

    def probe(self) -> None:
        """Commit a transaction that changes nothing, to see whether one can be. Raises `StorageUnavailable`."""
        with self.hold() as hold:
            hold.audit.run("UPDATE audit_head SET sequence = sequence WHERE id = 1")

    def registrations_in_force(self, registry: Session, batch: Sequence[Prepared]) -> dict[str, int | None]:
        """The version in force of every registration that the batch relies on, as seen under the held head (Law 11).

        What was read stays known until the registry's counter moves, so that one query is the usual cost.
        """
        guarded = {p.entry.guard.client for p in batch if p.entry.guard is not None}
        if guarded:
            counter = version_counter(registry)
            if counter != self._counter:
                self._versions.clear()
                self._counter = counter
            for client in guarded.difference(self._versions):
                self._versions[client] = version_in_force(registry, "client", client)
        return self._versions

    def disconnect(self) -> None:
        """Give the connections up."""
        for session in {self._audit, self._registry} - {None}:
            assert session is not None
            session.discard()
        self._audit = self._registry = None
        self._counter = -1

    def _begin(self) -> Hold:
        """Take the head; on a new connection if that of the last transaction has died, as when a server restarts."""
        fresh = self._audit is None
        try:
            audit, registry = self._sessions()
            audit.begin()
            registry.check_in_place()
            return Hold(self, audit, registry)
        except StorageUnavailable as error:
            self.disconnect()
            if fresh or not isinstance(error, ConnectionLost):
                raise
        return self._begin()

    def _is_durable(self, doubt: CommitUnconfirmed) -> bool:
        """Whether a doubtful transaction was committed. Holding the head means that it is no longer under way."""
        with self.hold() as hold:
            rows = hold.audit.rows("SELECT hash FROM audit_record WHERE sequence = ?", (doubt.sequence,))
        return bool(rows) and bytes(rows[0][0]) == doubt.digest

    def _sessions(self) -> tuple[Session, Session]:
        if self._audit is None or self._registry is None:
            self._audit = self._database.session(Store.AUDIT)
            shared = self._database.one_transaction
            self._registry = self._audit if shared else self._database.session(Store.REGISTRY)
        return self._audit, self._registry
