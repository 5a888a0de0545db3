"""GP practices from a file."""

import asyncio
import hashlib
import os
from pathlib import Path

import pytest

from minispine.domain.patient import Address, Practice
from minispine.spine.ods import OrganisationsInvalid, PracticeFile

HEADING = "ods_code,name,address_line_1,address_line_2,address_line_3,address_line_4,address_line_5,postcode,telephone"
ROW = 'H81109,"CAPELFIELD SURGERY, THE",,1 ELM ROAD,,ESHER,SURREY,kt100eh,(01372) 46-2501'
CAPELFIELD = Practice(
    ods_code="H81109",
    name="CAPELFIELD SURGERY, THE",
    address=Address(use=None, lines=("", "1 ELM ROAD", "", "ESHER", "SURREY"), postcode="KT10 0EH"),
    telephone="01372462501",
)


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def written(folder: Path, *rows: str, heading: str = HEADING) -> Path:
    file = folder / "practices.csv"
    file.write_text("\n".join((heading, *rows)) + "\n", encoding="utf-8")
    return file


def practice(practices: PracticeFile, code: str) -> Practice | None:
    return asyncio.run(practices.practice(code))


def test_a_practice_is_known_by_its_code(tmp_path: Path) -> None:
    practices = PracticeFile(written(tmp_path, ROW, "Z99001,BARE SURGERY,,,,,,,"), monotonic=Clock())
    assert practice(practices, "H81109") == CAPELFIELD
    assert practice(practices, "Z99001") == Practice(ods_code="Z99001", name="BARE SURGERY")
    assert practice(practices, "Z99002") is None


def test_no_file_knows_nothing() -> None:
    assert practice(PracticeFile(None, monotonic=Clock()), "H81109") is None


@pytest.mark.parametrize(
    ("rows", "line", "reason"),
    [
        ((ROW, ROW), 3, "twice"),
        ((ROW.replace("H81109", "h81109"),), 2, "ods_code"),
        ((ROW.replace("H81109", ""),), 2, "ods_code"),
        (("Z99001,,,,,,,,",), 2, "name"),
        ((ROW.replace("kt100eh", "KT10"),), 2, "postcode"),
        ((ROW.replace("(01372) 46-2501", "none"),), 2, "telephone"),
        ((ROW, "Z99001,SHORT"), 3, "2 values for 9 columns"),
        ((ROW, "Z99001," * 2), 3, "values for 9 columns"),
    ],
)
def test_a_file_that_does_not_hold_together_is_refused(
    tmp_path: Path, rows: tuple[str, ...], line: int, reason: str
) -> None:
    file = written(tmp_path, *rows)
    with pytest.raises(OrganisationsInvalid, match=reason) as refused:
        PracticeFile(file, monotonic=Clock())
    assert (refused.value.file, refused.value.line) == (file, line)


def test_a_heading_that_is_not_ours_is_refused(tmp_path: Path) -> None:
    file = written(tmp_path, heading=HEADING.replace("telephone", "phone"))
    with pytest.raises(OrganisationsInvalid, match="line 1: the columns must be"):
        PracticeFile(file, monotonic=Clock())


def test_a_file_that_is_not_csv_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OrganisationsInvalid, match="not CSV"):
        PracticeFile(written(tmp_path, 'Z99001,"OPEN'), monotonic=Clock())


def test_a_file_that_is_not_there_or_not_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OrganisationsInvalid, match="not readable"):
        PracticeFile(tmp_path / "none.csv", monotonic=Clock())
    file = tmp_path / "practices.csv"
    file.write_bytes(f"{HEADING}\n".encode() + b"Z99001,\xff,,,,,,,\n")
    with pytest.raises(OrganisationsInvalid, match="not UTF-8"):
        PracticeFile(file, monotonic=Clock())


def test_a_changed_file_is_read_again_within_a_second(tmp_path: Path) -> None:
    clock = Clock()
    file = written(tmp_path, ROW)
    practices = PracticeFile(file, monotonic=clock)
    written(tmp_path, ROW, "Z99001,NEW SURGERY,,,,,,,")
    assert practice(practices, "Z99001") is None
    clock.seconds += 1.0
    assert practice(practices, "Z99001") is not None


def test_a_change_that_is_refused_leaves_what_was_read(tmp_path: Path) -> None:
    clock = Clock()
    file = written(tmp_path, ROW)
    practices = PracticeFile(file, monotonic=clock)
    written(tmp_path, "rubbish")
    clock.seconds += 1.0
    assert practice(practices, "H81109") == CAPELFIELD
    assert practices.problem is not None
    file.unlink()
    clock.seconds += 1.0
    assert practice(practices, "H81109") == CAPELFIELD
    written(tmp_path, ROW.replace("THE", "NEW"))
    os.utime(file, ns=(1, 1))
    clock.seconds += 1.0
    assert practice(practices, "H81109") != CAPELFIELD
    assert practices.problem is None


def test_what_is_in_force_can_be_told_apart_by_its_digest(tmp_path: Path) -> None:
    file = written(tmp_path, ROW)
    clock = Clock()
    practices = PracticeFile(file, monotonic=clock)
    first = practices.in_force
    assert first == (hashlib.sha256(file.read_bytes()).hexdigest(), 1)
    file.write_text("rubbish\n")
    clock.seconds += 2
    practice(practices, "H81109")
    assert practices.in_force == first
    written(tmp_path, ROW, "Z99001,BARE SURGERY,,,,,,,")
    clock.seconds += 2
    practice(practices, "H81109")
    assert practices.in_force == (hashlib.sha256(file.read_bytes()).hexdigest(), 2)
    assert PracticeFile(None, monotonic=clock).in_force == (None, 0)
