"""A load generator of its own process: keep-alive connections over mutual TLS, each sending one request after another.

It spends as little as it can beside what is measured: requests are made once by the product's own writer and then only
get fresh ids and times.
"""

import asyncio
import datetime
import json
import ssl
import sys
import time
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import uvloop

from minispine.domain.identity import AuditId
from minispine.domain.operations import Operation
from minispine.domain.request import PdsRequest
from minispine.vocabulary import oids
from minispine.wire import itk, pds, soap

IDENTITY = (AuditId(oids.LOCAL_IDENTITY, "urn:nhs-uk:identity:ods:RXX:jsmith"),)

MESSAGE, TRACKING, PAYLOAD = (f"{n:08X}-0000-4000-8000-000000000000" for n in (1, 2, 3))
CREATED = datetime.datetime(2001, 1, 1, tzinfo=datetime.UTC)
EXPIRES = datetime.datetime(2002, 1, 1, tzinfo=datetime.UTC)


def parameters(operation: Operation, person: dict[str, str]) -> dict[str, str]:
    """The parameters that find a person by an operation."""
    by_number = {"nhs_number": person["nhs_number"], "birth_date": person["birth_date"]}
    search = {key: person[key] for key in ("family", "gender", "birth_date", "postcode")} | {
        "given": person["given"][0]
    }
    searching = (Operation.GET_NHS_NUMBER, Operation.GET_PATIENT_DETAILS_BY_SEARCH)
    return search if operation in searching else by_number


def template(operation: Operation, person: dict[str, str], host: str) -> tuple[bytes, bytes]:
    """Give head and body of a request that finds a person by an operation."""
    request = msgspec.convert({"operation": operation, **parameters(operation, person)}, PdsRequest)
    body = itk.write_request(
        pds.write_request(request, id=str(uuid.uuid4()).upper()),
        operation=operation,
        message_id=MESSAGE,
        tracking_id=TRACKING,
        payload_id=PAYLOAD,
        to=f"https://{host}/smsp/pds",
        timestamp=soap.Timestamp(created=CREATED, expires=EXPIRES),
        username="benchmark",
        audit_identity=IDENTITY,
    )
    head = f"POST /smsp/pds HTTP/1.1\r\nhost: {host}\r\ncontent-type: text/xml\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode(), body


def templates(people: list[dict[str, str]], host: str) -> list[tuple[bytes, bytes]]:
    """Heads and bodies of requests, the five operations in turn over the people."""
    operations = list(Operation)
    return [template(operations[n % len(operations)], person, host) for n, person in enumerate(people)]


def renewed(body: bytes) -> tuple[str, bytes]:
    """A request with fresh ids and times, and its message id."""
    now = datetime.datetime.now(datetime.UTC)
    ids = uuid.uuid4().hex.upper()
    fresh = f"{ids[:8]}-{ids[8:12]}-4000-8000-{ids[12:24]}".encode()
    message_id = b"A" + fresh[1:]
    body = (
        body.replace(MESSAGE.encode(), message_id)
        .replace(TRACKING.encode(), b"B" + fresh[1:])
        .replace(PAYLOAD.encode(), b"C" + fresh[1:])
        .replace(b"2001-01-01T00:00:00Z", now.strftime("%Y-%m-%dT%H:%M:%SZ").encode())
        .replace(b"2002-01-01T00:00:00Z", (now + datetime.timedelta(minutes=5)).strftime("%Y-%m-%dT%H:%M:%SZ").encode())
    )
    return message_id.decode(), body


async def connection(
    host: str,
    port: int,
    tls: ssl.SSLContext,
    work: list[tuple[bytes, bytes]],
    until: float,
    seconds: list[float],
    bad: list[str],
) -> None:
    """Send requests one after another until the time is over."""
    reader, writer = await asyncio.open_connection(host, port, ssl=tls)
    turn = hash(asyncio.current_task()) % len(work)
    while time.perf_counter() < until:
        head, body = work[turn % len(work)]
        turn += 1
        _, body = renewed(body)
        began = time.perf_counter()
        writer.write(head + body)
        answer_head = await reader.readuntil(b"\r\n\r\n")
        length = int(answer_head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        answer = await reader.readexactly(length)
        seconds.append(time.perf_counter() - began)
        if b'code="SMSP-0000"' not in answer:
            bad.append(answer_head[:15].decode())
    writer.close()


async def measure(described: dict[str, Any]) -> dict[str, Any]:
    """Keep so many connections busy for so many seconds."""
    address = urlsplit(described["url"])
    tls = ssl.create_default_context(cafile=described["ca"])
    tls.load_cert_chain(described["client_cert"], described["client_key"])
    host, port = address.hostname or "", address.port or 443
    work = templates(described["people"], f"{host}:{port}")
    seconds: list[float] = []
    bad: list[str] = []
    began = time.perf_counter()
    until = began + described["seconds"]
    await asyncio.gather(
        *(connection(host, port, tls, work, until, seconds, bad) for _ in range(described["connections"]))
    )
    elapsed = time.perf_counter() - began
    seconds.sort()
    return {
        "exchanges": len(seconds),
        "seconds": elapsed,
        "rate_per_s": len(seconds) / elapsed,
        "p50_ms": 1000 * seconds[len(seconds) // 2],
        "p99_ms": 1000 * seconds[len(seconds) * 99 // 100],
        "not_answered_well": len(bad),
        "example": bad[:1],
    }


if __name__ == "__main__":
    print(json.dumps(uvloop.run(measure(json.loads(Path(sys.argv[1]).read_text())))))
