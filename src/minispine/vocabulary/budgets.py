"""The table of budgets: how many calls a second each national service may be sent, and who goes first (SMSP-PERF-001).

A document has a part for each national service (``pds``): the limit of every accredited system that has none of its
own (``per_second``, ``burst``, ``per_minute``), then ``asids`` and ``clients`` with limits of their own, and
``shares``. The limit of an ASID is what NHS England granted it; that of a client is a second one, within it. How a
limit is kept is `provider/admission`'s business (Law 3).
"""

import re
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Annotated, Any, Final

import msgspec

from minispine.domain.lanes import LANES, Lane
from minispine.domain.operations import NationalService
from minispine.vocabulary.asids import ASID
from minispine.vocabulary.tables import TableInvalid, converted

LEAST_PER_SECOND: Final = 0.001
MOST_PER_SECOND: Final = 100_000.0
MOST_SHARED: Final = 0.5
"""The lower lanes together are never guaranteed more than this part of the budget."""

Rate = Annotated[float, msgspec.Meta(ge=LEAST_PER_SECOND, le=MOST_PER_SECOND)]
Count = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
Share = Annotated[float, msgspec.Meta(ge=0, le=MOST_SHARED)]

_CLIENT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""What the name of a client looks like; whether there is one of that name is not asked here."""


class Limit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A limit of calls: any window of W seconds holds at most ``per_second * W + burst`` of them.

    With `per_minute`, any window of 60 seconds holds at most so many besides.
    """

    per_second: Rate
    burst: Count = 1
    per_minute: Count | None = None


class ServiceBudget(msgspec.Struct, frozen=True, kw_only=True):
    """The budget of one national service.

    `default` holds for an ASID that is not in `asids`. A client that is in `clients` keeps to that limit as well, over
    all ASIDs. `shares` is the part of the slots that a lane is guaranteed while it has somebody waiting; a lane that is
    not in it has none.
    """

    default: Limit
    asids: dict[str, Limit] = {}
    clients: dict[str, Limit] = {}
    shares: dict[Lane, float] = {}

    def limit(self, asid: str) -> Limit:
        """Give the limit of an accredited system."""
        return self.asids.get(asid, self.default)


class Budgets(msgspec.Struct, frozen=True, kw_only=True):
    """A table that was checked."""

    version: str
    services: dict[NationalService, ServiceBudget]

    def of(self, service: NationalService) -> ServiceBudget:
        """Give the budget of a national service; one that the table does not name has that which ships for PDS."""
        return self.services.get(service) or shipped_budgets().services[NationalService.PDS]


class _Written(Limit, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One service's part of a document."""

    asids: dict[str, Any] = {}
    clients: dict[str, Any] = {}
    shares: dict[str, Any] = {}


def load_budgets(document: Mapping[str, Any]) -> Budgets:
    """Read the table.

    Raises:
        TableInvalid: a key that is not known, a limit that is none, an ASID or a client's name that cannot be one,
            lower lanes that are guaranteed more than `MOST_SHARED` together, or the lane that goes first guaranteed
            anything. `key` is the place in the document.
    """
    version = document.get("version")
    if not isinstance(version, str) or not version.strip():
        raise TableInvalid("version", "must be a text that is not blank")
    services = {}
    for name, part in document.items():
        if name == "version":
            continue
        if name not in set(NationalService):
            raise TableInvalid(name, f"is no national service; there is {', '.join(NationalService)}")
        services[NationalService(name)] = _service(name, converted(part, _Written, name))
    return Budgets(version=version, services=services)


def _service(name: str, written: _Written) -> ServiceBudget:
    for asid in written.asids:
        if not ASID.fullmatch(asid):
            raise TableInvalid(f"{name}.asids.{asid}", "is not an ASID of 12 digits")
    for client in written.clients:
        if not _CLIENT.fullmatch(client):
            raise TableInvalid(f"{name}.clients.{client}", "cannot be the name of a client")
    return ServiceBudget(
        default=Limit(per_second=written.per_second, burst=written.burst, per_minute=written.per_minute),
        asids=_limits(written.asids, f"{name}.asids"),
        clients=_limits(written.clients, f"{name}.clients"),
        shares=_shares(written.shares, f"{name}.shares"),
    )


def _limits(written: Mapping[str, Any], place: str) -> dict[str, Limit]:
    return {key: converted(limit, Limit, f"{place}.{key}") for key, limit in written.items()}


def _shares(written: Mapping[str, Any], place: str) -> dict[Lane, float]:
    shares: dict[Lane, float] = {}
    for name, share in written.items():
        lane = next((lane for lane in LANES if lane == name), None)
        if lane is None:
            raise TableInvalid(f"{place}.{name}", f"is no lane; there is {', '.join(LANES)}")
        if part := converted(share, Share, f"{place}.{name}"):
            shares[lane] = part
    if LANES[0] in shares:
        raise TableInvalid(f"{place}.{LANES[0]}", "needs no share: it goes first anyway")
    if sum(shares.values()) > MOST_SHARED:
        raise TableInvalid(place, f"are more than {MOST_SHARED:g} together")
    return shares


def shipped_document() -> dict[str, Any]:
    """Give the table as it ships: what NHS England grants by default."""
    return tomllib.loads((files("minispine.vocabulary") / "budgets.toml").read_text("utf-8"))


@cache
def shipped_budgets() -> Budgets:
    """Give the shipped table, checked."""
    return load_budgets(shipped_document())
