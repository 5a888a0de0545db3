"""Whoever reads the log is not shown what somebody with the database in hand has put in a payload's place."""

from collections.abc import Callable

import pytest

from minispine.audit.encoding import frame_bodies
from minispine.audit.events import Body
from minispine.audit.log import AuditLog
from minispine.audit.reading import bodies, events
from minispine.audit.vault import PayloadUnreadable
from minispine.storage import Database, Session, Store
from tests.audit.conftest import FIRST, VAULT, received
from tests.audit.long_log import disarm

FORGED = VAULT.seal(b'[{"nhs_number":"9999999468"},{}]', frame_bodies([Body("request", b"forged")]))


def in_the_clear(session: Session) -> None:
    """As the first release kept them, which takes no key."""
    clear = (b'[{"nhs_number":"9999999468"},{}]', frame_bodies([Body("request", b"forged")]), FIRST)
    session.run("UPDATE audit_payload SET wrapped = NULL, private = ?, bodies = ? WHERE sequence = ?", clear)


def encrypted(session: Session) -> None:
    """As somebody writes them who has the keys of the payloads."""
    values = (FORGED.salt, FORGED.wrapped, FORGED.private, FORGED.bodies, FIRST)
    session.run("UPDATE audit_payload SET salt = ?, wrapped = ?, private = ?, bodies = ? WHERE sequence = ?", values)


def without_key(session: Session) -> None:
    session.run("UPDATE audit_payload SET wrapped = NULL WHERE sequence = ?", (FIRST,))


def emptied(session: Session) -> None:
    session.run("UPDATE audit_payload SET private = NULL, bodies = NULL WHERE sequence = ?", (FIRST,))


@pytest.mark.parametrize("forge", [in_the_clear, encrypted, without_key, emptied])
def test_a_forged_payload_is_not_shown(database: Database, log: AuditLog, forge: Callable[[Session], None]) -> None:
    log.append_now(received("e2"))
    assert list(events(database, vault=VAULT))
    assert bodies(database, FIRST, VAULT)
    disarm(database)
    with database.session(Store.AUDIT) as session:
        session.begin()
        forge(session)
        session.commit()
    with pytest.raises(PayloadUnreadable):
        list(events(database, vault=VAULT))
    with pytest.raises(PayloadUnreadable):
        bodies(database, FIRST, VAULT)
