"""Refusals of unidentified peers: all counted, few records."""

import asyncio
from collections.abc import Awaitable, Callable

from minispine.audit.events import AuditUnavailable, Entry, Receipt
from minispine.audit.log import AuditLog
from minispine.audit.peers import OTHERS, PeerRefusals
from minispine.audit.reading import events
from minispine.storage import Database
from tests.audit.conftest import START, Clock

MINUTE_US = 60_000_000
FIRST, SECOND = "2026-09-21T14:13:00.000000Z", "2026-09-21T14:14:00.000000Z"


def told(database: Database) -> list[tuple[str, str, str, int]]:
    return [
        (e["data"]["peer"], e["data"]["reason"], e["data"]["minute"], e["data"]["count"])
        for e in events(database)
        if e["type"] == "peer.refused"
    ]


def test_the_first_refusal_of_a_minute_is_written_at_once_and_the_others_when_it_is_over(
    database: Database, log: AuditLog, clock: Clock
) -> None:
    peers = PeerRefusals(log, now=clock)

    async def story() -> None:
        for _ in range(5):
            await peers.refused("192.0.2.1", "no certificate")
        await peers.refused("192.0.2.1", "unknown certificate")
        assert told(database) == [
            ("192.0.2.1", "no certificate", FIRST, 1),
            ("192.0.2.1", "unknown certificate", FIRST, 1),
        ]
        await peers.flush_finished()
        assert len(told(database)) == 2
        clock.us += MINUTE_US
        await peers.flush_finished()
        assert told(database)[2:] == [("192.0.2.1", "no certificate", FIRST, 4)]
        await peers.refused("192.0.2.1", "no certificate")
        await peers.refused("192.0.2.1", "no certificate")
        await peers.flush()
        await peers.flush()
        assert told(database)[3:] == [
            ("192.0.2.1", "no certificate", SECOND, 1),
            ("192.0.2.1", "no certificate", SECOND, 1),
        ]

    asyncio.run(story())


def test_a_flood_of_peers_makes_a_bounded_number_of_records_and_every_refusal_is_counted(
    database: Database, log: AuditLog, clock: Clock
) -> None:
    peers = PeerRefusals(log, now=clock, peers_per_minute=3)

    async def story() -> None:
        await asyncio.gather(*(peers.refused(f"192.0.2.{n}", "no certificate") for n in range(50)))
        await peers.flush()

    asyncio.run(story())
    assert {peer for peer, *_ in told(database)} == {"192.0.2.0", "192.0.2.1", "192.0.2.2", OTHERS}
    assert len(told(database)) == 5
    assert sum(count for *_, count in told(database)) == 50


def test_refusals_are_not_lost_while_the_log_is_away(database: Database, log: AuditLog, clock: Clock) -> None:
    away = _Away(log)
    peers = PeerRefusals(away, now=clock)  # type: ignore[arg-type]

    async def story() -> None:
        for _ in range(3):
            await refused(peers.refused("192.0.2.1", "no certificate"))
        assert await refused(peers.flush())
        away.here = True
        await peers.flush()
        assert told(database) == [("192.0.2.1", "no certificate", FIRST, 3)]

    asyncio.run(story())


def test_what_is_counted_of_old_minutes_is_forgotten_once_written(log: AuditLog, clock: Clock) -> None:
    peers = PeerRefusals(log, now=clock)

    async def story() -> None:
        for _ in range(3):
            await peers.refused("192.0.2.1", "no certificate")
            clock.us += MINUTE_US
            await peers.flush_finished()

    asyncio.run(story())
    assert (peers._counts, peers._peers) == ({}, {})
    assert clock() == START + 3 * MINUTE_US


def test_however_long_the_log_is_away_what_is_kept_is_bounded_and_every_refusal_is_counted(
    database: Database, log: AuditLog, clock: Clock
) -> None:
    away = _Away(log)
    peers = PeerRefusals(away, now=clock, peers_per_minute=3)  # type: ignore[arg-type]

    async def story() -> None:
        for minute in range(30):
            for n in range(10):
                await refused(peers.refused(f"192.0.2.{minute % 7 + n}", ("no certificate", "unknown")[n % 2]))
            clock.us += MINUTE_US
            assert await refused(peers.flush_finished())
            assert len(peers._counts) <= 3 + 2
            assert peers._peers == {}
        away.here = True
        await peers.flush_finished()
        assert (peers._counts, peers._peers) == ({}, {})

    asyncio.run(story())
    assert sum(count for *_, count in told(database)) == 300
    assert {(peer, minute) for peer, _, minute, _ in told(database)} == {
        ("192.0.2.0", FIRST),
        ("192.0.2.1", FIRST),
        ("192.0.2.2", FIRST),
        (OTHERS, FIRST),
    }


async def refused(awaited: Awaitable[None]) -> bool:
    try:
        await awaited
    except AuditUnavailable:
        return True
    return False


class _Away:
    """A log that does not work until it is here."""

    def __init__(self, log: AuditLog) -> None:
        self.here = False
        self._append: Callable[[Entry], Awaitable[Receipt]] = log.append

    async def append(self, entry: Entry) -> Receipt:
        if not self.here:
            raise AuditUnavailable("away")
        return await self._append(entry)
