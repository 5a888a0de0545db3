"""What a provider does about the checkpoints of its audit log: has them issued, and says how that goes.

How they are made and where they go is in ``audit/issuing.py``. A log that does not extend what it signed, or what a
witness has seen, is no longer the trail it was: then the provider is not *ready*. A witness that is merely away is a
warning.
"""

import asyncio
import datetime
from collections.abc import Awaitable, Callable
from typing import Final, Literal

from minispine.audit.checkpointing import IDLE_INTERVALS, LogRewritten, WrongLogKey
from minispine.audit.declaration import DeclarationInvalid
from minispine.audit.issuing import Issuer, State
from minispine.audit.witnesses.remembering import Remembered
from minispine.config.settings import Audit
from minispine.observe import metrics
from minispine.observe.log import LogEvent, log
from minispine.storage import StorageUnavailable

LATE_INTERVALS: Final = 3
"""What has not come to be so many intervals after it should have is worth a warning."""
MOST_PAUSE_S: Final = 5.0
_LOOKS_AN_INTERVAL: Final = 10


class CheckpointWatch:
    """One worker's part in issuing checkpoints, of which all workers together make one an interval.

    `now` gives UTC microseconds since 1970, `sleep` waits some seconds.
    """

    def __init__(
        self,
        issuer: Issuer,
        settings: Audit,
        profile: Literal["production", "demonstration"],
        *,
        now: Callable[[], int],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._issuer = issuer
        self._settings = settings
        self._profile = profile
        self._now = now
        self._sleep = sleep
        self._state = State(None, {})
        self._interval = round(settings.checkpoint_interval_s * 1_000_000)
        self._started = now()

    async def watch(self) -> None:
        """Issue what is due and look around, for as long as the worker serves."""
        while True:
            await asyncio.to_thread(self.look)
            await self._sleep(min(MOST_PAUSE_S, self._settings.checkpoint_interval_s / _LOOKS_AN_INTERVAL))

    def look(self) -> None:
        """Issue a checkpoint if one is due, and see how things stand."""
        before = self._issuer.refusal
        try:
            self._issuer.issue_if_due()
            if before is not None and self._issuer.refusal is None:
                log(LogEvent.CHECKPOINTS_RESUMED)
        except (LogRewritten, WrongLogKey, DeclarationInvalid) as refusal:
            if str(refusal) != before:
                log(LogEvent.CHECKPOINT_REFUSED, reason=str(refusal))
        except StorageUnavailable:
            return  # which others say
        try:
            self._state = self._issuer.state()
        except StorageUnavailable:
            return
        self._measure()

    def reasons(self) -> list[str]:
        """Say by what it shows that the log is not the one it was."""
        found = []
        if (refusal := self._issuer.refusal) is not None:
            found.append(f"no checkpoint of the audit log is signed: {refusal}; run: minispine audit verify")
        for called, known in self._state.recipients.items():
            if known.conflict:
                found.append(f"{called} says that the audit log was rewritten: {known.problem}")
        return found

    def warnings(self) -> list[str]:
        """Say which witness is late, that no checkpoint is made, and that there is no witness."""
        found = []
        if not self._settings.witnesses:
            if self._settings.no_witness_reason is not None:
                found.append(f"the audit log has no witness outside: {self._settings.no_witness_reason}")
            elif self._profile == "demonstration":
                found.append("the audit log has no witness outside: this is a demonstration")
        late = LATE_INTERVALS * self._interval
        for called, known in self._state.recipients.items():
            if not known.conflict and self._waiting(known) > late:
                since = _in_words(known.waiting_since)
                found.append(f"{called} has taken no checkpoint since {since}: {known.problem or 'it takes too long'}")
        last = self._state.last
        made = last.at if last is not None else self._started
        if self._now() - made > IDLE_INTERVALS * self._interval + late and self._issuer.refusal is None:
            found.append(f"no checkpoint of the audit log has been made since {_in_words(made)}")
        return found

    def _waiting(self, known: Remembered) -> int:
        """How old the oldest checkpoint is that a recipient has not taken, or anything after it, in microseconds."""
        return 0 if known.waiting_since is None else max(0, self._now() - known.waiting_since)

    def _measure(self) -> None:
        if self._state.last is not None:
            metrics.CHECKPOINT_AGE_SECONDS.set(max(0, self._now() - self._state.last.at) / 1_000_000)
        for called, known in self._state.recipients.items():
            metrics.WITNESS_WAITING_SECONDS.labels(called).set(self._waiting(known) / 1_000_000)
            if known.at is not None:
                metrics.WITNESS_AGE_SECONDS.labels(called).set(max(0, self._now() - known.at) / 1_000_000)


def _in_words(at: int | None) -> str:
    return f"{datetime.datetime.fromtimestamp((at or 0) / 1_000_000, datetime.UTC):%Y-%m-%d %H:%M} UTC"
