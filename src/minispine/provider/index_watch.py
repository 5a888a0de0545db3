"""Keeping the index of searches up to date while the provider serves. What the index is, is in ``audit/index``."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from minispine.audit.index import IndexBroken, fold
from minispine.observe.log import LogEvent, log
from minispine.storage import Database, StorageMisconfigured, StorageUnavailable

PAUSE_S: Final = 1.0
_REINDEX: Final = "the index of the audit trail has to be made anew; run: minispine audit reindex"


class Ending(Exception):
    """The worker is about to end, so long work has to."""


class IndexWatch:
    """Brings what was recorded into the index; of several workers one at a time is at it.

    `between` is called between any two of its transactions and may raise `Ending`; `sleep` waits some seconds.
    """

    def __init__(
        self,
        database: Database,
        *,
        between: Callable[[], None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._database = database
        self._between = between
        self._sleep = sleep
        self._broken = False
        self._hindered: str | None = None

    def warnings(self) -> list[str]:
        """What somebody should do about the index; what is recorded does not depend on it."""
        hindered = f"the index of the audit trail cannot be kept up to date: {self._hindered}"
        return ([_REINDEX] if self._broken else []) + ([hindered] if self._hindered is not None else [])

    async def watch(self) -> None:
        """Fold every second, for as long as the worker serves."""
        while True:
            await asyncio.to_thread(self._fold)
            await self._sleep(PAUSE_S)

    def _fold(self) -> None:
        try:
            fold(self._database, between=self._between)
        except IndexBroken:
            if not self._broken:
                log(LogEvent.INDEX_BROKEN)
            self._broken = True
        except StorageMisconfigured as error:
            self._hindered = str(error)
        except (StorageUnavailable, Ending):
            return  # a search looks at what is pending, too
        else:
            self._broken = False
            self._hindered = None
