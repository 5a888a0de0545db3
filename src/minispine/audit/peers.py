"""Refusals of peers that no registration claims: recorded without a flood of them filling the log.

One record per peer, reason and minute: the first refusal is written at once, and those that follow in the same minute
are counted and written as one more record when the minute is over. The counts of a minute's records add up to the
refusals. No body is kept of a peer that is not identified.

While the log is away the counts wait, and no more of them than a fixed number: what is beyond that is counted together,
by reason alone, under the first minute in which that was so.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from minispine.audit.encoding import iso_time
from minispine.audit.events import AuditUnavailable, Entry, Event, EventType
from minispine.audit.log import AuditLog

OTHERS: Final = "others"
"""Stands for every peer beyond the number that is told apart in one minute, or while counts wait for the log."""

_MINUTE_US: Final = 60_000_000
_WATCH_INTERVAL_S: Final = 5.0

_Key = tuple[int, str, str]


class PeerRefusals:
    """Counts refusals. Belongs to one event loop.

    `peers_per_minute` bounds how many peers are told apart in a minute, and how many counts of minutes that are over
    wait for the log, beside one for each reason.
    """

    def __init__(self, log: AuditLog, *, now: Callable[[], int], peers_per_minute: int = 1000) -> None:
        self._log = log
        self._now = now
        self._most = peers_per_minute
        self._counts: dict[_Key, int] = {}
        """Refusals not yet written, by minute, peer and reason; nought where the first was the only one so far."""
        self._peers: dict[int, set[str]] = {}

    async def refused(self, peer: str, reason: str) -> None:
        """Take note of a refusal; the first of its minute is durable when this returns.

        Raises `AuditUnavailable`; the refusal is then still counted, and written with the others.
        """
        minute = self._now() // _MINUTE_US
        key = (minute, self._told_apart(minute, peer), reason)
        if key in self._counts:
            self._counts[key] += 1
            return
        self._counts[key] = 0
        try:
            await self._write(key, 1)
        except AuditUnavailable:
            self._counts[key] = self._counts.get(key, 0) + 1
            raise

    async def flush(self) -> None:
        """Write everything that is counted, as at shutdown. Raises `AuditUnavailable`; what failed stays counted."""
        await self._flush(list(self._counts))

    async def flush_finished(self) -> None:
        """Write what was counted in minutes that are over. Raises `AuditUnavailable`; what failed stays counted."""
        minute = self._now() // _MINUTE_US
        finished = [key for key in self._counts if key[0] < minute]
        try:
            await self._flush(finished)
        finally:
            self._forget_before(minute)

    async def watch(self) -> None:
        """Flush finished minutes for ever; while the log is away, counts wait for it."""
        while True:
            await asyncio.sleep(_WATCH_INTERVAL_S)
            try:
                await self.flush_finished()
            except AuditUnavailable:
                continue

    async def _flush(self, keys: list[_Key]) -> None:
        for key in keys:
            count = self._counts.pop(key, 0)
            if count == 0:
                continue
            try:
                await self._write(key, count)
            except BaseException:
                self._counts[key] = self._counts.get(key, 0) + count
                raise

    def _forget_before(self, minute: int) -> None:
        """Let go of what is only needed while a minute lasts, and lump what waits for the log beyond the bound."""
        for over in [m for m in self._peers if m < minute]:
            del self._peers[over]
        finished = sorted(key for key in self._counts if key[0] < minute)
        for key in [key for key in finished if self._counts[key] == 0]:
            del self._counts[key]
        waiting = [key for key in finished if key in self._counts]
        apart = [key for key in waiting if key[1] != OTHERS]
        lumps: dict[str, _Key] = {}
        for key in [key for key in waiting if key[1] == OTHERS] + apart[self._most :]:
            count = self._counts.pop(key)
            lump = lumps.setdefault(key[2], (key[0], OTHERS, key[2]))
            self._counts[lump] = self._counts.get(lump, 0) + count

    async def _write(self, key: _Key, count: int) -> None:
        minute, peer, reason = key
        said = {"peer": peer, "reason": reason, "minute": iso_time(minute * _MINUTE_US), "count": count}
        await self._log.append(Entry(events=(Event(type=EventType.PEER_REFUSED, at=self._now(), data=said),)))

    def _told_apart(self, minute: int, peer: str) -> str:
        known = self._peers.setdefault(minute, set())
        if peer in known:
            return peer
        if len(known) >= self._most:
            return OTHERS
        known.add(peer)
        return peer
