"""The checkpoints of a log against its tree: those kept beside it, and those kept elsewhere."""

from collections.abc import Collection, Iterator, Sequence
from typing import Final

from minispine.audit.checkpoint import Checkpoint
from minispine.audit.encoding import iso_time
from minispine.audit.verification.findings import Broken, Proof
from minispine.audit.verification.observing import Observations
from minispine.audit.verification.sources import KeptCheckpoint
from minispine.audit.verification.stated import Restored, StatedKeys, wrong_with
from minispine.audit.verification.trusted import Trusted

CADENCE_GAP_US: Final = 15 * 60 * 1_000_000
"""A log that is served from has a checkpoint more often than this, also when nothing happens."""


class Checkpoints:
    """Both kinds, taken as the tree grows to the sizes that they are over.

    `known_restorations` are the records of restorations of which whoever verifies knows. `observations` is told of what
    is no fault.
    """

    def __init__(
        self,
        kept: Iterator[KeptCheckpoint],
        trusted: Sequence[Trusted],
        keys: StatedKeys,
        known_restorations: Collection[int],
        observations: Observations,
    ) -> None:
        self.proof: Proof | None = None
        self.last: KeptCheckpoint | None = None
        self.signers: Final[set[str]] = set()
        """The keys by which there are good checkpoints."""
        self._keys = keys
        self._known_restorations = known_restorations
        self._observe = observations.add
        self._doubt = observations.doubt
        self._kept = kept
        self._next_kept = next(kept, None)
        self._origins: Final = dict.fromkeys(each.checkpoint.origin for each in trusted)
        self._trusted: dict[int, list[Trusted]] = {}
        for each in trusted:
            if each.checkpoint.size:  # one over nothing proves nothing
                self._trusted.setdefault(each.checkpoint.size, []).append(each)
        self._given: Final = bool(self._trusted)
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
        for beyond in sorted(self._trusted):
            for each in self._trusted[beyond]:
                found = self._beyond(each, size)
                if found is not None:
                    return found
        if self._given and not self._ours:
            return Broken(1, "trusted-checkpoint", "none of the checkpoints that were given is of this log")
        for origin in self._origins:
            if self._keys.epoch_of(origin) is None:
                self._doubt(f"a checkpoint given is of another log, {origin}")
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
            return None
        self._ours += 1
        if epoch < self._keys.last.epoch:
            return self._lost(each, epoch)
        key = self._keys.key_of(epoch)
        wrong = None if key is None else wrong_with(each.note, key=key, size=each.checkpoint.size, root=None)
        if wrong is not None:
            return self._untrue(each, wrong)
        detail = (
            f"{each.source} is over {each.checkpoint.size} records, and the log has {size}; of a copy made before, such"
            f" as a backup, only checkpoints over at most {size} can be asked for"
        )
        return Broken(size + 1, "trusted-checkpoint", detail)

    def _lost(self, each: Trusted, epoch: int) -> Broken | None:
        """A checkpoint over records of an earlier epoch that are no longer here: right if the log itself says so."""
        key = self._keys.key_of(epoch)
        size = each.checkpoint.size
        wrong = None if key is None else wrong_with(each.note, key=key, size=size, root=None)
        if key is None or wrong is not None:
            return self._untrue(each, wrong or "no key of its epoch is stated")
        restored = next(each for each in self._keys.restored if each.epoch == epoch + 1)
        if not restored.covers(size):
            detail = f"{each.source} is over {size} records of epoch {epoch}, and no record says that so many were lost"
            return Broken(restored.sequence, "trusted-checkpoint", detail)
        contradicted = _contradicted(restored, each)
        if contradicted is not None:
            return Broken(restored.sequence, "trusted-checkpoint", contradicted)
        self._observe("restored", restored.sequence, f"{each.source} is over records that were lost before this one")
        if restored.sequence not in self._known_restorations:
            self._doubt(
                f"a checkpoint given is over records that are not here: {restored.lost}, as record {restored.sequence}"
                f" says and {restored.approved_by} approved; if you know this to be so, give --restored"
                f" {restored.sequence}"
            )
        return None

    def _untrue(self, each: Trusted, wrong: str) -> Broken:
        first = self.proof.size + 1 if self.proof else 1
        return Broken(first, "trusted-checkpoint", f"{each.source}: {wrong}")


def _contradicted(restored: Restored, seen: Trusted) -> str | None:
    """What a restoration says of the checkpoints outside that this one, over records said to be lost, shows untrue."""
    if restored.checkpoint is None:
        return f"it says that nobody outside had a checkpoint over what was lost, and {seen.source} is one"
    named = Checkpoint.decode(restored.checkpoint.partition("\n\n")[0] + "\n")  # its signature was checked before
    if named.size == seen.checkpoint.size and named.root != seen.checkpoint.root:
        return f"the checkpoint that it names is over other records than {seen.source}"
    return None
