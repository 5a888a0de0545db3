"""The table of cache rules: what may be kept of each national service's answers, by whose leave, and for how long.

``services`` says for each national service whether its answers may be kept at all, and where that rule comes from
(SMSP-CACHE-001 b). ``rule`` says for which clients and operations they are, and for how long (SMSP-CACHE-002 c); what
no rule names is not kept, so that the table as it ships keeps nothing. How is `provider/cache`'s business.
"""

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Annotated, Any, Final

import msgspec

from minispine.domain.operations import NationalService, Operation
from minispine.vocabulary.tables import TableInvalid, converted

MOST_OUTAGE_S: Final = 86_400
"""The greatest age of anything that is given while Spine is unavailable, whatever a rule says."""
EVERY: Final = "*"
"""What stands for all operations, or all clients."""
NEVER: Final = frozenset({NationalService.FGM})
"""Services whose answers no table can have kept (the FGM provider's requirement 003)."""


class ServiceRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whether answers of a national service may be kept, and who says so."""

    kept: bool
    source: str


class CacheRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is kept for which clients and operations. ``*`` in either stands for all of them.

    `ttl_s` is the age up to which an answer is given while Spine could be asked, `outage_s` that up to which it is
    given while Spine is unavailable; one that is less than `ttl_s` changes nothing. With neither, or with no `entries`,
    nothing is kept for those that the rule is for, whatever a later rule says. `entries` bounds how many answers are
    kept for one client and operation. `name` stands in the audit trail, `reason` is the use that the ages are chosen
    for.
    """

    name: Annotated[str, msgspec.Meta(pattern="^[a-z0-9][a-z0-9-]{0,39}$")]
    service: NationalService
    operations: tuple[str, ...] = (EVERY,)
    clients: tuple[str, ...] = (EVERY,)
    ttl_s: Annotated[int, msgspec.Meta(ge=0, le=MOST_OUTAGE_S)] = 0
    outage_s: Annotated[int, msgspec.Meta(ge=0, le=MOST_OUTAGE_S)] = 0
    entries: Annotated[int, msgspec.Meta(ge=0, le=10_000_000)] = 10_000
    reason: str = ""

    def concerns(self, operation: Operation, client: str) -> bool:
        """Tell whether the rule is for this operation of this client."""
        return (EVERY in self.operations or operation in self.operations) and (
            EVERY in self.clients or client in self.clients
        )

    @property
    def keeps(self) -> bool:
        """Whether anything is kept by it at all."""
        return self.entries > 0 and (self.ttl_s > 0 or self.outage_s > 0)


class CacheRules(msgspec.Struct, frozen=True, kw_only=True):
    """A table that was checked."""

    version: str
    services: dict[NationalService, ServiceRule]
    rules: tuple[CacheRule, ...] = ()

    def rule(self, operation: Operation, client: str) -> CacheRule | None:
        """Give the first rule for this operation of this client; None where nothing may be kept."""
        service = operation.national_service
        allowed = self.services.get(service)
        if allowed is None or not allowed.kept or service in NEVER:
            return None
        found = (r for r in self.rules if r.service is service and r.concerns(operation, client))
        first = next(found, None)
        return first if first is not None and first.keeps else None

    @property
    def any(self) -> bool:
        """Whether any rule keeps anything."""
        return any(rule.keeps and self.services[rule.service].kept for rule in self.rules)


class _Document(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    version: str
    services: dict[NationalService, ServiceRule]
    rule: tuple[CacheRule, ...] = ()


def load_cache_rules(document: Mapping[str, Any]) -> CacheRules:
    """Read the table.

    Raises:
        TableInvalid: a key that is not known, a national service without its rule and source, one that may never be
            kept and is said to be, a rule that keeps answers of a service that is not kept, or does not say for which
            use, an operation that there is not, an age beyond `MOST_OUTAGE_S`, or a rule's name that is there twice.
            `key` is the place in the document.
    """
    read = _read(document)
    for service in NationalService:
        if service not in read.services:
            raise TableInvalid(
                f"services.{service}", "is missing: say whether its answers may be kept, and who says so"
            )
        if not read.services[service].source.strip():
            raise TableInvalid(f"services.{service}.source", "must say where the rule comes from")
        if read.services[service].kept and service in NEVER:
            raise TableInvalid(f"services.{service}.kept", "must be false: its answers may never be kept")
    seen: set[str] = set()
    for number, rule in enumerate(read.rule, start=1):
        place = f"rule {number} ({rule.name})"
        if rule.name in seen:
            raise TableInvalid(place, "the name is there twice")
        seen.add(rule.name)
        if rule.keeps and not read.services[rule.service].kept:
            raise TableInvalid(place, f"answers of {rule.service} may not be kept")
        if rule.keeps and not rule.reason.strip():
            raise TableInvalid(f"{place}.reason", "must say for which use the ages are chosen")
        known = [operation.value for operation in Operation if operation.national_service is rule.service]
        for operation in rule.operations:
            if operation not in {*known, EVERY}:
                raise TableInvalid(
                    f"{place}.operations", f"{rule.service} has no {operation!r}; there is {', '.join([*known, EVERY])}"
                )
    return CacheRules(version=read.version, services=read.services, rules=read.rule)


def _read(document: Mapping[str, Any]) -> "_Document":
    """Read a document's form: rule by rule, so that what is wrong is found under the rule's number."""
    rules = document.get("rule", [])
    if not isinstance(rules, list | tuple):
        raise TableInvalid("rule", "must be a list of rules")
    read = tuple(converted(rule, CacheRule, f"rule {number}") for number, rule in enumerate(rules, start=1))
    services = document.get("services")
    if isinstance(services, Mapping):
        for name, service in services.items():
            if name not in set(NationalService):
                raise TableInvalid(f"services.{name}", f"is no national service; there is {', '.join(NationalService)}")
            converted(service, ServiceRule, f"services.{name}")
    rest = {key: value for key, value in document.items() if key != "rule"}
    return msgspec.structs.replace(converted(rest, _Document, "cache"), rule=read)


def shipped_document() -> dict[str, Any]:
    """Give the table as it ships: the rule of each national service, and nothing kept."""
    return tomllib.loads((files("minispine.vocabulary") / "cache.toml").read_text("utf-8"))


@cache
def shipped_cache_rules() -> CacheRules:
    """Give the shipped table, checked."""
    return load_cache_rules(shipped_document())
