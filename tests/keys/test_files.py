import os
from pathlib import Path

import pytest

from minispine.keys.files import KeyFileRefused, read_password, read_secret, write_public, write_secret


def secret(tmp_path: Path, content: bytes, mode: int = 0o600) -> Path:
    file = tmp_path / "secret"
    file.write_bytes(content)
    file.chmod(mode)
    return file


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610, 0o601, 0o644])
def test_a_secret_open_to_anybody_else_is_refused_and_the_remedy_named(tmp_path: Path, mode: int) -> None:
    file = secret(tmp_path, b"x", mode)
    with pytest.raises(KeyFileRefused, match=f"{mode:04o}.*chmod 600") as refused:
        read_secret(file)
    assert refused.value.file == file


def test_the_remedy_can_be_pasted_whatever_the_file_is_called(tmp_path: Path) -> None:
    folder = tmp_path / "with blanks"
    folder.mkdir()
    with pytest.raises(KeyFileRefused) as refused:
        read_secret(secret(folder, b"x", 0o644))
    assert refused.value.reason.endswith(f"run: chmod 600 '{folder}/secret'")


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_secret_for_its_owner_is_read(tmp_path: Path, mode: int) -> None:
    assert read_secret(secret(tmp_path, b"content", mode)) == b"content"


def test_a_secret_that_is_missing_a_folder_or_huge_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(KeyFileRefused, match="no such file"):
        read_secret(tmp_path / "absent")
    with pytest.raises(KeyFileRefused, match="directory"):
        read_secret(tmp_path)
    with pytest.raises(KeyFileRefused, match="too large"):
        read_secret(secret(tmp_path, b"x" * (256 * 1024 + 1)))


@pytest.mark.parametrize("written", [b"pass word", b"pass word\n", b"pass word\r\n"])
def test_a_password_is_the_line_without_its_end(tmp_path: Path, written: bytes) -> None:
    assert read_password(secret(tmp_path, written)) == "pass word"


@pytest.mark.parametrize(
    ("written", "reason"),
    [(b"", "no password"), (b"\n", "no password"), (b"a\nb\n", "one line"), (b"\xff\xfe", "UTF-8"), (b"a\0b", "alone")],
)
def test_what_is_no_password_is_refused_without_showing_it(tmp_path: Path, written: bytes, reason: str) -> None:
    with pytest.raises(KeyFileRefused, match=reason):
        read_password(secret(tmp_path, written))


def test_files_are_written_with_their_permissions_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        write_secret(tmp_path / "key", b"k")
        os.umask(0o077)
        write_public(tmp_path / "certificate", b"c")
    finally:
        os.umask(before)
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "certificate").stat().st_mode & 0o777 == 0o644


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_secret(tmp_path / "key", b"old")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        write_secret(tmp_path / "key", b"new")
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("key", b"old")]
