"""A provider on PostgreSQL under an account that may only add: it serves, is backed up, and goes on from the backup."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from minispine.storage import Database, StorageUnavailable, Store
from tests.databases import Postgres
from tests.journeys.house import House, Spine, until
from tests.journeys.messages import VERIFY, Message

ROLE = "serving"


@pytest.fixture
def kept(keys: Path, spine: Spine, own_postgres: Postgres, tmp_path: Path) -> Iterator[tuple[House, str]]:
    """A house whose account of the database owns nothing, and the owner's address."""
    owner = own_postgres.url("postgres").replace("@/", "@localhost/")
    with House(tmp_path / "house", keys, spine.url, spine.practices) as house:
        house.configure("storage", url=owner.replace("//postgres@", f"//{ROLE}@"))
        house.configure("", workers=2, profile="demonstration")
        house.write()
        house.must_run("audit", "init", "--without-redaction", "--owner-url", owner)
        house.load_organisations()
        house.register()
        yield house, owner


def ask(house: House) -> None:
    answer = house.ask(Message(VERIFY, nhs_number="9434765919", birth_date="20090310"))
    assert answer.status == 200, answer


@pytest.mark.requirement("SMSP-AUDIT-001", "b")
@pytest.mark.requirement("MSCA-AUD-01", "b")
def test_it_serves_is_backed_up_meanwhile_and_goes_on_from_the_backup(
    kept: tuple[House, str], own_postgres: Postgres, tmp_path: Path
) -> None:
    house, owner = kept
    house.start()
    ask(house)
    backup = tmp_path / "backup"
    house.must_run("backup", str(backup))
    ask(house)
    with (
        Database.open(house.settings["storage"]["url"]) as database,
        database.session(Store.AUDIT) as session,
        pytest.raises(StorageUnavailable, match="InsufficientPrivilege"),
    ):
        session.run("DELETE FROM audit_record")
    last = house.last()
    house.must_run("audit", "checkpoint")
    with Database.open(owner) as database, database.session(Store.AUDIT) as session:
        [(seen,)] = session.rows("SELECT note FROM audit_checkpoint ORDER BY number DESC LIMIT 1")
    (tmp_path / "witnessed").write_text(seen)
    assert house.stop() == 0

    own_postgres.admin("DROP SCHEMA public CASCADE")
    own_postgres.admin("CREATE SCHEMA public")
    said = house.must_run(
        *("restore", str(backup), "--approved-by", "A. Director", "--reason", "drill", "--owner-url", owner),
        *("--witnessed", str(tmp_path / "witnessed")),
    )
    assert "begins epoch 2" in said
    assert house.last() < last
    house.start()
    until(lambda: house.ready()[0] == 200, what="ready again")
    ask(house)
    assert house.stop() == 0
    verified = house.run("audit", "verify", "--checkpoint", str(tmp_path / "witnessed"))
    assert verified.returncode in (0, 3), verified.stderr
