"""Appending: order, guards, repeats, and what a dead process leaves behind."""

import asyncio
import time
from typing import Any

import pytest

from minispine.audit.changes import change_document
from minispine.audit.encoding import EntryInvalid
from minispine.audit.events import AuditUnavailable, Entry, EventType, Guard, GuardFailed, Receipt
from minispine.audit.log import AuditLog
from minispine.audit.reading import events, last_sequence
from minispine.audit.verification import Broken, Verified, verify
from minispine.storage import Database, Store
from tests.audit.checkpoints import remove_triggers
from tests.audit.conftest import ACTOR, FIRST, START, Clock, LogMaker, note, reasons, received, replied


def outcomes(log: AuditLog, *entries: Entry) -> list[Any]:
    """Append all at once from one event loop; the receipt or exception of each."""

    async def together() -> list[Any]:
        return await asyncio.gather(*(log.append(entry) for entry in entries), return_exceptions=True)

    return asyncio.run(together())


def register(database: Database, log: AuditLog, key: str = "ward", body: dict[str, Any] | None = None) -> int:
    return change_document(
        database,
        log,
        kind="client",
        key=key,
        body={"enabled": True} if body is None else body,
        event=EventType.CLIENT_ADDED,
        actor=ACTOR.as_data(),
        reason=None,
        expected_version=None,
    )


def remove_from(database: Database, sequence: int) -> None:
    """Take a record away, as somebody with the database in hand could."""
    with database.session(Store.AUDIT) as session:
        if database.kind == "sqlite":
            session.run("DROP TRIGGER audit_record_refuses_delete")
        else:
            session.run("ALTER TABLE audit_record DISABLE TRIGGER ALL")
        session.run("DELETE FROM audit_record WHERE sequence = ?", (sequence,))


@pytest.mark.requirement("SMSP-AUDIT-009", "g")
def test_a_thousand_parallel_appends_get_consecutive_numbers(database: Database, make_log: LogMaker) -> None:
    logs = [make_log(database)] if database.kind == "sqlite" else [make_log(database) for _ in range(3)]

    async def together() -> list[Receipt]:
        return await asyncio.gather(*(logs[n % len(logs)].append(received(f"e{n}", f"m{n}")) for n in range(1000)))

    receipts = asyncio.run(together())
    assert sorted(receipt.sequence for receipt in receipts) == list(range(FIRST, FIRST + 1000))
    assert {e["sequence"]: e["exchange"] for e in events(database, first=FIRST)} == {
        receipt.sequence: f"e{n}" for n, receipt in enumerate(receipts)
    }
    result = verify(database)
    assert isinstance(result, Verified)
    assert result.records == 1001
    remove_from(database, 500)
    broken = verify(database)
    assert isinstance(broken, Broken)
    assert (broken.sequence, broken.check) == (500, "sequence")


def test_what_is_appended_can_be_read_at_once_by_everybody(database: Database, log: AuditLog, clock: Clock) -> None:
    receipt = log.append_now(received("e1", "m1"))
    assert receipt == Receipt(2)
    clock.us += 7
    assert outcomes(log, replied("e1", "m1")) == [Receipt(3)]
    first, second, third = events(database, first=2)
    assert first == {
        "sequence": 2,
        "index": 0,
        "sealed_at": "2026-09-21T14:13:20.000000Z",
        "at": "2026-09-21T14:13:20.000000Z",
        "type": "exchange.received",
        "system": "SMSP-1",
        "instance": "instance-1",
        "exchange": "e1",
        "client": "ward",
        "client_message_id": "m1",
        "repeats": None,
        "data": received("e1").events[0].data,
    }
    assert (second["sequence"], second["index"], second["type"]) == (2, 1, "exchange.asked")
    assert (third["sequence"], third["sealed_at"]) == (3, "2026-09-21T14:13:20.000007Z")


def test_sealed_time_never_goes_back_and_event_time_is_as_read(database: Database, log: AuditLog, clock: Clock) -> None:
    log.append_now(note())
    clock.us -= 3_600_000_000
    log.append_now(note(at=clock.us))
    assert [(e["sealed_at"], e["at"]) for e in events(database, first=FIRST)] == [
        ("2026-09-21T14:13:20.000000Z", "2026-09-21T14:13:20.000000Z"),
        ("2026-09-21T14:13:20.000000Z", "2026-09-21T13:13:20.000000Z"),
    ]
    assert isinstance(verify(database), Verified)


def test_an_entry_that_is_wrong_in_itself_is_refused_alone(database: Database, log: AuditLog) -> None:
    wrong = Entry(events=(), exchange="e")
    refused, receipt = outcomes(log, wrong, note())
    assert isinstance(refused, EntryInvalid)
    assert receipt == Receipt(FIRST)


def test_a_guard_that_fails_leaves_out_its_entry_alone(database: Database, log: AuditLog) -> None:
    version = register(database, log)
    kept, left_out, unknown, another = outcomes(
        log,
        note("kept", Guard("ward", version)),
        note("left out", Guard("ward", version + 1)),
        note("unknown", Guard("nobody", 1)),
        note("another"),
    )
    assert isinstance(kept, Receipt)
    assert isinstance(another, Receipt)
    assert isinstance(left_out, GuardFailed)
    assert left_out.client == "ward"
    assert isinstance(unknown, GuardFailed)
    assert reasons(database) == ["kept", "another"]
    assert isinstance(verify(database), Verified)


def test_a_guard_fails_as_soon_as_the_registration_changes_or_is_removed(database: Database, log: AuditLog) -> None:
    first = register(database, log)
    assert isinstance(outcomes(log, note("", Guard("ward", first)))[0], Receipt)
    second = register(database, log, body={"enabled": False})
    old, new = outcomes(log, note("", Guard("ward", first)), note("", Guard("ward", second)))
    assert isinstance(old, GuardFailed)
    assert isinstance(new, Receipt)
    third = change_document(
        database,
        log,
        kind="client",
        key="ward",
        body=None,
        event=EventType.CLIENT_EDITED,
        actor=ACTOR.as_data(),
        reason=None,
        expected_version=second,
    )
    assert all(
        isinstance(o, GuardFailed) for o in outcomes(log, *(note("", Guard("ward", v)) for v in (second, third)))
    )


def test_a_change_of_one_registration_does_not_fail_the_guards_of_others(database: Database, log: AuditLog) -> None:
    ward, lab = register(database, log, "ward"), register(database, log, "lab")
    register(database, log, "lab")
    results = outcomes(log, note("", Guard("ward", ward)), note("", Guard("lab", lab)))
    assert [type(result) for result in results] == [Receipt, GuardFailed]


def test_nothing_is_committed_for_a_registration_after_its_change(database: Database, make_log: LogMaker) -> None:
    """Law 11, as a race: appends go on while the registration is changed by another process."""
    log, operator = make_log(database), make_log(database)
    version = register(database, operator)

    async def race() -> None:
        async def ask(n: int) -> bool:
            try:
                await log.append(received(f"e{n}", guard=Guard("ward", version)))
            except GuardFailed:
                return False
            return True

        async def ask_until_refused(lane: int) -> None:
            for n in range(2000):
                if not await ask(lane * 2000 + n):
                    return
            pytest.fail("the change was never noticed")

        lanes = [asyncio.create_task(ask_until_refused(lane)) for lane in range(8)]
        while last_sequence(database) < 50:
            await asyncio.sleep(0)
        await asyncio.to_thread(register, database, operator, "ward", {"enabled": False})
        await asyncio.gather(*lanes)

    asyncio.run(race())
    kinds = [e["type"] for e in events(database)]
    changes = [at for at, kind in enumerate(kinds) if kind == "client.added"]
    assert len(changes) == 2
    assert "exchange.received" in kinds[: changes[1]]
    assert kinds[changes[1] + 1 :] == []


def test_a_repeated_message_id_names_the_first_exchange(database: Database, log: AuditLog) -> None:
    assert log.append_now(received("e1", "m")).repeats is None
    assert log.append_now(replied("e1", "m")).repeats is None
    assert log.append_now(received("e2", "m")).repeats == "e1"
    assert log.append_now(replied("e2", "m")).repeats == "e1"
    assert log.append_now(received("e3", "m", client="lab")).repeats is None
    assert log.append_now(received("e4")).repeats is None
    assert {e["exchange"]: e["repeats"] for e in events(database, first=FIRST)} == {
        "e1": None,
        "e2": "e1",
        "e3": None,
        "e4": None,
    }


def test_a_message_id_repeated_within_one_batch_names_the_first_exchange(database: Database, log: AuditLog) -> None:
    with log.holding() as hold:
        receipts = [log.append_in(hold, received(f"e{n}", "m")) for n in (1, 2)]
    assert [receipt.repeats for receipt in receipts] == [None, "e1"]
    results = outcomes(log, *(received(f"f{n}", "new") for n in range(20)))
    first = min(results, key=lambda receipt: receipt.sequence)
    repeats = [receipt.repeats for receipt in results if receipt is not first]
    assert first.repeats is None
    assert set(repeats) == {f"f{results.index(first)}"}


def test_exchanges_left_open_by_a_dead_process_are_closed_once(database: Database, make_log: LogMaker) -> None:
    dead, alive = make_log(database, instance="dead"), make_log(database, instance="alive")
    for n in range(130):
        dead.append_now(received(f"e{n}", f"m{n}"))
    dead.append_now(replied("e7", "m7"))
    own = alive.append_now(received("own"))
    claim = database.claim_for_serving("alive")
    assert alive.close_orphans(claim.living) == 129
    assert alive.close_orphans(claim.living) == 0
    claim.release()
    closed = [e for e in events(database) if e["type"] == "exchange.outcome-unknown"]
    assert {e["exchange"] for e in closed} == {f"e{n}" for n in range(130) if n != 7}
    assert closed[0] | {"sequence": 0, "sealed_at": "", "at": ""} == {
        "sequence": 0,
        "index": 0,
        "sealed_at": "",
        "at": "",
        "type": "exchange.outcome-unknown",
        "system": "SMSP-1",
        "instance": "alive",
        "exchange": "e0",
        "client": "ward",
        "client_message_id": "m0",
        "repeats": None,
        "data": {
            "opened_by": FIRST,
            "instance": "dead",
            "reason": "process-died",
            "recorded": [
                {
                    "type": "exchange.received",
                    "at": "2026-09-21T14:13:20.000000Z",
                    "data": received("e0").events[0].data,
                },
                {
                    "type": "exchange.asked",
                    "at": "2026-09-21T14:13:20.000000Z",
                    "data": received("e0").events[1].data,
                },
            ],
        },
    }
    assert own.sequence < closed[0]["sequence"]
    assert isinstance(verify(database), Verified)


def test_exchanges_of_a_living_process_are_left_alone_on_postgresql(postgresql_url: str, make_log: LogMaker) -> None:
    with Database.open(postgresql_url) as here, Database.open(postgresql_url) as there:
        other, own = make_log(there, instance="other"), make_log(here, instance="own")
        its_claim, claim = there.claim_for_serving("other"), here.claim_for_serving("own")
        other.append_now(received("e1"))
        assert own.close_orphans(claim.living) == 0
        its_claim.release()
        give_up_at = time.monotonic() + 10
        while not (closed := own.close_orphans(claim.living)) and time.monotonic() < give_up_at:
            pass  # the server drops the lock when it has noticed that the connection is gone
        assert closed == 1
        claim.release()


def test_a_closed_log_refuses(database: Database, log: AuditLog) -> None:
    outcomes(log, note())
    asyncio.run(log.close())
    assert isinstance(outcomes(log, note())[0], AuditUnavailable)
    with pytest.raises(AuditUnavailable):
        log.append_now(note())
    assert last_sequence(database) == FIRST


def test_closing_writes_what_is_waiting(database: Database, log: AuditLog) -> None:
    async def append_and_close() -> list[Receipt]:
        waiting = [asyncio.ensure_future(log.append(note(str(n)))) for n in range(300)]
        await asyncio.sleep(0)
        await log.close()
        return await asyncio.gather(*waiting)

    receipts = asyncio.run(append_and_close())
    assert [receipt.sequence for receipt in receipts] == list(range(FIRST, FIRST + 300))


def test_two_logs_of_one_process_and_a_command_share_one_order(database: Database, make_log: LogMaker) -> None:
    serving, command = make_log(database), make_log(database)

    async def both() -> None:
        appended = asyncio.gather(*(serving.append(note()) for _ in range(100)))
        for _ in range(10):
            await asyncio.to_thread(command.append_now, note())
        await appended

    asyncio.run(both())
    result = verify(database)
    assert isinstance(result, Verified)
    assert result.records == 111


def test_real_clocks_are_not_needed(log: AuditLog) -> None:
    assert abs(time.time() * 1e6 - START) > 1e6
    assert log.now() == START


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE audit_record SET leaf = ? WHERE sequence = 2",
        "DELETE FROM audit_record WHERE sequence = 2 AND leaf <> ?",
    ],
)
@pytest.mark.parametrize("instead", [None, b'"lane":1.5'])
def test_an_exchange_whose_opening_was_tampered_with_is_closed_by_what_else_is_known(
    database: Database, make_log: LogMaker, damage: str, instead: bytes | None
) -> None:
    dead, alive = make_log(database, instance="dead"), make_log(database, instance="alive")
    assert dead.append_now(received("e1", "m1")).sequence == FIRST
    dead.append_now(received("e2", "m2"))
    with database.reading(Store.AUDIT) as session:
        leaf = bytes(session.rows("SELECT leaf FROM audit_record WHERE sequence = 2")[0][0])
    found = b"\x02{}" if instead is None else leaf.replace(b'"lane":"attended"', instead)
    assert found != leaf
    remove_triggers(database, "audit_record")
    with database.session(Store.AUDIT) as session:
        session.run(damage, (found,))
    claim = database.claim_for_serving("alive")
    assert alive.close_orphans(claim.living) == 2
    assert alive.close_orphans(claim.living) == 0
    claim.release()
    first, second = events(database, first=FIRST + 2)
    assert (first["type"], first["exchange"]) == ("exchange.outcome-unknown", "e1")
    assert (first["client"], first["client_message_id"]) == (None, None)
    assert first["data"] == {"opened_by": FIRST, "instance": "dead", "reason": "process-died", "recorded": []}
    assert (second["exchange"], second["client"], len(second["data"]["recorded"])) == ("e2", "ward", 2)
