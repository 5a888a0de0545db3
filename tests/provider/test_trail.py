"""The record of an answer can be found by who asked and about whom, together with what came of it."""

import msgspec
import pytest

from minispine.audit.declaration import begin
from minispine.audit.events import Entry, Guard
from minispine.audit.log import AuditLog
from minispine.audit.search import Query, matching
from minispine.domain.identity import AccessMethod, AuditId, Identified, SpineAuthor
from minispine.domain.operations import Operation
from minispine.domain.request import PdsRequest
from minispine.provider.trail import Trail
from minispine.storage import Database
from tests.audit.conftest import ORIGIN, SIGNER, START, VAULT
from tests.audit.samples import ACTOR

ASKED, GIVEN = "9434765919", "9449310467"
CLERK = Identified(organisation="RXX", method=AccessMethod.ATTENDED, user_code="jsmith")
DOCTOR = Identified(
    organisation="RXX",
    method=AccessMethod.SMARTCARD,
    author=SpineAuthor(role_profile_id="100102238986", user_id="687227875014", role_id="R8000"),
)


def begun(identity: str, body: bytes = b"<request/>") -> Trail:
    """The trail of an exchange whose envelope was read, with this audit identity."""
    trail = Trail(
        exchange="E-1",
        client="ward",
        peer="10.0.0.1",
        path="/smsp/pds",
        lane="attended",
        arrived_at=START,
        body=body,
        now=lambda: START,
    )
    trail.envelope(
        message_id="M-1",
        operation=Operation.GET_PATIENT_DETAILS,
        service="urn:service",
        tracking_id="T-1",
        audit_identity=[AuditId("1.2", identity)],
    )
    return trail


def answered(identified: Identified, *, number: str | None, given: str | None) -> tuple[Entry, Entry]:
    """The two records of an exchange."""
    trail = begun("urn:nhs-uk:identity:ods:RXX:jsmith")
    trail.identified(identified, "200000000001")
    trail.asked_for(PdsRequest(operation=Operation.GET_PATIENT_DETAILS, birth_date="20090310", nhs_number=number))
    opening = trail.opening(Guard("ward", 1))
    trail.opened()
    trail.replied(b"<reply/>", nhs_number=given, source="spine", status=200, code="DEMOG-0017")
    return opening, trail.closing(None)


def write(database: Database, entries: tuple[Entry, Entry]) -> None:
    """Begin a log, and write them as its second and third record."""
    log = AuditLog(database, system_id="SMSP-1", instance="provider", vault=VAULT, now=lambda: START)
    begin(log, origin=ORIGIN, signer=SIGNER, authorities=(), actor=ACTOR.as_data())
    for entry in entries:
        log.append_now(msgspec.structs.replace(entry, guard=None))
    log.close_now()


@pytest.mark.parametrize(
    "who",
    [
        {"user": "jsmith"},
        {"organisation": "RXX"},
        {"identifier": "M-1"},
        {"user": "urn:nhs-uk:identity:ods:RXX:jsmith"},
    ],
)
@pytest.mark.parametrize("patient", [ASKED, GIVEN])
def test_who_asked_about_whom_and_what_came_of_it_meet_in_one_record(
    sqlite_database: Database,
    who: dict[str, str],
    patient: str,
) -> None:
    """A superseded number: asked about by the old one, the new one is given."""
    write(sqlite_database, answered(CLERK, number=ASKED, given=GIVEN))
    assert list(matching(sqlite_database, VAULT, Query(outcome="DEMOG-0017", patient=patient, **who))) == [3]


def test_the_holder_of_a_smartcard_stands_in_both_records(sqlite_database: Database) -> None:
    write(sqlite_database, answered(DOCTOR, number=None, given=None))
    for user in ("687227875014", "100102238986"):
        assert list(matching(sqlite_database, VAULT, Query(user=user))) == [2, 3]


def test_nothing_is_said_twice_in_one_record() -> None:
    trail = Trail(
        exchange="E-1",
        client="ward",
        peer="p",
        path="/",
        lane="attended",
        arrived_at=START,
        body=b"",
        now=lambda: START,
    )
    trail.identified(CLERK, None)
    trail.refused("busy")
    trail.replied(b"<fault/>", source="local", status=500, fault="2100")
    received, _, replied = trail.closing(None).events
    assert received.data["user_code"] == "jsmith"
    assert "user_code" not in replied.data


def test_an_audit_identity_that_was_not_accepted_is_kept_in_private_and_found_by(database: Database) -> None:
    """Whatever a caller may have written there, the hashed part has none of it, and no order is needed against it."""
    written = "urn:nhs-uk:identity:9434765919 MARKERBY"
    trail = begun(written, body=b"")
    trail.refused("identity.malformed")
    trail.replied(b"<reply/>", source="local", status=200, code="SMSP-0001")
    entry = trail.closing(None)
    assert "MARKERBY" not in str([event.data for event in entry.events])
    assert entry.events[0].private["audit_identity"] == [{"type": "1.2", "uri": written}]
    write(database, (entry, entry))
    for query in (Query(user=written), Query(identifier=written)):
        assert list(matching(database, VAULT, query)) == [2, 3]
