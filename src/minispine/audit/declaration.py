"""The public keys of a log, as its own records state them: the first one, and each that changes them.

A **declaration** is a text, kept as a signed note in the record's event::

    minispine audit keys
    <origin>
    epoch <n>
    log <vkey>
    authority <vkey>
    authority <vkey>

The first is signed by the log's own key. A later one counts only with the signature of the log's key before it, and,
where it changes the authorities, with those of both authorities before it. A log may be begun without authorities;
then nobody can ever have a payload of it destroyed. There are two or none.

An **epoch** begins when a log goes on from a backup: records that others may have seen are gone then, so its
checkpoints get another name (`log_name`) and cannot be taken for those of a log that lost nothing.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from minispine.audit.encoding import read_leaf
from minispine.audit.events import Entry, Event, EventType, Receipt
from minispine.audit.log import AuditLog
from minispine.audit.note import NoteMalformed, NoteUnverified, Signer, Verifier, check_key_name, open_note, sign
from minispine.storage import Database, Session, Store

_TITLE: Final = "minispine audit keys"
_AUTHORITIES: Final = (0, 2)
DECLARING: Final = (EventType.AUDIT_BEGUN, EventType.AUDIT_KEYS_CHANGED, EventType.AUDIT_RESTORED)
"""The events that hold a declaration, as `declaration` in their data."""


class DeclarationInvalid(ValueError):
    """A declaration that is not well formed, or not signed by those whose word it needs."""


class AlreadyBegun(Exception):
    """The log has its first record already."""


class Declaration(msgspec.Struct, frozen=True, kw_only=True):
    """What a log's keys are. `Declaration.decode(d.encode()) == d`."""

    origin: str
    epoch: int
    log_key: Verifier
    authorities: tuple[Verifier, ...] = ()

    @property
    def name(self) -> str:
        """The name of the log in its checkpoints."""
        return log_name(self.origin, self.epoch)

    def encode(self) -> str:
        """The text that is signed."""
        lines = [_TITLE, self.origin, f"epoch {self.epoch}", f"log {self.log_key}"]
        return "".join(f"{line}\n" for line in [*lines, *(f"authority {key}" for key in self.authorities)])

    @classmethod
    def decode(cls, text: str) -> "Declaration":
        """The declaration that a text is. Raises `DeclarationInvalid`."""
        lines = text.split("\n")
        try:
            if len(lines) < 5 or lines[0] != _TITLE or lines.pop() or len(lines) - 4 not in _AUTHORITIES:
                raise ValueError
            declaration = cls(
                origin=lines[1],
                epoch=int(_after("epoch ", lines[2])),
                log_key=Verifier.parse(_after("log ", lines[3])),
                authorities=tuple(Verifier.parse(_after("authority ", line)) for line in lines[4:]),
            )
        except ValueError:
            raise DeclarationInvalid("this is not a declaration of a log's keys") from None
        if declaration.encode() != text or declaration.epoch < 1 or declaration.log_key.name != declaration.name:
            raise DeclarationInvalid("the declaration is not in the form in which it is written")
        return declaration


def log_name(origin: str, epoch: int) -> str:
    """The name of a log in its checkpoints: its origin, and from the second epoch on, the epoch's number."""
    return origin if epoch == 1 else f"{origin}/{epoch}"


def check_origin(origin: str) -> None:
    """Raise `ValueError` unless a log can have this origin: no plus, blank or control character, and not empty."""
    check_key_name(origin)


def signed_by(note: str, before: Declaration | None) -> Declaration:
    """The declaration of a record, if those have signed whose word it needs. Raises `DeclarationInvalid`.

    `before` is the one in force until then, None for a log's first.
    """
    try:
        text = note[: note.index("\n\n") + 1]
        declaration = Declaration.decode(text)
        if before is None:
            needed: tuple[Verifier, ...] = (declaration.log_key,)
        elif declaration.authorities == before.authorities:
            needed = (before.log_key,)
        else:
            needed = (before.log_key, *before.authorities)
        verified = {(each.name, each.key_id) for each in open_note(note, needed).verified}
    except (NoteMalformed, NoteUnverified, ValueError) as error:
        if isinstance(error, DeclarationInvalid):
            raise
        raise DeclarationInvalid(f"the declaration cannot be relied on: {error}") from None
    if lacking := [key.name for key in needed if (key.name, key.key_id) not in verified]:
        raise DeclarationInvalid(
            f"the declaration lacks the signature of {' and '.join(lacking)}, as in force until now"
        )
    if before is not None and before.authorities == () != declaration.authorities:
        raise DeclarationInvalid("a log that was begun without authorities never gets any")
    return declaration


def begin(
    log: AuditLog, *, origin: str, signer: Signer, authorities: Iterable[Verifier], actor: Mapping[str, Any]
) -> Receipt:
    """Write the first record of a log, or, in a log of the first release, the one that states its keys.

    `signer` has the log's key under its name. Raises `AlreadyBegun`, `AuditUnavailable`, `DeclarationInvalid`.
    """
    declaration = Declaration(origin=origin, epoch=1, log_key=signer.verifier, authorities=tuple(authorities))
    note = sign(Declaration.decode(declaration.encode()).encode(), [signer])
    with log.holding() as hold:
        if hold.declared:
            raise AlreadyBegun
        told = {"actor": dict(actor), "declaration": note, "earlier_records": hold.sequence}
        event = Event(type=EventType.AUDIT_BEGUN, at=log.now(), data=told)
        return log.declare_in(hold, Entry(events=(event,)), epoch=1)


def change(log: AuditLog, note: str, *, actor: Mapping[str, Any]) -> Receipt:
    """Put other keys in force by a signed declaration.

    Raises `DeclarationInvalid` when it is of another origin or epoch, or lacks a signature, and `AuditUnavailable`.
    """
    with log.holding() as hold:
        before = _declared_by(hold.audit.rows("SELECT leaf FROM audit_record WHERE sequence = ?", (hold.declared,)))
        if before is None:
            raise DeclarationInvalid("the log has not been begun")
        declaration = signed_by(note, before)
        if (declaration.origin, declaration.epoch) != (before.origin, before.epoch):
            raise DeclarationInvalid("the declaration is for another log")
        told = {"actor": dict(actor), "declaration": note}
        event = Event(type=EventType.AUDIT_KEYS_CHANGED, at=log.now(), data=told)
        return log.declare_in(hold, Entry(events=(event,)), epoch=declaration.epoch)


def next_epoch(before: Declaration, log_key: Ed25519PrivateKey) -> tuple[Declaration, str]:
    """The declaration by which a log goes on from a backup, with the same keys, and its signed note.

    Raises `DeclarationInvalid` when `log_key` is not the log's.
    """
    if Signer(before.name, log_key).verifier != before.log_key:
        raise DeclarationInvalid("the key at hand is not the log's")
    signer = Signer(log_name(before.origin, before.epoch + 1), log_key)
    declaration = Declaration(
        origin=before.origin,
        epoch=before.epoch + 1,
        log_key=signer.verifier,
        authorities=before.authorities,
    )
    note = sign(declaration.encode(), [Signer(before.name, log_key), signer])
    return signed_by(note, before), note


def in_force(database: Database) -> Declaration | None:
    """The keys that the log's own records state now; None for a log that was not begun.

    What an attacker wrote says what the attacker wanted: whoever verifies takes the keys from elsewhere. Raises
    `StorageUnavailable`, `DeclarationInvalid`.
    """
    with database.reading(Store.AUDIT) as session:
        return in_force_in(session)


def in_force_in(session: Session) -> Declaration | None:
    """The same as `in_force`, as a transaction sees it."""
    query = "SELECT r.leaf FROM audit_record r JOIN audit_head h ON r.sequence = h.declared WHERE h.id = 1"
    return _declared_by(session.rows(query))


def note_of(event: Mapping[str, Any]) -> str | None:
    """The signed note in an event of a leaf, None if it holds no declaration."""
    if event.get("type") not in DECLARING:
        return None
    note = event.get("data", {}).get("declaration")
    return note if isinstance(note, str) else ""


def _declared_by(rows: list[tuple[Any, ...]]) -> Declaration | None:
    if not rows:
        return None
    try:
        note = next(note for event in read_leaf(bytes(rows[0][0]))["events"] if (note := note_of(event)) is not None)
        return Declaration.decode(note[: note.index("\n\n") + 1])
    except (ValueError, KeyError, StopIteration):
        raise DeclarationInvalid("the record that should state the log's keys does not") from None


def _after(word: str, line: str) -> str:
    if not line.startswith(word):
        raise ValueError(f"a line has to begin with {word}")
    return line[len(word) :]
