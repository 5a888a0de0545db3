"""Files of archived payloads, given to a verification beside the log."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from minispine.audit import archive
from minispine.audit.verification.chunk import PayloadRow


class Archives:
    """The archives at some places: files, or folders that hold some. Raises `ArchiveUnreadable`."""

    def __init__(self, places: Sequence[Path] = ()) -> None:
        self._archives: Final = tuple(archive.at(places))

    def payloads(self, first: int, last: int) -> Mapping[int, PayloadRow]:
        """The payloads of a range of records, as far as they are in these files. Raises `ArchiveUnreadable`."""
        return {
            sequence: (_blob(salt) or b"", _blob(private), _blob(bodies))
            for each in self._archives
            if each.first <= last and first <= each.last
            for sequence, salt, private, bodies in each.rows(first, last)
        }

    def digest_of(self, name: str) -> str | None:
        """The SHA-256 of an archive in hex, None if it was not given. Raises `ArchiveUnreadable`."""
        return next((each.digest().hex() for each in self._archives if each.name == name), None)

    def __contains__(self, name: object) -> bool:
        """Whether an archive of this name was given."""
        return any(each.name == name for each in self._archives)


NO_ARCHIVES: Final = Archives()


def _blob(value: object) -> bytes | None:
    """What a column of bytes holds; in SQLite it could be anything."""
    return value if value is None or isinstance(value, bytes) else b""
