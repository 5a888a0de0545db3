"""A witness that is a syslog server, over real TLS."""

import re
from collections.abc import Callable
from contextlib import ExitStack

import msgspec
import pytest

from minispine.audit.checkpoint import open_checkpoint
from minispine.audit.witnesses.recipient import Recipient, Refused, Unreachable
from minispine.audit.witnesses.syslog import SyslogRecipient
from minispine.config.settings import SyslogWitness
from tests.audit.conftest import SIGNER
from tests.audit.witnesses.conftest import Issue, Showing
from tests.audit.witnesses.doubles import Authority, SyslogServer, deaf_server, dripping_server

Show = Callable[[Recipient], Showing]

# RFC 5424, section 6: PRI and VERSION, TIMESTAMP, HOSTNAME, APP-NAME, PROCID, MSGID, no STRUCTURED-DATA, UTF-8 MSG.
HEADER = re.compile(
    rb"<109>1 (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z) [!-~]{1,255} minispine \d+ checkpoint - \xef\xbb\xbf(.*)", re.S
)


@pytest.fixture
def start(authority: Authority, closing: ExitStack) -> Callable[..., tuple[SyslogServer, SyslogWitness]]:
    def started(
        *, rude: bool = False, name: str = "localhost", asks_for_certificate: bool = False
    ) -> tuple[SyslogServer, SyslogWitness]:
        context = authority.server(name=name, asks_for_certificate=asks_for_certificate)
        server = SyslogServer(context, rude=rude)
        closing.callback(server.close)
        return server, SyslogWitness(name="siem", host="localhost", port=server.port, ca=authority.ca)

    return started


Start = Callable[..., tuple[SyslogServer, SyslogWitness]]


@pytest.mark.parametrize("rude", [False, True])
def test_each_checkpoint_is_one_message_with_the_note_as_it_is(
    issue: Issue, showing: Show, start: Start, rude: bool
) -> None:
    server, settings = start(rude=rude)
    show = showing(SyslogRecipient(settings, turned_down_within_s=0.05))
    stored = [issue(3), issue(0)]
    assert [show(each) for each in stored] == [each.note for each in stored]
    assert len(server.messages) == 2
    for message, each in zip(server.messages, stored, strict=True):
        found = HEADER.fullmatch(message)
        assert found is not None
        assert found[1].startswith(b"2026-09-21T")
        assert open_checkpoint(found[2], SIGNER.verifier) == each.checkpoint


def test_a_server_of_another_name_is_sent_nothing(issue: Issue, showing: Show, start: Start) -> None:
    server, settings = start(name="elsewhere.example")
    with pytest.raises(Refused, match="not trusted"):
        showing(SyslogRecipient(settings))(issue(1))
    assert server.messages == []


def test_a_server_that_asks_for_a_certificate_gets_ours_and_without_it_nothing_counts_as_taken(
    issue: Issue, showing: Show, start: Start, authority: Authority
) -> None:
    server, settings = start(asks_for_certificate=True)
    with pytest.raises((Refused, Unreachable)):
        showing(SyslogRecipient(settings, turned_down_within_s=10))(issue(1))
    certificate, key = authority.client()
    settings = msgspec.structs.replace(settings, certificate=certificate, key=key)
    showing(SyslogRecipient(settings, turned_down_within_s=0.05))(issue(1))
    assert len(server.messages) == 1
    assert len(server.clients) == 1


def test_a_server_that_is_away_or_deaf_is_unreachable_soon(issue: Issue, showing: Show, authority: Authority) -> None:
    with deaf_server() as port:
        settings = SyslogWitness(name="siem", host="localhost", port=port, ca=authority.ca, timeout_s=0.05)
        with pytest.raises(Unreachable, match="in time"):
            showing(SyslogRecipient(settings))(issue(1))
    with pytest.raises(Unreachable, match="cannot be reached"):
        showing(SyslogRecipient(settings))(issue(1))


def test_a_server_that_drips_its_handshake_is_unreachable_soon(
    issue: Issue, showing: Show, authority: Authority
) -> None:
    with dripping_server() as port:
        settings = SyslogWitness(name="siem", host="localhost", port=port, ca=authority.ca, timeout_s=0.2)
        with pytest.raises(Unreachable, match="in time"):
            showing(SyslogRecipient(settings))(issue(1))
