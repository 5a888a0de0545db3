"""Who may call a national service next, and when: the whole of it as a value, and how it changes (Law 3).

A `Book` is what all workers of all nodes share about one national service: when each accredited system's next slot is,
and who waits. A worker reads it, asks `take` for slots, and puts the changed book back, if nobody else has changed it
meanwhile (`store.py`). So a worker that stands still or dies holds nobody up, and what is promised here holds for all
of them together. Nothing here reads a clock or draws anything: `now` is microseconds of the one clock that all share.

**Slots.** A limit of r a second with burst b is a bucket (GCRA): any window of W seconds holds at most r * W + b
instants, in whatever order they were drawn. A slot that nobody uses is lost. Where the clock is put forwards or back,
that holds of what is before the step and of what is after it, each by itself.

**Below 100 a second** a worker takes one slot at a time, when it is nearly due, and only if the best of all that wait
is its own; otherwise it leaves the slot for its owner, looks again shortly after, and by then counts only those who
have shown themselves since. **From 100 a second** it takes a block: it plays through who would get the slots of the
next 50 ms, and takes as many as fall to its own, one after another, each with an instant of its own.

**Who is best**: the first lane that has somebody waiting, unless a lower one is owed a slot by its share, and never two
owed slots one after the other; in a lane what must go on (a second question, a repetition) before what begins, oldest
first; among what begins the client that has had least (start-time fair queueing: a client that was away saves nothing
up). A client that has used up its own limit is passed by.
"""

import heapq
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Final

import msgspec

from minispine.domain.lanes import LANES
from minispine.vocabulary.budgets import Limit, ServiceBudget

SECOND: Final = 1_000_000
BLOCKS_FROM_PER_S: Final = 100.0
BLOCK_US: Final = 50_000
"""How much of the time to come a worker may take at once, from that rate on."""
LEAD_US: Final = 10_000
"""How long before its instant a single slot can be taken."""
FURTHEST_US: Final = 2 * BLOCK_US
"""No slot is taken longer than this before its instant, whatever `ahead` is."""
GONE_US: Final = SECOND
"""A worker that has not shown itself for so long is not waited for."""
LOST_US: Final = SECOND
"""A database that lost what was last written to it lost no more than this (see `distrust`)."""
MINUTE_S: Final = 60
RATE_OVER_S: Final = 5.0
FORGET_US: Final = 120 * SECOND


_NEARLY: Final = 1e-9
"""Shares are added up as floats; this much less than a slot is one."""

_MOST_OWED: Final = 2.0
"""A lane whose clients are all at their own limits is not owed more and more meanwhile."""

_Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
_Lane = Annotated[int, msgspec.Meta(ge=0, lt=len(LANES))]
_Portion = Annotated[float, msgspec.Meta(ge=0, le=2**53)]
_EACH_LANE: Final = msgspec.Meta(min_length=len(LANES), max_length=len(LANES))


class Want(msgspec.Struct, array_like=True, gc=False):
    """Calls of one client that wait at one worker; `lane` is its place in `LANES`.

    `again` sets apart what must go on from what begins. `count` is how many of them could leave now, `waiting` how many
    there are; `since` is when the first of them came.
    """

    asid: str
    lane: _Lane
    client: str
    again: bool
    count: _Count
    waiting: _Count
    since: int


class Desk(msgspec.Struct, array_like=True):
    """What waits at one worker beyond the slots it has taken, and when it last said so."""

    seen: int
    wants: list[Want]


class Bucket(msgspec.Struct, array_like=True):
    """How much of a limit is used: `until` is when the bucket will be full again; `seconds` counts calls by second."""

    until: int = 0
    seconds: dict[int, _Count] = {}


class Line(msgspec.Struct, array_like=True):
    """What is remembered of one accredited system.

    By lane: how much of a slot its share still owes it (`owed`), by client how many calls it has had (`tags`) above
    what everybody who waits has had (`floor`), and how many calls a second it has had of late (`rates`, as of
    `rated_at`). `stepped_down`: the last slot was an owed one, for which somebody in a higher lane had to wait.
    """

    bucket: Bucket
    owed: Annotated[list[_Portion], _EACH_LANE]
    stepped_down: bool
    floor: Annotated[list[_Count], _EACH_LANE]
    tags: Annotated[list[dict[str, _Count]], _EACH_LANE]
    rates: Annotated[list[_Portion], _EACH_LANE]
    rated_at: int


class Book(msgspec.Struct, array_like=True):
    """Everything that workers share about one national service.

    `emptied_at`: see `distrust`. `lost_at` is when a book was found that could not be read, and this one begun in its
    place: nobody knows what the minute before it held.
    """

    emptied_at: int = 0
    lost_at: int = 0
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
    book.emptied_at = now
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
    spread: bool = False,
) -> Taken:
    """Say what waits at `instance`, and take the slots that fall to it; changes the book.

    At most `room` are taken. No instant is before `now` + `ahead`, because it takes so long until the book is put back.
    Other workers count if they have shown themselves within a second, or since `shown_since`; with `alone` none does.
    `spare` are slots for an ASID beyond what waits, from the rate on at which blocks are taken, where nobody else wants
    them. They follow each other as soon as the limit allows, or with `spread` evenly over the time of a block: then
    whoever else comes meanwhile waits until it is over.
    """
    _set_right(book, now, budget)
    mine: dict[str, list[_Group]] = {}
    for want in sorted(wants, key=_urgency):
        mine.setdefault(want.asid, []).append(_Group(want, instance, here=True))
    asids = list(mine | dict.fromkeys(spare or ()))
    theirs: dict[str, list[_Group]] = {asid: [] for asid in asids}
    unheard: dict[str, list[_Group]] = {asid: [] for asid in asids}
    for name, desk in book.desks.items():
        heard = not alone and (shown_since is None or desk.seen >= shown_since)
        for want in desk.wants:
            if name != instance and want.asid in theirs:
                (theirs if heard else unheard)[want.asid].append(_Group(want, name))
    grants: list[Grant] = []
    following: list[int] = []
    left = False
    for asid in asids:
        round_ = _Round(
            book, budget, asid, now, now + ahead, mine=mine.get(asid, []), theirs=theirs[asid], unheard=unheard[asid]
        )
        round_.play(room - len(grants))
        if spare:
            round_.open_slots(spare.get(asid, 0), room - len(grants) - len(round_.grants), spread=spread)
        round_.close()
        grants += round_.grants
        left = left or round_.left
        if round_.next_at is not None:
            following.append(round_.next_at)
    _leave_word(book, instance, now, [group for groups in mine.values() for group in groups], room)
    return Taken(grants=grants, next_at=min(following, default=None), left_to_others=left)


def forecast_s(book: Book, budget: ServiceBudget, *, asid: str, lane: int, client: str, calls: int, now: int) -> float:
    """Estimate how long until the last of so many calls of a newcomer could leave, in seconds.

    What waits in higher lanes goes before, but for the lane's share; in its own lane each other client gets as many
    slots as this one. Newcomers in higher lanes are expected at the rate at which they have been coming.
    """
    higher = mine = 0
    rivals: dict[str, int] = {}
    for desk in book.desks.values():
        if desk.seen < now - GONE_US:
            continue
        for want in desk.wants:
            if want.asid != asid or want.lane > lane:
                continue
            if want.lane < lane or (want.again and want.client != client):
                higher += want.waiting
            elif want.client == client:
                mine += want.waiting
            else:
                rivals[want.client] = rivals.get(want.client, 0) + want.waiting
    place = mine + calls
    turns = place + sum(min(waiting, place) for waiting in rivals.values())
    limit = budget.limit(asid)
    line = book.lines.get(asid)
    bucket = line.bucket if line is not None else _new_bucket(book, limit)
    busy = 0.0 if line is None else sum(line.rates[:lane]) * _faded(now - line.rated_at)
    # What the bucket has room for leaves at once; the rest of what goes before at the full rate, ours at what is free.
    used_s = max(0, bucket.until - now) / SECOND
    before = used_s * limit.per_second + higher - limit.burst
    free = max(limit.per_second - busy, 0.02 * limit.per_second)
    wait_s = max(0.0, before) / limit.per_second + max(0.0, turns + min(0.0, before)) / free
    if share := budget.shares.get(LANES[lane], 0.0):
        wait_s = min(wait_s, used_s + turns / (share * limit.per_second))
    if limit.per_minute is not None:
        wait_s = max(wait_s, _minute_wait_s(bucket, limit.per_minute, higher + turns, now))
    own = budget.clients.get(client)
    if own is not None:
        bucket = book.clients.get(client) or _new_bucket(book, own)
        wait_s = max(wait_s, max(0, bucket.until - now) / SECOND + (place - own.burst) / own.per_second)
        if own.per_minute is not None:
            wait_s = max(wait_s, _minute_wait_s(bucket, own.per_minute, place, now))
    return wait_s


def in_blocks(limit: Limit) -> bool:
    """Tell whether slots of this limit are taken in blocks."""
    return limit.per_second >= BLOCKS_FROM_PER_S


def most_at_once(limit: Limit) -> int:
    """Give how many slots of this limit a worker may take at once."""
    return max(1, int(limit.per_second * BLOCK_US / SECOND)) if in_blocks(limit) else 1


# ── buckets ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _interval(limit: Limit) -> int:
    return math.ceil(SECOND / limit.per_second)


def _earliest(bucket: Bucket, limit: Limit, now: int) -> int:
    """Give the first instant from `now` on at which the limit allows a call."""
    instant = max(now, bucket.until - math.floor((limit.burst - 1) * SECOND / limit.per_second))
    if limit.per_minute is None or not bucket.seconds:
        return instant
    # A window of a minute touches 61 seconds: one is out of the way when the 61st after it begins.
    used = sum(n for second, n in bucket.seconds.items() if second >= instant // SECOND - MINUTE_S)
    if used < limit.per_minute:
        return instant
    for second in sorted(bucket.seconds):
        if second >= instant // SECOND - MINUTE_S:
            instant = (second + MINUTE_S + 1) * SECOND
            used -= bucket.seconds[second]
            if used < limit.per_minute:
                break
    return instant


def _minute_wait_s(bucket: Bucket, per_minute: int, calls: int, now: int) -> float:
    """Give how long until the last of so many calls is within what a minute may hold."""
    recent = sorted(second for second in bucket.seconds if second >= now // SECOND - MINUTE_S)
    over = calls + sum(bucket.seconds[second] for second in recent) - per_minute
    minutes, over = divmod(max(0, over), per_minute)
    if not over:
        return float(minutes * MINUTE_S)
    for second in recent:
        over -= bucket.seconds[second]
        if over <= 0:
            return minutes * MINUTE_S + max(0.0, second + MINUTE_S + 1 - now / SECOND)
    return float((minutes + 1) * MINUTE_S)


def _draw(bucket: Bucket, limit: Limit, instant: int) -> None:
    bucket.until = max(bucket.until, instant) + _interval(limit)
    if limit.per_minute is None:
        if bucket.seconds:
            bucket.seconds = {}
        return
    second = instant // SECOND
    if second not in bucket.seconds:
        bucket.seconds = {s: n for s, n in bucket.seconds.items() if s >= second - MINUTE_S - 1}
    bucket.seconds[second] = bucket.seconds.get(second, 0) + 1


def _empty(bucket: Bucket, limit: Limit, now: int) -> None:
    """Count a bucket as emptied by calls that may have been lost; the last of them was `FURTHEST_US` ahead of `now`."""
    put_back = _not_beyond(bucket, limit, now)
    most = math.ceil(limit.per_second * (LOST_US + FURTHEST_US) / SECOND) + limit.burst
    # More than the bucket had room for was not lost: of several workers that distrust it, the first has counted it.
    room = limit.burst + math.floor((now + FURTHEST_US - bucket.until) * limit.per_second / SECOND)
    lost = most if put_back else max(0, min(most, room))
    bucket.until = max(bucket.until, now + FURTHEST_US + math.ceil(limit.burst * SECOND / limit.per_second))
    if limit.per_minute is not None and lost:
        second = now // SECOND
        bucket.seconds[second] = bucket.seconds.get(second, 0) + min(lost, limit.per_minute)


def _new_bucket(book: Book, limit: Limit) -> Bucket:
    """Make a bucket that was not heard of: it is full, unless that is only because it was lost."""
    bucket = Bucket()
    if book.emptied_at:
        _empty(bucket, limit, book.emptied_at)
    if book.lost_at and limit.per_minute is not None:
        bucket.seconds[book.lost_at // SECOND] = limit.per_minute
    return bucket


def _set_right(book: Book, now: int, budget: ServiceBudget) -> None:
    """Forget who is gone and what has no effect any more; set right what a clock that was put back has spoilt."""
    for name in [name for name, desk in book.desks.items() if not now - GONE_US <= desk.seen <= now + GONE_US]:
        del book.desks[name]
    for asid, line in list(book.lines.items()):
        if line.bucket.until < now - FORGET_US:
            del book.lines[asid]
        else:
            _not_beyond(line.bucket, budget.limit(asid), now)
    for name, bucket in list(book.clients.items()):
        own = budget.clients.get(name)
        if own is None or bucket.until < now - FORGET_US:
            del book.clients[name]
        else:
            _not_beyond(bucket, own, now)
    book.emptied_at = min(book.emptied_at, now + SECOND)
    book.lost_at = min(book.lost_at, now + SECOND)


def _not_beyond(bucket: Bucket, limit: Limit, now: int) -> bool:
    """Bring a bucket back that is emptier than one can be: the clock was put back, or the limit raised."""
    most = now + FURTHEST_US + SECOND + math.ceil((limit.burst + 1) * SECOND / limit.per_second)
    if bucket.until <= most:
        return False
    bucket.until = most
    seconds: dict[int, int] = {}
    for second, n in bucket.seconds.items():
        seconds[min(second, now // SECOND)] = seconds.get(min(second, now // SECOND), 0) + n
    bucket.seconds = seconds
    return True


def _faded(since_us: int) -> float:
    """Give what is left of a rate that was measured so long ago."""
    return math.exp(-max(0, since_us) / SECOND / RATE_OVER_S)


# ── whose turn it is ────────────────────────────────────────────────────────────────────────────────────────────────


class _Group:
    """A `Want` as it is used up in one round; `here` if it is this worker's own."""

    __slots__ = ("count", "here", "instance", "taken", "want")

    def __init__(self, want: Want, instance: str, *, here: bool = False) -> None:
        self.want = want
        self.instance = instance
        self.here = here
        self.count = want.count
        self.taken = 0


class _Queue:
    """Who waits in one lane, the best at the front, by the calls that each client has had (`tags`)."""

    __slots__ = ("_again", "_floor", "_groups", "_heap", "_tags", "count")

    def __init__(self, groups: list[_Group], tags: dict[str, int], floor: int) -> None:
        self.count = sum(group.count for group in groups)
        self._groups = groups
        self._tags = tags
        self._floor = floor
        self._again: list[_Group] = []
        self._heap: list[tuple[int, int, str, int, _Group]] | None = None

    def best(self, allowed: Callable[[str], bool]) -> _Group | None:
        """Give whose turn it is among those whose client is allowed a call."""
        if not self.count:
            return None
        if self._heap is None:  # most lanes are never asked
            self._heap = self._sorted()
        for group in self._again:
            if group.count and allowed(group.want.client):
                return group
        found: _Group | None = None
        passed = []
        while self._heap:
            tag, since, instance, number, group = self._heap[0]
            tag_now = self._tags.get(group.want.client, 0)
            if not group.count:
                heapq.heappop(self._heap)
            elif tag_now > tag:  # it has had a call since, perhaps at another worker
                heapq.heapreplace(self._heap, (tag_now, since, instance, number, group))
            elif not allowed(group.want.client):
                passed.append(heapq.heappop(self._heap))
            else:
                found = group
                break
        for entry in passed:
            heapq.heappush(self._heap, entry)
        return found

    def _sorted(self) -> list[tuple[int, int, str, int, _Group]]:
        self._again = sorted(
            (group for group in self._groups if group.want.again), key=lambda group: (group.want.since, group.instance)
        )
        # Its number comes before a group, so that two groups are never compared.
        heap = [
            (max(self._tags.get(group.want.client, 0), self._floor), group.want.since, group.instance, number, group)
            for number, group in enumerate(self._groups)
            if not group.want.again and group.count
        ]
        heapq.heapify(heap)
        return heap


class _Counts:
    """Whose turn it is, as a worker plays it through; what a `Line` says in the same words."""

    __slots__ = ("owed", "stepped_down", "tags")

    def __init__(self, line: Line) -> None:
        self.owed = list(line.owed)
        self.stepped_down = line.stepped_down
        self.tags = [dict(tags) for tags in line.tags]


class _Round:
    """One worker's turn at the slots of one accredited system.

    It plays through who gets the slots that are due, and takes those that fall to this worker. `grants` are those,
    `next_at` is when the next slot is of what still waits here, `left` says that one was due and somebody else's.
    """

    def __init__(
        self,
        book: Book,
        budget: ServiceBudget,
        asid: str,
        now: int,
        from_: int,
        *,
        mine: list[_Group],
        theirs: list[_Group],
        unheard: list[_Group],
    ) -> None:
        self.grants: list[Grant] = []
        self.next_at: int | None = None
        self.left = False
        self._book = book
        self._asid = asid
        self._from = from_
        self._mine = mine
        self._everybody = [*mine, *theirs, *unheard]
        self._limit = budget.limit(asid)
        self._limits = budget.clients
        self._shares = [budget.shares.get(lane, 0.0) for lane in LANES]
        self._line = line = book.lines.get(asid) or _new_line(_new_bucket(book, self._limit), now)
        self._in_blocks = in_blocks(self._limit)
        self._most = most_at_once(self._limit)
        self._horizon = min(from_ + (BLOCK_US - 1 if self._in_blocks else LEAD_US), now + FURTHEST_US)
        self._instant = _earliest(line.bucket, self._limit, from_)
        # As it is played through: what others would take is drawn from these and not from the book's.
        self._bucket = Bucket(line.bucket.until, dict(line.bucket.seconds))
        self._buckets: dict[str, Bucket] = {}
        self._shut_until: dict[str, int] = {}
        self._counts = _Counts(line)
        lanes: list[list[_Group]] = [[] for _ in LANES]
        for group in (*mine, *theirs):
            lanes[group.want.lane].append(group)
        self._queues = [_Queue(lanes[i], self._counts.tags[i], line.floor[i]) for i in range(len(LANES))]
        self._unheard = {group.want.lane for group in unheard if group.count}

    def play(self, room: int) -> None:
        """Go through the slots that are due, and take those that fall to this worker, at most `room`."""
        wanted = sum(group.count for group in self._mine)
        for _ in range(self._most):
            if not wanted or _earliest(self._bucket, self._limit, self._from) > self._horizon:
                break
            if not any(group.count and self._allowed(group.want.client) for group in self._mine):
                break
            best, stepped_down = self._best()
            if best.here and len(self.grants) >= room:
                break
            if best.here:
                wanted -= 1
                self._take(best, stepped_down)
            else:
                self.left = True
            self._play(best, stepped_down)
            if best.here:
                self._instant = _earliest(self._line.bucket, self._limit, self._from)
        if wanted:
            self.next_at = min(self._allowed_at(group.want.client) for group in self._mine if group.count)
        else:
            self.left = False

    def open_slots(self, count: int, room: int, *, spread: bool) -> None:
        """Take slots for calls that have not come yet, if slots are taken in blocks and nobody waits for them."""
        if not self._in_blocks or any(group.count for group in self._everybody):
            return
        apart = BLOCK_US // count if spread and count else 0
        for _ in range(min(count, room, self._most - len(self.grants))):
            if self._instant > self._horizon:
                break
            self.grants.append(Grant(asid=self._asid, instant=self._instant))
            _draw(self._line.bucket, self._limit, self._instant)
            self._instant = _earliest(self._line.bucket, self._limit, max(self._from, self._instant + apart))

    def close(self) -> None:
        """Keep what is to be remembered of the slots that were taken."""
        if not self.grants:
            return
        line = self._line
        self._book.lines[self._asid] = line
        faded = _faded(self.grants[-1].instant - line.rated_at)
        line.rates = [rate * faded for rate in line.rates]
        line.rated_at = max(line.rated_at, self.grants[-1].instant)
        served = [grant.lane for grant in self.grants if grant.client is not None]
        for lane in set(served):
            line.rates[lane] += served.count(lane) / RATE_OVER_S
            self._raise_floor(lane)

    def _best(self) -> tuple[_Group, bool]:
        """Give whose turn it is, and whether that is because a share owes it, while a higher lane waits."""
        first = next(group for queue in self._queues if (group := queue.best(self._allowed)) is not None)
        if self._counts.stepped_down:
            return first, False
        owed = [
            (self._counts.owed[lane] + share, lane)
            for lane, share in enumerate(self._shares)
            if share and lane > first.want.lane and self._counts.owed[lane] + share >= 1 - _NEARLY
        ]
        for _, lane in sorted(owed, reverse=True):
            group = self._queues[lane].best(self._allowed)
            if group is not None:
                return group, True
        return first, False

    def _allowed(self, client: str) -> bool:
        return client not in self._limits or self._allowed_at(client) <= self._instant

    def _allowed_at(self, client: str) -> int:
        """Give the first instant from the next slot on that is within the client's own limit."""
        own = self._limits.get(client)
        if own is None:
            return self._instant
        shut_until = self._shut_until.get(client, 0)
        if shut_until <= self._instant:
            shut_until = self._shut_until[client] = _earliest(self._played_bucket(client, own), own, self._instant)
        return shut_until

    def _played_bucket(self, client: str, own: Limit) -> Bucket:
        if client not in self._buckets:
            bucket = self._book.clients.get(client) or _new_bucket(self._book, own)
            self._buckets[client] = Bucket(bucket.until, dict(bucket.seconds))
        return self._buckets[client]

    def _play(self, best: _Group, stepped_down: bool) -> None:
        self._charge(self._counts, best, stepped_down)
        _draw(self._bucket, self._limit, _earliest(self._bucket, self._limit, self._from))
        client = best.want.client
        own = self._limits.get(client)
        if own is not None:
            _draw(self._played_bucket(client, own), own, self._instant)
            self._shut_until.pop(client, None)
        best.count -= 1
        self._queues[best.want.lane].count -= 1

    def _take(self, best: _Group, stepped_down: bool) -> None:
        want = best.want
        self.grants.append(
            Grant(asid=self._asid, instant=self._instant, lane=want.lane, client=want.client, again=want.again)
        )
        best.taken += 1
        self._charge(self._line, best, stepped_down)
        _draw(self._line.bucket, self._limit, self._instant)
        own = self._limits.get(want.client)
        if own is not None:
            if want.client not in self._book.clients:
                self._book.clients[want.client] = _new_bucket(self._book, own)
            _draw(self._book.clients[want.client], own, self._instant)

    def _charge(self, counts: _Counts | Line, best: _Group, stepped_down: bool) -> None:
        """Count a slot for the client that gets it, and towards the shares of the lanes in which somebody waits."""
        counts.stepped_down = stepped_down
        for lane, share in enumerate(self._shares):
            waits = bool(self._queues[lane].count) or lane in self._unheard
            owed = min(counts.owed[lane] + share, _MOST_OWED) if waits else 0.0
            counts.owed[lane] = max(0.0, owed - 1) if lane == best.want.lane else owed
        tags = counts.tags[best.want.lane]
        tags[best.want.client] = max(tags.get(best.want.client, 0), self._line.floor[best.want.lane]) + 1

    def _raise_floor(self, lane: int) -> None:
        """Forget by how much everybody is above the one in a lane that has had least, of those who wait for a slot."""
        line = self._line
        tags = line.tags[lane]
        waiting = [
            max(tags.get(group.want.client, 0), line.floor[lane])
            for group in self._everybody
            if group.want.lane == lane
            and not group.want.again
            and group.want.count > group.taken
            and self._allowed(group.want.client)
        ]
        line.floor[lane] = floor = min(waiting) if waiting else max(tags.values(), default=line.floor[lane])
        line.tags[lane] = {client: tag for client, tag in tags.items() if tag > floor}


def _new_line(bucket: Bucket, now: int) -> Line:
    return Line(
        bucket=bucket,
        owed=[0.0] * len(LANES),
        stepped_down=False,
        floor=[0] * len(LANES),
        tags=[{} for _ in LANES],
        rates=[0.0] * len(LANES),
        rated_at=now,
    )


def _urgency(want: Want) -> tuple[int, bool, int]:
    return want.lane, not want.again, want.since


def _leave_word(book: Book, instance: str, now: int, groups: list[_Group], room: int) -> None:
    """Say at our desk what still waits here; where there is no room for a call, none of it could leave now."""
    wants = [
        Want(
            group.want.asid,
            group.want.lane,
            group.want.client,
            group.want.again,
            min(group.want.count - group.taken, max(0, room)),
            group.want.waiting - group.taken,
            group.want.since,
        )
        for group in groups
        if group.want.waiting > group.taken
    ]
    if wants:
        book.desks[instance] = Desk(seen=now, wants=wants)
    else:
        book.desks.pop(instance, None)
