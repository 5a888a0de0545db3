"""`minispine audit verify`: check that the trail is as it was written.

It shows nothing of the trail, so it is not recorded in it.
"""

from pathlib import Path

from minispine.audit import verification
from minispine.cli.errors import Exit
from minispine.cli.trail import CONFIG, opened


def verify(
    *,
    config: Path = CONFIG,
    storage: str | None = None,
    storage_password_file: Path | None = None,
) -> int:
    """Check that every record of the audit trail is as it was written, and none is missing.

    Exit code 1 when one is not; its sequence number and the check that it failed are printed, or the change of a client
    or table of which there is no record.

    Args:
        config: The provider's configuration, which says where the trail is.
        storage: Where the trail is, instead: sqlite:DIRECTORY or a PostgreSQL URL.
        storage_password_file: The file of the password that goes with --storage.
    """
    with opened(config, storage=storage, storage_password_file=storage_password_file) as trail:
        result = verification.verify(trail.database)
    if isinstance(result, verification.Broken):
        print(f"record {result.sequence} is not as it was written: {result.check}")
        return Exit.FAILED
    if isinstance(result, verification.Unrecorded):
        print(f"the registry holds version {result.version} of {result.kind} {result.key}, and no record says so")
        return Exit.FAILED
    print(f"{result.records} records are consistent; the root of their tree is {result.root.hex()}")
    return Exit.DONE
