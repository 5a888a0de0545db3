"""Nothing is served from a store in which a commit can be undone."""

from pathlib import Path

import pytest

from minispine.storage import Database, Session, StorageMisconfigured
from minispine.storage.durability import check, file_system
from tests.databases import Postgres

MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:40 / /srv rw - nfs4 filer:/srv rw,vers=4.2
31 30 8:2 / /srv/local rw - xfs /dev/sdb1 rw
32 22 0:41 / /mnt/the\\040share rw - cifs //filer/share rw
33 22 8:3 / /over rw - ext4 /dev/sdc1 rw
34 22 0:42 / /over rw master:2 - fuse.sshfs host:/ rw
35 22 0:43 / /plain rw - fuse.bindfs /x rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/data", "ext4"),
        ("/srv/minispine", "nfs4"),
        ("/srv/local/minispine", "xfs"),
        ("/srv/locality", "nfs4"),
        ("/mnt/the share/minispine", "cifs"),
        ("/over/x", "fuse.sshfs"),
        ("/plain", "fuse.bindfs"),
    ],
)
def test_the_file_system_of_a_path_is_that_of_the_deepest_and_last_mount(path: str, kind: str) -> None:
    assert file_system(Path(path), MOUNTS) == kind


def test_a_link_to_a_share_is_seen_through(tmp_path: Path) -> None:
    share = tmp_path / "share"
    share.mkdir()
    (tmp_path / "data").symlink_to(share)
    mounts = f"1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:1 / {share} rw - nfs filer:/ rw\n"
    assert file_system(tmp_path / "data" / "new", mounts) == "nfs"


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "ceph", "glusterfs", "lustre"])
def test_sqlite_on_a_network_share_is_refused(tmp_path: Path, kind: str) -> None:
    with Database.open(f"sqlite:{tmp_path}/data") as database:
        with pytest.raises(StorageMisconfigured, match=rf"network share \({kind}\)"):
            check(database, mounts=lambda: f"1 0 0:1 / / rw - {kind} filer:/ rw\n")
        assert not (tmp_path / "data").exists()


def test_what_is_on_a_disk_is_taken(database: Database) -> None:
    check(database)
    check(database, mounts=lambda: "")


@pytest.mark.parametrize("setting", ["fsync", "full_page_writes"])
def test_a_server_that_can_lose_what_it_committed_is_refused(own_postgres: Postgres, setting: str) -> None:
    own_postgres.admin(f"ALTER SYSTEM SET {setting} = off")
    own_postgres.admin("SELECT pg_reload_conf()")
    own_postgres.stop()
    own_postgres.start()
    with (
        Database.open(own_postgres.url("postgres")) as database,
        pytest.raises(StorageMisconfigured, match=f"{setting} = off"),
    ):
        check(database)


def test_our_sessions_wait_for_the_disk_whatever_the_servers_default_is(own_postgres: Postgres) -> None:
    own_postgres.admin("ALTER DATABASE postgres SET synchronous_commit = off")
    own_postgres.admin("ALTER ROLE postgres SET synchronous_commit = off")
    with Database.open(own_postgres.url("postgres")) as database:
        check(database)


def test_a_session_that_does_not_wait_for_the_disk_is_refused(
    postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Session.rows

    def pooled(self: Session, sql: str, parameters: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
        if sql == "SHOW synchronous_commit":  # as behind a pooler that drops what a client asks for at its start
            self.run("SET synchronous_commit = off")
        return asked(self, sql, parameters)

    monkeypatch.setattr(Session, "rows", pooled)
    with (
        Database.open(postgresql_url) as database,
        pytest.raises(StorageMisconfigured, match="synchronous_commit = off"),
    ):
        check(database)
