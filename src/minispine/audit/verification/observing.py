"""What is noticed on the way and is no sign of tampering: when the clock stepped back, what started and stopped.

And what keeps a log from being proven, though a checkpoint from elsewhere agrees with it.
"""

from collections import Counter
from typing import Final

from minispine.audit.encoding import iso_time
from minispine.audit.events import EventType
from minispine.audit.verification.chunk import ClockStep, Noted
from minispine.audit.verification.findings import Observation

MOST_OF_A_KIND: Final = 20
"""So that a report of a log of years can be read: of more than these only their number is told."""
_STARTS: Final = {EventType.PROVIDER_STARTED: "started", EventType.PROVIDER_STOPPED: "stopped"}


class Observations:
    """Collects them. `told` gives them in the order of the log, `doubts` what is not proven."""

    def __init__(self) -> None:
        self._found: list[Observation] = []
        self._counts: Counter[str] = Counter()
        self._stood_still_at = 0
        self._doubts: dict[str, None] = {}

    def add(self, kind: str, sequence: int, text: str) -> None:
        """Note something: see `Observation`."""
        self._counts[kind] += 1
        if self._counts[kind] <= MOST_OF_A_KIND:
            self._found.append(Observation(kind, sequence, text))

    def doubt(self, text: str) -> None:
        """Note, once, why the log is not proven."""
        self._doubts[text] = None

    def doubts(self) -> tuple[str, ...]:
        """Why the log is not proven, if there is a reason."""
        return tuple(self._doubts)

    def clock(self, step: ClockStep) -> None:
        """Note a clock set back, once for each time that it was."""
        if step.sealed_at == self._stood_still_at:
            return
        self._stood_still_at = step.sealed_at
        text = (
            f"the clock was {_duration(step.back_us)} behind the sealed time, which stood still until it had caught up"
        )
        self.add("clock", step.sequence, text)

    def starts(self, noted: Noted) -> None:
        """Note what started or stopped."""
        for event in noted.events:
            kind = _STARTS.get(event["type"])
            if kind is not None:
                self.add(kind, noted.sequence, f"the provider {kind} at {iso_time(event['at'])}")

    def told(self) -> tuple[Observation, ...]:
        """What was noted, and how much more of each kind there was."""
        found = sorted(self._found, key=lambda each: each.sequence)
        for kind, count in sorted(self._counts.items()):
            if count > MOST_OF_A_KIND:
                found.append(Observation(kind, 0, f"and {count - MOST_OF_A_KIND} more of this kind"))
        return tuple(found)


def _duration(us: int) -> str:
    """A time in its two largest units."""
    seconds = us // 1_000_000
    parts = [(seconds // 86_400, "d"), (seconds // 3600 % 24, "h"), (seconds // 60 % 60, "min"), (seconds % 60, "s")]
    first = next((i for i, (amount, _) in enumerate(parts) if amount), len(parts) - 1)
    return " ".join(f"{amount} {unit}" for amount, unit in parts[first : first + 2])
