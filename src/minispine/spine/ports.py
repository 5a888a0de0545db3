"""What the rest of the product knows of the national services: one Protocol for each.

An adapter makes bytes, sends them, and turns what comes back into one `Outcome`. It never chooses an id, reads a
deadline from a clock of its own, or decides what a caller is told.
"""

from typing import Protocol

import msgspec

from minispine.domain.identity import SpineAuthor
from minispine.domain.outcome import InputRefused, Outcome
from minispine.domain.patient import Practice
from minispine.domain.question import Question


class Sender(msgspec.Struct, frozen=True, kw_only=True):
    """On whose behalf a message goes out: the initiating organisation's ASID, and the person under methods 3 and 4."""

    asid: str
    author: SpineAuthor | None = None


class MessageIds(msgspec.Struct, frozen=True, kw_only=True):
    """The ids of one message to Spine, reserved in the audit log before it may leave (Law 1).

    `message_id` goes into the SOAP header (without its ``uuid:`` prefix) and `hl7_id` into the message; Spine echoes
    the first in RelatesTo and the second in messageRef. Both are upper-case UUIDs and never used twice.
    """

    message_id: str
    hl7_id: str


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One message that left, or tried to, and what came of it. Times are UTC microseconds.

    `sent` and `received` are the bodies; `received` is None when no answer was read to its end. `spine_message_id` is
    the id of Spine's answer where one could be read.
    """

    ids: MessageIds
    interaction: str
    sent_at: int
    ended_at: int
    sent: bytes
    received: bytes | None
    spine_message_id: str | None
    outcome: Outcome


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of a question, which is that of its last attempt."""

    outcome: Outcome
    attempts: tuple[Attempt, ...]


class PdsPort(Protocol):
    """The Personal Demographics Service, by whichever technology."""

    attempts: int
    """How many sets of ids a question may use up: 1 plus the permitted retries."""

    def refusal(self, question: Question) -> InputRefused | None:
        """Say whether this technology cannot ask the question at all; decided before anything is reserved."""

    def interaction(self, question: Question) -> str:
        """Give the national interaction id by which this question is asked, for the audit trail."""

    async def ask(self, question: Question, *, sender: Sender, ids: tuple[MessageIds, ...], timeout_s: float) -> Asked:
        """Ask, within `timeout_s` seconds in all, using one member of `ids` for each attempt in turn.

        A connection that fails before an answer begins is tried again with the next ids while any are left and there is
        time. Never raises for anything that the network or the national service does: that is an `Unavailable` or
        `Unusable` outcome.
        """


class OrganisationsPort(Protocol):
    """Names, addresses and telephones of GP practices (D21)."""

    async def practice(self, ods_code: str) -> Practice | None:
        """Give what is known of a practice; None when nothing is. Absence never fails an answer."""
