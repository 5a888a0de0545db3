import contextlib
import datetime
import hashlib
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minispine.keys import pki
from minispine.keys.certificates import (
    CertificateUnreadable,
    RevocationLists,
    belong_together,
    describe,
    parse,
    read_facts,
    read_private_key,
)
from minispine.keys.files import KeyFileRefused, write_secret

DER = serialization.Encoding.DER


def test_the_facts_are_the_certificates_own_whichever_form_it_has(pki_folder: Path, now: datetime.datetime) -> None:
    issued = pki.issue(pki_folder, "ward", pki.Kind.CLIENT, now=now, organisation="Example, Trust", days=10)
    pem = issued.certificate.read_bytes()
    der = parse(pem).public_bytes(DER)
    facts = describe(der)
    assert facts == describe(pem)
    assert facts.subject == r"CN=ward,O=Example\, Trust"
    assert facts.issuer == "CN=minispine development clients,O=minispine development"
    assert facts.fingerprint == hashlib.sha256(der).hexdigest()
    assert facts.serial == parse(der).serial_number
    assert facts.days_left(now) == 10
    assert facts.not_before < now


@pytest.mark.filterwarnings("ignore")  # the library warns of odd serial numbers
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=400)
@given(changes=st.lists(st.tuples(st.integers(0, 600), st.integers(0, 255)), max_size=4), cut=st.integers(0, 700))
def test_any_bytes_are_a_certificate_or_unreadable(made: Path, changes: list[tuple[int, int]], cut: int) -> None:
    """Invariant: whatever the bytes, `describe` gives facts or raises CertificateUnreadable, and nothing else."""
    der = bytearray(parse((made / "clients" / "issuing.pem").read_bytes()).public_bytes(DER))
    for place, value in changes:
        der[place % len(der)] = value
    with contextlib.suppress(CertificateUnreadable):
        assert describe(bytes(der[:cut])).fingerprint == hashlib.sha256(der[:cut]).hexdigest()


def test_a_file_gives_all_its_certificates_in_order(made: Path) -> None:
    subjects = [facts.subject.split(",")[0] for facts in read_facts(made / "spine" / "ca.pem")]
    assert subjects == ["CN=minispine development spine", "CN=minispine development spine root"]


def test_a_key_belongs_to_its_own_certificate_only(made: Path) -> None:
    key = read_private_key(made / "clients" / "issuing.key")
    assert belong_together(parse((made / "clients" / "issuing.pem").read_bytes()), key)
    assert not belong_together(parse((made / "spine" / "issuing.pem").read_bytes()), key)


def test_an_encrypted_key_needs_its_password(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    encryption = serialization.BestAvailableEncryption(b"right")
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    file, right, wrong = tmp_path / "key.pem", tmp_path / "right", tmp_path / "wrong"
    write_secret(file, pem)
    write_secret(right, b"right\n")
    write_secret(wrong, b"wrong\n")
    assert read_private_key(file, right).public_key() == key.public_key()
    with pytest.raises(KeyFileRefused, match="no password file is given"):
        read_private_key(file)
    with pytest.raises(KeyFileRefused, match="that the password opens"):
        read_private_key(file, wrong)


def test_a_plain_key_with_a_password_file_and_no_key_at_all_are_refused(made: Path, tmp_path: Path) -> None:
    password = tmp_path / "password"
    write_secret(password, b"word\n")
    with pytest.raises(KeyFileRefused, match="not encrypted"):
        read_private_key(made / "clients" / "issuing.key", password)
    with pytest.raises(KeyFileRefused, match="no private key in PEM"):
        read_private_key(password)


class TestRevocationLists:
    def test_a_revoked_certificate_is_known_and_another_of_the_same_authority_is_not(
        self, pki_folder: Path, now: datetime.datetime
    ) -> None:
        lost = pki.issue(pki_folder, "lost", pki.Kind.CLIENT, now=now)
        kept = pki.issue(pki_folder, "kept", pki.Kind.CLIENT, now=now)
        pki.revoke(pki_folder, "lost", now=now)
        lists = RevocationLists.load([pki_folder / "clients" / "crl.pem"], lost.ca)
        assert lists.revoked(lost.facts)
        assert not lists.revoked(kept.facts)
        assert lists.can_tell(lost.facts, now)
        assert not lists.can_tell(msgspec.structs.replace(lost.facts, issuer="CN=somebody else"), now)
        assert not lists.can_tell(lost.facts, now + datetime.timedelta(days=pki.CRL_DAYS + 1))
        assert RevocationLists.load([], lost.ca).can_tell(lost.facts, now)

    def test_the_same_serial_of_another_authority_is_not_revoked(
        self, pki_folder: Path, now: datetime.datetime
    ) -> None:
        lost = pki.issue(pki_folder, "lost", pki.Kind.CLIENT, now=now)
        pki.revoke(pki_folder, "lost", now=now)
        lists = RevocationLists.load([pki_folder / "clients" / "crl.pem"], lost.ca)
        elsewhere = pki.issue(pki_folder, "server", pki.Kind.SERVER, now=now).facts
        assert not lists.revoked(type(elsewhere)(**{**_fields(elsewhere), "serial": lost.facts.serial}))

    def test_a_list_signed_by_another_authority_is_refused(self, made: Path) -> None:
        with pytest.raises(KeyFileRefused, match="not signed by an authority"):
            RevocationLists.load([made / "clients" / "crl.pem"], made / "spine" / "ca.pem")

    def test_a_list_that_borrows_the_authoritys_name_is_refused(
        self, made: Path, tmp_path: Path, now: datetime.datetime
    ) -> None:
        forged = _list(made, now, signer=ec.generate_private_key(ec.SECP256R1()))
        with pytest.raises(KeyFileRefused, match="not signed by an authority"):
            RevocationLists.load([_file(tmp_path, forged)], made / "clients" / "ca.pem")

    @pytest.mark.parametrize(
        "scope", [x509.DeltaCRLIndicator(1), x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\5\0")]
    )
    def test_a_list_that_says_it_is_not_whole_is_refused(
        self, made: Path, tmp_path: Path, now: datetime.datetime, scope: x509.ExtensionType
    ) -> None:
        with pytest.raises(KeyFileRefused, match="critical extension not understood"):
            RevocationLists.load([_file(tmp_path, _list(made, now, extension=scope))], made / "clients" / "ca.pem")

    def test_a_list_for_other_authorities_is_refused(self, made: Path, tmp_path: Path, now: datetime.datetime) -> None:
        scope = x509.IssuingDistributionPoint(None, None, False, False, None, True, False)
        with pytest.raises(KeyFileRefused, match="other authorities"):
            RevocationLists.load([_file(tmp_path, _list(made, now, extension=scope))], made / "clients" / "ca.pem")

    def test_a_list_is_read_in_der_and_two_in_one_pem_file(
        self, pki_folder: Path, tmp_path: Path, now: datetime.datetime
    ) -> None:
        both = tmp_path / "both.pem"
        ca = tmp_path / "ca.pem"
        for place in ("clients", "spine"):
            with both.open("ab") as lists, ca.open("ab") as authorities:
                lists.write((pki_folder / place / "crl.pem").read_bytes())
                authorities.write((pki_folder / place / "ca.pem").read_bytes())
        loaded = RevocationLists.load([both], ca)
        issued = [
            msgspec.structs.replace(facts, issuer=facts.subject)
            for facts in (read_facts(pki_folder / r / "issuing.pem")[0] for r in pki.Realm)
        ]
        assert [loaded.can_tell(facts, now) for facts in issued] == [True, False, True]
        der = _file(tmp_path, _list(pki_folder, now))
        assert RevocationLists.load([der], ca).problems(now) == []

    def test_what_is_no_list_is_refused(self, made: Path, tmp_path: Path) -> None:
        for content in (b"", b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n", b"\x30\x03"):
            with pytest.raises(KeyFileRefused, match="no certificate revocation list"):
                RevocationLists.load([_file(tmp_path, content)], made / "clients" / "ca.pem")

    def test_a_list_out_of_date_is_reported(self, made: Path, now: datetime.datetime) -> None:
        lists = RevocationLists.load([made / "clients" / "crl.pem"], made / "clients" / "ca.pem")
        assert lists.problems(now) == []
        (late,) = lists.problems(now + datetime.timedelta(days=31))
        assert "out of date since 2026-03-31" in late
        (early,) = lists.problems(now - datetime.timedelta(days=1))
        assert "not in force before" in early


def _fields(facts: object) -> dict[str, object]:
    return {name: getattr(facts, name) for name in facts.__struct_fields__}  # type: ignore[attr-defined]


def _list(
    folder: Path,
    now: datetime.datetime,
    *,
    signer: ec.EllipticCurvePrivateKey | None = None,
    extension: x509.ExtensionType | None = None,
) -> bytes:
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(parse((folder / "clients" / "issuing.pem").read_bytes()).subject)
        .last_update(now)
        .next_update(now + datetime.timedelta(days=1))
    )
    if extension is not None:
        builder = builder.add_extension(extension, critical=True)
    key = signer or read_private_key(folder / "clients" / "issuing.key")
    return builder.sign(key, hashes.SHA256()).public_bytes(DER)  # type: ignore[arg-type]


def _file(tmp_path: Path, content: bytes) -> Path:
    file = tmp_path / "list.crl"
    file.write_bytes(content)
    return file
