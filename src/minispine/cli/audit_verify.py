"""`minispine audit verify`: check that the trail is as it was written.

It shows nothing of the trail, so it is not recorded in it.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

from cyclopts import Parameter

from minispine.audit import evidence, verification
from minispine.audit.evidence import Upheld
from minispine.audit.found_by import entries_of, not_given
from minispine.audit.index import differences
from minispine.audit.note import Verifier
from minispine.audit.opening import origin_of
from minispine.audit.vault import Vault
from minispine.audit.verification import (
    UNVERIFIED,
    Archives,
    Broken,
    NoCheckpoint,
    Observation,
    Proof,
    Result,
    Trusted,
    Unrecorded,
    Verified,
    trusted,
)
from minispine.cli.errors import Exit, Mistaken
from minispine.cli.output import plain
from minispine.cli.progress import Progress, of_records
from minispine.cli.trail import CONFIG, OpenTrail, opened
from minispine.keys.files import KeyFileRefused

_UNPROVEN: Final = 3
"""The exit code of a log that is consistent, and of which not everything is vouched for by somebody outside."""
_MOST_DIFFERENCES: Final = 20


def verify(
    *,
    config: Path = CONFIG,
    storage: str | None = None,
    storage_password_file: Path | None = None,
    audit_keys: Path | None = None,
    tiles: Path | None = None,
    evidence_file: Annotated[Path | None, Parameter(name=("--evidence", "--export"))] = None,
    checkpoint: tuple[Path, ...] = (),
    key: str | None = None,
    without_payloads: bool = False,
    archive: tuple[Path, ...] = (),
    restored: tuple[int, ...] = (),
    index: bool = False,
) -> int:
    """Check that every record of the audit trail is as it was written, and none is missing.

    Somebody who can write to the whole of it can make a trail anew that is consistent in itself. So exit code 0 takes a
    checkpoint that was kept elsewhere, by a witness or on paper: without one the code of a consistent trail is 3. So it
    is, with the reason, where payloads are said to be in an archive that was not given (--archive), where records that
    a checkpoint is over are said to be lost (--restored), and where a checkpoint given is of another log. Exit code 1
    when a record is not as it was written: its number is printed, and the check by which it shows; or the change of a
    client or table of which there is no record.

    Args:
        config: The provider's configuration, which says where the trail is.
        storage: Where the trail is, instead: sqlite:DIRECTORY, which can be a backup, or a PostgreSQL URL.
        storage_password_file: The file of the password that goes with --storage.
        audit_keys: The folder of the log's keys that goes with --storage. With the keys it is checked, too, that each
            payload can still be opened; without --storage those of the configuration are used if they can be read.
        tiles: A directory in which the trail is published, to be checked instead.
        evidence_file: A file that `minispine audit evidence` wrote, to be checked instead, without any database.
        checkpoint: A checkpoint that was kept elsewhere, or a directory of them; can be given several times.
        key: The log's public key as `minispine audit init` printed it, or a file that holds it.
        without_payloads: Leave aside what is kept encrypted beside the records, which is quicker.
        archive: A file of archived payloads, or a directory of them; can be given several times.
        restored: A record by which the trail went on from a backup, and of which you know that this was so: without it
            nothing is proven by a checkpoint over records that were lost; can be given several times.
        index: Compare the search index too with what the records say.
    """
    if tiles is not None and any(place.resolve().is_relative_to(tiles.resolve()) for place in checkpoint):
        raise Mistaken("a checkpoint from the directory that is checked proves nothing; give one from elsewhere")
    vouching = _trusted(checkpoint)
    known_key = _known_key(key) if key is not None else None
    if evidence_file is not None:
        with evidence_file.open("rb") as stream:
            return _tell_evidence(evidence.verify(stream, trusted=vouching, known_key=known_key))
    progress = Progress(of_records)
    if tiles is not None:
        with _none_is_mistaken():
            source = verification.PublishedLog.open(tiles)
        result: Result = verification.verify_source(source, trusted=vouching, known_key=known_key, progress=progress.at)
        progress.end()
        return _tell(result, "the payloads were not looked at: they are not published")
    archives = Archives(archive)
    place = opened(config, storage=storage, storage_password_file=storage_password_file, audit_keys=audit_keys)
    with place as trail:
        vault, aside = None, "the payloads were not looked at (--without-payloads)"
        if not without_payloads:
            vault, aside = _vault(trail, needed=audit_keys is not None)
        result = verification.verify(
            trail.database,
            trusted=vouching,
            known_key=known_key,
            known_origin=origin_of(trail.settings) if trail.settings else None,
            known_restorations=restored,
            payloads=not without_payloads,
            archives=archives,
            vault=vault,
            progress=progress.at,
        )
        progress.end()
        if isinstance(result, Verified) and index and not _index_is_right(trail, archives):
            return Exit.FAILED
    return _tell(result, aside)


def _vault(trail: OpenTrail, *, needed: bool) -> tuple[Vault | None, str]:
    """What opens the keys of the payloads, or else what to say of it."""
    if not needed and trail.settings is None:
        return None, "the keys of the payloads were not looked at (give --audit-keys)"
    try:
        return trail.keys.vault(), ""
    except KeyFileRefused as refused:
        if needed:
            raise
        return None, f"the keys of the payloads were not looked at (give --audit-keys): {refused}"


def _tell(result: Result, aside: str = "") -> int:
    """Print what a verification came to, and what it left aside, and give the exit code for it."""
    if isinstance(result, Broken):
        print(f"record {result.sequence} is not as it was written: {result.check}: {plain(result.detail)}")
        return Exit.FAILED
    if isinstance(result, Unrecorded):
        print(f"the registry holds version {result.version} of {result.kind} {result.key}, and no record says so")
        return Exit.FAILED
    print(f"{result.records} records are consistent; the root of their tree is {result.root.hex()}")
    _tell_observations(result.observations)
    if aside:
        print(f"  {plain(aside)}")
    proof = result.proof
    if proof is None or result.doubts:
        return _unproven(result.doubts, proof)
    rest = (
        "" if proof.size == result.records else f"; records {proof.size + 1} to {result.records} are consistent with it"
    )
    print(f"proven up to record {proof.size} by {plain(proof.source)}{rest}")
    return Exit.DONE


def _tell_evidence(result: Upheld | Broken) -> int:
    """The same for a file of evidence."""
    if isinstance(result, Broken) and not result.sequence:
        print(f"the file is not as it was written, or no evidence at all: {result.detail}")
        return Exit.FAILED
    if isinstance(result, Broken):
        return _tell(result)
    print(
        f"records {result.first} to {result.last} are those of a log of {result.size} records;"
        f" the root of its tree is {result.root.hex()}"
    )
    _tell_observations(result.observations)
    if result.proof is None or result.doubts:
        return _unproven(result.doubts, result.proof)
    print(f"proven up to record {result.proof.size} by {plain(result.proof.source)}")
    return Exit.DONE


def _tell_observations(observations: Iterable[Observation]) -> None:
    for each in observations:
        text = plain(each.text)  # it names what a record says, and so what somebody else wrote
        print(f"  record {each.sequence}: {text}" if each.sequence else f"  {text}")


def _unproven(doubts: Sequence[str], proof: Proof | None) -> int:
    """Say what keeps the trail from being proven."""
    if proof is not None:
        print(f"records 1 to {proof.size} agree with {plain(proof.source)}")
    else:
        doubts = [*doubts, "give a checkpoint that was kept elsewhere (--checkpoint)"]
    for doubt in doubts:
        print(f"{UNVERIFIED}: {plain(doubt)}")
    return _UNPROVEN


@contextmanager
def _none_is_mistaken() -> Iterator[None]:
    try:
        yield
    except NoCheckpoint as error:
        raise Mistaken(str(error)) from None


def _index_is_right(trail: OpenTrail, archives: Archives) -> bool:
    """Print where the index is not what the records make it."""
    found = 0
    unseen = not_given(trail.database, archives)
    for _, _, name in unseen:
        print(f"  {plain(name)} is needed to tell by which patients its records are found (--archive)")
    for difference in differences(trail.database, entries_of(trail.database, trail.keys.vault(), archives)):
        if difference.kind == "false" and any(first <= difference.sequence <= last for first, last, _ in unseen):
            continue
        found += 1
        if found <= _MOST_DIFFERENCES:
            last = "" if difference.last == difference.sequence else f" to {difference.last}"
            what = f"{difference.kind} {difference.key.hex()}".rstrip()
            print(f"the index is not right about record {difference.sequence}{last}: {what}")
    if found > _MOST_DIFFERENCES:
        print(f"and in {found - _MOST_DIFFERENCES} more places")
    return not found


def _trusted(places: tuple[Path, ...]) -> list[Trusted]:
    with _none_is_mistaken():
        return [each for place in places for each in trusted.read(place)]


def _known_key(text: str) -> Verifier:
    file = Path(text)
    if "+" not in text or file.is_file():
        text = file.read_text("utf-8", errors="replace")
    try:
        return Verifier.parse(text.strip())
    except ValueError:
        raise Mistaken("--key is not a public key as `minispine audit init` prints it") from None
