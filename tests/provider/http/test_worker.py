"""What a worker is put together from that can be tried without one; workers themselves are tried in the journeys."""

import uuid
from pathlib import Path

import pytest

from minispine.audit.events import AuditUnavailable
from minispine.keys.files import KeyFileRefused
from minispine.provider.http.worker import EXIT_CONFIGURATION, EXIT_STORE_AWAY, EXIT_TAKEN, _end, new_id
from minispine.provider.in_force import Unusable
from minispine.spine.http import EndpointInvalid
from minispine.spine.ods import OrganisationsInvalid
from minispine.storage import AlreadyServed, ConnectionLost, StorageMisconfigured, StorageUnavailable, StoreLost


def test_a_new_id_is_a_random_uuid_in_upper_case() -> None:
    ids = [new_id() for _ in range(500)]
    assert len(set(ids)) == 500
    for one in ids:
        read = uuid.UUID(one)
        assert one == str(read).upper()
        assert (read.version, read.variant) == (4, uuid.RFC_4122)


def test_every_bit_of_a_new_id_that_may_be_random_is() -> None:
    numbers = [uuid.UUID(new_id()).int for _ in range(500)]
    changing = 0
    for one in numbers:
        changing |= one ^ numbers[0]
    assert changing.bit_count() == 122


@pytest.mark.parametrize(
    ("problem", "code"),
    [
        (KeyFileRefused(Path("smsp.key"), "is open to others"), EXIT_CONFIGURATION),
        (EndpointInvalid("ca.pem", "is no certificate"), EXIT_CONFIGURATION),
        (OrganisationsInvalid(Path("practices.csv"), 3, "is wrong"), EXIT_CONFIGURATION),
        (Unusable("table x", "is wrong"), EXIT_CONFIGURATION),
        (StorageMisconfigured("data: no such folder"), EXIT_CONFIGURATION),
        (StoreLost("audit.db: is gone"), EXIT_CONFIGURATION),
        (AlreadyServed("another process is serving from data"), EXIT_TAKEN),
    ],
)
def test_what_keeps_a_worker_from_starting_is_one_line_with_an_exit_code_of_its_own(
    problem: Exception, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _end(problem) == code
    assert capsys.readouterr() == ("", f"minispine: {problem}\n")


@pytest.mark.parametrize("problem", [StorageUnavailable("away"), ConnectionLost("lost"), AuditUnavailable("away")])
def test_a_database_that_is_away_is_the_supervisors_to_tell(
    problem: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _end(problem) == EXIT_STORE_AWAY
    assert capsys.readouterr() == ("", "")


def test_a_defect_is_told_by_its_kind_and_place_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert _end(RuntimeError("patient SMITH")) == 1
    out, err = capsys.readouterr()
    assert '"RuntimeError"' in out
    assert "SMITH" not in out + err
