import datetime
from pathlib import Path

import pytest

from minispine.keys import pki
from minispine.keys.checking import check_authorities, check_lists, check_pair, check_password
from minispine.keys.pki import Issued, Kind

DAY = datetime.timedelta(days=1)


@pytest.fixture
def server(pki_folder: Path, now: datetime.datetime) -> Issued:
    return pki.issue(pki_folder, "smsp", Kind.SERVER, now=now, days=100)


@pytest.mark.parametrize(
    ("after_days", "reason", "fatal"),
    [
        (1, None, False),
        (75, "expires on 2026-06-09", False),
        (101, "expired on 2026-06-09", True),
        (-1, "not valid before", True),
    ],
)
def test_a_certificate_is_in_date_soon_out_or_no_good(
    server: Issued, now: datetime.datetime, after_days: int, reason: str | None, fatal: bool
) -> None:
    found = check_pair(server.certificate, server.key, None, now=now + after_days * DAY)
    assert [finding.fatal for finding in found] == ([] if reason is None else [fatal])
    assert all(reason in finding.reason and finding.file == server.certificate for finding in found if reason)


def test_a_key_of_another_certificate_is_fatal(server: Issued, pki_folder: Path, now: datetime.datetime) -> None:
    other = pki.issue(pki_folder, "other", Kind.SERVER, now=now)
    (finding,) = check_pair(server.certificate, other.key, None, now=now)
    assert finding.fatal
    assert "not the key of the first certificate" in finding.reason


def test_all_that_is_wrong_with_a_pair_is_said_at_once(server: Issued, tmp_path: Path, now: datetime.datetime) -> None:
    server.key.chmod(0o644)
    found = check_pair(tmp_path / "absent.pem", server.key, None, now=now)
    assert [(finding.file.name, finding.fatal) for finding in found] == [("absent.pem", True), ("smsp.key", True)]


def test_authorities_are_fatal_only_when_none_is_in_date(pki_folder: Path, now: datetime.datetime) -> None:
    ca = pki_folder / "clients" / "ca.pem"
    assert check_authorities(ca, now=now) == ()
    assert {finding.fatal for finding in check_authorities(ca, now=now + 3649 * DAY)} == {False}
    assert {finding.fatal for finding in check_authorities(ca, now=now + 3651 * DAY)} == {True}
    assert [f.fatal for f in check_authorities(pki_folder / "none.pem", now=now)] == [True]


def test_one_expired_authority_beside_a_good_one_is_only_a_warning(
    pki_folder: Path, tmp_path: Path, now: datetime.datetime
) -> None:
    pki.create(tmp_path / "old", now=now - 4000 * DAY)
    both = tmp_path / "both.pem"
    both.write_bytes(b"".join((f / "clients" / "ca.pem").read_bytes() for f in (pki_folder, tmp_path / "old")))
    assert [finding.fatal for finding in check_authorities(both, now=now)] == [False, False]


def test_a_stale_list_is_a_warning_and_a_foreign_one_fatal(pki_folder: Path, now: datetime.datetime) -> None:
    lists, ca = (pki_folder / "clients" / "crl.pem",), pki_folder / "clients" / "ca.pem"
    assert check_lists(lists, ca, now=now) == ()
    (stale,) = check_lists(lists, ca, now=now + 31 * DAY)
    assert not stale.fatal
    assert stale.reason.startswith("out of date since")
    (foreign,) = check_lists(lists, pki_folder / "spine" / "ca.pem", now=now)
    assert foreign.fatal


def test_a_password_file_is_checked_like_any_secret(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("word\n")
    file.chmod(0o600)
    assert check_password(file) == ()
    file.chmod(0o640)
    assert [finding.fatal for finding in check_password(file)] == [True]
