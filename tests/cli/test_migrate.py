"""`minispine migrate`, and the account that serves on PostgreSQL, as an operator sets them up."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from minispine.audit.opening import open_database
from minispine.config import load
from minispine.storage import Database, Store
from tests.cli.conftest import Command
from tests.databases import Postgres
from tests.storage import release_one

NAME = "minispine_serving"


@pytest.fixture
def served(config: Path, postgres: Postgres, postgresql_url: str, tmp_path: Path) -> Iterator[str]:
    """A configuration in which an account serves that is not there yet; the address of the tables' owner."""
    owner = postgresql_url.replace("@/", "@localhost/")
    postgres.admin("DROP SCHEMA public CASCADE")
    postgres.admin("CREATE SCHEMA public")
    password = tmp_path / "password"
    password.write_text("a long password\n")
    password.chmod(0o600)
    url = owner.replace("//postgres@", f"//{NAME}@")
    config.write_text(
        config.read_text().replace("[clock]", f'[storage]\nurl = "{url}"\npassword_file = "{password}"\n[clock]')
    )
    yield owner
    postgres.admin("DROP SCHEMA public CASCADE")
    postgres.admin("CREATE SCHEMA public")
    postgres.admin(f"DROP ROLE IF EXISTS {NAME}")


@pytest.mark.requirement("SMSP-AUDIT-001", "b")
def test_init_makes_an_account_that_serves_and_owns_nothing(minispine: Command, config: Path, served: str) -> None:
    done = minispine("audit", "init", "--config", config, "--without-redaction", "--owner-url", served)
    assert done.code == 0, done.err
    assert f"made the account {NAME} of the database" in done.out
    assert "owns the tables" not in done.err
    assert minispine("audit", "events", "--config", config).code == 0
    again = minispine("audit", "init", "--config", config, "--without-redaction", "--owner-url", served)
    assert (again.code, "made the account" in again.out) == (0, False)


def test_the_owner_is_told_that_another_should_serve(minispine: Command, config: Path, served: str) -> None:
    config.write_text(config.read_text().replace(f"//{NAME}@", "//postgres@"))
    done = minispine("audit", "init", "--config", config, "--without-redaction")
    assert done.code == 0
    assert "The account in storage.url owns the tables" in done.err


def test_only_the_owner_migrates(minispine: Command, config: Path, served: str) -> None:
    with Database.open(served) as owner:
        release_one.make(owner)
        with owner.session(Store.AUDIT) as session:
            session.run(f"CREATE ROLE {NAME} LOGIN")
            session.run(f"GRANT SELECT ON audit_record, audit_schema, registry_schema TO {NAME}")
    refused = minispine("migrate", "--config", config)
    assert (refused.code, refused.out) == (3, "")
    assert "run: minispine migrate --owner-url" in refused.err
    done = minispine("migrate", "--config", config, "--owner-url", served)
    assert done.code == 0
    assert done.out.startswith(f"the account {NAME} may serve from them\nthe tables are those of this release\n")
    assert minispine("audit", "init", "--config", config, "--without-redaction").code == 0
    assert minispine("migrate", "--config", config).code == 0


def test_a_log_of_the_first_release_is_said_to_need_keys(minispine: Command, config: Path) -> None:
    with open_database(load(config).storage) as database:
        release_one.make(database)
    done = minispine("migrate", "--config", config)
    assert done.code == 0
    assert "run: minispine audit init" in done.out
    assert minispine("audit", "init", "--config", config, "--without-redaction").code == 0
    assert minispine("migrate", "--config", config).out == "the tables are those of this release\n"


def test_an_owner_is_for_postgresql(minispine: Command, config: Path) -> None:
    refused = minispine("audit", "init", "--config", config, "--without-redaction", "--owner-url", "sqlite:elsewhere")
    assert refused.code == 2
    assert "--owner-url is for PostgreSQL" in refused.err
