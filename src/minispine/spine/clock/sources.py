"""The time sources that the settings name, read all at the same time."""

import asyncio
from collections.abc import Callable, Sequence

from minispine.config.settings import Clock
from minispine.config.time_servers import time_server
from minispine.spine.clock.asking import TimeServer
from minispine.spine.clock.chrony import Chrony
from minispine.spine.clock.port import ClockPort, DaemonPort, Readings, ServerPort
from minispine.spine.clock.timesyncd import Timesyncd


class Sources:
    """`ClockPort` over servers, and over the daemon that sets the clock where one is to be asked."""

    def __init__(self, servers: Sequence[ServerPort], daemon: DaemonPort | None = None) -> None:
        self._servers = servers
        self._daemon = daemon

    async def read(self) -> Readings:
        """Measure once."""
        async with asyncio.TaskGroup() as group:
            servers = [group.create_task(server.read()) for server in self._servers]
            daemon = group.create_task(self._daemon.read()) if self._daemon is not None else None
        return Readings(
            servers=tuple(task.result() for task in servers), daemon=daemon.result() if daemon is not None else None
        )


def clock_sources(settings: Clock, *, now: Callable[[], int], monotonic: Callable[[], float]) -> ClockPort:
    """Make the sources that `[clock]` names. `now` gives UTC microseconds since 1970, `monotonic` seconds.

    Raises:
        ValueError: a server is not written as it must be; settings that were checked do not have one.
    """
    timeout_s = settings.timeout_s
    servers = [
        TimeServer(name, time_server(name), now=now, monotonic=monotonic, timeout_s=timeout_s)
        for name in settings.servers
    ]
    daemons: dict[str, DaemonPort] = {
        "chrony": Chrony(timeout_s=timeout_s),
        "timesyncd": Timesyncd(timeout_s=timeout_s),
    }
    return Sources(servers, daemons.get(settings.source))
