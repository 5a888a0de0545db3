"""What the audit trail costs: records written, verified and searched, with everything on that a provider has on.

**Writing**, on SQLite and on a real PostgreSQL: 64 callers wait for one record each, over and over. A record is that of
a request as `provider/trail.py` makes it, with a 4 KB message beside it: encoded, compressed, encrypted, put into the
tree and the index, and durable when `append` returns. The index is folded meanwhile, as a provider does it. `commit` is
what one transaction takes, `append` what a caller waits.

**Verifying** what was written, with the payloads and without.

**Searching**: the first page of a hundred records, of every query shape below, over ten million records. They are put
in without payloads, which list queries never touch, by a short cut that makes the same rows; the index over them is the
product's own. A shape's figure is the slowest of its six runs, the first of which finds little in memory.
"""

import argparse
import asyncio
import hashlib
import os
import random
import statistics
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from minispine.audit import declaration, index, verification
from minispine.audit.actor import Actor
from minispine.audit.encoding import LEAF_VERSION
from minispine.audit.events import Body, Entry, Event, EventType
from minispine.audit.log import AuditLog
from minispine.audit.merkle import Frontier
from minispine.audit.note import Signer
from minispine.audit.search import Query, search
from minispine.audit.terms import terms_of
from minispine.audit.vault import Vault
from minispine.keys.ring import new_ring
from minispine.storage import Database, Store

AIM_RECORDS_PER_S: Final = 5_000
AIM_VERIFIED_PER_S: Final = 100_000
AIM_PAGE_MS: Final = 100.0
WAITING: Final = 64
BODY_BYTES: Final = 4096
PAGE: Final = 100
_WORDS: Final = [
    "family",
    "given",
    "addressLine",
    "postalCode",
    "telecom",
    "administrativeGenderCode",
    "birthTime",
    "effectiveTime",
    "statusCode",
    "subjectOf",
    "patientCareProvision",
    "responsibleParty",
    "healthCareProvider",
    "previousNhsContact",
    "preferredContactMethod",
]


def options(arguments: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    arguments.add_argument("--seconds", type=float, default=10.0, help="how long each writing is measured (10)")
    arguments.add_argument("--rounds", type=int, default=3, help="how often writing is measured (3)")
    arguments.add_argument(
        "--search-records", type=int, default=10_000_000, help="over how many records is searched (10,000,000)"
    )
    arguments.add_argument("--folder", type=Path, help="where the databases are made (the system's temporary folder)")


def run(given: argparse.Namespace) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Measure, print, and give figures and raw measurements."""
    raw: list[dict[str, Any]] = []
    figures: dict[str, Any] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="minispine-audit-", dir=given.folder)))
        vault = Vault(new_ring(os.urandom), os.urandom(32))
        databases = {"sqlite": stack.enter_context(_sqlite(folder / "written"))}
        if (server := stack.enter_context(_postgresql())) is not None:
            databases["postgresql"] = server
        for kind, database in databases.items():
            _begin(database, vault)
            rounds = [_written(database, vault, given.seconds, kind, number) for number in range(given.rounds)]
            raw += rounds
            figures[f"records_per_s_{kind}"] = round(statistics.median(r["records_per_s"] for r in rounds))
            figures[f"cpu_us_per_record_{kind}"] = round(statistics.median(r["cpu_us"] for r in rounds))
            if kind == "sqlite":
                figures["commit_p99_ms"] = round(statistics.median(r["commit_p99_ms"] for r in rounds), 1)
                figures["append_p99_ms"] = round(statistics.median(r["append_p99_ms"] for r in rounds), 1)
        for name, payloads in (("verify_records_per_s", True), ("verify_records_per_s_without_payloads", False)):
            measured = _verified(databases["sqlite"], payloads)
            raw.append(measured)
            figures[name] = round(measured["records_per_s"])
        _say("verify", figures)
        if given.search_records:
            with _sqlite(folder / "searched") as database:
                measured = _searched(database, vault, given.search_records)
            raw += measured
            figures["search_records"] = given.search_records
            figures["search_first_page_ms_max"] = round(max(m["slowest_ms"] for m in measured), 1)
    figures |= {
        "aim_records_per_s": AIM_RECORDS_PER_S,
        "aim_verified_per_s": AIM_VERIFIED_PER_S,
        "aim_search_ms": AIM_PAGE_MS,
    }
    _say("figures", figures)
    return figures, raw


# ── databases ───────────────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def _sqlite(folder: Path) -> Iterator[Database]:
    with Database.open(f"sqlite:{folder}") as database:
        database.migrate()
        yield database


@contextmanager
def _postgresql() -> Iterator[Database | None]:
    from tests.databases import Postgres, PostgresUnavailable

    try:
        server = Postgres()
    except PostgresUnavailable as reason:
        print(f"PostgreSQL is left out: {reason}")
        yield None
        return
    try:
        server.admin("CREATE DATABASE bench")
        with Database.open(server.url("bench")) as database:
            database.migrate()
            yield database
    finally:
        server.remove()


def _begin(database: Database, vault: Vault) -> None:
    signer = Signer("minispine/bench", Ed25519PrivateKey.generate())
    log = _log(database, vault)
    declaration.begin(log, origin=signer.name, signer=signer, authorities=(), actor=Actor(user_id="bench").as_data())
    log.close_now()


def _log(database: Database, vault: Vault) -> AuditLog:
    return AuditLog(database, system_id="bench", instance=str(uuid.uuid4()), vault=vault, now=_now_us, timeout_s=60.0)


# ── writing ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _written(database: Database, vault: Vault, seconds: float, kind: str, number: int) -> dict[str, Any]:
    log = _log(database, vault)
    commits = _timed_commits(log)
    waits: list[float] = []
    entries = _entries(random.Random(number))
    stop = threading.Event()
    folding = threading.Thread(target=_fold_until, args=(database, stop))

    async def caller(until: float) -> None:
        while time.perf_counter() < until:
            entry = next(entries)
            began = time.perf_counter()
            await log.append(entry)
            waits.append(time.perf_counter() - began)

    async def callers(duration_s: float) -> None:
        until = time.perf_counter() + duration_s
        await asyncio.gather(*(caller(until) for _ in range(WAITING)))

    folding.start()
    try:
        asyncio.run(callers(1.0))
        waits.clear()
        commits.clear()
        began, cpu = time.perf_counter(), time.process_time()
        asyncio.run(callers(seconds))
        took, cpu = time.perf_counter() - began, time.process_time() - cpu
    finally:
        stop.set()
        folding.join()
        log.close_now()
    measured = {
        "what": "write",
        "database": kind,
        "round": number,
        "records": len(waits),
        "records_per_s": len(waits) / took,
        "cpu_us": cpu / len(waits) * 1e6,
        "commits": len(commits),
        "commit_p50_ms": _percentile(commits, 50) * 1000,
        "commit_p99_ms": _percentile(commits, 99) * 1000,
        "append_p99_ms": _percentile(waits, 99) * 1000,
    }
    _say(f"write on {kind}", measured)
    return measured


def _fold_until(database: Database, stop: threading.Event) -> None:
    while not stop.wait(1.0):
        index.fold(database)


def _timed_commits(log: AuditLog) -> list[float]:
    """How long each transaction of the writer takes, from taking the head to being durable."""
    taken: list[float] = []
    sealer = log._sealers[0]
    seal = sealer.seal

    def timed(batch: Any) -> Any:
        began = time.perf_counter()
        try:
            return seal(batch)
        finally:
            taken.append(time.perf_counter() - began)

    sealer.seal = timed  # type: ignore[method-assign]
    return taken


def _entries(randomness: random.Random) -> Iterator[Entry]:
    """Records as of requests, each about somebody else."""
    bodies = [_message(randomness) for _ in range(256)]
    while True:
        exchange, message_id, spine_id, hl7_id = (_uuid(randomness) for _ in range(4))
        number = f"9{randomness.randrange(10**9):09d}"
        user = f"user-{randomness.randrange(400)}"
        identity = {"type": "2.16.840.1.113883.2.1.3.2.4.18.27", "uri": f"urn:nhs-uk:identity:ods:RXX:{user}"}
        received = {
            "peer": "10.20.0.7",
            "path": "/smsp/pds",
            "lane": "attended",
            "message_id": message_id,
            "operation": "getPatientDetailsByNHSNumber",
            "service": "urn:nhs-itk:services:201005:getPatientDetailsByNHSNumber-v1-0",
            "tracking_id": _uuid(randomness),
            "audit_identity": [identity],
            "access_method": 2,
            "organisation": "RXX",
            "user_code": user,
            "function": None,
            "asid": "200000000999",
        }
        asked = {
            "interaction": "QUPA_IN040000UK32",
            "asid": "200000000999",
            "author": None,
            "message_id": spine_id,
            "hl7_id": hl7_id,
        }
        at = _now_us()
        yield Entry(
            events=(
                Event(type=EventType.EXCHANGE_RECEIVED, at=at, data=received, private={"nhs_number": number}),
                Event(type=EventType.EXCHANGE_ASKED, at=at, data=asked, private={"question": {"nhs_number": number}}),
            ),
            exchange=exchange,
            client=f"client-{randomness.randrange(20)}",
            client_message_id=message_id,
            bodies=(Body("request", bodies[randomness.randrange(256)]),),
        )


def _message(randomness: random.Random) -> bytes:
    """XML of the size wanted, which compresses about as well as a real message."""
    parts: list[str] = []
    size = 0
    while size < BODY_BYTES:
        name = randomness.choice(_WORDS)
        parts.append(f'<{name} code="{randomness.randrange(10**6)}">{randomness.getrandbits(64):x}</{name}>')
        size += len(parts[-1])
    return "".join(parts).encode()[:BODY_BYTES]


# ── verifying ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _verified(database: Database, payloads: bool) -> dict[str, Any]:
    began = time.perf_counter()
    result = verification.verify(database, payloads=payloads)
    took = time.perf_counter() - began
    if not isinstance(result, verification.Verified):
        raise SystemExit(f"what was written does not verify: {result}")
    return {
        "what": "verify",
        "payloads": payloads,
        "records": result.records,
        "records_per_s": result.records / took,
    }


# ── searching ───────────────────────────────────────────────────────────────────────────────────────────────────────

_BATCH: Final = 2_000
_START_US: Final = 1_767_225_600_000_000
_STEP_US: Final = 3_000_000


def _searched(database: Database, vault: Vault, count: int) -> list[dict[str, Any]]:
    began = time.perf_counter()
    known = _fill(database, vault, count)
    while index.fold(database):
        continue
    _say(f"{count} records put in, in {time.perf_counter() - began:.0f} s", {})
    measured = []
    for name, query in _shapes(count, known).items():
        for newest_first in (False, True):
            taken, found = [], 0
            for _ in range(6):
                began = time.perf_counter()
                page = search(database, vault, query, limit=PAGE, newest_first=newest_first)
                taken.append((time.perf_counter() - began) * 1000)
                found = len(page.events)
            measured.append(
                {
                    "what": "search",
                    "shape": name,
                    "newest_first": newest_first,
                    "found": found,
                    "first_ms": taken[0],
                    "slowest_ms": max(taken),
                    "median_ms": statistics.median(taken),
                }
            )
            _say("search", measured[-1])
    return measured


class _Terms:
    """Terms of values, each computed once: many records have them in common."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._known: dict[tuple[str, str], bytes] = {}

    def of(self, kind: str, value: str) -> bytes:
        found = self._known.get((kind, value))
        if found is None:
            found = self._known[kind, value] = self._vault.term(kind, value)
        return found


def _fill(database: Database, vault: Vault, count: int) -> dict[str, str]:
    """Put records in: pairs of a request and its answer, with one in a hundred thousand something rare."""
    _begin(database, vault)
    randomness = random.Random(1)
    terms = _Terms(vault)
    known: dict[str, str] = {}
    frontier = _frontier(database)
    encode = msgspec.json.Encoder(order="deterministic").encode
    with database.session(Store.AUDIT) as session:
        for first in range(2, count + 1, _BATCH):
            last = min(first + _BATCH - 1, count)
            records, entries, hashes = [], [], []
            for sequence in range(first, last + 1):
                if sequence % 2 == 0 or not known:
                    exchange, message_id, spine_id = (_uuid(randomness) for _ in range(3))
                    user = f"user-{randomness.randrange(400)}"
                    patient = f"9{randomness.randrange(10**6):09d}"
                    organisation = f"R{randomness.randrange(12):02d}"
                    client = f"client-{randomness.randrange(20)}"
                    events = _asked(message_id, spine_id, user, organisation)
                else:
                    events = _replied(spine_id, user, rare=randomness.randrange(100_000) == 0)
                leaf = LEAF_VERSION + encode(
                    {
                        "bodies": None,
                        "client": client,
                        "client_message_id": message_id,
                        "events": events,
                        "exchange": exchange,
                        "instance": "bench",
                        "private": None,
                        "repeats": None,
                        "sealed_at": _START_US + sequence * _STEP_US,
                        "sequence": sequence,
                        "system_id": "bench",
                    }
                )
                digest = hashlib.sha256(b"\x00" + leaf).digest()
                hashes.append(digest)
                records.append((sequence, exchange, digest, leaf))
                number = sequence.to_bytes(8)
                found_by = terms_of(
                    exchange=exchange,
                    client=client,
                    client_message_id=message_id,
                    events=[(event["type"], event["data"]) for event in events],
                    privates=({"nhs_number": patient},),
                )
                entries += [(vault.term(k, v) if k == "id" else terms.of(k, v)) + number for k, v in sorted(found_by)]
                if sequence == count // 2:
                    known = {"user": user, "patient": patient, "message_id": message_id, "organisation": organisation}
                    known |= {"client": client}
                elif not known:
                    known = {"user": user}
            frontier = frontier.extend(hashes)
            session.begin()
            session.run_many("INSERT INTO audit_record (sequence, exchange, hash, leaf) VALUES (?, ?, ?, ?)", records)
            session.run(
                "INSERT INTO audit_index_pending (first, last, entries) VALUES (?, ?, ?)",
                (first, last, b"".join(entries)),
            )
            session.run(
                "UPDATE audit_head SET sequence = ?, sealed_at = ?, hash = ?, frontier = ? WHERE id = 1",
                (last, _START_US + last * _STEP_US, hashes[-1], frontier.encode()),
            )
            session.commit()
            if first % 200_000 < _BATCH:
                index.fold(database)
                print(f"\r  {last:,} records", end="", flush=True)
    print()
    return known


def _asked(message_id: str, spine_id: str, user: str, organisation: str) -> list[dict[str, Any]]:
    return [
        {
            "type": "exchange.received",
            "at": _START_US,
            "data": {
                "message_id": message_id,
                "operation": "getPatientDetailsByNHSNumber",
                "organisation": organisation,
                "user_code": user,
            },
        },
        {"type": "exchange.asked", "at": _START_US, "data": {"message_id": spine_id}},
    ]


def _replied(spine_id: str, user: str, *, rare: bool) -> list[dict[str, Any]]:
    if rare:
        return [{"type": "exchange.outcome-unknown", "at": _START_US, "data": {"reason": "stopping"}}]
    return [
        {"type": "exchange.spine-answered", "at": _START_US, "data": {"message_id": spine_id, "outcome": "found"}},
        {
            "type": "exchange.replied",
            "at": _START_US,
            "data": {"code": "SMSP-0000", "source": "spine", "user_code": user},
        },
    ]


def _frontier(database: Database) -> Frontier:
    with database.session(Store.AUDIT) as session:
        size, hashes = session.rows("SELECT sequence, frontier FROM audit_head WHERE id = 1")[0]
    return Frontier.decode(size, bytes(hashes))


def _shapes(count: int, known: dict[str, str]) -> dict[str, Query]:
    """Every shape of query that is measured."""
    middle = _START_US + count // 2 * _STEP_US
    day = 86_400_000_000
    return {
        "everything": Query(),
        "by patient": Query(patient=known["patient"]),
        "by message id": Query(identifier=known["message_id"]),
        "by user": Query(user=known["user"]),
        "by organisation": Query(organisation=known["organisation"]),
        "by client": Query(client=known["client"]),
        "by a frequent event": Query(event="exchange.received"),
        "by a rare event": Query(event="exchange.outcome-unknown"),
        "by outcome": Query(outcome="SMSP-0000"),
        "by source": Query(source="spine"),
        "by time": Query(from_=middle, to=middle + day),
        "by sequence": Query(first=count // 2, last=count // 2 + 5000),
        "patient and time": Query(patient=known["patient"], from_=middle - 30 * day, to=middle + 30 * day),
        "user and event": Query(user=known["user"], event="exchange.replied"),
        "user, organisation and time": Query(
            user=known["user"], organisation=known["organisation"], from_=middle, to=middle + 30 * day
        ),
        "organisation and a rare event": Query(organisation="R01", event="exchange.outcome-unknown"),
        "two frequent ones never together": Query(event="exchange.received", outcome="SMSP-0000"),
        "nobody": Query(user="nobody"),
        "nobody among many": Query(user="nobody", event="exchange.received"),
    }


# ── small things ────────────────────────────────────────────────────────────────────────────────────────────────────


def _uuid(randomness: random.Random) -> str:
    digits = f"{randomness.getrandbits(128):032X}"
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-8{digits[17:20]}-{digits[20:]}"


def _percentile(values: list[float], percent: int) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


def _now_us() -> int:
    return time.time_ns() // 1000


def _say(what: str, measured: dict[str, Any]) -> None:
    shown = {key: f"{value:,.1f}" if isinstance(value, float) else value for key, value in measured.items()}
    told = ", ".join(f"{key} {value}" for key, value in shown.items() if key != "what")
    print(f"{what}: {told}" if told else what, flush=True)
