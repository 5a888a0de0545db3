"""The text by which both authorities order that payloads be destroyed, as they sign it. No I/O.

A **request** is a text, and in force as a signed note on which both authorities of the log have signed::

    minispine audit removal
    <origin>
    epoch <n>
    reference <the reference of the order>
    records 12,15-17
    number <32 hexadecimal digits>

Origin and epoch are the log's when the order is made. What a court ordered holds for a log that goes on from a backup
too, but only of the records that come before its new epoch: later ones have numbers that were others' before. The
reference names the order, never a patient, because it is kept in the open. The number is random, so that two requests
are never the same text. How a request is carried out is in ``redaction.py``.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import msgspec

from minispine.audit.declaration import Declaration
from minispine.audit.note import NoteMalformed, NoteUnverified, open_note

MOST_RECORDS: Final = 1_000
"""What one request may name: it is carried out in one transaction, while nothing else can be written."""
MOST_REFERENCE: Final = 120
MOST_TEXT: Final = 8 * 1024
_TITLE: Final = "minispine audit removal"
_NUMBER_BYTES: Final = 16
_NUMBER: Final = re.compile(r"[0-9a-f]{32}")
_REFERENCE: Final = re.compile(r"[^\x00-\x1f\x7f]*\S[^\x00-\x1f\x7f]*")
_EPOCH: Final = re.compile(r"epoch ([1-9][0-9]{0,17})")
_RANGE: Final = re.compile(r"([1-9][0-9]{0,17})(?:-([1-9][0-9]{0,17}))?")

Range = tuple[int, int]


class RequestInvalid(ValueError):
    """What is not a request, or lacks what it takes to be carried out. `cause` is a fixed word for it."""

    def __init__(self, cause: str, text: str) -> None:
        super().__init__(text)
        self.cause = cause


class RemovalRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What both authorities sign. `RemovalRequest.decode(r.encode()) == r`."""

    origin: str
    epoch: int
    reference: str
    ranges: tuple[Range, ...]
    """The records whose payload is to be destroyed: first and last of each range, in order, apart from each other."""
    number: str

    @classmethod
    def of(
        cls, declared: Declaration, *, reference: str, ranges: Iterable[Range], random_bytes: Callable[[int], bytes]
    ) -> "RemovalRequest":
        """A new request for a log with these keys. Raises `RequestInvalid` for what cannot be written as one."""
        request = cls(
            origin=declared.origin,
            epoch=declared.epoch,
            reference=reference,
            ranges=_merged(ranges),
            number=random_bytes(_NUMBER_BYTES).hex(),
        )
        return cls.decode(request.encode())

    @property
    def records(self) -> str:
        """The records as they are written: ``12,15-17``."""
        return ",".join(f"{first}" if first == last else f"{first}-{last}" for first, last in self.ranges)

    @property
    def sequences(self) -> Iterator[int]:
        """The number of each record, in order."""
        return (sequence for first, last in self.ranges for sequence in range(first, last + 1))

    def ranges_up_to(self, last: int | None) -> tuple[Range, ...]:
        """The ranges without the records after `last`; all of them for None."""
        if last is None:
            return self.ranges
        return tuple((start, min(end, last)) for start, end in self.ranges if start <= last)

    def names(self, sequence: int) -> bool:
        """Whether a record is among those whose payload is to be destroyed."""
        return any(first <= sequence <= last for first, last in self.ranges)

    def encode(self) -> str:
        """The text that is signed."""
        lines = (
            _TITLE,
            self.origin,
            f"epoch {self.epoch}",
            f"reference {self.reference}",
            f"records {self.records}",
            f"number {self.number}",
        )
        return "".join(f"{line}\n" for line in lines)

    @classmethod
    def decode(cls, text: str) -> "RemovalRequest":
        """The request that a text is. Raises `RequestInvalid`."""
        lines = text.split("\n")
        if len(text) > MOST_TEXT or len(lines) != 7 or lines[0] != _TITLE:
            raise RequestInvalid("not-a-request", "this is not a request to destroy payloads")
        epoch = _EPOCH.fullmatch(lines[2])
        request = cls(
            origin=lines[1],
            epoch=int(epoch[1]) if epoch else 0,
            reference=lines[3].removeprefix("reference "),
            ranges=parse_ranges(lines[4].removeprefix("records ")),
            number=lines[5].removeprefix("number "),
        )
        if not _REFERENCE.fullmatch(request.reference) or len(request.reference) > MOST_REFERENCE:
            raise RequestInvalid(
                "not-a-request", f"the reference of an order is one line of at most {MOST_REFERENCE} characters"
            )
        if request.encode() != text or not request.origin or not request.epoch or not _NUMBER.fullmatch(request.number):
            raise RequestInvalid("not-a-request", "the request is not in the form in which it is written")
        return request


def parse_ranges(text: str) -> tuple[Range, ...]:
    """The ranges of a text like ``12,15-17``, merged and in order.

    Raises `RequestInvalid` for other text, and for more than `MOST_RECORDS` records.
    """
    ranges = []
    for part in text.split(","):
        found = _RANGE.fullmatch(part.strip())
        if found is None or int(found[2] or found[1]) < int(found[1]):
            raise RequestInvalid("not-a-request", "records are given by their sequence numbers: 12,15-17")
        ranges.append((int(found[1]), int(found[2] or found[1])))
    merged = _merged(ranges)
    if sum(last - first + 1 for first, last in merged) > MOST_RECORDS:
        raise RequestInvalid("not-a-request", f"one request names at most {MOST_RECORDS} records")
    return merged


def signed_request(note: object, declared: Declaration | None) -> RemovalRequest:
    """The request that a signed note is, if both authorities of `declared`, the keys in force, have signed it.

    Raises `RequestInvalid`: a log without authorities, another log's request, a signature that is missing or wrong.
    """
    if declared is None or not declared.authorities:
        raise RequestInvalid("no-authorities", "the log was begun without authorities: nothing of it can be destroyed")
    if not isinstance(note, str):
        raise RequestInvalid("not-a-request", "this is not a request to destroy payloads")
    text, blank, _ = note.partition("\n\n")
    request = RemovalRequest.decode(f"{text}\n" if blank else note)
    if request.origin != declared.origin or request.epoch > declared.epoch:
        raise RequestInvalid("another-log", "the request is for another log")
    try:
        signed = {(each.name, each.key_id) for each in open_note(note, declared.authorities).verified}
    except (NoteMalformed, NoteUnverified) as error:
        raise RequestInvalid("not-signed", f"the request is not signed as it has to be: {error}") from None
    for key in declared.authorities:
        if (key.name, key.key_id) not in signed:
            raise RequestInvalid("not-signed", f"the signature of {key.name} is missing")
    return request


def _merged(ranges: Iterable[Range]) -> tuple[Range, ...]:
    merged: list[Range] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return tuple(merged)
