"""The registry as one worker sees it: the version in force, looked at again and again (Law 11)."""

import asyncio
from typing import Final

from minispine.observe import metrics
from minispine.observe.log import LogEvent, log
from minispine.provider import in_force
from minispine.storage import Registry, Snapshot, StorageError

POLL_S: Final = 0.25
"""How often a worker looks whether the registry has changed: well within Law 11's second."""


class RegistryView:
    """The registry's version in force in this worker, looked at again and again."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._refreshing = asyncio.Lock()
        self.current = in_force.read(registry.snapshot())
        self._refused = 0
        self._unreadable: str | None = None
        metrics.REGISTRY_VERSION.set(self.current.version)

    def reasons(self) -> list[str]:
        """Why the view is not what it should be."""
        reasons = [f"the registry cannot be read: {self._unreadable}"] if self._unreadable else []
        if self._refused > self.current.version:
            reasons.append(f"version {self._refused} of the registry cannot be used")
        return reasons

    async def refresh(self) -> None:
        """Take the newest version of the registry, if it is newer than ours and holds together.

        What a change committed before this was called is taken when it returns. Refreshings come one after another, so
        that none puts what it read before in the place of what another has read since.
        """
        async with self._refreshing:
            try:
                snapshot = await asyncio.to_thread(self._newer)
            except StorageError as error:
                if self._unreadable is None:
                    log(LogEvent.REGISTRY_UNREADABLE, reason=type(error).__name__)
                self._unreadable = type(error).__name__
                return
            self._unreadable = None
            if snapshot is not None:
                self._take(snapshot)

    def _newer(self) -> Snapshot | None:
        """Read the registry, if it has another version than those that were taken or refused."""
        if self._registry.version() <= max(self.current.version, self._refused):
            return None
        return self._registry.snapshot()

    def _take(self, snapshot: Snapshot) -> None:
        try:
            self.current = in_force.read(snapshot)
        except in_force.Unusable as problem:
            self._refused = snapshot.version
            log(
                LogEvent.REGISTRY_REFUSED,
                version=snapshot.version,
                document=problem.document,
                reason=problem.reason,
            )
        else:
            metrics.REGISTRY_VERSION.set(self.current.version)
            log(LogEvent.REGISTRY_TAKEN, version=self.current.version)

    async def watch(self) -> None:
        """Refresh for ever."""
        while True:
            await asyncio.sleep(POLL_S)
            await self.refresh()
