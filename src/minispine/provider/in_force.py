"""What is in force now: the registered clients and the tables, as the registry has them (Law 11).

A worker looks at the registry's version several times a second and takes a new one whole, or, where a document in it
does not hold together, keeps the old and says so. The tables that nobody has loaded are those that ship.
"""

import datetime
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar

import msgspec

from minispine.provider.clients import CertificateNames, Registration, accepts
from minispine.storage import Snapshot
from minispine.vocabulary.asids import Asids, load_asids
from minispine.vocabulary.budgets import Budgets, load_budgets, shipped_budgets
from minispine.vocabulary.cache_rules import CacheRules, load_cache_rules, shipped_cache_rules
from minispine.vocabulary.codes import Vocabulary, load_vocabulary, shipped_vocabulary
from minispine.vocabulary.spine_codes import SpineCodes, load_spine_codes, shipped_document
from minispine.vocabulary.tables import TableInvalid

T = TypeVar("T")

CLIENT: Final = "client"
TABLE: Final = "table"


class Client(msgspec.Struct, frozen=True):
    """A registration together with the version of its document."""

    registration: Registration
    version: int


class Unusable(Exception):
    """The registry holds a document that cannot be used; nothing of that version is taken."""

    def __init__(self, document: str, reason: str) -> None:
        super().__init__(f"{document}: {reason}")
        self.document = document
        self.reason = reason


class InForce(msgspec.Struct, frozen=True, kw_only=True):
    """One version of the registry, read and checked."""

    version: int
    clients: dict[str, Client]
    vocabulary: Vocabulary
    spine_codes: SpineCodes
    asids: Asids
    budgets: Budgets
    cache_rules: CacheRules
    by_subject: dict[tuple[str, str], tuple[str, ...]]
    """Names of clients by the subject and issuer of their certificates."""

    def client_by_certificate(self, certificate: CertificateNames, now: datetime.datetime) -> Client | None:
        """Find the one client that a certificate belongs to; a disabled one only where no enabled one has it.

        Two registrations with a claim to it mean nobody: which of them is asking cannot be told.
        """
        names = self.by_subject.get((certificate.subject, certificate.issuer), ())
        found = [c for c in map(self.clients.__getitem__, names) if accepts(c.registration, certificate, now)]
        found = [c for c in found if c.registration.enabled] or found
        return found[0] if len(found) == 1 else None


def read(snapshot: Snapshot) -> InForce:
    """Check a snapshot of the registry and make it ready for use.

    Raises:
        Unusable: naming the document at fault.
    """
    tables = {key: document.body for key, document in snapshot.documents.get(TABLE, {}).items()}
    vocabulary = _table(tables, "vocabulary-pds", load_vocabulary, lambda: shipped_vocabulary("pds"))
    spine_codes = _table(
        tables,
        "spine-codes",
        lambda body: load_spine_codes(body, vocabulary.texts),
        # Also what ships must fit a vocabulary that an operator loaded.
        lambda: load_spine_codes(shipped_document(), vocabulary.texts),
    )
    asids = _table(tables, "organisations", load_asids, lambda: load_asids({}))
    budgets = _table(tables, "budgets", load_budgets, shipped_budgets)
    cache_rules = _table(tables, "cache", load_cache_rules, shipped_cache_rules)
    clients: dict[str, Client] = {}
    for key, document in snapshot.documents.get(CLIENT, {}).items():
        try:
            clients[key] = Client(msgspec.convert(document.body, Registration, strict=False), document.version)
        except msgspec.ValidationError as error:
            raise Unusable(f"client {key}", str(error)) from None
    return InForce(
        version=snapshot.version,
        clients=clients,
        vocabulary=vocabulary,
        spine_codes=spine_codes,
        asids=asids,
        budgets=budgets,
        cache_rules=cache_rules,
        by_subject=_by_subject(clients.items()),
    )


def _table(tables: Mapping[str, Any], key: str, load: Callable[[Any], T], shipped: Callable[[], T]) -> T:
    try:
        return load(tables[key]) if key in tables else shipped()
    except TableInvalid as error:
        raise Unusable(f"table {key}", str(error)) from None


def _by_subject(clients: Iterable[tuple[str, Client]]) -> dict[tuple[str, str], tuple[str, ...]]:
    index: dict[tuple[str, str], tuple[str, ...]] = {}
    for name, client in clients:
        for known in {(c.subject, c.issuer) for c in client.registration.certificates}:
            index[known] = (*index.get(known, ()), name)
    return index
