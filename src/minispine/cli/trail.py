"""The audit trail that a command works on: found by the configuration, or by --storage and --audit-keys."""

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from minispine.audit import keyfiles, reading
from minispine.audit.keyfiles import AuditKeys
from minispine.audit.log import AuditLog
from minispine.audit.opening import open_database
from minispine.cli.errors import Mistaken
from minispine.config import Settings, load
from minispine.config.settings import Storage
from minispine.storage import Database

CONFIG: Final = Path("minispine.toml")
_UNNAMED: Final = "unnamed"


class OpenTrail:
    """One installation's trail, for the length of one command. `settings` is None where --storage named the trail."""

    def __init__(self, database: Database, settings: Settings | None, audit_keys: Path | None) -> None:
        self.database: Final = database
        self.settings: Final = settings
        self._folder = audit_keys or (settings.audit.keys if settings else None)
        self._keys: AuditKeys | None = None

    @property
    def keys(self) -> AuditKeys:
        """The log's secret keys. Raises `KeyFileRefused`, and `Mistaken` where nothing says where they are."""
        if self._keys is None:
            if self._folder is None:
                raise Mistaken("--storage needs --audit-keys FOLDER beside it, the folder of the log's keys")
            self._keys = keyfiles.load(self._folder)
        return self._keys

    @contextmanager
    def log(self) -> Iterator[AuditLog]:
        """The log, to append to; closed afterwards."""
        system_id = self.settings.system_id if self.settings else None
        log = AuditLog(
            self.database,
            system_id=system_id or reading.last_system(self.database) or _UNNAMED,
            instance=str(uuid.uuid4()),
            vault=self.keys.vault(),
            now=now_us,
        )
        try:
            yield log
        finally:
            log.close_now()


@contextmanager
def opened(
    config: Path = CONFIG,
    *,
    storage: str | None = None,
    storage_password_file: Path | None = None,
    audit_keys: Path | None = None,
    owner_url: str | None = None,
    owner_password_file: Path | None = None,
) -> Iterator[OpenTrail]:
    """Open the trail that a command's options name. Its tables have to be those of this release.

    `owner_url` is the same database as the configuration's, as the owner of its tables.
    """
    settings = None
    if storage is None:
        settings = load(config)
        place = Storage(url=owner_url, password_file=owner_password_file) if owner_url else settings.storage
    else:
        place = Storage(url=storage, password_file=storage_password_file)
    with open_database(place) as database:
        database.check_schema()
        yield OpenTrail(database, settings, audit_keys)


def now_us() -> int:
    """The time, in microseconds since 1970 UTC."""
    return time.time_ns() // 1000
