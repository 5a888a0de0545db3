"""Commands on a database that can lose what it has committed."""

from pathlib import Path

from tests.cli.conftest import Command
from tests.databases import Postgres


def test_no_log_is_begun_and_nothing_served_where_a_power_cut_could_undo_a_commit(
    minispine: Command, config: Path, own_postgres: Postgres
) -> None:
    url = own_postgres.url("postgres").replace("@/", "@localhost/")
    config.write_text(config.read_text().replace("[clock]", f'[storage]\nurl = "{url}"\n[clock]'))
    assert minispine("audit", "init", "--config", config, "--without-redaction").code == 0
    own_postgres.admin("ALTER SYSTEM SET fsync = off")
    own_postgres.stop()
    own_postgres.start()
    for command in (
        ("audit", "init", "--without-redaction", "--config", config),
        ("serve", "--config", config),
        ("config", "check", "--live", config),
    ):
        refused = minispine(*command)
        assert (refused.code, refused.out) == (2, ""), command
        assert "PostgreSQL runs with fsync = off" in refused.err


def test_the_database_is_asked_only_when_it_is_wished(minispine: Command, config: Path) -> None:
    assert minispine("config", "check", config).code == 0
    not_begun = minispine("config", "check", "--live", config)
    assert (not_begun.code, not_begun.out) == (2, "")
    assert "minispine audit init" in not_begun.err
    assert minispine("audit", "init", "--config", config, "--without-redaction").code == 0
    begun = minispine("config", "check", "--live", config)
    assert (begun.code, begun.out) == (0, f"{config}: the provider would start\n")
