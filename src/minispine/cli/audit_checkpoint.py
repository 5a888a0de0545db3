"""`minispine audit checkpoint`: have the log's state signed, published and witnessed now."""

import sys
from pathlib import Path
from typing import Final

from minispine.audit.checkpointing import LogRewritten, WrongLogKey
from minispine.audit.declaration import DeclarationInvalid
from minispine.audit.issuing import Issuer
from minispine.cli.errors import Exit, Failed, Mistaken
from minispine.cli.trail import CONFIG, now_us, opened
from minispine.observe.log import configure

_WAIT_S: Final = 65.0
"""A little more than the longest time-out that a witness may have."""


def checkpoint(*, config: Path = CONFIG) -> int:
    """Make a checkpoint of the audit log: its size and root, signed by the log's key.

    A provider that serves makes one every minute or so by itself. This makes one now, prints it, and takes it to the
    published log and to every witness of the configuration, which it waits for. Exit code 1 when one of them did not
    take it, and when the log does not extend its last checkpoint: then none is made.

    Parameters
    ----------
    config
        The configuration file of the installation.
    """
    configure("error", sys.stderr)  # the output is the checkpoint, and nothing else
    with opened(config) as trail:
        assert trail.settings is not None, "the trail was found by the configuration"
        issuer = Issuer(trail.database, trail.keys.log_key, trail.settings.audit, now=now_us)
        try:
            issued = issuer.issue(wait_s=_WAIT_S)
        except (LogRewritten, DeclarationInvalid) as refusal:
            raise Failed(f"no checkpoint is made: {refusal}; run: minispine audit verify") from None
        except WrongLogKey as wrong:
            raise Mistaken(f"{trail.settings.audit.keys}: {wrong}") from None
        print(issued.stored.note, end="")
        for called in issued.taken:
            print(f"{called} has taken it", file=sys.stderr)
        for called, reason in issued.not_taken.items():
            print(f"minispine: {called} has not taken it: {reason}", file=sys.stderr)
    return Exit.FAILED if issued.not_taken else Exit.DONE
