"""A version of the registry is taken whole, or not at all."""

import copy
import datetime

import msgspec
import pytest

from minispine.domain.identity import AccessMethod
from minispine.domain.operations import NationalService, Operation
from minispine.provider import in_force
from minispine.provider.clients import CertificateNames, ClientCertificate, Registration
from minispine.storage import Document, Snapshot
from minispine.vocabulary import codes, spine_codes

NOW = datetime.datetime(2026, 11, 21, tzinfo=datetime.UTC)
NAMES = CertificateNames(subject="CN=ward", issuer="CN=Issuing", fingerprint="aa")


def registration(name: str, **changes: object) -> dict[str, object]:
    whole = Registration(
        name=name,
        certificates=(ClientCertificate(subject="CN=ward", issuer="CN=Issuing"),),
        organisations=("RXX",),
        services=tuple(Operation),
        methods={NationalService.PDS: (AccessMethod.ATTENDED,)},
    )
    body: dict[str, object] = msgspec.to_builtins(msgspec.structs.replace(whole, **changes), str_keys=True)
    return body


def snapshot(clients: dict[str, object] | None = None, tables: dict[str, object] | None = None) -> Snapshot:
    kinds = {"client": clients or {}, "table": tables or {}}
    return Snapshot(7, {kind: {key: Document(3, body) for key, body in held.items()} for kind, held in kinds.items()})  # type: ignore[arg-type, misc]


def test_an_empty_registry_has_nobody_and_the_tables_that_ship() -> None:
    current = in_force.read(snapshot())
    assert current.clients == {}
    assert current.vocabulary == codes.shipped_vocabulary("pds")
    assert current.spine_codes.rows == spine_codes.shipped_spine_codes().rows
    assert current.asids.asid("RXX") is None


def test_a_client_is_found_by_its_certificate() -> None:
    current = in_force.read(snapshot({"ward": registration("ward")}))
    found = current.client_by_certificate(NAMES, NOW)
    assert found is not None
    assert (found.registration.name, found.version) == ("ward", 3)
    assert current.client_by_certificate(msgspec.structs.replace(NAMES, subject="CN=x"), NOW) is None


def test_a_certificate_that_two_clients_claim_is_nobodys() -> None:
    both = {"one": registration("one"), "two": registration("two")}
    assert in_force.read(snapshot(both)).client_by_certificate(NAMES, NOW) is None
    one_disabled = both | {"two": registration("two", enabled=False)}
    found = in_force.read(snapshot(one_disabled)).client_by_certificate(NAMES, NOW)
    assert found is not None
    assert found.registration.name == "one"


def test_an_operators_vocabulary_is_in_force() -> None:
    document = copy.deepcopy(codes.shipped_document("pds"))
    document["codes"]["DEMOG-0001"] = "Nobody found"
    current = in_force.read(snapshot(tables={"vocabulary-pds": document}))
    assert current.vocabulary.text("DEMOG-0001") == "Nobody found"


def test_what_does_not_hold_together_is_named() -> None:
    with pytest.raises(in_force.Unusable, match="client ward"):
        in_force.read(snapshot({"ward": {"name": "ward"}}))
    with pytest.raises(in_force.Unusable, match="table organisations"):
        in_force.read(snapshot(tables={"organisations": {"RXX": "12"}}))


def test_tables_must_fit_each_other() -> None:
    document = copy.deepcopy(codes.shipped_document("pds"))
    del document["codes"]["DEMOG-0001"]
    with pytest.raises(in_force.Unusable, match="spine-codes"):
        in_force.read(snapshot(tables={"vocabulary-pds": document}))
