"""Issuing checkpoints: making them when they are due or asked for, publishing the log, and showing it to the witnesses.

This is what a process of the provider, or a command, has to do with checkpoints. How they are made is in
``checkpointing.py``, where they go in ``publishing.py`` and ``witnesses/``.
"""

import threading
import time
from collections.abc import Callable

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from minispine.audit.checkpointing import Checkpointer, LogRewritten, StoredCheckpoint, WrongLogKey, last_checkpoint
from minispine.audit.declaration import DeclarationInvalid
from minispine.audit.publishing import Publication
from minispine.audit.witnesses import recipient_of
from minispine.audit.witnesses.feeding import Feeder
from minispine.audit.witnesses.remembering import Remembered, all_remembered
from minispine.config.settings import Audit
from minispine.storage import Database, Store


class Issued(msgspec.Struct, frozen=True):
    """A checkpoint; who took it at once, and why the others did not: both by what each recipient is called."""

    stored: StoredCheckpoint
    taken: tuple[str, ...]
    not_taken: dict[str, str]


class State(msgspec.Struct, frozen=True):
    """How things stand: the last checkpoint, and what is known of each recipient, by what it is called."""

    last: StoredCheckpoint | None
    recipients: dict[str, Remembered]


class Issuer:
    """Issues the checkpoints of a log.

    `now` gives UTC microseconds since 1970, `monotonic` seconds; `between` is the `Checkpointer`'s.
    """

    def __init__(
        self,
        database: Database,
        log_key: Ed25519PrivateKey,
        settings: Audit,
        *,
        now: Callable[[], int],
        monotonic: Callable[[], float] = time.monotonic,
        between: Callable[[], None] = lambda: None,
    ) -> None:
        self.refusal: str | None = None
        """Why this process signs nothing any more in the name of the log; None while it does."""
        self._database = database
        self._interval_s = settings.checkpoint_interval_s
        self._monotonic = monotonic
        self._checkpointer = Checkpointer(database, log_key, now=now, between=between)
        recipients = [recipient_of(each) for each in settings.witnesses]
        if settings.directory is not None:
            recipients.append(Publication(settings.directory))
        self._feeders = [Feeder(each, database, now=now) for each in recipients]

    def issue_if_due(self) -> StoredCheckpoint | None:
        """Make a checkpoint if one is due, and have it taken everywhere, which is not waited for.

        Raises what `Checkpointer.make` raises.
        """
        made = self._made(lambda: self._checkpointer.make_if_due(self._interval_s))
        if made is not None:
            for feeder in self._feeders:
                feeder.offer(made)
        return made

    def issue(self, *, wait_s: float) -> Issued:
        """Make a checkpoint now, and wait until it is taken everywhere, but not longer than so many seconds.

        Raises what `Checkpointer.make` raises.
        """
        made = self._made(self._checkpointer.make)
        assert made is not None, "a checkpoint is made whenever it is asked for"
        answers: dict[str, str | None] = {}

        def ask(feeder: Feeder) -> None:
            answers[feeder.recipient.called] = feeder.feed(made)

        give_up_at_s = self._monotonic() + wait_s
        # Daemons, because a call to a recipient may go on for longer than it is waited for.
        threads = [threading.Thread(target=ask, args=(feeder,), daemon=True) for feeder in self._feeders]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.0, give_up_at_s - self._monotonic()))
        why = {called: answers.get(called, "it takes too long") for called in self._called()}
        return Issued(
            stored=made,
            taken=tuple(called for called, reason in why.items() if reason is None),
            not_taken={called: reason for called, reason in why.items() if reason is not None},
        )

    def state(self) -> State:
        """How things stand, as all processes together know it. Raises `StorageUnavailable`."""
        with self._database.reading(Store.AUDIT) as session:
            last = last_checkpoint(session)
        known = all_remembered(self._database, [feeder.recipient.name for feeder in self._feeders])
        return State(last, dict(zip(self._called(), known, strict=True)))

    def close(self) -> None:
        """Take no checkpoint anywhere any more. What is under way is not waited for."""
        for feeder in self._feeders:
            feeder.close()

    def _called(self) -> list[str]:
        return [feeder.recipient.called for feeder in self._feeders]

    def _made(self, make: Callable[[], StoredCheckpoint | None]) -> StoredCheckpoint | None:
        try:
            made = make()
        except (LogRewritten, WrongLogKey, DeclarationInvalid) as reason:
            self.refusal = str(reason)
            raise
        if made is not None:
            self.refusal = None
        return made
