"""Who is at the door: certificates of every condition, proxies, organisations, methods, and an operator's changes."""

import datetime
import signal
import ssl
import threading
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest

from minispine.audit import reading
from minispine.keys import pki
from minispine.keys.pki import Kind
from minispine.storage import Database
from tests.journeys.conftest import HouseMaker
from tests.journeys.house import House, Line, Spine, until
from tests.journeys.messages import ROBOT, VERIFY, Answer, Message

ASID_TYPE = "1.2.826.0.1285.0.2.0.107"
SMARTCARD_TYPE = "1.2.826.0.1285.0.2.0.67"
PROXY = "127.0.0.2"
HEADER = "x_ssl_client_cert"

Identity = dict[str, str | None]


def question(**identity: str | None) -> Message:
    return Message(VERIFY, nhs_number="9434765919", birth_date="20090310", **identity)


@pytest.fixture(scope="module")
def gate(keys: Path, spine: Spine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A provider behind a trusted proxy, with clients of every kind."""
    with House(tmp_path_factory.mktemp("gate"), keys, spine.url, spine.practices) as house:
        now = datetime.datetime.now(datetime.UTC)
        for name in ("brief", "gone", "old", "new", "far", "narrow", "lone"):
            pki.issue(house.keys, name, Kind.CLIENT, now=now, days=1)
        house.configure("machines", trusted_proxies=[PROXY]).write()
        house.load_organisations({"RXX": "200000000999", "RYY": "200000000888", "RAA": "20" * 6, "RBB": "20" * 6})
        house.register("ward", "--organisation", "RZZ")
        house.register("brief")
        house.register("gone")
        house.register("far", "--network", "127.9.0.0/16", "--network", "192.0.2.0/24")
        house.register("narrow", "--service", "getNHSNumber")
        yield house.start()


def must_be_denied(house: House, spine: Spine, answer: Answer, calls_before: int) -> None:
    answer.must_be_valid(None)
    assert (answer.status, answer.fault, answer.payload) == (500, "3000", None)
    assert len(spine.calls()) == calls_before


def pem(house: House, name: str) -> str:
    return urllib.parse.quote((house.keys / "issued" / f"{name}.pem").read_text().partition("-----END")[0] + _END)


_END = "-----END CERTIFICATE-----\n"


# ── certificates ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_without_a_certificate_there_is_a_readable_fault_and_one_record_a_minute(
    make_house: HouseMaker, spine: Spine
) -> None:
    house = make_house().start()
    before = len(spine.calls())
    for _ in range(5):
        with house.line(None) as line:
            for _ in range(5):
                must_be_denied(house, spine, line.ask(question()), before)
    refusals = [e for e in house.trail() if e["type"] == "peer.refused"]
    assert len(refusals) in (1, 2)  # two where the minute ended meanwhile
    house.stop()
    refusals = [e["data"] for e in house.trail() if e["type"] == "peer.refused"]
    assert {(r["peer"], r["reason"]) for r in refusals} == {("127.0.0.1", "no-certificate")}
    assert sum(r["count"] for r in refusals) == 25
    with Database.open(house.settings["storage"]["url"]) as database:
        assert not any(reading.bodies(database, n, house.vault) for n in range(1, house.last() + 1))


def test_a_certificate_that_is_not_registered_is_refused(gate: House, spine: Spine) -> None:
    before = len(spine.calls())
    must_be_denied(gate, spine, gate.ask(question(), "stranger"), before)
    assert gate.metric("minispine_peers_refused_total", reason="certificate-unknown") >= 1


def test_a_certificate_of_another_authority_ends_the_handshake(gate: House, spine: Spine, tmp_path: Path) -> None:
    pki.create(tmp_path / "other", now=datetime.datetime.now(datetime.UTC))
    forged = pki.issue(
        tmp_path / "other", "ward", Kind.CLIENT, now=datetime.datetime.now(datetime.UTC), organisation="A Trust"
    )
    context = ssl.create_default_context(cafile=str(gate.keys / "provider/ca.pem"))
    context.load_cert_chain(forged.certificate, forged.key)
    with pytest.raises(OSError), gate.line(context=context) as line:
        line.ask(question())


@pytest.mark.parametrize("other", ["provider", "spine-client"])
def test_a_certificate_of_another_realm_ends_the_handshake(gate: House, other: str) -> None:
    with pytest.raises(OSError), gate.line(other) as line:
        line.ask(question())


def test_a_certificate_runs_out_on_an_open_connection(gate: House, spine: Spine) -> None:
    yesterday = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    brief = yesterday + datetime.timedelta(seconds=3)
    pki.issue(gate.keys, "brief", Kind.CLIENT, now=brief, days=1, replace=True)
    with gate.line("brief") as line:
        assert line.ask(question()).code == "DEMOG-0001"
        until(lambda: line.ask(question()).fault)
        must_be_denied(gate, spine, line.ask(question()), len(spine.calls()))
    with pytest.raises(OSError), gate.line("brief") as line:
        line.ask(question())


def test_a_certificate_is_revoked_on_an_open_connection(gate: House, spine: Spine) -> None:
    with gate.line("gone") as line, gate.line() as other:
        assert line.ask(question()).code == "DEMOG-0001"
        pki.revoke(gate.keys, "gone", now=datetime.datetime.now(datetime.UTC))
        until(lambda: line.ask(question()).fault)
        must_be_denied(gate, spine, line.ask(question()), len(spine.calls()))
        assert other.ask(question()).code == "DEMOG-0001"
    assert gate.metric("minispine_peers_refused_total", reason="certificate-revoked") >= 1


def test_two_certificates_overlap(gate: House) -> None:
    gate.register("both", certificate="old")
    with gate.line("old") as old:
        until(lambda: old.ask(question()).code == "DEMOG-0001")
        new = str(gate.keys / "issued/new.pem")
        gate.must_run("client", "edit", "both", "--certificate", new, "--reason", "renewal")
        with gate.line("new") as renewed:
            until(lambda: renewed.ask(question()).code == "DEMOG-0001")
            assert old.ask(question()).code == "DEMOG-0001"
            gate.must_run("client", "edit", "both", "--remove-certificate", "CN=old", "--reason", "renewed")
            until(lambda: old.ask(question()).fault == "3000", 1.0)
            assert renewed.ask(question()).code == "DEMOG-0001"


def test_the_server_s_certificate_is_renewed_without_dropping_anybody(gate: House) -> None:
    assert gate.process is not None
    with gate.line() as before:
        pki.issue(gate.keys, "provider", Kind.SERVER, now=datetime.datetime.now(datetime.UTC), replace=True)
        gate.process.signal(signal.SIGHUP)

        def renewed() -> bool:
            with gate.line() as after:
                return after.server_certificate != before.server_certificate

        until(renewed)
        assert before.ask(question()).code == "DEMOG-0001"
        assert gate.ask(question()).code == "DEMOG-0001"


def test_files_that_cannot_be_used_leave_the_old_in_force(gate: House) -> None:
    assert gate.process is not None
    certificate = gate.keys / "issued/provider.pem"
    kept = certificate.read_bytes()
    refusals = len([x for x in gate.process.lines() if x.get("ref") == "MS0021"])
    certificate.write_text("not a certificate")
    try:
        gate.process.signal(signal.SIGHUP)
        until(lambda: len([x for x in gate.process.lines() if x.get("ref") == "MS0021"]) > refusals)  # type: ignore[union-attr]
        assert gate.ask(question()).code == "DEMOG-0001"
    finally:
        certificate.write_bytes(kept)
        gate.process.signal(signal.SIGHUP)


# ── a proxy in front ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_proxy_s_header_is_believed_and_nobody_else_s(gate: House, spine: Spine) -> None:
    carried = {HEADER: pem(gate, "ward")}
    with gate.line(None, source=PROXY) as line:
        assert line.ask(question(), **carried).code == "DEMOG-0001"
        before = len(spine.calls())
        must_be_denied(gate, spine, line.ask(question()), before)
        must_be_denied(gate, spine, line.ask(question(), **{HEADER: pem(gate, "stranger")}), before)
        must_be_denied(gate, spine, line.ask(question(), **{HEADER: "%00" * 100}), before)
        must_be_denied(gate, spine, line.ask(question(), **{HEADER: ""}), before)
    for source in ("127.0.0.1", "127.0.0.3"):
        with gate.line(None, source=source) as line:
            must_be_denied(gate, spine, line.ask(question(), **carried, x_forwarded_for=PROXY), before)
    with gate.line("stranger") as line:
        must_be_denied(gate, spine, line.ask(question(), **carried), before)


def test_behind_a_proxy_the_network_is_that_of_the_last_forwarded_address(gate: House, spine: Spine) -> None:
    carried = {HEADER: pem(gate, "far")}
    with gate.line(None, source=PROXY) as line:
        assert line.ask(question(), **carried, x_forwarded_for="10.0.0.1, 192.0.2.7").code == "DEMOG-0001"
        before = len(spine.calls())
        for elsewhere in ("10.0.0.1", "192.0.2.7, 10.0.0.1", "nowhere", ""):
            must_be_denied(gate, spine, line.ask(question(), **carried, x_forwarded_for=elsewhere), before)


# ── what a registration allows ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("certificate", "identity", "reason"),
    [
        ("ward", "urn:nhs-uk:identity:ods:RYY:jsmith", "organisation"),
        ("ward", "urn:nhs-uk:identity:ods:RZZ:jsmith", "asid"),
        ("far", "urn:nhs-uk:identity:ods:RXX:jsmith", "network"),
        ("narrow", "urn:nhs-uk:identity:ods:RXX:jsmith", "service"),
    ],
)
def test_what_is_not_registered_is_denied_and_recorded(
    gate: House, spine: Spine, certificate: str, identity: str, reason: str
) -> None:
    before, first = len(spine.calls()), gate.last() + 1
    must_be_denied(gate, spine, gate.ask(question(identity=identity), certificate), before)
    types = {e["type"]: e["data"] for e in gate.trail(first)}
    assert types["exchange.refused"]["reason"] == reason
    assert types["exchange.replied"]["fault"] == "3000"


@pytest.mark.requirement("ACCESS-1", "c")
def test_methods_are_allowed_for_each_service_and_taken_away_while_running(gate: House, spine: Spine) -> None:
    gate.register("lone")
    with gate.line("lone") as line:
        until(lambda: line.ask(question(identity=ROBOT)).code == "DEMOG-0001")
        gate.must_run("client", "edit", "lone", "--remove-method", "pds:1", "--reason", "attended only")
        until(lambda: line.ask(question(identity=ROBOT)).fault == "3000", 1.0)
        before = len(spine.calls())
        must_be_denied(gate, spine, line.ask(question(identity=ROBOT)), before)
        assert line.ask(question()).code == "DEMOG-0001"
        gate.must_run("client", "edit", "lone", "--method", "pds:1", "--reason", "again")
        until(lambda: line.ask(question(identity=ROBOT)).code == "DEMOG-0001", 1.0)


@pytest.mark.requirement("SMSP-IG-003", "a")
def test_spine_knows_each_organisation_by_its_asid(gate: House, spine: Spine) -> None:
    gate.must_run("client", "edit", "ward", "--organisation", "RYY", "--reason", "merger")
    try:
        for organisation, asid in (("RXX", "200000000999"), ("RYY", "200000000888")):
            identity = f"urn:nhs-uk:identity:ods:{organisation}:jsmith"
            until(lambda identity=identity: gate.ask(question(identity=identity)).code == "DEMOG-0001")  # type: ignore[misc]
            assert spine.calls()[-1]["asid"] == asid
        before = len(spine.calls())
        must_be_denied(gate, spine, gate.ask(question(identity="urn:nhs-uk:identity:ods:RZZ:jsmith")), before)
    finally:
        gate.must_run("client", "edit", "ward", "--remove-organisation", "RYY", "--reason", "divorce")
        until(lambda: gate.ask(question(identity="urn:nhs-uk:identity:ods:RYY:jsmith")).fault == "3000")


def test_an_asid_that_is_one_organisation_s_asks_unattended(gate: House, spine: Spine) -> None:
    message = question(identity="200000000999", identity_type=ASID_TYPE)
    assert gate.ask(message).code == "DEMOG-0001"
    received = gate.exchange(message.message_id)[0]["data"]
    assert (received["access_method"], received["organisation"]) == (1, "RXX")
    before = len(spine.calls())
    for asid in ("200000000000", "20" * 6, "200000000888"):  # unknown, two organisations', another organisation's
        must_be_denied(gate, spine, gate.ask(question(identity=asid, identity_type=ASID_TYPE)), before)


@pytest.mark.requirement("SMSP-AUDIT-002", "a")
@pytest.mark.requirement("SMSP-AUDIT-005", "a", "b")
@pytest.mark.parametrize(
    ("identity", "code", "reason"),
    [
        ({"identity": None}, "SMSP-0001", "identity.absent"),
        ({"identity": ""}, "SMSP-0001", "identity.blank"),
        ({"identity": "   "}, "SMSP-0001", "identity.blank"),
        ({"identity": "urn:nhs-uk:identity:ods:RXX"}, "SMSP-0001", "identity.organisation-alone"),
        ({"identity": "jsmith"}, "SMSP-0001", "identity.malformed"),
        ({"identity": "1", "identity_type": "1.2.3"}, "SMSP-0001", "identity.unknown-type"),
        ({"identity": "100102238986", "identity_type": SMARTCARD_TYPE}, "SMSP-0005", "identity.smartcard-incomplete"),
    ],
)
def test_nobody_unknown_is_asked_for(gate: House, spine: Spine, identity: Identity, code: str, reason: str) -> None:
    before = len(spine.calls())
    message = question(**identity)
    answer = gate.ask(message)
    answer.must_be_valid(None)
    assert (answer.status, answer.code, len(spine.calls())) == (200, code, before)
    events = gate.exchange(message.message_id)
    assert [e["type"] for e in events] == ["exchange.received", "exchange.refused", "exchange.replied"]
    assert events[1]["data"]["reason"] == reason


# ── disabling ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_disabling_ends_service_within_a_second_and_nothing_is_recorded_as_asked_after_it(
    gate: House, spine: Spine
) -> None:
    spine.faults({"action": "delay", "seconds": 0.05})
    lines = [gate.line() for _ in range(4)]
    stop = threading.Event()

    def keep_asking(line: Line) -> None:
        while not stop.is_set():
            line.ask(question())

    threads = [threading.Thread(target=keep_asking, args=(line,)) for line in lines]
    try:
        for thread in threads:
            thread.start()
        gate.must_run("client", "disable", "ward", "--reason", "suspicion")
        with gate.line() as line:
            until(lambda: line.ask(question()).fault == "3000", 1.0)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        for line in lines:
            line.socket.close()
    with gate.line() as line:
        before = len(spine.calls())
        must_be_denied(gate, spine, line.ask(question()), before)
    trail = gate.trail()
    disabled = max(e["sequence"] for e in trail if e["type"] == "client.disabled")
    after = [e for e in trail if e["sequence"] > disabled and e["client"] == "ward"]
    assert after
    assert "exchange.asked" not in {e["type"] for e in after}
    assert not [e for e in after if e["type"] == "exchange.replied" and "code" in e["data"]]
    gate.must_run("client", "enable", "ward", "--reason", "cleared")
    until(lambda: gate.ask(question()).code == "DEMOG-0001", 1.0)
