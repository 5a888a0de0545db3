"""Files of archived payloads, given to a verification beside the log."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from minispine.audit.archive import Archive, within
from minispine.audit.verification.chunk import PayloadRow


class Archives:
    """The archives given: files, and directories of them. Raises `ArchiveUnreadable` where one cannot be read."""

    def __init__(self, places: Sequence[Path] = ()) -> None:
        self.files: Final = tuple(
            each for place in places for each in (within(place) if place.is_dir() else [Archive.open(place)])
        )

    def payloads(self, first: int, last: int) -> Mapping[int, PayloadRow]:
        """The payloads of a range of records."""
        return {
            sequence: (salt, private, bodies)
            for each in self.files
            if each.first <= last and first <= each.last
            for sequence, salt, private, bodies in each.rows(max(first, each.first), min(last, each.last))
        }

    def digest_of(self, name: str) -> str | None:
        """The SHA-256 of an archive in hex, None if it was not given."""
        return next((each.digest().hex() for each in self.files if each.name == name), None)
