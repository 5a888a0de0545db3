"""Putting the chunks of a log together, in order, and checking what is true of more than one of them.

Whatever is wrong is laid to the first record that it can be, and of all that is wrong up to the end of a chunk the
first is told.
"""

from collections.abc import Collection, Sequence
from typing import Any, Final

from minispine.audit.declaration import DECLARING
from minispine.audit.events import EventType
from minispine.audit.merkle import Frontier
from minispine.audit.note import Verifier
from minispine.audit.tiles import TILE_WIDTH
from minispine.audit.verification.archives import Archives
from minispine.audit.verification.checkpoints import Checkpoints
from minispine.audit.verification.chunk import Before, Followed, Noted
from minispine.audit.verification.findings import Broken, Verified
from minispine.audit.verification.missing import EXPLAINING, MissingPayloads
from minispine.audit.verification.observing import Observations
from minispine.audit.verification.sources import Head, Source
from minispine.audit.verification.stated import StatedKeys
from minispine.audit.verification.trusted import Trusted
from minispine.audit.verification.upper import UpperTiles


class Assembly:
    """A log as far as it was followed.

    `trusted` are checkpoints from elsewhere; `known_key`, `known_origin` and `known_restorations` are the log's key,
    its origin and the records of its restorations as they are known from elsewhere, if they are. `payloads` says
    whether payloads are looked at.
    """

    def __init__(
        self,
        source: Source,
        *,
        trusted: Sequence[Trusted],
        known_key: Verifier | None,
        known_origin: str | None,
        known_restorations: Collection[int],
        archives: Archives,
        payloads: bool,
    ) -> None:
        self.observations: Final = Observations()
        self.keys: Final = StatedKeys()
        self.checkpoints: Final = Checkpoints(
            source.checkpoints(), trusted, self.keys, known_restorations, self.observations
        )
        self._frontier = Frontier.EMPTY
        self._before = Before()
        self._known_key = known_key
        self._known_origin = known_origin
        self._missing = MissingPayloads(source, archives, self.observations, claimed=payloads)
        self._upper = UpperTiles(source)
        self._tiles = 0

    def take(self, followed: Followed) -> Broken | None:
        """Take the next chunk: the first thing wrong up to its end, or None."""
        problems = (
            followed.broken,
            self._take_in_order(followed),
            self._missing.take(followed.missing),
            self._missing.take_keyless(followed.keyless),
            self._upper.take(followed.blocks),
        )
        for step in followed.steps:
            self.observations.clock(step)
        self._frontier = self._frontier.join(followed.frontier)
        self._before = followed.before
        self._tiles += followed.tiles
        return _first(*problems)

    def finish(self, head: Head | None) -> Broken | Verified:
        """The last chunk was taken. `head` is what is kept of the last record, where something is."""
        size = self._frontier.size
        found = _first(
            self._upper.finish(),
            self.checkpoints.finish(size),
            self._missing.finish(size, self.keys),
            self._wrong_origin(),
            self._wrong_key(),
            None if head is None else self._wrong_head(head),
        )
        if found is not None:
            return found
        self._observe_the_end(size)
        return Verified(
            size, self._frontier.root(), self.checkpoints.proof, self.observations.told(), self.observations.doubts()
        )

    def _take_in_order(self, followed: Followed) -> Broken | None:
        """Take the chunk's records that bear on the whole and the sizes that checkpoints are over, each in its turn."""
        noted = iter(followed.noted)
        following = next(noted, None)
        if followed.turned is not None and not self.keys.declarations:
            begins = [each.events[0]["type"] for each in followed.noted if each.sequence == followed.turned]
            if begins != [EventType.AUDIT_BEGUN]:
                return Broken(followed.turned, "declaration", "the log begins without stating its keys")
        for size in (*sorted(followed.at_sizes), None):
            while following is not None and (size is None or following.sequence <= size):
                found = self._take_noted(following)
                if found is not None:
                    return found
                following = next(noted, None)
            if size is not None:
                found = self.checkpoints.take(size, self._frontier.join(followed.at_sizes[size]).root())
                if found is not None:
                    return found
        return None

    def _take_noted(self, noted: Noted) -> Broken | None:
        self.observations.starts(noted)
        for event in noted.events:
            found = None
            if event["type"] in DECLARING:
                found = self.keys.take(noted.sequence, event)
                if found is None and event["type"] == EventType.AUDIT_RESTORED:
                    restored = self.keys.restored[-1]
                    text = f"epoch {restored.epoch} begins: {restored.lost}, as {restored.approved_by} approved"
                    self.observations.add("restored", noted.sequence, text)
            elif event["type"] in EXPLAINING:
                found = self._missing.explain(noted.sequence, event, self.keys)
            if found is not None:
                return found
        return None

    def _wrong_head(self, head: Head) -> Broken | None:
        before = self._before
        kept: dict[str, tuple[Any, Any]] = {
            "the number of the last record": (head.sequence, self._frontier.size),
            "the sealed time": (head.sealed_at, before.sealed_at),
            "the hash": (head.hash, before.hash),
            "the tree": (head.frontier, self._frontier.encode()),
            "the record that states the keys": (head.declared, self.keys.declared),
            "the epoch": (head.epoch, self.keys.last.epoch if self.keys.last else 1),
        }
        for what, (told, found) in kept.items():
            if told != found:
                return Broken(head.sequence, "head", f"{what} in the head is another")
        return None

    def _wrong_origin(self) -> Broken | None:
        """Whether the log is another than the one that it should be, with its own witnesses and its own checkpoints."""
        if self._known_origin is None or not self.keys.declarations:
            return None
        first, stated = self.keys.declarations[0]
        if stated.origin == self._known_origin:
            return None
        return Broken(first, "key", f"the log states another origin than {self._known_origin}, which it should have")

    def _wrong_key(self) -> Broken | None:
        """Whether the key known from elsewhere is this log's.

        One that the log states only later vouches for what came before by having signed a checkpoint over it.
        """
        if self._known_key is None:
            return None
        stated = [each.log_key for _, each in self.keys.declarations]
        first = self.keys.declarations[0][0] if stated else 1
        if self._known_key not in stated:
            return Broken(first, "key", "the log states another key as its own")
        if self._known_key != stated[0] and str(self._known_key) not in self.checkpoints.signers:
            return Broken(
                first, "key", "the log was begun with another key, and no checkpoint is signed with the known one"
            )
        return None

    def _observe_the_end(self, size: int) -> None:
        last = self.checkpoints.last
        missing = 0 if last is None else last.size // TILE_WIDTH - self._tiles
        if missing > 0:
            self.observations.add(
                "tiles", 0, f"{missing} tiles are not there, by which a change could be laid to its record"
            )
        if size and not self.keys.declarations:
            self.observations.add("key", 0, "the log has not been begun: no record states its keys")
        elif size and self._known_key is None:
            stated = self.keys.declarations[0]
            self.observations.add("key", stated[0], f"signatures are by the key stated here: {stated[1].log_key}")


def _first(*problems: Broken | None) -> Broken | None:
    return min((each for each in problems if each is not None), key=lambda broken: broken.sequence, default=None)
