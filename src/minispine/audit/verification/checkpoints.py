"""The checkpoints of a log against its tree: those kept beside it, and those kept elsewhere."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from minispine.audit.encoding import iso_time
from minispine.audit.verification.findings import Broken, Proof
from minispine.audit.verification.sources import KeptCheckpoint
from minispine.audit.verification.stated import StatedKeys, wrong_with
from minispine.audit.verification.trusted import Trusted

CADENCE_GAP_US: Final = 15 * 60 * 1_000_000
"""A log that is served from has a checkpoint more often than this, also when nothing happens."""

Observe = Callable[[str, int, str], None]


class Checkpoints:
    """Both kinds, taken as the tree grows to the sizes that they are over.

    `observe` is told of what is no fault: kind, record, text.
    """

    def __init__(
        self, kept: Iterator[KeptCheckpoint], trusted: Sequence[Trusted], keys: StatedKeys, observe: Observe
    ) -> None:
        self.proof: Proof | None = None
        self.last: KeptCheckpoint | None = None
        self.signers: Final[set[str]] = set()
        """The keys by which there are good checkpoints."""
        self._keys = keys
        self._observe = observe
        self._kept = kept
        self._next_kept = next(kept, None)
        self._trusted: dict[int, list[Trusted]] = {}
        for each in trusted:
            if each.checkpoint.size:  # one over nothing proves nothing
                self._trusted.setdefault(each.checkpoint.size, []).append(each)
        self._vouched = 0
        self._ours = 0

    def sizes_within(self, first: int, last: int) -> list[int]:
        """The sizes at which checkpoints from elsewhere ask for the root."""
        return sorted(size for size in self._trusted if first <= size <= last)

    def take(self, size: int, root: bytes) -> Broken | None:
        """The tree has come to a size that a checkpoint is over, with the keys in force that are stated up to it."""
        while self._next_kept is not None and self._next_kept.size <= size:
            kept = self._next_kept
            wrong = self._wrong_with_kept(kept, size, root)
            if wrong is not None:
                return self._wrongly_kept(kept, wrong)
            self.last = kept
            self._vouched = size
            self._next_kept = next(self._kept, None)
        return self._take_trusted(self._trusted.pop(size, ()), size, root)

    def finish(self, size: int) -> Broken | None:
        """The log ends here."""
        kept = self._next_kept
        if kept is not None:
            wrong = self._wrong_with_kept(kept, kept.size, None)
            if wrong is not None:
                return self._wrongly_kept(kept, wrong)
            return Broken(size + 1, "checkpoint", f"a checkpoint is over {kept.size} records, and the log has {size}")
        given = bool(self._trusted) or self._ours > 0
        for beyond in sorted(self._trusted):
            for each in self._trusted[beyond]:
                found = self._beyond(each, size)
                if found is not None:
                    return found
        if given and not self._ours:
            return Broken(1, "trusted-checkpoint", "none of the checkpoints that were given is of this log")
        return None

    def _wrongly_kept(self, kept: KeptCheckpoint, wrong: str) -> Broken:
        number = "" if kept.number is None else f" {kept.number}"
        return Broken(self._vouched + 1, "checkpoint", f"checkpoint{number}, over {kept.size} records: {wrong}")

    def _wrong_with_kept(self, kept: KeptCheckpoint, size: int, root: bytes | None) -> str | None:
        declared = self._keys.last
        before = self.last
        if kept.number is not None and kept.number != (expected := (before.number or 0) + 1 if before else 1):
            return f"checkpoint {expected} is missing"
        if kept.size != size:
            return "it is over fewer records than the one before"
        if declared is None:
            return "the log had not stated its keys"
        if kept.epoch not in (None, declared.epoch):
            return "it is of another epoch than the log was in"
        wrong = wrong_with(kept.note, key=declared.log_key, size=size, root=root, at=kept.at)
        if wrong is None:
            self.signers.add(str(declared.log_key))
            self._look_at_the_time(kept, before)
        return wrong

    def _look_at_the_time(self, kept: KeptCheckpoint, before: KeptCheckpoint | None) -> None:
        if kept.at is None or before is None or before.at is None:
            return
        if kept.at < before.at:
            text = f"checkpoint {kept.number} was made at {iso_time(kept.at)}, by a clock behind that of the one before"
            self._observe("clock", kept.size, text)
        elif kept.at - before.at > CADENCE_GAP_US:
            text = f"no checkpoint was made between {iso_time(before.at)} and {iso_time(kept.at)}"
            self._observe("checkpoints", kept.size, text)

    def _take_trusted(self, trusted: Sequence[Trusted], size: int, root: bytes) -> Broken | None:
        for each in trusted:
            epoch = self._keys.epoch_of(each.checkpoint.origin)
            declared = self._keys.last
            if epoch is None or declared is None:
                self._pass_over(each)
                continue
            self._ours += 1
            if epoch < declared.epoch:
                found = self._lost(each, epoch)
            elif epoch > declared.epoch:
                found = self._untrue(each, "it is of a later epoch than the log was in when it had so many records")
            else:
                wrong = wrong_with(each.note, key=declared.log_key, size=size, root=root)
                found = None if wrong is None else self._untrue(each, wrong)
                if found is None:
                    self.signers.add(str(declared.log_key))
                    self.proof = Proof(size, each.source)
            if found is not None:
                return found
        return None

    def _beyond(self, each: Trusted, size: int) -> Broken | None:
        """What a checkpoint over more records than there are means."""
        epoch = self._keys.epoch_of(each.checkpoint.origin)
        if epoch is None or self._keys.last is None:
            self._pass_over(each)
            return None
        self._ours += 1
        if epoch < self._keys.last.epoch:
            return self._lost(each, epoch)
        key = self._keys.key_of(epoch)
        wrong = None if key is None else wrong_with(each.note, key=key, size=each.checkpoint.size, root=None)
        if wrong is not None:
            return self._untrue(each, wrong)
        detail = f"{each.source} is over {each.checkpoint.size} records, and the log has {size}"
        return Broken(size + 1, "trusted-checkpoint", detail)

    def _lost(self, each: Trusted, epoch: int) -> Broken | None:
        """A checkpoint over records of an earlier epoch that are no longer here: right if the log itself says so."""
        key = self._keys.key_of(epoch)
        size = each.checkpoint.size
        wrong = None if key is None else wrong_with(each.note, key=key, size=size, root=None)
        if key is None or wrong is not None:
            return self._untrue(each, wrong or "no key of its epoch is stated")
        restored = next(each for each in self._keys.restored if each.epoch == epoch + 1)
        if restored.covers(size):
            self._observe(
                "restored", restored.sequence, f"{each.source} is over records that were lost before this one"
            )
            return None
        detail = f"{each.source} is over {size} records of epoch {epoch}, and no record says that so many were lost"
        return Broken(restored.sequence, "trusted-checkpoint", detail)

    def _untrue(self, each: Trusted, wrong: str) -> Broken:
        first = self.proof.size + 1 if self.proof else 1
        return Broken(first, "trusted-checkpoint", f"{each.source}: {wrong}")

    def _pass_over(self, each: Trusted) -> None:
        self._observe("checkpoints", 0, f"{each.source} is of another log, and was passed over")
