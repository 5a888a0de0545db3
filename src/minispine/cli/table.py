"""`minispine table`: the reference tables in force, those that ship or an operator's own (SMSP-CONF-001).

A table is checked whole, together with the others, before it is put in force. Every change is recorded with before and
after.
"""

import datetime
import json
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from cyclopts import Parameter

from minispine.audit.events import EventType
from minispine.cli.errors import Failed, Mistaken
from minispine.cli.output import table
from minispine.cli.registry import OpenRegistry, opened
from minispine.cli.trail import CONFIG
from minispine.cli.values import Reason, read_text, unknown
from minispine.provider.in_force import CLIENT, TABLE, Unusable
from minispine.vocabulary import budgets, cache_rules, codes, spine_codes


class Kind(msgspec.Struct, frozen=True):
    """A table by its name: what it says, and the document that ships."""

    purpose: str
    shipped: Callable[[], Mapping[str, Any]]


BUDGETS: Final = "budgets"
CACHE: Final = "cache"
KINDS: Final[dict[str, Kind]] = {
    BUDGETS: Kind("how often Spine may be called, and who goes first", budgets.shipped_document),
    CACHE: Kind("which answers of Spine are kept, for whom and how long", cache_rules.shipped_document),
    "organisations": Kind("the ASID of each organisation", dict),
    "spine-codes": Kind("the response code for each answer or failure of Spine", spine_codes.shipped_document),
    "vocabulary-pds": Kind("response codes and their texts", lambda: codes.shipped_document("pds")),
}


def list_(*, config: Path = CONFIG) -> None:
    """List the reference tables and which version of each is in force.

    Args:
        config: The provider's configuration, which says where the registry is.
    """
    rows = []
    with opened(config) as registry:
        for name, kind in KINDS.items():
            document = registry.documents(TABLE).get(name)
            if document is None:
                rows.append([name, kind.purpose, "as shipped", "", "", ""])
                continue
            last = registry.history(TABLE, name)[-1]
            changed_at = datetime.datetime.fromtimestamp(last.changed_at / 1_000_000, datetime.UTC)
            by = str(last.changed_by.get("account") or last.changed_by.get("uid") or "")
            rows.append(
                [name, kind.purpose, str(document.version), f"{changed_at:%Y-%m-%d %H:%M}Z", by, last.reason or ""]
            )
    table(("table", "says", "version", "since", "by", "reason"), rows)


def show(name: str, /, *, config: Path = CONFIG) -> None:
    """Print a table as it is in force, in the form that `table load` takes.

    Args:
        name: budgets, cache, organisations, spine-codes or vocabulary-pds.
        config: The provider's configuration, which says where the registry is.
    """
    kind = _kind(name)
    with opened(config) as registry:
        document = registry.documents(TABLE).get(name)
    print(json.dumps(document.body if document else kind.shipped(), indent=1, ensure_ascii=False))


def load(
    name: str, file: Annotated[Path, Parameter(allow_leading_hyphen=True)], /, *, reason: Reason, config: Path = CONFIG
) -> None:
    """Put a table of your own in force, after checking it.

    Args:
        name: budgets, cache, organisations, spine-codes or vocabulary-pds.
        file: The table: JSON, or TOML where the file's name ends in .toml; - for JSON from standard input.
        reason: Why, for the audit trail.
        config: The provider's configuration, which says where the registry is.
    """
    _kind(name)
    document, called = _read(file)
    with opened(config) as registry:
        before = registry.documents(TABLE).get(name)
        if before is not None and before.body == document:
            raise Failed(f"{name}: that is what is in force already, version {before.version}")
        change_table(registry, name, document, reason, called)


def reset(name: str, /, *, reason: Reason, config: Path = CONFIG) -> None:
    """Put the table that ships back in force.

    Args:
        name: budgets, cache, organisations, spine-codes or vocabulary-pds.
        reason: Why, for the audit trail.
        config: The provider's configuration, which says where the registry is.
    """
    _kind(name)
    with opened(config) as registry:
        if name not in registry.documents(TABLE):
            raise Failed(f"{name}: is as shipped already")
        change_table(registry, name, None, reason, None)


def change_table(
    registry: OpenRegistry, name: str, document: dict[str, Any] | None, reason: str, called: str | None
) -> None:
    """Put a table in force, None for the one that ships, and say so. `called` is where the document came from.

    Names that nobody bears are not refused but told: a client may be given its limit before it is registered, and may
    be taken off the register without anything having to be put right here.

    Raises:
        Mistaken: it does not hold together, or another table does not go with it.
        VersionConflict: somebody else has changed it since it was read.
        AuditUnavailable: the record could not be made.
    """
    shipped = dict(_kind(name).shipped())
    try:
        version = registry.change(TABLE, name, document, event=_event(name), reason=reason, shipped=shipped)
    except Unusable as unusable:
        # What is wrong may be in another table, which was made for the one that is replaced.
        own = unusable.document == f"table {name}"
        where = (called or name) if own else f"{unusable.document} does not go with it"
        raise Mistaken(f"{where}: {unusable.reason}") from None
    print(f"{name}: {'in force' if document is not None else 'as shipped again'}, version {version}")
    for nobody in _nobodies(registry, name, shipped if document is None else document):
        print(f"minispine: {name}: {nobody}; what is said of it has no effect yet", file=sys.stderr)


def _event(name: str) -> EventType:
    match name:
        case "budgets":
            return EventType.BUDGET_CHANGED
        case "cache":
            return EventType.CACHE_CHANGED
    return EventType.TABLE_CHANGED


def _nobodies(registry: OpenRegistry, name: str, document: Mapping[str, Any]) -> Iterator[str]:
    """Name what a table speaks of that is not there: clients, and accredited systems that no organisation has."""
    clients: set[str] = set()
    if name == BUDGETS:
        organisations = registry.documents(TABLE).get("organisations")
        asids = set(organisations.body.values()) if organisations else set()
        for budget in budgets.load_budgets(document).services.values():
            clients |= budget.clients.keys()
            yield from (f"no organisation has the ASID {asid}" for asid in sorted(budget.asids.keys() - asids))
    elif name == CACHE:
        for rule in cache_rules.load_cache_rules(document).rules:
            clients |= {*rule.clients} - {cache_rules.EVERY}
    yield from (f"no client is called {client!r}" for client in sorted(clients - registry.documents(CLIENT).keys()))


def _kind(name: str) -> Kind:
    if name not in KINDS:
        raise unknown("table", name, KINDS)
    return KINDS[name]


def _read(file: Path) -> tuple[dict[str, Any], str]:
    content, called = read_text(file)
    try:
        document = (
            tomllib.loads(content)
            if file.suffix == ".toml"
            else json.loads(content, object_pairs_hook=_without_repetition)
        )
    except tomllib.TOMLDecodeError as error:
        raise Mistaken(f"{called}: is not TOML: {error}") from None
    except json.JSONDecodeError as error:
        raise Mistaken(f"{called}: is not JSON: {error.msg.lower()} in line {error.lineno}") from None
    except _Repeated as repeated:
        raise Mistaken(f"{called}: {repeated}: stands there twice") from None
    if not isinstance(document, dict):
        raise Mistaken(f"{called}: must be a table of keys and values")
    return document, called


class _Repeated(Exception):
    """A key that occurs twice in one JSON object, of which JSON readers take the last and say nothing."""


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise _Repeated(key)
        found[key] = value
    return found
