"""`minispine audit report` and `audit as-answered`: what a patient may ask of the trail.

Both show patient data, and both are recorded in the trail before they show anything.
"""

import sys
from typing import Literal

from minispine.audit.as_answered import Gone, details_of
from minispine.audit.as_answered import as_answered as look_up
from minispine.audit.encoding import encode_json
from minispine.audit.subject_access import accesses, unnamed_looks
from minispine.audit.subject_access import report as written
from minispine.audit.words import uk_time
from minispine.cli.audit_criteria import ANYWHERE, NhsNumberFile, Place, nhs_number_in, query, read_moment, recorded
from minispine.cli.errors import Exit
from minispine.cli.output import pairs, plain


def report(
    *, nhs_number_file: NhsNumberFile, place: Place = ANYWHERE, from_: str | None = None, to: str | None = None
) -> int:
    """Write a subject-access report: who looked at or changed a patient's data, when, and what they were shown.

    It is in plain words, addressed to the patient: who, from which organisation, by which system, when, what they did,
    what they were shown and for which reason, as far as it is recorded. That the report was made, and by whom, is
    itself recorded first, and stands in the next report.

    Args:
        nhs_number_file: The file that holds the patient's NHS number, - for standard input.
        place: Which trail.
        from_: Recorded from this day on, in the United Kingdom, or from this time on, such as 2026-03-01T09:00:00Z.
        to: Recorded up to the end of this day, or before this time.
    """
    number = nhs_number_in(nhs_number_file)
    bounds = {
        "from_": read_moment(from_) if from_ else None,
        "to": read_moment(to, end_of_day=True) if to else None,
    }
    wanted = query(patient=number, **bounds)
    period = " ".join(([f"from {from_}"] if from_ else []) + ([f"to {to}"] if to else [])) or "all that is recorded"
    with recorded(place, wanted, command="audit report", private=True, form="report") as (trail, before):
        vault = trail.keys.vault()
        found = accesses(trail.database, vault, number, last=before.last, **bounds)
        unnamed = unnamed_looks(trail.database, vault, number, last=before.last, **bounds)
        for line in written(number, found, period=period, unnamed=unnamed):
            print(plain(line))
    return Exit.DONE


def as_answered(
    *,
    nhs_number_file: NhsNumberFile,
    on: str,
    place: Place = ANYWHERE,
    format_: Literal["text", "json"] = "text",
) -> int:
    """Show a patient's record as it was answered on a given date: the last answer up to then that gave it.

    Exit code 1 when it had not been answered by then, or when that answer is no longer here. That it was asked, by whom
    and for what is recorded first.

    Args:
        nhs_number_file: The file that holds the patient's NHS number, - for standard input.
        on: The day, up to its end in the United Kingdom, or a time such as 2026-03-01T09:00:00Z.
        place: Which trail.
        format_: How to print it.
    """
    number = nhs_number_in(nhs_number_file)
    at = read_moment(on, end_of_day=True) - (len(on) == 10)
    with recorded(place, query(patient=number), command="audit as-answered", private=True, as_at=at) as (trail, before):
        found = look_up(trail.database, trail.keys.vault(), number, at=at, last=before.last)
    if found is None:
        print("by then, this patient's record had not been answered", file=sys.stderr)
        return Exit.FAILED
    if isinstance(found, Gone):
        where = f": {found.absent.reference}" if found.absent.reference else ""
        print(
            f"what record {found.sequence} answered is no longer here; it was {found.absent.why}{where}",
            file=sys.stderr,
        )
        return Exit.FAILED
    if format_ == "json":
        sys.stdout.buffer.write(
            encode_json({"sequence": found.sequence, "at": found.at, "event": found.event, "details": found.details})
            + b"\n"
        )
        return Exit.DONE
    pairs(
        [
            ("answered", uk_time(found.at)),
            ("record", str(found.sequence)),
            ("event", found.event),
            *(details_of(found.details) if found.details is not None else [("details", "none any more")]),
        ]
    )
    return Exit.DONE
