"""Who is at the door, by certificate or by a trusted proxy's word."""

import datetime
import urllib.parse
from pathlib import Path
from typing import Any, cast

import pytest

from minispine.keys import pki
from minispine.keys.certificates import CertificateFacts, RevocationLists, read_facts
from minispine.provider.clients import ClientCertificate, Registration
from minispine.provider.http.gate import Caller, Gate, Stranger
from minispine.provider.http.protocol import Connection
from minispine.provider.in_force import Client, InForce, _by_subject
from minispine.vocabulary.budgets import shipped_budgets
from minispine.vocabulary.cache_rules import shipped_cache_rules

NOW = datetime.datetime(2026, 11, 21, 12, 0, tzinfo=datetime.UTC)
PROXY, HOSPITAL = "10.0.0.1", "192.0.2.7"


class Arrived:
    """A connection by which a certificate came, or none."""

    def __init__(self, certificate: CertificateFacts | None) -> None:
        self.certificate = certificate


class Place:
    """A PKI with one client, and the registry that knows it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        pki.create(folder, now=NOW)
        self.issued = pki.issue(folder, "ward", pki.Kind.CLIENT, now=NOW)
        facts = self.issued.facts
        ward = Registration(
            name="ward",
            certificates=(ClientCertificate(subject=facts.subject, issuer=facts.issuer),),
            organisations=(),
            services=(),
            methods={},
        )
        clients = {"ward": Client(ward, 1)}
        self.in_force = InForce(
            version=1,
            clients=clients,
            vocabulary=cast(Any, None),
            spine_codes=cast(Any, None),
            budgets=shipped_budgets(),
            cache_rules=shipped_cache_rules(),
            asids=cast(Any, None),
            by_subject=_by_subject(clients.items()),
        )

    def lists(self) -> RevocationLists:
        return RevocationLists.load([self.folder / "clients" / "crl.pem"], self.folder / "clients" / "ca.pem")

    def who(
        self,
        certificate: CertificateFacts | None,
        headers: list[tuple[bytes, bytes]] | None = None,
        *,
        peer: str = HOSPITAL,
        now: datetime.datetime = NOW,
    ) -> Caller | Stranger:
        gate = Gate(trusted_proxies=(PROXY,), proxy_header="X-SSL-Client-Cert", revoked=self.lists())
        return gate.who(cast(Connection, Arrived(certificate)), headers or [], peer, self.in_force, now)

    @property
    def header(self) -> tuple[bytes, bytes]:
        pem = self.issued.certificate.read_text()
        return b"x-ssl-client-cert", urllib.parse.quote(pem).encode()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("gate") / "pki")


def name(found: Caller | Stranger) -> str:
    return found.client.registration.name if isinstance(found, Caller) else found.reason


def test_a_registered_certificate_is_its_client(place: Place) -> None:
    found = place.who(place.issued.facts)
    assert isinstance(found, Caller)
    assert (name(found), found.address) == ("ward", HOSPITAL)


def test_everybody_else_is_a_stranger(place: Place) -> None:
    facts = place.issued.facts
    other = pki.issue(place.folder, "other", pki.Kind.CLIENT, now=NOW).facts
    assert name(place.who(None)) == "no-certificate"
    assert name(place.who(other)) == "certificate-unknown"
    lists_renewed = facts.not_after + datetime.timedelta(seconds=1)
    assert name(place.who(facts, now=lists_renewed)) == "certificate-expired"
    assert name(place.who(facts, now=facts.not_before - datetime.timedelta(seconds=1))) == "certificate-expired"


def test_a_revoked_certificate_and_an_old_list_are_refused(tmp_path: Path) -> None:
    place = Place(tmp_path / "pki")
    assert name(place.who(place.issued.facts)) == "ward"
    pki.revoke(place.folder, "ward", now=NOW)
    assert name(place.who(place.issued.facts)) == "certificate-revoked"
    later = NOW + datetime.timedelta(days=200)
    assert name(place.who(place.issued.facts, now=later)) == "revocation-unknown"


def test_a_proxys_word_counts_from_its_address_only(place: Place) -> None:
    forwarded = (b"x-forwarded-for", b"203.0.113.1, 192.0.2.7")
    found = place.who(None, [place.header, forwarded], peer=PROXY)
    assert isinstance(found, Caller)
    assert (name(found), found.address) == ("ward", HOSPITAL)
    assert name(place.who(None, [place.header, forwarded], peer="10.0.0.2")) == "no-certificate"
    assert name(place.who(None, [(b"x-ssl-client-cert", b"rubbish")], peer=PROXY)) == "certificate-unreadable"


def test_the_facts_of_the_header_are_those_of_the_file(place: Place) -> None:
    assert read_facts(place.issued.certificate)[0] == place.issued.facts
