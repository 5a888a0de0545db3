"""`minispine audit export`: take a copy of a part of the trail, as a file that others read."""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Final, Literal

from cyclopts import Parameter

from minispine.audit import search
from minispine.audit.export import as_csv, as_fhir, as_json_lines
from minispine.audit.reading import Record
from minispine.audit.search import Query
from minispine.cli.audit_criteria import ANYTHING, ANYWHERE, Criteria, Place, recorded
from minispine.cli.errors import Exit
from minispine.cli.new_file import check_new, new_file
from minispine.cli.progress import Progress

_FORMS: Final[dict[str, Callable[[Iterable[Record], Query], Iterator[bytes]]]] = {
    "csv": as_csv,
    "jsonl": as_json_lines,
    "fhir": as_fhir,
}
_HERE: Final = Path("-")


def export(
    *,
    format_: Literal["csv", "jsonl", "fhir"],
    output: Annotated[Path, Parameter(allow_leading_hyphen=True)],
    place: Place = ANYWHERE,
    criteria: Criteria = ANYTHING,
    whole_exchanges: bool = False,
    private: bool = False,
) -> int:
    """Write what meets every criterion to a file, however much it is.

    The forms are CSV, with what a spreadsheet would take for a formula made harmless, JSON lines, and FHIR R4
    AuditEvent, one a line, in the shape of IHE's basic patterns. Each event has its sequence number and the hash of
    its record. That a copy was taken, by whom and of what is recorded first. The file is new and can be read by its
    owner only; if something goes wrong there is none.

    Args:
        format_: In which form.
        output: The file, which must not be there yet; - for standard output.
        place: Which trail.
        criteria: Which part of it.
        whole_exchanges: Find exchanges, of which the records may meet the criteria together, and write all of each.
        private: Write what is recorded about patients too.
    """
    if output != _HERE:
        check_new(output)
    query = criteria.query()
    written = 0
    with recorded(place, query, command="audit export", private=private, form=format_) as (trail, before):
        vault = trail.keys.vault()
        if whole_exchanges:
            exchanges = search.exchanges(trail.database, vault, before, private=private)
            found: Iterable[Record] = (record for exchange in exchanges for record in exchange.records)
            before = Query()
        else:
            found = search.found(trail.database, vault, before, private=private)
        with nullcontext(sys.stdout.buffer) if output == _HERE else new_file(output) as file:
            progress = Progress(lambda written: f"{written:,} events")
            for line in _FORMS[format_](found, before):
                file.write(line)
                written += 1
                progress.at(written)
            progress.end()
    if output != _HERE:
        print(f"{written - (format_ == 'csv')} events are in {output}")
    return Exit.DONE
