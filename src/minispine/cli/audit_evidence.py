"""`minispine audit evidence`: take a period of the trail as evidence that can be verified without us."""

from pathlib import Path

from minispine.audit import evidence
from minispine.audit.evidence import EvidenceUnavailable
from minispine.audit.verification import NoCheckpoint, trusted
from minispine.cli.audit_criteria import ANYWHERE, Place, query, recorded
from minispine.cli.errors import Exit, Failed, Mistaken
from minispine.cli.new_file import check_new, new_file


def take(
    *,
    first: int,
    last: int,
    output: Path,
    place: Place = ANYWHERE,
    checkpoint: Path | None = None,
    disclose: bool = False,
) -> int:
    """Write every record of a period, as it was hashed, with the proof that the log has these and no others.

    `minispine audit verify --evidence FILE` checks the file anywhere, with nothing but the log's public key or a
    checkpoint from a witness; a single byte that was changed shows. That a copy was taken, by whom and of what is
    recorded first. The file is new and can be read by its owner only; if something goes wrong there is none.

    Args:
        first: The first sequence number.
        last: The last one.
        output: The file, which must not be there yet.
        place: Which trail.
        checkpoint: The checkpoint of a witness to prove it by, instead of the newest that the log has made.
        disclose: Let whoever has the file read what is recorded about patients, and the messages. Otherwise it takes
            the log's master keys.
    """
    check_new(output)
    note = _note(checkpoint) if checkpoint is not None else None
    with recorded(
        place, query(first=first, last=last), command="audit evidence", private=disclose, form="evidence"
    ) as (trail, _):
        try:
            with new_file(output) as file:
                said = evidence.write(
                    trail.database,
                    first,
                    last,
                    file,
                    vault=trail.keys.vault(),
                    checkpoint=note,
                    disclose=disclose,
                )
        except EvidenceUnavailable as problem:
            raise Failed(str(problem)) from None
    print(f"records {first} to {last} are in {output}, proven by the checkpoint over {said.size} records")
    return Exit.DONE


def _note(file: Path) -> str:
    try:
        found = trusted.read(file)
    except NoCheckpoint as error:
        raise Mistaken(str(error)) from None
    return found[-1].note
