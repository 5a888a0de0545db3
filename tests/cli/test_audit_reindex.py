"""An index that was lost is made anew from the records, and finds them again."""

from pathlib import Path

import pytest

from minispine.audit import search
from minispine.audit.declaration import begin
from minispine.audit.keyfiles import make
from minispine.audit.log import AuditLog
from minispine.cli.app import run
from minispine.storage import Database, Store
from tests.audit.conftest import ACTOR, ORIGIN, SIGNER, START, received


def test_reindexing_finds_every_record_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys, _ = make(tmp_path / "keys")
    url = f"sqlite:{tmp_path}/data"
    with Database.open(url) as database:
        database.migrate()
        log = AuditLog(database, system_id="S", instance="i", vault=keys.vault(), now=lambda: START)
        begin(log, origin=ORIGIN, signer=SIGNER, authorities=(), actor=ACTOR.as_data())
        for number in range(20):
            log.append_now(received(f"e{number}"))
        log.close_now()
        with database.session(Store.AUDIT) as session:
            session.run("DELETE FROM audit_index_pending WHERE first > 5")
        assert run(["audit", "reindex", "--storage", url, "--audit-keys", str(tmp_path / "keys")]) == 0
        found = search.search(database, keys.vault(), search.Query(patient="9434765919"))
        assert len({event["sequence"] for event in found.events}) == 20
    assert capsys.readouterr().out == "the index has every record\n"
