"""What can go wrong with a database, named for what failed. No message holds a statement's parameters (Law 8).

The driver's own exception is not chained on purpose: its text may quote the values of a row.
"""


class StorageError(Exception):
    """Anything that went wrong with a database."""


class StorageUnavailable(StorageError):
    """The database did not do its work: not there, locked for too long, full, or broken. It may come back."""


class ConnectionLost(StorageUnavailable):
    """The connection to the database broke, or the server ended it. What was not committed is undone."""


class StorageMisconfigured(StorageError):
    """The address, folder or password of the database cannot be right; only an operator can mend it."""


class SchemaOutdated(StorageError):
    """The tables are not there, or of another release than this one: the database has to be migrated."""


class StoreLost(StorageError):
    """One of the two stores is gone while the other, which relies on it, is there; it has to be restored."""


class AlreadyServed(StorageError):
    """Another process serves from the same SQLite folder, or with the same instance id (Law 9)."""


class VersionConflict(StorageError):
    """A document changed since it was read: `current` is the version in force (0: there is none)."""

    def __init__(self, kind: str, key: str, current: int) -> None:
        super().__init__(f"{kind} {key} is at version {current} now")
        self.kind = kind
        self.key = key
        self.current = current
