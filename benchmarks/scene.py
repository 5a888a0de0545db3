"""Where budget and outage are tried: keys, a simulated Spine behind a road that can be cut, and providers to ask.

A provider is one node, or several that share one PostgreSQL, each a supervisor with workers of its own.
"""

import contextlib
import datetime
import json
import os
import shutil
import tempfile
import threading
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tests.databases import Postgres, PostgresUnavailable
from tests.journeys.house import House, Spine

from benchmarks.clients import TIMEOUT_S
from benchmarks.relay import Relay
from minispine.keys import pki
from minispine.keys.pki import Kind

DATABASES: Final = ("sqlite", "postgresql")
SHARES: Final = {"unattended": 0.10, "batch": 0.05}
"""What lower lanes are guaranteed, as in the table that ships."""

_NICE: Final = -15
_ONE_AT_A_TIME: Final = threading.Lock()
"""A database's tables are made by a library that does so once at a time in a process."""


class Provider:
    """Nodes that serve together; the first is where an operator's commands are given."""

    def __init__(self, nodes: Sequence[House]) -> None:
        self.nodes = nodes

    def start(self) -> None:
        for node in self.nodes:
            node.start()

    def stop(self) -> None:
        for node in self.nodes:
            node.stop()

    @property
    def url(self) -> str:
        """The address of the database that they share."""
        url: str = self.nodes[0].settings["storage"]["url"]
        return url

    def limit(self, per_second: float) -> None:
        """Put a budget of so many calls a second in force."""
        self.load("budgets", {"pds": {"per_second": per_second, "burst": 1, "shares": SHARES}})

    def load(self, table: str, document: Mapping[str, Any]) -> None:
        """Put a table in force."""
        file = self.nodes[0].folder / f"{table}.json"
        file.write_text(json.dumps({"version": "1", **document}))
        self.nodes[0].must_run("table", "load", table, str(file), "--reason", "benchmark")


class Scene:
    """A Spine of its own, the road to it, and providers that ask it; made by `Stage.scene`."""

    def __init__(self, folder: Path, keys: Path, spine: Spine, relay: Relay) -> None:
        self.spine = spine
        self.relay = relay
        self._folder = folder
        self._keys = keys
        self._providers = 0

    @contextlib.contextmanager
    def provider(
        self, database: str, clients: Mapping[str, Sequence[str]], *, nodes: int, workers: int
    ) -> Iterator[Provider]:
        """Make a provider that is not started, with these clients and the options of their registration.

        Its budget is one that nobody waits for.
        """
        self._providers += 1
        with contextlib.ExitStack() as stack:
            houses = [stack.enter_context(self._house(number)) for number in range(nodes)]
            first = houses[0]
            for house in houses:
                house.configure("", workers=workers)
            if database == "postgresql":
                server = _server()
                stack.callback(server.remove)
                for house in houses:
                    stack.callback(house.stop)  # before the server goes
                    house.configure("storage", url=server.url("postgres").replace("@/", "@localhost/"))
            with _ONE_AT_A_TIME:
                first.begin()
            first.load_organisations()
            for name, options in clients.items():
                first.register(name, "--timeout", f"{TIMEOUT_S:g}", *options)
            for house in houses[1:]:
                shutil.copytree(first.audit_keys, house.audit_keys)
            yield Provider(houses)

    def _house(self, number: int) -> House:
        folder = self._folder / f"house-{self._providers}-{number}"
        return House(folder, self._keys, self._road(), self.spine.practices)

    def _road(self) -> str:
        address = urllib.parse.urlsplit(self.spine.url)
        return address._replace(netloc=f"{address.hostname}:{self.relay.port}").geturl()


class Stage:
    """Where scenes are: a folder, and keys that all of them use; made by `stage`."""

    def __init__(self, folder: Path, clients: Sequence[str]) -> None:
        self._folder = folder
        self._keys = _make_keys(folder / "pki", clients)

    @contextlib.contextmanager
    def scene(self, name: str, *, people: int) -> Iterator[Scene]:
        """Set a scene with a Spine that knows so many people; scenes of different names can be there at once."""
        folder = self._folder / name
        with contextlib.ExitStack() as stack:
            spine = Spine(folder / "spine", self._keys, size=people)
            stack.callback(spine.stop)
            relay = stack.enter_context(Relay(urllib.parse.urlsplit(spine.url).port or 443))
            for pid in (spine.process.pid, relay.pid):
                _let_go_first(pid)
            yield Scene(folder, self._keys, spine, relay)


@contextlib.contextmanager
def stage(clients: Sequence[str]) -> Iterator[Stage]:
    """Give a folder that is gone afterwards, temporary files of killed processes included; each client gets keys."""
    before = os.environ.get("TMPDIR")
    with tempfile.TemporaryDirectory(prefix="minispine-bench-") as name:
        os.environ["TMPDIR"] = name
        try:
            yield Stage(Path(name), clients)
        finally:
            if before is None:
                del os.environ["TMPDIR"]
            else:
                os.environ["TMPDIR"] = before


def _let_go_first(pid: int) -> None:
    """Let a process go before others where we may: Spine is another machine, whose clock is not late by our load."""
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, pid, _NICE)


def _server() -> Postgres:
    try:
        return Postgres()
    except PostgresUnavailable as reason:
        raise SystemExit(f"no PostgreSQL can be run here: {reason}; --database sqlite leaves it out") from None


def _make_keys(folder: Path, clients: Sequence[str]) -> Path:
    now = datetime.datetime.now(datetime.UTC)
    pki.create(folder, now=now)
    for name, kind in {"provider": Kind.SERVER, "spine": Kind.SPINE_SERVER, "spine-client": Kind.SPINE_CLIENT}.items():
        pki.issue(folder, name, kind, now=now)
    for name in clients:
        pki.issue(folder, name, Kind.CLIENT, now=now, organisation="A Trust")
    return folder
