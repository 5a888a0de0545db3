"""GP practices from a CSV file, read again when the file changes (D21).

Columns, in any order: ``ods_code``, ``name``, ``address_line_1`` to ``address_line_5``, ``postcode``, ``telephone``.
All but the first two may be empty. Telephones may be written as people write them, with blanks, hyphens and brackets;
only the digits and a leading plus are kept. A file that does not hold together is refused whole: half a list would look
like practices that do not exist.
"""

import csv
import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from minispine.domain.organisation import is_ods_code
from minispine.domain.patient import Address, Practice
from minispine.domain.presentation import normal_postcode

_LINES: Final = tuple(f"address_line_{number}" for number in range(1, 6))
COLUMNS: Final = ("ods_code", "name", *_LINES, "postcode", "telephone")

_TELEPHONE: Final = re.compile(r"\+?[ ()-]*[0-9][0-9 ()-]*")
_DIALLED: Final = frozenset("+0123456789")
_CHECK_EVERY_S: Final = 1.0


class OrganisationsInvalid(Exception):
    """The file cannot be used: `file`, the `line` at fault (1 is the heading; None where no line is), and why."""

    def __init__(self, file: Path, line: int | None, reason: str) -> None:
        super().__init__(f"{file}{'' if line is None else f', line {line}'}: {reason}")
        self.file = file
        self.line = line
        self.reason = reason


class PracticeFile:
    """`OrganisationsPort` over one file, or over none.

    `monotonic` gives seconds; the file is looked at once a second at most. When a changed file is refused the practices
    read before stay in force, and `problem` holds the refusal until a good one is read.
    """

    def __init__(self, file: Path | None, *, monotonic: Callable[[], float]) -> None:
        """Read the file.

        Raises:
            OrganisationsInvalid: it cannot be read or does not hold together.
        """
        self.problem: OrganisationsInvalid | None = None
        self._file = file
        self._monotonic = monotonic
        self._look_at = monotonic() + _CHECK_EVERY_S
        self._seen = _state(file)
        self._digest = _digest(file)
        self._practices = {} if file is None else read_practices(file)

    @property
    def in_force(self) -> tuple[str | None, int]:
        """The SHA-256 of the file that was read last, in hex, and how many practices it holds."""
        return self._digest, len(self._practices)

    async def practice(self, ods_code: str) -> Practice | None:
        """Give what is known of a practice; None when nothing is."""
        if self._monotonic() >= self._look_at:
            self._read_again_if_changed()
        return self._practices.get(ods_code)

    def _read_again_if_changed(self) -> None:
        self._look_at = self._monotonic() + _CHECK_EVERY_S
        state = _state(self._file)
        if self._file is None or state == self._seen:
            return
        self._seen = state
        digest = _digest(self._file)
        try:
            self._practices = read_practices(self._file)
        except OrganisationsInvalid as problem:
            self.problem = problem
        else:
            self.problem = None
            self._digest = digest


def _digest(file: Path | None) -> str | None:
    try:
        return None if file is None else hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:
        return None


def _state(file: Path | None) -> tuple[int, int, int] | None:
    """Give what changes when the file does; None where there is none."""
    try:
        found = file.stat() if file is not None else None
    except OSError:
        return None
    return None if found is None else (found.st_mtime_ns, found.st_size, found.st_ino)


def read_practices(file: Path) -> dict[str, Practice]:
    """Read and check a file of practices, by ODS code.

    Raises:
        OrganisationsInvalid: not readable, a column missing or unknown, a code that is no ODS code or there twice, no
            name, a postcode or telephone that is not written as one.
    """
    practices: dict[str, Practice] = {}
    for line, row in _rows(file):
        practice = _practice(file, line, row)
        if practice.ods_code in practices:
            raise OrganisationsInvalid(file, line, f"ods_code {practice.ods_code} is there twice")
        practices[practice.ods_code] = practice
    return practices


def _rows(file: Path) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            reader = csv.reader(opened, strict=True)
            heading = next(reader, [])
            if sorted(heading) != sorted(COLUMNS):
                raise OrganisationsInvalid(file, 1, f"the columns must be {', '.join(COLUMNS)}")
            for values in reader:
                if len(values) != len(heading):
                    raise OrganisationsInvalid(
                        file, reader.line_num, f"{len(values)} values for {len(heading)} columns"
                    )
                yield reader.line_num, {column: value.strip() for column, value in zip(heading, values, strict=True)}
    except OSError:
        raise OrganisationsInvalid(file, None, "not readable") from None
    except UnicodeDecodeError:
        raise OrganisationsInvalid(file, None, "not UTF-8") from None
    except csv.Error as error:
        raise OrganisationsInvalid(file, None, f"not CSV: {error}") from None


def _practice(file: Path, line: int, row: dict[str, str]) -> Practice:
    postcode = normal_postcode(row["postcode"]) if row["postcode"] else None
    telephone = row["telephone"]
    checks = (
        (not is_ods_code(row["ods_code"]), "ods_code is not an ODS code"),
        (not row["name"], "name is empty"),
        (bool(row["postcode"]) and postcode is None, "postcode is not a postcode"),
        (bool(telephone) and not _TELEPHONE.fullmatch(telephone), "telephone is not a telephone number"),
    )
    for wrong, reason in checks:
        if wrong:
            raise OrganisationsInvalid(file, line, reason)
    one, two, three, four, five = (row[column] for column in _LINES)
    lines = (one, two, three, four, five)
    return Practice(
        ods_code=row["ods_code"],
        name=row["name"],
        address=Address(use=None, lines=lines, postcode=postcode) if any(lines) or postcode else None,
        telephone="".join(one for one in telephone if one in _DIALLED) if telephone else None,
    )
