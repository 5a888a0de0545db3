"""Witnesses: who outside is shown every checkpoint of the log, so that nobody can rewrite it and not be seen.

What kinds there are, and what each is told by the configuration, is in ``config/settings.py``; a module here for each.
"""

from typing import assert_never

from minispine.audit.witnesses.directory import DirectoryRecipient
from minispine.audit.witnesses.https import HttpsRecipient
from minispine.audit.witnesses.recipient import Recipient
from minispine.audit.witnesses.syslog import SyslogRecipient
from minispine.config.settings import DirectoryWitness, HttpsWitness, SyslogWitness, Witness


def recipient_of(witness: Witness) -> Recipient:
    """The recipient that a table of [[audit.witnesses]] describes. Does no I/O."""
    match witness:
        case DirectoryWitness():
            return DirectoryRecipient(witness)
        case SyslogWitness():
            return SyslogRecipient(witness)
        case HttpsWitness():
            return HttpsRecipient(witness)
        case _:
            assert_never(witness)
