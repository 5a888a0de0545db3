"""The registry as one worker sees it: the version in force, looked at again and again (Law 11)."""

import asyncio
from typing import Final

from minispine.observe import metrics
from minispine.observe.log import LogEvent, log
from minispine.provider import in_force
from minispine.storage import Registry, StorageError

POLL_S: Final = 0.25
"""How often a worker looks whether the registry has changed: well within Law 11's second."""


class RegistryView:
    """The registry's version in force in this worker, looked at again and again."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
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
        """Take the newest version of the registry, if it is another than ours and holds together."""
        try:
            version = await asyncio.to_thread(self._registry.version)
            if version in (self.current.version, self._refused):
                self._unreadable = None
                return
            snapshot = await asyncio.to_thread(self._registry.snapshot)
        except StorageError as error:
            if self._unreadable is None:
                log(LogEvent.REGISTRY_UNREADABLE, reason=type(error).__name__)
            self._unreadable = type(error).__name__
            return
        self._unreadable = None
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
