"""The GP practices that this Spine's people are registered with. All invented, save the codes OpenTest uses.

The same list, written as CSV, is what a provider run against this Spine reads as its organisations file.
"""

import csv
from pathlib import Path
from typing import Final, NamedTuple


class PracticeRow(NamedTuple):
    """One practice; `address` holds five lines by PDS position divided by a bar, `telephone` has no scheme."""

    ods_code: str
    name: str
    address: str
    postcode: str
    telephone: str


PRACTICES: Final = (
    PracticeRow("H81109", "CAPELFIELD SURGERY", "|ELM ROAD|CLAYGATE|ESHER|SURREY", "KT10 0EH", "01372462501"),
    PracticeRow("H85686", "OAKMERE PRACTICE", "|4 OAKMERE PARADE||WALLINGTON|SURREY", "SM6 8QJ", "01632960101"),
    PracticeRow("H85687", "BARNES LANE SURGERY", "|12 BARNES LANE||NEW MALDEN|SURREY", "KT3 6HR", "01632960102"),
    PracticeRow("Y90001", "MOORVIEW SURGERY", "MOORVIEW HOUSE|2 STATION ROAD||LEEDS|", "LS6 4QD", "01632960103"),
    PracticeRow("Y90002", "HARBOURSIDE MEDICAL CENTRE", "|18 QUAY STREET||WHITBY|", "YO21 1PJ", "01632960104"),
    PracticeRow("Y90003", "ST BRIDE'S HEALTH CENTRE", "UNIT 1|ST BRIDE'S WAY||BRISTOL|AVON", "BS6 5RT", "01632960105"),
    PracticeRow("Y90004", "MILLFIELD FAMILY PRACTICE", "|77 MILL LANE||NORWICH|NORFOLK", "NR2 3BE", "01632960106"),
    PracticeRow("Y90005", "THE PRIORY SURGERY", "THE PRIORY|CHURCH STREET||LEWES|", "BN7 2DD", "01632960107"),
    PracticeRow("Y90006", "ASHGROVE & PARTNERS", "|5 ASHGROVE TERRACE|HEATON|NEWCASTLE|", "NE6 5LL", "01632960108"),
    PracticeRow("Y90007", "RIVERSIDE WALK SURGERY", "FLOOR 2|9 RIVERSIDE WALK||EXETER|DEVON", "EX4 3AQ", "01632960109"),
)
REGISTERING: Final = tuple(practice.ods_code for practice in PRACTICES if practice.ods_code.startswith("Y9"))
"""Where the synthetic population is registered."""

COLUMNS: Final = ("ods_code", "name", *(f"address_line_{n}" for n in range(1, 6)), "postcode", "telephone")


def write_practices_csv(path: Path) -> None:
    """Write the practices as CSV with the columns ods_code, name, address_line_1..5, postcode, telephone.

    Raises:
        OSError: the file cannot be written.
    """
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(COLUMNS)
        rows.writerows((p.ods_code, p.name, *p.address.split("|"), p.postcode, p.telephone) for p in PRACTICES)
