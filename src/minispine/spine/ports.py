"""What the rest of the product knows of the national services: one Protocol for each.

An adapter makes bytes, sends them, and turns what comes back into one `Outcome`. It never chooses an id, reads a
deadline from a clock of its own, or decides what a caller is told.
"""

from typing import Literal, Protocol

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


CallResult = Literal["succeeded", "failed", "given up"]
"""What one call says of the national service: that it answers, that it does not, or nothing (we stopped waiting)."""


class NoSlot(Exception):
    """No call can leave before the deadline; `retry_after_s` is when to try again, in whole seconds."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__("busy")
        self.retry_after_s = retry_after_s


class ClientGone(Exception):
    """The client closed its connection while its question waited; nothing had left, and nobody else wants it."""


class ServiceShut(Exception):
    """The service was found not to answer while a call waited for its slot: it is not asked."""


class Slot(Protocol):
    """Leave for one call to a national service at one moment, out of its budget (Law 3)."""

    def use(self) -> bool:
        """Say that the first byte leaves now. False when the slot's time is over: it is lost, and nothing may leave."""

    def finish(self, result: CallResult) -> None:
        """Say what came of the call that left by it. Once, and only where `use` gave true."""


class Turns(Protocol):
    """The slots of one exchange, one after another."""

    async def wait(self) -> Slot:
        """Wait for the next slot. The first call waits in its place; whatever comes after it, at the head of its lane.

        It returns at the slot's moment or up to some milliseconds before it, when a connection is open.

        Raises:
            NoSlot: none can be had before the exchange's deadline.
            ClientGone: nobody is there any more to be answered. Only before anything has left.
            ServiceShut: the service's breaker has opened meanwhile.
            TransportFailure: no connection to the service can be made (a `spine.http` error). No slot was used.
        """


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of a question, which is that of its last attempt.

    `busy` is set where no slot could be had before the deadline; without attempts the outcome then says nothing.

    `away` says that the outcome is `Unavailable`, and that this is the service's doing: no connection, a fault that
    says so, silence although it had a fair time to answer, or a breaker that is not closed because of such. Only then
    may what is kept be given in its place, and may others share that there is no answer. It is false where only our
    own deadline was short, or nothing could leave because too many ask.
    """

    outcome: Outcome
    attempts: tuple[Attempt, ...]
    busy: NoSlot | None = None
    away: bool = False


class PdsPort(Protocol):
    """The Personal Demographics Service, by whichever technology."""

    attempts: int
    """How many sets of ids a question may use up: 1 plus the permitted retries."""

    def refusal(self, question: Question) -> InputRefused | None:
        """Say whether this technology cannot ask the question at all; decided before anything is reserved."""

    def interaction(self, question: Question) -> str:
        """Give the national interaction id by which this question is asked, for the audit trail."""

    async def prepare(self, calls: int) -> int:
        """See that so many calls could leave at once: have connections open for them. Gives for how many there are.

        For none it gives at once how many are open.

        Raises:
            TransportFailure: there is none, and none can be made.
        """

    def shut(self) -> bool:
        """Whether the service is known not to answer, so that nobody should wait for a slot."""

    async def ask(
        self, question: Question, *, sender: Sender, ids: tuple[MessageIds, ...], timeout_s: float, turns: Turns
    ) -> Asked:
        """Ask, within `timeout_s` seconds in all, using one member of `ids` for each attempt in turn.

        Every attempt waits for a slot of its own. One that fails before an answer begins, or that Spine asks to be
        repeated, is tried again with the next ids while any are left, there is time, and not too much is being
        repeated. Never raises for anything that the network or the national service does: that is an `Unavailable` or
        `Unusable` outcome.
        """


class OrganisationsPort(Protocol):
    """Names, addresses and telephones of GP practices (D21)."""

    async def practice(self, ods_code: str) -> Practice | None:
        """Give what is known of a practice; None when nothing is. Absence never fails an answer."""
