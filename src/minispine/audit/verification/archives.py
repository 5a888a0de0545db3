"""Files of archived payloads, given to a verification beside the log."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from minispine.audit.verification.chunk import PayloadRow


class Archives:
    """The archives given."""

    def __init__(self, files: Sequence[Path] = ()) -> None:
        self.files: Final = tuple(files)

    def payloads(self, first: int, last: int) -> Mapping[int, PayloadRow]:
        """The payloads of a range of records."""
        return {}

    def digest_of(self, name: str) -> str | None:
        """The SHA-256 of an archive in hex, None if it was not given."""
        return None
