import datetime
import shutil
import socket
import ssl
import subprocess
import threading
from pathlib import Path

import pytest
from cryptography import x509

from minispine.keys import pki
from minispine.keys.certificates import RevocationLists, parse, read_certificates
from minispine.keys.files import KeyFileRefused
from minispine.keys.pki import Kind, PkiRefused, Realm

TODAY = datetime.datetime.now(datetime.UTC)


@pytest.fixture(scope="module")
def living(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PKI made now, because TLS reads the clock."""
    folder = tmp_path_factory.mktemp("living") / "pki"
    pki.create(folder, now=TODAY)
    for name, kind in (
        ("ward", Kind.CLIENT),
        ("smsp", Kind.SERVER),
        ("spine", Kind.SPINE_SERVER),
        ("us", Kind.SPINE_CLIENT),
    ):
        pki.issue(folder, name, kind, now=TODAY)
    return folder


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext, hostname: str) -> str | None:
    """Run one TLS handshake over a pair of sockets; give the client's subject CN, or None when either side refused."""
    left, right = socket.socketpair()
    seen: list[str | None] = [None]

    def serve() -> None:
        try:
            with server.wrap_socket(left, server_side=True) as connection:
                connection.sendall(b"!")
                subject = connection.getpeercert()["subject"]  # type: ignore[index]
                seen[0] = dict(pair for rdn in subject for pair in rdn)["commonName"]  # type: ignore[misc]
        except (ssl.SSLError, OSError):
            left.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with client.wrap_socket(right, server_hostname=hostname) as connection:
            if connection.recv(1) != b"!":
                seen[0] = None
    except (ssl.SSLError, OSError):
        right.close()
        seen[0] = None
    thread.join()
    return seen[0]


def contexts(
    folder: Path, server: str, server_ca: str, client: str, client_ca: str
) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(folder / "issued" / f"{server}.pem", folder / "issued" / f"{server}.key")
    serving.load_verify_locations(folder / client_ca / "ca.pem")
    serving.verify_mode = ssl.CERT_REQUIRED
    calling = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    calling.load_verify_locations(folder / server_ca / "ca.pem")
    calling.load_cert_chain(folder / "issued" / f"{client}.pem", folder / "issued" / f"{client}.key")
    for context in (serving, calling):
        context.verify_flags |= ssl.VERIFY_X509_STRICT
    return serving, calling


@pytest.mark.parametrize("hostname", ["localhost", "127.0.0.1", "::1"])
def test_both_ways_of_the_product_come_up_under_mutual_tls(living: Path, hostname: str) -> None:
    assert shake_hands(*contexts(living, "smsp", "provider", "ward", "clients"), hostname) == "ward"
    assert shake_hands(*contexts(living, "spine", "spine", "us", "spine"), hostname) == "us"


def test_no_realm_passes_for_another_and_no_client_for_a_server(living: Path) -> None:
    assert shake_hands(*contexts(living, "smsp", "provider", "us", "clients"), "localhost") is None
    assert shake_hands(*contexts(living, "spine", "provider", "ward", "clients"), "localhost") is None
    assert shake_hands(*contexts(living, "smsp", "provider", "spine", "spine"), "localhost") is None
    assert shake_hands(*contexts(living, "us", "spine", "us", "spine"), "localhost") is None
    assert shake_hands(*contexts(living, "smsp", "provider", "ward", "clients"), "example.org") is None


def test_openssl_finds_the_chain_and_the_list_sound(living: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("the openssl command is not installed")
    place = living / "clients"
    command = [
        "openssl",
        "verify",
        "-x509_strict",
        "-crl_check",
        "-CRLfile",
        place / "crl.pem",
        "-CAfile",
        place / "ca.pem",
    ]
    done = subprocess.run([*command, living / "issued" / "ward.pem"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_private_keys_are_for_their_owner_only(living: Path) -> None:
    keys = list(living.rglob("*.key"))
    assert len(keys) == 2 * len(Realm) + 4
    assert {key.stat().st_mode & 0o777 for key in keys} == {0o600}


def test_the_certificate_names_hosts_and_holds_as_long_as_asked(pki_folder: Path, now: datetime.datetime) -> None:
    issued = pki.issue(pki_folder, "far", Kind.SERVER, now=now, days=7, hosts=("smsp.example.org", "192.0.2.7"))
    certificate = parse(issued.certificate.read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["smsp.example.org"]
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["192.0.2.7"]
    assert issued.facts.days_left(now) == 7


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"name": "../evil"}, "cannot be a file's name"),
        ({"days": 0}, "1 to 3650 days"),
        ({"hosts": ("not a host",)}, "neither a host name nor an IP address"),
        ({"hosts": ()}, "at least one host"),
        ({"common_name": "x" * 65}, "too long"),
    ],
)
def test_what_cannot_be_issued_is_refused_and_leaves_no_file(
    pki_folder: Path, now: datetime.datetime, change: dict[str, object], reason: str
) -> None:
    arguments: dict[str, object] = {"name": "n", "kind": Kind.SERVER, "now": now, **change}
    with pytest.raises(PkiRefused, match=reason):
        pki.issue(pki_folder, **arguments)  # type: ignore[arg-type]
    assert list((pki_folder / "issued").iterdir()) == []


def test_a_name_is_taken_until_a_replacement_is_asked_for(pki_folder: Path, now: datetime.datetime) -> None:
    first = pki.issue(pki_folder, "ward", Kind.CLIENT, now=now)
    with pytest.raises(PkiRefused, match="exists"):
        pki.issue(pki_folder, "ward", Kind.CLIENT, now=now)
    second = pki.issue(pki_folder, "ward", Kind.CLIENT, now=now, replace=True)
    assert second.facts.subject == first.facts.subject
    assert second.facts.fingerprint != first.facts.fingerprint


def test_revoking_a_name_revokes_every_certificate_it_had_and_raises_the_lists_number(
    pki_folder: Path, now: datetime.datetime
) -> None:
    issued = [pki.issue(pki_folder, "ward", Kind.CLIENT, now=now, replace=True) for _ in range(2)]
    other = pki.issue(pki_folder, "other", Kind.CLIENT, now=now)
    (path,) = pki.revoke(pki_folder, "ward", now=now)
    lists = RevocationLists.load([path], other.ca)
    assert [lists.revoked(one.facts) for one in (*issued, other)] == [True, True, False]
    listed = x509.load_pem_x509_crl(path.read_bytes())
    assert listed.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == 2
    with pytest.raises(PkiRefused, match="left to revoke"):
        pki.revoke(pki_folder, "ward", now=now)


def test_renewed_lists_still_name_what_was_revoked(pki_folder: Path, now: datetime.datetime) -> None:
    lost = pki.issue(pki_folder, "lost", Kind.CLIENT, now=now)
    pki.revoke(pki_folder, "lost", now=now)
    later = now + datetime.timedelta(days=40)
    lists = RevocationLists.load(pki.renew_lists(pki_folder, now=later)[:1], lost.ca)
    assert lists.revoked(lost.facts)
    assert lists.problems(later) == []


def test_a_folder_is_made_once_and_used_only_when_made(
    pki_folder: Path, tmp_path: Path, now: datetime.datetime
) -> None:
    with pytest.raises(PkiRefused, match="already holds a PKI"):
        pki.create(pki_folder, now=now)
    with pytest.raises(PkiRefused, match="minispine pki init"):
        pki.issue(tmp_path, "x", Kind.CLIENT, now=now)
    (tmp_path / "file").write_text("")
    with pytest.raises(KeyFileRefused, match="not a directory"):
        pki.create(tmp_path / "file", now=now)


def test_an_authoritys_key_open_to_others_issues_nothing(pki_folder: Path, now: datetime.datetime) -> None:
    (pki_folder / "clients" / "issuing.key").chmod(0o644)
    with pytest.raises(KeyFileRefused, match="open to others"):
        pki.issue(pki_folder, "x", Kind.CLIENT, now=now)
    assert len(read_certificates(pki_folder / "clients" / "ca.pem")) == 2
