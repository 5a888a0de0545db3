"""The table of budgets: how many calls a second each national service may be sent, and who goes first (SMSP-PERF-001).

A document has a part for each national service (``pds``): the limit of every accredited system that has none of its
own (``per_second``, ``burst``, ``per_minute``), then ``asids`` and ``clients`` with limits of their own, and
``shares``. The limit of an ASID is what NHS England granted it; that of a client is a second one, within it. How a
limit is kept is `provider/admission`'s business (Law 3).
"""

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Annotated, Any, Final

import msgspec

from minispine.domain.lanes import Lane
from minispine.domain.operations import NationalService
from minispine.vocabulary.asids import ASID
from minispine.vocabulary.tables import TableInvalid

MOST_PER_SECOND: Final = 100_000.0
MOST_SHARED: Final = 0.5
"""The lower lanes together are never guaranteed more than this part of the budget."""

Rate = Annotated[float, msgspec.Meta(gt=0, le=MOST_PER_SECOND)]
Count = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
Share = Annotated[float, msgspec.Meta(ge=0, le=MOST_SHARED)]


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


class _Written(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One service's part of a document."""

    per_second: Rate
    burst: Count = 1
    per_minute: Count | None = None
    asids: dict[str, Limit] = {}
    clients: dict[str, Limit] = {}
    shares: dict[Lane, Share] = {}


class _Document(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    version: str
    pds: _Written | None = None
    cpis: _Written | None = None
    scr: _Written | None = None
    fgm: _Written | None = None


def load_budgets(document: Mapping[str, Any]) -> Budgets:
    """Read the table.

    Raises:
        TableInvalid: a key that is not known, a limit that is none, an ASID that is not one, lower lanes that are
            guaranteed more than `MOST_SHARED` together, or the lane that goes first guaranteed anything.
    """
    try:
        read = msgspec.convert(dict(document), _Document, strict=False)
    except msgspec.ValidationError as error:
        raise TableInvalid("budgets", str(error)) from None
    services = {}
    for service in NationalService:
        written: _Written | None = getattr(read, service.value)
        if written is not None:
            services[service] = _service(service.value, written)
    return Budgets(version=read.version, services=services)


def _service(name: str, written: _Written) -> ServiceBudget:
    for asid in written.asids:
        if not ASID.fullmatch(asid):
            raise TableInvalid(f"{name}.asids.{asid}", "is not an ASID of 12 digits")
    if written.shares.get("attended"):
        raise TableInvalid(f"{name}.shares.attended", "needs no share: it goes first anyway")
    if sum(written.shares.values()) > MOST_SHARED:
        raise TableInvalid(f"{name}.shares", f"are more than {MOST_SHARED:g} together")
    return ServiceBudget(
        default=Limit(per_second=written.per_second, burst=written.burst, per_minute=written.per_minute),
        asids=written.asids,
        clients=written.clients,
        shares={lane: share for lane, share in written.shares.items() if share},
    )


def shipped_document() -> dict[str, Any]:
    """Give the table as it ships: what NHS England grants by default."""
    return tomllib.loads((files("minispine.vocabulary") / "budgets.toml").read_text("utf-8"))


@cache
def shipped_budgets() -> Budgets:
    """Give the shipped table, checked."""
    return load_budgets(shipped_document())
