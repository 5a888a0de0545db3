"""A process killed while it appends: what it was told is durable is there, and what it left open is closed."""

import asyncio
import signal
from multiprocessing import Pipe, get_context
from multiprocessing.connection import Connection

from minispine.audit.log import AuditLog
from minispine.audit.reading import events
from minispine.audit.verification import Verified, verify
from minispine.storage import Database, Store
from tests.audit.conftest import FIRST, START, VAULT, LogMaker, received, replied

KILLS = 3


def append_until_killed(url: str, instance: str, told: Connection) -> None:
    """Open and close exchanges on eight lanes for ever, and tell of every record that is durable."""

    async def lane(log: AuditLog, number: int) -> None:
        n = 0
        while True:
            exchange = f"{instance}-{number}-{n}"
            for entry in (received(exchange, exchange), replied(exchange, exchange)):
                receipt = await log.append(entry)
                told.send((receipt.sequence, exchange))
            n += 1

    async def lanes() -> None:
        with Database.open(url) as database:
            claim = database.claim_for_serving(instance)
            log = AuditLog(database, system_id="SMSP-1", instance=instance, vault=VAULT, now=lambda: START)
            log.close_orphans(claim.living)
            await asyncio.gather(*(lane(log, number) for number in range(8)))

    asyncio.run(lanes())


def run_and_kill(url: str, instance: str, after: int) -> list[tuple[int, str]]:
    """Kill such a process once it has told of so many records; returns everything it told of."""
    here, there = Pipe(duplex=False)
    child = get_context("spawn").Process(target=append_until_killed, args=(url, instance, there))
    child.start()
    there.close()
    told: list[tuple[int, str]] = []
    try:
        while True:
            told.append(here.recv())
            if len(told) == after:
                child.kill()
    except (EOFError, OSError):  # the end, perhaps in the middle of a message
        child.join()
    here.close()
    assert child.exitcode == -signal.SIGKILL
    return told


def test_killed_while_appending(database_url: str, make_log: LogMaker) -> None:
    with Database.open(database_url) as database:
        make_log(database).close_now()
    told: list[tuple[int, str]] = []
    for kill in range(KILLS):
        told += run_and_kill(database_url, f"process-{kill}", 50 + 37 * kill)
    with Database.open(database_url) as database:
        result = verify(database)
        assert isinstance(result, Verified)
        exchanges = {e["sequence"]: e["exchange"] for e in events(database)}
        assert len(told) >= KILLS * 50
        assert all(exchanges[sequence] == exchange for sequence, exchange in told)
        log = make_log(database, instance="last")
        claim = database.claim_for_serving("last")
        log.close_orphans(claim.living)
        claim.release()
        last: dict[str, str] = {}
        unknown: list[str] = []
        for event in events(database, first=FIRST):
            last[event["exchange"]] = event["type"]
            unknown += [event["exchange"]] if event["type"] == "exchange.outcome-unknown" else []
        assert set(last.values()) == {"exchange.replied", "exchange.outcome-unknown"}
        assert len(unknown) == len(set(unknown))
        with database.session(Store.AUDIT) as session:
            assert session.rows("SELECT * FROM audit_open") == []
        assert isinstance(verify(database), Verified)
