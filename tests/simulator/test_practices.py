import csv
from pathlib import Path

from minispine.simulator.practices import PRACTICES, REGISTERING, write_practices_csv


def test_the_file_has_a_row_for_each_practice_with_five_lines_by_position(tmp_path: Path) -> None:
    write_practices_csv(tmp_path / "practices.csv")
    with (tmp_path / "practices.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["ods_code"] for row in rows] == [practice.ods_code for practice in PRACTICES]
    first = rows[0]
    assert first == {
        "ods_code": "H81109",
        "name": "CAPELFIELD SURGERY",
        "address_line_1": "",
        "address_line_2": "ELM ROAD",
        "address_line_3": "CLAYGATE",
        "address_line_4": "ESHER",
        "address_line_5": "SURREY",
        "postcode": "KT10 0EH",
        "telephone": "01372462501",
    }
    assert all(None not in row.values() and None not in row for row in rows)


def test_nobody_synthetic_is_registered_where_opentest_is() -> None:
    assert REGISTERING
    assert "H81109" not in REGISTERING
