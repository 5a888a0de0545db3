"""Who may call a national service next, and when: the whole of it as a value, and how it changes (Law 3).

A `Book` is what all workers of all nodes share about one national service: when each accredited system's next slot is,
and who waits. A worker reads it, asks `take` for slots, and puts the changed book back, if nobody else has changed it
meanwhile (`store.py`). So a worker that stands still or dies holds nobody up, and what is promised here holds for all
of them together. Nothing here reads a clock or draws anything: `now` is microseconds of the one clock that all share.

**Slots.** A limit of r a second with burst b is a bucket (GCRA): any window of W seconds holds at most r * W + b
instants, because each instant is drawn from the bucket in one order. A slot that nobody uses is lost.

**Below 100 a second** a worker takes one slot at a time, when it is nearly due, and only if the best of all that wait
is its own; otherwise it leaves the slot for its owner, looks again shortly after, and by then counts only those who
have shown themselves since. **From 100 a second** it takes a block: of the slots of the next 50 ms as many as fall to
its own, one after another, each with an instant of its own.

**Who is best**: the first lane that has somebody waiting, unless a lower one has been passed over as often as its share
allows; in a lane what must go on (a second question, a repetition) before what begins, oldest first; among what
begins the client that has had least (start-time fair queueing: a client that was away saves nothing up).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from minispine.domain.lanes import LANES
from minispine.vocabulary.budgets import Limit, ServiceBudget

SECOND: Final = 1_000_000
BLOCKS_FROM_PER_S: Final = 100.0
BLOCK_US: Final = 50_000
"""How much of the time to come a worker may take at once, from that rate on."""
LEAD_US: Final = 10_000
"""How long before its instant a single slot can be taken."""
GONE_US: Final = SECOND
"""A worker that has not shown itself for so long is not waited for."""
LOST_US: Final = SECOND
"""A database that lost what was last written to it lost no more than this (see `distrust`)."""
MINUTE_S: Final = 60
RATE_OVER_S: Final = 5.0
FORGET_US: Final = 120 * SECOND


class Want(msgspec.Struct, array_like=True, gc=False):
    """Calls of one client that wait at one worker; `lane` is its place in `LANES`.

    `again` sets apart what must go on from what begins. `count` is how many of them could leave now, `waiting` how many
    there are; `since` is when the first of them came.
    """

    asid: str
    lane: int
    client: str
    again: bool
    count: int
    waiting: int
    since: int


class Desk(msgspec.Struct, array_like=True):
    """What waits at one worker, and when it last said so."""

    seen: int
    wants: list[Want]


class Bucket(msgspec.Struct, array_like=True):
    """How much of a limit is used: `until` is when the bucket will be full again; `seconds` counts calls by second."""

    until: int = 0
    seconds: dict[int, int] = {}


class Line(msgspec.Struct, array_like=True):
    """What is remembered of one accredited system.

    By lane: how often it was `passed` over while somebody waited in it, the tag that was served last (`floor`), and how
    many calls a second it has had of late (`rates`, as of `rated_at`). `tags` are those of clients, by lane and name.
    """

    bucket: Bucket
    passed: list[int]
    floor: list[int]
    rates: list[float]
    rated_at: int
    tags: dict[str, int]


class Book(msgspec.Struct, array_like=True):
    """Everything that workers share about one national service. `emptied_at`: see `distrust`."""

    emptied_at: int = 0
    lines: dict[str, Line] = {}
    clients: dict[str, Bucket] = {}
    desks: dict[str, Desk] = {}


class Grant(msgspec.Struct, frozen=True, gc=False):
    """A slot that was taken. `client` is None for one that is for whoever comes next."""

    asid: str
    instant: int
    lane: int = 0
    client: str | None = None
    again: bool = False


class Taken(msgspec.Struct, frozen=True):
    """What came of an attempt to take slots.

    `next_at` is when the next slot of what still waits is, None where nothing waits; `left_to_others` says that one was
    due and is somebody else's.
    """

    grants: list[Grant]
    next_at: int | None
    left_to_others: bool


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(Book)


def encode(book: Book) -> bytes:
    """Give the book's bytes. `decode(encode(book))` is the same book."""
    return _encoder.encode(book)


def decode(content: bytes) -> Book:
    """Read a book. Raises `msgspec.DecodeError`, `msgspec.ValidationError`."""
    return _decoder.decode(content)


def distrust(book: Book, now: int, budget: ServiceBudget) -> None:
    """Count every bucket as emptied now: by a worker whose connection to the database is new.

    A database that failed may have lost the last of what was written to it, so that slots which were used would be
    given once more. Every worker loses its connection then, and none takes a slot before it has done this.
    """
    book.emptied_at = max(book.emptied_at, now) if book.emptied_at <= now + BLOCK_US else now
    for asid, line in book.lines.items():
        _empty(line.bucket, budget.limit(asid), now)
    for name, bucket in book.clients.items():
        if name in budget.clients:
            _empty(bucket, budget.clients[name], now)


def take(
    book: Book,
    *,
    now: int,
    instance: str,
    wants: Sequence[Want],
    budget: ServiceBudget,
    room: int,
    ahead: int = 0,
    shown_since: int | None = None,
    alone: bool = False,
    spare: Mapping[str, int] | None = None,
) -> Taken:
    """Say what waits at `instance`, and take the slots that fall to it; changes the book.

    At most `room` are taken. No instant is before `now` + `ahead`, because it takes so long until the book is put back.
    Other workers count if they have shown themselves within a second, or since `shown_since`; with `alone` none does.
    `spare` are slots for an ASID beyond what waits, from the rate on at which blocks are taken, where nobody else wants
    them.
    """
    _set_right(book, now, budget)
    if wants:
        book.desks[instance] = Desk(seen=now, wants=list(wants))
    else:
        book.desks.pop(instance, None)
    others = [] if alone else _others(book, instance, now - GONE_US if shown_since is None else shown_since)
    grants: list[Grant] = []
    next_at: int | None = None
    left = False
    for asid in dict.fromkeys([want.asid for want in wants] + list(spare or ())):
        round_ = _Round(book, budget, asid, now, now + ahead)
        mine = [_Waiting(want, instance) for want in wants if want.asid == asid and want.count]
        theirs = [_Waiting(want, name) for name, desk in others for want in desk.wants if want.asid == asid]
        got, following, passed_up = round_.play(mine, [w for w in theirs if w.count], instance, room - len(grants))
        grants += got
        extra = (spare or {}).get(asid, 0)
        if extra and round_.in_blocks and not theirs and not any(w.count for w in mine):
            grants += round_.open_slots(min(extra, room - len(grants)))
        left = left or passed_up
        if following is not None:
            next_at = following if next_at is None else min(next_at, following)
    return Taken(grants=grants, next_at=next_at, left_to_others=left)


def forecast_s(book: Book, budget: ServiceBudget, *, asid: str, lane: int, client: str, calls: int, now: int) -> float:
    """Estimate how long until the last of so many calls of a newcomer could leave, in seconds.

    What waits in higher lanes goes before; in its own lane each other client gets as many slots as this one. Newcomers
    in higher lanes are expected at the rate at which they have been coming.
    """
    limit = budget.limit(asid)
    line = book.lines.get(asid)
    higher = mine = 0
    rivals: dict[str, int] = {}
    for desk in book.desks.values():
        for want in desk.wants:
            if want.asid != asid or desk.seen < now - GONE_US:
                continue
            if want.lane < lane:
                higher += want.waiting
            elif want.lane == lane:
                if want.client == client:
                    mine += want.waiting
                elif want.again:
                    higher += want.waiting
                else:
                    rivals[want.client] = rivals.get(want.client, 0) + want.waiting
    place = mine + calls
    ahead = sum(min(waiting, place) for waiting in rivals.values()) + place
    busy = 0.0
    start = now
    if line is not None:
        faded = math.exp(-max(0, now - line.rated_at) / SECOND / RATE_OVER_S)
        busy = sum(line.rates[:lane]) * faded
        start = _earliest(line.bucket, limit, now)
    share = budget.shares.get(LANES[lane], 0.0)
    free = max(limit.per_second - busy, share * limit.per_second, 0.02 * limit.per_second)
    wait_s = (start - now) / SECOND + higher / limit.per_second + (ahead - 1) / free
    if limit.per_minute is not None:
        wait_s = max(wait_s, (higher + ahead - limit.per_minute) * MINUTE_S / limit.per_minute)
    own = budget.clients.get(client)
    if own is not None:
        bucket = book.clients.get(client)
        first = now if bucket is None else _earliest(bucket, own, now)
        wait_s = max(wait_s, (first - now) / SECOND + max(0, place - own.burst) / own.per_second)
    return wait_s


# ── buckets ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _earliest(bucket: Bucket, limit: Limit, now: int) -> int:
    """Give the first instant from `now` on at which the limit allows a call."""
    interval = SECOND / limit.per_second
    instant = max(now, math.ceil(bucket.until - (limit.burst - 1) * interval))
    if limit.per_minute is None or not bucket.seconds:
        return instant
    used = sum(n for second, n in bucket.seconds.items() if second >= instant // SECOND - MINUTE_S)
    for second in sorted(bucket.seconds):
        if used < limit.per_minute:
            break
        if second >= instant // SECOND - MINUTE_S:
            # A window of a minute touches 61 seconds, so that this one is out of the way from then on.
            instant = max(instant, (second + MINUTE_S + 1) * SECOND)
            used -= bucket.seconds[second]
    return instant


def _draw(bucket: Bucket, limit: Limit, instant: int) -> None:
    bucket.until = max(bucket.until, instant) + math.ceil(SECOND / limit.per_second)
    if limit.per_minute is not None:
        second = instant // SECOND
        bucket.seconds = {s: n for s, n in bucket.seconds.items() if s >= second - MINUTE_S - 1}
        bucket.seconds[second] = bucket.seconds.get(second, 0) + 1


def _empty(bucket: Bucket, limit: Limit, now: int) -> None:
    """Count a bucket as emptied by the last call that may have been lost, which was up to a block ahead of `now`."""
    bucket.until = max(bucket.until, now + BLOCK_US + math.ceil(limit.burst * SECOND / limit.per_second))
    if limit.per_minute is not None:
        lost = math.ceil(limit.per_second * LOST_US / SECOND) + limit.burst
        bucket.seconds[now // SECOND] = bucket.seconds.get(now // SECOND, 0) + min(lost, limit.per_minute)


def _new_bucket(book: Book, limit: Limit) -> Bucket:
    """Make a bucket that was not heard of: it is full, unless that is only because it was lost."""
    bucket = Bucket()
    if book.emptied_at:
        _empty(bucket, limit, book.emptied_at)
    return bucket


def _set_right(book: Book, now: int, budget: ServiceBudget) -> None:
    """Forget who is gone and what has no effect any more; set right what a clock that was put back has spoilt."""
    for name in [name for name, desk in book.desks.items() if not now - GONE_US <= desk.seen <= now + GONE_US]:
        del book.desks[name]
    for asid in list(book.lines):
        line = book.lines[asid]
        if line.bucket.until < now - FORGET_US:
            del book.lines[asid]
        else:
            _not_beyond(line.bucket, budget.limit(asid), now)
    for name in list(book.clients):
        own = budget.clients.get(name)
        if own is None or book.clients[name].until < now - FORGET_US:
            del book.clients[name]
        else:
            _not_beyond(book.clients[name], own, now)
    if book.emptied_at > now + SECOND:
        book.emptied_at = now


def _not_beyond(bucket: Bucket, limit: Limit, now: int) -> None:
    """Bring a bucket back that is emptier than one can be: the clock was put back, or the limit raised."""
    most = now + 2 * BLOCK_US + SECOND + math.ceil((limit.burst + 1) * SECOND / limit.per_second)
    if bucket.until > most:
        bucket.until = most
        bucket.seconds = {min(second, now // SECOND): n for second, n in bucket.seconds.items()}


def _others(book: Book, instance: str, since: int) -> list[tuple[str, Desk]]:
    return [(name, desk) for name, desk in book.desks.items() if name != instance and desk.seen >= since]


# ── whose turn it is ────────────────────────────────────────────────────────────────────────────────────────────────


class _Waiting:
    """A `Want` as it is used up in one round."""

    __slots__ = ("again", "client", "count", "instance", "lane", "since")

    def __init__(self, want: Want, instance: str) -> None:
        self.lane = want.lane
        self.again = want.again
        self.client = want.client
        self.count = want.count
        self.since = want.since
        self.instance = instance


class _Round:
    """One worker's turn at the slots of one accredited system."""

    def __init__(self, book: Book, budget: ServiceBudget, asid: str, now: int, from_: int) -> None:
        self._book = book
        self._budget = budget
        self._asid = asid
        self._from = from_
        self._limit = budget.limit(asid)
        line = book.lines.get(asid)
        if line is None:
            nought = [0] * len(LANES)
            line = Line(_new_bucket(book, self._limit), list(nought), list(nought), [0.0] * len(LANES), now, {})
        self._line = line
        self.in_blocks = self._limit.per_second >= BLOCKS_FROM_PER_S
        self._most = max(1, int(self._limit.per_second * BLOCK_US / SECOND)) if self.in_blocks else 1
        self._horizon = from_ + (BLOCK_US if self.in_blocks else LEAD_US)
        # What others would win is played through on a copy of these; what is really taken changes both.
        self._passed = list(line.passed)
        self._tags = dict(line.tags)
        self._floor = list(line.floor)
        self._played = 0

    def play(
        self, mine: list[_Waiting], theirs: list[_Waiting], instance: str, room: int
    ) -> tuple[list[Grant], int | None, bool]:
        """Go through the slots that are due; gives those taken, when the next is, and if one was left to others."""
        grants: list[Grant] = []
        waiting = mine + theirs
        left = False
        following: int | None = None
        while any(w.count for w in mine):
            instant = max(self._from, _earliest(self._line.bucket, self._limit, self._from))
            following = instant
            if instant > self._horizon or self._played == self._most:
                break
            best, allowed_at = self._best(waiting, instant)
            if best is None:
                following = max(instant, allowed_at)
                break
            if best.instance == instance:
                if len(grants) >= room:
                    break
                grants.append(self._grant(best, waiting, instant))
            else:
                left = True
                self._serve(best, waiting, self._passed, self._tags, self._floor)
            self._played += 1
            best.count -= 1
        if not any(w.count for w in mine):
            return grants, None, False
        return grants, following, left and not grants

    def open_slots(self, count: int) -> list[Grant]:
        """Take slots for calls that have not come yet."""
        grants = []
        for _ in range(min(count, self._most - self._played)):
            instant = max(self._from, _earliest(self._line.bucket, self._limit, self._from))
            if instant > self._horizon:
                break
            _draw(self._line.bucket, self._limit, instant)
            self._book.lines[self._asid] = self._line
            grants.append(Grant(asid=self._asid, instant=instant))
        return grants

    def _best(self, waiting: list[_Waiting], instant: int) -> tuple[_Waiting | None, int]:
        """Give whose turn it is at an instant; where only limits of clients stand against it, when the first ends."""
        able: list[_Waiting] = []
        allowed_at = 0
        for each in waiting:
            if not each.count:
                continue
            at = self._allowed_at(each.client, instant)
            if at <= instant:
                able.append(each)
            else:
                allowed_at = at if not allowed_at else min(allowed_at, at)
        if not able:
            return None, allowed_at
        lane = self._lane({each.lane for each in able})
        return min((each for each in able if each.lane == lane), key=self._order), allowed_at

    def _allowed_at(self, client: str, instant: int) -> int:
        own = self._budget.clients.get(client)
        if own is None:
            return instant
        bucket = self._book.clients.get(client)
        if bucket is None:
            bucket = self._book.clients[client] = _new_bucket(self._book, own)
        return _earliest(bucket, own, instant)

    def _lane(self, lanes: set[int]) -> int:
        """Choose the lane: the first, unless a lower one has been passed over for as long as its share allows."""
        due = [lane for lane in sorted(lanes) if self._passed[lane] >= self._patience(lane)]
        return max(due, key=lambda lane: self._passed[lane] - self._patience(lane)) if due else min(lanes)

    def _patience(self, lane: int) -> float:
        share = self._budget.shares.get(LANES[lane], 0.0)
        return round(1 / share) - 1 if share else math.inf

    def _order(self, each: _Waiting) -> tuple[bool, int, int, str]:
        if each.again:
            return False, 0, each.since, each.instance
        tag = max(self._tags.get(_tag_of(each), 0), self._floor[each.lane])
        return True, tag, each.since, each.instance

    def _grant(self, best: _Waiting, waiting: list[_Waiting], instant: int) -> Grant:
        line, book = self._line, self._book
        book.lines[self._asid] = line
        _draw(line.bucket, self._limit, instant)
        own = self._budget.clients.get(best.client)
        if own is not None:
            _draw(book.clients[best.client], own, instant)
        for counts in ((self._passed, self._tags, self._floor), (line.passed, line.tags, line.floor)):
            self._serve(best, waiting, *counts)
        faded = math.exp(-max(0, instant - line.rated_at) / SECOND / RATE_OVER_S)
        line.rates = [rate * faded for rate in line.rates]
        line.rates[best.lane] += 1 / RATE_OVER_S
        line.rated_at = instant
        line.tags = {name: tag for name, tag in line.tags.items() if tag > line.floor[int(name[0])]}
        return Grant(asid=self._asid, instant=instant, lane=best.lane, client=best.client, again=best.again)

    def _serve(
        self, best: _Waiting, waiting: list[_Waiting], passed: list[int], tags: dict[str, int], floor: list[int]
    ) -> None:
        in_want = {each.lane for each in waiting if each.count}
        for lane in range(len(LANES)):
            passed[lane] = passed[lane] + 1 if lane in in_want and lane != best.lane else 0
        name = _tag_of(best)
        tag = max(tags.get(name, 0), floor[best.lane])
        tags[name] = tag + 1
        if not best.again:
            floor[best.lane] = tag


def _tag_of(each: _Waiting) -> str:
    return f"{each.lane}{each.client}"
