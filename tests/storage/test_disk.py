"""How much of a file system is free: root's reserve is neither free nor usable."""

import os
from pathlib import Path

import pytest

from minispine.storage.disk import Space, space


def disk(*, size: int, free: int, free_to_us: int) -> os.statvfs_result:
    return os.statvfs_result((65536, 4096, size, free, free_to_us, 0, 0, 0, 0, 255))


def test_what_is_reserved_for_root_is_left_out() -> None:
    found = space(Path("/data"), lambda _: disk(size=105, free=55, free_to_us=50))
    assert found == Space(50 * 4096, 100 * 4096)
    assert found.share == pytest.approx(0.5)


def test_a_place_that_is_not_there_or_has_no_size_tells_nothing(tmp_path: Path) -> None:
    assert space(tmp_path / "nowhere") is None
    assert space(Path("/proc"), lambda _: disk(size=0, free=0, free_to_us=0)) is None


def test_the_folder_of_a_test_has_some(tmp_path: Path) -> None:
    found = space(tmp_path)
    assert found is not None
    assert 0 < found.share <= 1
