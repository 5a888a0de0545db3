"""One question asked once: whoever comes with a question that is on its way to Spine already waits for its answer.

Two questions are the same only when they go to the same Spine side for the same ASID and organisation with the same
parameters; those of a person with a smartcard (access methods 3 and 4) are never shared, because Spine answers that
person. This worker's questions only: what another worker asks is not known here.

A question that has left already is anybody's to wait for. Before that only the same client waits for it, and not from
an earlier lane: how long another client's question waits for its slot is that client's affair. A follower waits no
longer than its own deadline; a leader that gives up or is cut off takes nobody with it.
"""

import asyncio
from collections import defaultdict
from typing import Final

import msgspec

from minispine.domain.lanes import LANES, Lane
from minispine.domain.question import Question
from minispine.spine.ports import Asked, Sender


class Flight:
    """One question on its way. `exchange` is the leader's."""

    def __init__(self, exchange: str, lane: Lane, client: str) -> None:
        self.exchange: Final = exchange
        self._client = client
        self.left = False
        """Whether a message has left; set by the leader."""
        self.followed = False
        """Whether somebody else waits for it, or did."""
        self._rank = LANES.index(lane)
        self._landed: asyncio.Future[Asked | None] = asyncio.get_running_loop().create_future()

    def takes(self, lane: Lane, client: str) -> bool:
        """Whether this client does well to wait for it from this lane."""
        return self.left or (self._client == client and self._rank <= LANES.index(lane))

    def land(self, asked: Asked | None) -> None:
        """Give the answer to all who wait, or None where the leader has none that would be theirs too."""
        if not self._landed.done():
            self._landed.set_result(asked)

    async def wait(self, timeout_s: float) -> Asked | None:
        """Wait for the answer. None when the leader has given up.

        Raises:
            TimeoutError: not within `timeout_s` seconds.
        """
        self.followed = True
        async with asyncio.timeout(timeout_s):
            return await asyncio.shield(self._landed)


class Flights:
    """The questions that this worker has on their way to one Spine side."""

    def __init__(self, side: str) -> None:
        self._side = side
        self._under_way: defaultdict[bytes, list[Flight]] = defaultdict(list)
        self._encoder = msgspec.msgpack.Encoder()

    def __len__(self) -> int:
        return sum(len(flights) for flights in self._under_way.values())

    def key(self, question: Question, sender: Sender, organisation: str) -> bytes | None:
        """Give what two questions that are the same have in common; None for one that is never shared."""
        if sender.author is not None:
            return None
        return self._encoder.encode([self._side, sender.asid, organisation, question])

    def under_way(self, key: bytes | None, lane: Lane, client: str) -> Flight | None:
        """Give the question to wait for, if there is one for this client in this lane."""
        if key is None or key not in self._under_way:
            return None
        return next((flight for flight in self._under_way[key] if flight.takes(lane, client)), None)

    def lead(self, key: bytes, exchange: str, lane: Lane, client: str) -> Flight:
        """Let others wait for the question that this exchange is about to ask; `over` has to follow in any case."""
        flight = Flight(exchange, lane, client)
        self._under_way[key].append(flight)
        return flight

    def over(self, key: bytes, flight: Flight, asked: Asked | None = None) -> None:
        """Say how it ended; whoever waits goes on, with the answer or by themselves."""
        flight.land(asked)
        flights = self._under_way[key]
        flights.remove(flight)
        if not flights:
            del self._under_way[key]
