"""What this Spine was asked: one entry for each call it read, the newest million of them.

An entry is kept packed, in about 120 bytes, so that a million take about 120 MB; the oldest give way after that.
"""

import datetime
from collections import deque
from collections.abc import Iterator
from typing import Final

import msgspec

from minispine.simulator.requests import Author

LIMIT: Final = 1_000_000

_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_LONGEST: Final = 64
_CHUNK: Final = 1000


class Call(msgspec.Struct, frozen=True, array_like=True):
    """One call: when its request arrived (UTC microseconds), who sent it, its ids, and what was done to it.

    `refused` names the request rule that it broke and `fault` the fault injected; parts that could not be read are
    None.
    """

    time: int
    interaction: str | None
    asid: str | None
    author: Author | None
    message_id: str | None
    hl7_id: str | None
    refused: str | None
    fault: str | None


class _Shown(msgspec.Struct):
    time: str
    interaction: str | None
    asid: str | None
    author: Author | None
    message_id: str | None
    hl7_id: str | None
    refused: str | None
    fault: str | None


class CallLog:
    """The calls in the order in which they were read."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._packed: deque[bytes] = deque(maxlen=limit)
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(Call)

    def __len__(self) -> int:
        return len(self._packed)

    def add(self, call: Call) -> None:
        """Note a call; texts of the peer's are cut to 64 characters."""
        self._packed.append(self._encoder.encode(call))

    def clear(self) -> None:
        """Forget every call."""
        self._packed.clear()

    def newest(self, count: int) -> list[Call]:
        """Give the last `count` calls, oldest first."""
        kept = list(self._packed)
        return [self._decoder.decode(packed) for packed in kept[len(kept) - min(count, len(kept)) :]]

    def as_json(self, count: int | None = None) -> Iterator[bytes]:
        """Write the last `count` calls, or all, as one JSON array in pieces; `time` is ISO 8601 with microseconds."""
        kept = list(self._packed)
        if count is not None:
            kept = kept[max(0, len(kept) - count) :]
        encoder = msgspec.json.Encoder()
        yield b"["
        for start in range(0, len(kept), _CHUNK):
            shown = [_shown(self._decoder.decode(packed)) for packed in kept[start : start + _CHUNK]]
            yield (b"," if start else b"") + encoder.encode(shown)[1:-1]
        yield b"]\n"


def _shown(call: Call) -> _Shown:
    arrived = _EPOCH + datetime.timedelta(microseconds=call.time)
    return _Shown(
        arrived.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        call.interaction,
        call.asid,
        call.author,
        call.message_id,
        call.hl7_id,
        call.refused,
        call.fault,
    )


def cut(text: str | None) -> str | None:
    """Shorten a text of the peer's to what an entry may hold."""
    return text[:_LONGEST] if text else None
