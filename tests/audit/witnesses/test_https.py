"""A witness over HTTPS, against one that really checks consistency, over real TLS."""

import itertools
from collections.abc import Callable
from contextlib import ExitStack

import msgspec
import pytest

from minispine.audit.checkpoint import Checkpoint, open_checkpoint
from minispine.audit.note import open_note
from minispine.audit.witnesses.https import HttpsRecipient
from minispine.audit.witnesses.recipient import Conflict, Recipient, Refused, Superseded, Taken, Unreachable
from minispine.config.settings import HttpsWitness
from tests.audit.conftest import ORIGIN, SIGNER
from tests.audit.witnesses.conftest import Issue, Showing
from tests.audit.witnesses.doubles import Authority, WitnessServer, babbling_server, deaf_server

Show = Callable[[Recipient], Showing]


@pytest.fixture
def server(authority: Authority, closing: ExitStack) -> WitnessServer:
    server = WitnessServer(authority.server(), SIGNER.verifier)
    closing.callback(server.close)
    return server


@pytest.fixture
def settings(server: WitnessServer, authority: Authority) -> HttpsWitness:
    url = f"https://localhost:{server.port}/smsp/"
    return HttpsWitness(name="region", url=url, vkey=str(server.cosigner.verifier), ca=authority.ca, timeout_s=10.0)


def test_a_witness_signs_each_checkpoint_that_extends_the_last(
    issue: Issue, showing: Show, settings: HttpsWitness, server: WitnessServer
) -> None:
    show = showing(HttpsRecipient(settings))
    for records in (0, 4, 0, 300, 1):
        stored = issue(records)
        note = show(stored)
        assert open_checkpoint(note, SIGNER.verifier) == stored.checkpoint == server.seen
        opened = open_note(note, [server.cosigner.verifier])
        assert [each.name for each in opened.verified] == ["witness.example/w1"]
        assert note.startswith(stored.note)
    assert server.statuses == [200] * 5


def test_a_witness_that_has_seen_other_than_we_remember_says_so_and_is_asked_again(
    issue: Issue, showing: Show, settings: HttpsWitness, server: WitnessServer
) -> None:
    show = showing(HttpsRecipient(settings))
    show(issue(5))
    show.before = Taken()
    show(issue(5))
    assert server.statuses == [200, 409, 200]
    server.seen = None
    show(issue(1))
    assert server.statuses[3:] == [409, 200]


def test_a_witness_of_an_earlier_epoch_begins_anew(
    issue: Issue, showing: Show, settings: HttpsWitness, server: WitnessServer
) -> None:
    """The log has another name then, of which the witness has seen nothing."""
    show = showing(HttpsRecipient(settings))
    show.before = Taken(7, 2, 4)
    show(issue(9))
    assert server.requests[0][1].startswith(b"old 0\n\n")


@pytest.mark.requirement("SMSP-AUDIT-001", "a")
def test_a_log_that_was_rewritten_is_a_conflict(
    issue: Issue, showing: Show, settings: HttpsWitness, server: WitnessServer
) -> None:
    show = showing(HttpsRecipient(settings))
    show(issue(9))
    server.seen = Checkpoint(ORIGIN, 7, bytes(32))
    with pytest.raises(Conflict, match="first 7 records"):
        show(issue(3))
    assert server.statuses == [200, 409, 422]


def test_a_log_that_was_cut_is_a_conflict(
    issue: Issue, showing: Show, settings: HttpsWitness, server: WitnessServer
) -> None:
    server.seen = Checkpoint(ORIGIN, 70, bytes(32))
    with pytest.raises(Conflict, match="it has seen 70 records"):
        showing(HttpsRecipient(settings))(issue(9))


def test_a_later_checkpoint_that_another_process_took_there_is_no_conflict(
    issue: Issue, showing: Show, settings: HttpsWitness
) -> None:
    show = showing(HttpsRecipient(settings))
    early, late = issue(5), issue(5)
    show(late)
    show.before = Taken()
    with pytest.raises(Superseded):
        show(early)


@pytest.mark.parametrize(
    ("says", "error", "why"),
    [
        ((200, b""), Refused, "does not hold a signature"),
        ((200, b"nonsense"), Refused, "does not hold a signature"),
        ((200, "— witness.example/w1 AAAAAAAA\n".encode()), Refused, "does not hold a signature"),
        ((301, b""), Refused, "status 301"),
        ((400, b""), Refused, "could not read"),
        ((403, b""), Refused, "signature of this log"),
        ((404, b""), Refused, "does not know this log"),
        ((409, b"x\n"), Refused, "what it has seen"),
        ((409, b"007\n"), Refused, "what it has seen"),
        ((409, b"9" * 5000), Refused, "what it has seen"),
        ((409, b"3\n"), Unreachable, "another size"),
        ((429, b""), Unreachable, "status 429"),
        ((503, b"secret words"), Unreachable, "status 503"),
    ],
)
def test_what_is_no_signature_is_not_taken(
    issue: Issue,
    showing: Show,
    settings: HttpsWitness,
    server: WitnessServer,
    says: tuple[int, bytes],
    error: type[Exception],
    why: str,
) -> None:
    server.says = says
    with pytest.raises(error, match=why) as raised:
        showing(HttpsRecipient(settings))(issue(9))
    assert "secret" not in str(raised.value)
    assert str(server.port) not in str(raised.value)


def test_only_the_configured_key_counts(
    issue: Issue, showing: Show, settings: HttpsWitness, server: WitnessServer
) -> None:
    other = msgspec.structs.replace(settings, vkey=str(type(server.cosigner.verifier)("witness.example/w1", bytes(32))))
    with pytest.raises(Refused, match="signature"):
        showing(HttpsRecipient(other))(issue(9))


def test_a_server_that_is_only_posted_to_gets_the_note(
    issue: Issue, showing: Show, settings: HttpsWitness, server: WitnessServer
) -> None:
    plain = msgspec.structs.replace(settings, protocol="post", vkey=None, url=settings.url + "notes")
    server.says = (204, b"")
    stored = issue(9)
    assert showing(HttpsRecipient(plain))(stored) == stored.note
    assert server.requests == [("/smsp/notes", stored.note.encode())]
    server.says = (302, b"")
    with pytest.raises(Refused, match="302"):
        showing(HttpsRecipient(plain))(stored)


def test_a_server_of_another_authority_or_name_is_not_told_anything(
    issue: Issue, showing: Show, settings: HttpsWitness, server: WitnessServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = Authority(tmp_path_factory.mktemp("other") / "pki")
    for changed in ({"ca": other.ca}, {"url": settings.url.replace("localhost", "127.0.0.1")}):
        with pytest.raises(Refused, match="not trusted"):
            showing(HttpsRecipient(msgspec.structs.replace(settings, **changed)))(issue(1))
    assert server.requests == []
    with pytest.raises(Refused, match="not a readable PEM"):
        showing(HttpsRecipient(msgspec.structs.replace(settings, ca=other.ca.with_name("none.pem"))))(issue(1))


def test_our_own_certificate_is_shown_to_who_asks(
    issue: Issue, showing: Show, settings: HttpsWitness, authority: Authority, closing: ExitStack
) -> None:
    server = WitnessServer(authority.server(asks_for_certificate=True), SIGNER.verifier)
    closing.callback(server.close)
    without = msgspec.structs.replace(settings, url=f"https://localhost:{server.port}/smsp")
    with pytest.raises((Refused, Unreachable)):
        showing(HttpsRecipient(without))(issue(1))
    certificate, key = authority.client()
    show = showing(HttpsRecipient(msgspec.structs.replace(without, certificate=certificate, key=key)))
    show(issue(1))
    assert server.statuses == [200]
    key.chmod(0o640)
    with pytest.raises(Refused, match="is open to others"):
        show(issue(1))


def test_a_witness_that_is_away_or_deaf_is_unreachable_soon(
    issue: Issue, showing: Show, settings: HttpsWitness, server: WitnessServer
) -> None:
    with deaf_server() as port:
        deaf = msgspec.structs.replace(settings, url=f"https://localhost:{port}", timeout_s=0.05)
        with pytest.raises(Unreachable, match="in time"):
            showing(HttpsRecipient(deaf))(issue(1))
    away = msgspec.structs.replace(settings, url=f"https://localhost:{port}")
    with pytest.raises(Unreachable, match="cannot be reached"):
        showing(HttpsRecipient(away))(issue(1))
    nowhere = msgspec.structs.replace(settings, url=f"https://{'x' * 64}.example")
    with pytest.raises(Refused, match="its name"):
        showing(HttpsRecipient(nowhere))(issue(1))


def test_a_witness_that_says_a_little_at_a_time_ends_no_later(
    issue: Issue, showing: Show, settings: HttpsWitness, authority: Authority
) -> None:
    """It goes on with interim answers, each in time, by a clock that goes on a second at each look."""
    with babbling_server(authority.server(), b"HTTP/1.1 100 Continue\r\n\r\n") as port:
        babbling = msgspec.structs.replace(settings, url=f"https://localhost:{port}", timeout_s=10.0)
        seconds = itertools.count()
        with pytest.raises(Unreachable, match="in time"):
            showing(HttpsRecipient(babbling, monotonic=lambda: float(next(seconds))))(issue(1))
    assert next(seconds) == 11
