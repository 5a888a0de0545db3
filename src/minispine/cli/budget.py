"""`minispine budget`: how often each national service may be called, changed limit by limit (SMSP-PERF-001 b).

A change is a new version of the table `budgets` in which only that limit is another; the whole table is shown and
loaded by `minispine table`.
"""

import copy
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from minispine.cli.errors import Failed, Mistaken
from minispine.cli.output import table
from minispine.cli.registry import OpenRegistry
from minispine.cli.registry import opened as opened_registry
from minispine.cli.table import BUDGETS, change_table
from minispine.cli.trail import CONFIG, opened
from minispine.cli.values import Reason, unknown
from minispine.domain.lanes import LANES
from minispine.domain.operations import NationalService
from minispine.provider import in_force
from minispine.provider.admission.book import GONE_US, MINUTE_S, RATE_OVER_S, SECOND, Book, Bucket
from minispine.provider.admission.store import SlotStore
from minispine.provider.in_force import TABLE, InForce
from minispine.storage import Database, Registry
from minispine.vocabulary.budgets import Limit, ServiceBudget, shipped_document

_NONE: Final = ""


def show(*, config: Path = CONFIG, json: bool = False) -> None:
    """Show the limits in force, and how much of them is used.

    For each national service: the limit of every accredited system (ASID), those with limits of their own, and of
    clients, then what each lane is guaranteed. Beside a limit stand the calls a second that it has had of late, and,
    where there is a limit by the minute, the calls of the last minute. Nothing is changed, and nothing recorded.

    Args:
        config: The provider's configuration, which says where the registry is.
        json: Print it as one JSON object.
    """
    with opened(config) as trail:
        current = in_force.read(Registry(trail.database).snapshot())
        services = [_Service(service, current, trail.database) for service in _services(current)]
    if json:
        print(msgspec.json.encode({service.name: service.as_object() for service in services}).decode())
        return
    rows = [row for service in services for row in service.rows()]
    table(("service", "limit of", "a second", "burst", "a minute", "of late, a second", "last minute", "waiting"), rows)
    for service in services:
        for lane in LANES:
            if share := service.budget.shares.get(lane):
                print(f"{service.name}: {lane} is guaranteed {share:.0%} of the calls while it has somebody waiting")


def set_(
    *,
    reason: Reason,
    service: str = NationalService.PDS,
    asid: str | None = None,
    client: str | None = None,
    per_second: float | None = None,
    burst: int | None = None,
    per_minute: int | None = None,
    config: Path = CONFIG,
) -> None:
    """Set a limit: that of every accredited system, of one, or of a client. Every worker keeps to it within a second.

    What is not given stays as it is. The limit of an accredited system is what NHS England granted it; a client's is a
    second one, within that.

    Args:
        reason: Why, for the audit trail.
        service: The national service: pds, cpis, scr or fgm.
        asid: The accredited system that has a limit of its own.
        client: The client that has one.
        per_second: How many calls a second may leave.
        burst: How many may leave at once after a pause. Any window of W seconds holds at most per-second * W + burst.
        per_minute: How many may leave in any 60 seconds besides; 0 for as many as the other two allow.
        config: The provider's configuration, which says where the registry is.
    """
    place = _place(service, asid, client)
    given = {"per_second": _plainly(per_second), "burst": burst, "per_minute": per_minute}
    changed = {key: value for key, value in given.items() if value is not None}
    if not changed:
        raise Mistaken("give what is to be another: --per-second, --burst or --per-minute")
    with opened_registry(config) as registry:
        document = _document(registry, service)
        limit = _at(document, place, make=True)
        if "per_second" not in {**limit, **changed}:
            raise Mistaken("a limit that is new needs --per-second")
        limit |= changed
        if not limit.get("per_minute", 1):
            del limit["per_minute"]
        _put(registry, document, reason)


def unset(
    *,
    reason: Reason,
    service: str = NationalService.PDS,
    asid: str | None = None,
    client: str | None = None,
    config: Path = CONFIG,
) -> None:
    """Take away the limit that an accredited system or a client has of its own.

    An accredited system then has that of the service, a client only that of the accredited systems it calls for.

    Args:
        reason: Why, for the audit trail.
        service: The national service: pds, cpis, scr or fgm.
        asid: The accredited system.
        client: The client.
        config: The provider's configuration, which says where the registry is.
    """
    place = _place(service, asid, client)
    if len(place) == 1:
        raise Mistaken("give whose limit is taken away: --asid or --client")
    with opened_registry(config) as registry:
        document = _document(registry, service)
        folder = _at(document, place[:-1], make=False)
        if place[-1] not in folder:
            raise Failed(f"{place[-1]} has no limit of its own for {service}")
        del folder[place[-1]]
        _put(registry, document, reason)


def _place(service: str, asid: str | None, client: str | None) -> tuple[str, ...]:
    """Give the keys under which a limit stands in the document."""
    if service not in set(NationalService):
        raise unknown("national service", service, NationalService)
    if asid is not None and client is not None:
        raise Mistaken("a limit is that of an accredited system or of a client: give --asid or --client")
    if asid is not None:
        return service, "asids", asid
    return (service, "clients", client) if client is not None else (service,)


def _document(registry: OpenRegistry, service: str) -> dict[str, Any]:
    """Give a copy of the table in force; a service that is not in it has the part that holds for it all the same."""
    document = registry.documents(TABLE).get(BUDGETS)
    shipped = shipped_document()
    found = copy.deepcopy(document.body) if document else shipped
    found.setdefault(service, copy.deepcopy(shipped[NationalService.PDS]))
    return found


def _at(document: dict[str, Any], place: tuple[str, ...], *, make: bool) -> dict[str, Any]:
    found = document
    for key in place:
        found = found.setdefault(key, {}) if make else found.get(key, {})
    return found


def _put(registry: OpenRegistry, document: dict[str, Any], reason: str) -> None:
    before = registry.documents(TABLE).get(BUDGETS)
    if document == (before.body if before else shipped_document()):
        raise Failed("that is what is in force already")
    change_table(registry, BUDGETS, document, reason, None)


def _plainly(number: float | None) -> float | int | None:
    """Write 10.0 as 10."""
    return int(number) if number is not None and math.isfinite(number) and number == int(number) else number


def _services(current: InForce) -> list[NationalService]:
    return [service for service in NationalService if service in {NationalService.PDS, *current.budgets.services}]


class _Service:
    """The budget of one national service, with what the shared book tells of its use."""

    def __init__(self, service: NationalService, current: InForce, database: Database) -> None:
        self.name = service.value
        self.budget: ServiceBudget = current.budgets.of(service)
        self._organisation = current.asids.organisation
        store = SlotStore(database, service.value)
        try:
            self._book: Book
            self._book, reading = store.look()
        finally:
            store.close()
        self._now = reading.now

    def rows(self) -> Iterator[list[str]]:
        """Give the lines of the table."""
        yield [self.name, "every other ASID" if self.budget.asids else "every ASID", *_limit(self.budget.default)]
        for asid in sorted({*self.budget.asids, *self._book.lines}):
            ods_code = self._organisation(asid)
            called = f"ASID {asid}" + (f" ({ods_code})" if ods_code else "")
            yield [self.name, called, *_limit(self.budget.limit(asid)), *map(_said, self._use_of_asid(asid).values())]
        for client, limit in sorted(self.budget.clients.items()):
            use = self._use_of_client(client)
            yield [self.name, f"client {client}", *_limit(limit), *map(_said, use.values())]

    def as_object(self) -> dict[str, Any]:
        """Give the same for programs."""
        return {
            "default": self.budget.default,
            "asids": {
                asid: {"limit": self.budget.limit(asid), **self._use_of_asid(asid)}
                for asid in sorted({*self.budget.asids, *self._book.lines})
            },
            "clients": {
                client: {"limit": limit, **self._use_of_client(client)} for client, limit in self.budget.clients.items()
            },
            "shares": self.budget.shares,
        }

    def _use_of_asid(self, asid: str) -> dict[str, Any]:
        line = self._book.lines.get(asid)
        rate = 0.0
        if line is not None:
            rate = sum(line.rates) * math.exp(-max(0, self._now - line.rated_at) / SECOND / RATE_OVER_S)
        bucket = line.bucket if line is not None else None
        return {
            "of_late_per_second": round(rate, 1),
            "last_minute": self._last_minute(bucket, self.budget.limit(asid)),
            "waiting": self._waiting(asid=asid),
        }

    def _use_of_client(self, client: str) -> dict[str, Any]:
        return {
            "of_late_per_second": None,
            "last_minute": self._last_minute(self._book.clients.get(client), self.budget.clients[client]),
            "waiting": self._waiting(client=client),
        }

    def _last_minute(self, bucket: Bucket | None, limit: Limit) -> int | None:
        """Count the calls of the last minute; they are only kept where there is a limit of them."""
        if limit.per_minute is None:
            return None
        since = self._now // SECOND - MINUTE_S
        return sum(n for second, n in bucket.seconds.items() if second > since) if bucket is not None else 0

    def _waiting(self, *, asid: str | None = None, client: str | None = None) -> dict[str, int]:
        """Count the calls that wait, by lane."""
        found = dict.fromkeys(LANES, 0)
        for desk in self._book.desks.values():
            for want in desk.wants if desk.seen >= self._now - GONE_US else ():
                if want.asid == asid or want.client == client:
                    found[LANES[want.lane]] += want.waiting
        return {lane: count for lane, count in found.items() if count}


def _limit(limit: Limit) -> list[str]:
    return [f"{limit.per_second:g}", str(limit.burst), _NONE if limit.per_minute is None else str(limit.per_minute)]


def _said(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{count} {lane}" for lane, count in value.items())
    return _NONE if value is None else str(value)
