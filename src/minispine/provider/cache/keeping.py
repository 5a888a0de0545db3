"""`Cache`: what an exchange asks it and tells it, and what a worker does about it in between.

Nothing is waited for that need not be. Reading has a thread of its own and so has writing, which takes all that is
waiting into one transaction. A deletion is durable when `learn` returns; what could not be deleted is an error, and
what could not be kept or read is none.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final

import msgspec

from minispine.domain import dates
from minispine.domain.identity import AccessMethod
from minispine.domain.operations import NationalService, Operation
from minispine.domain.outcome import Found, Outcome
from minispine.domain.patient import SpineRecord
from minispine.domain.question import CrossCheck, Question, Retrieval, Trace
from minispine.observe import metrics
from minispine.provider.cache.entries import NEVER, Change, Changed, Entries, Group, Row
from minispine.provider.cache.keys import CacheKeys, EntryUnreadable
from minispine.provider.cache.lessons import PLAINLY, Kind, Lesson, answers, lesson, without_whereabouts
from minispine.storage import Database, StorageUnavailable
from minispine.vocabulary.cache_rules import MOST_OUTAGE_S, CacheRule, CacheRules

SETTLED_S: Final = 2
"""How long this worker has to have seen rules before it keeps anything by them, when before there were none.

Every worker takes a rule within a second (Law 11). One that does not know yet that anything is kept would not delete
it either.
"""
FORGOTTEN_S: Final = 10
"""How long there have to have been no rules before this worker relies on nothing being kept, if nothing is."""
KEEP_WITHIN_S: Final = 0.25
"""How long an exchange waits until its answer is kept; that goes on without it."""
PAUSE_S: Final = 1.0
SWEEP_S: Final = 5
COUNT_S: Final = 60
"""How often what is kept is held against the rules as a whole; also whenever these have changed."""
CLOCKS_S: Final = 60
"""An entry fetched so much later than now was not: a clock went back."""
_MOST_AT_ONCE: Final = 64
_ONE_SHARE: Final = 64
"""Of a full operation one entry in so many is thrown away at once, so that not every new one is counted for."""
_WORKERS: Final = 8

_SERVICE: Final = NationalService.PDS
_S: Final = 1_000_000


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """Whose question it is. `side` is the technology by which Spine is asked, `organisation` an ODS code.

    What is kept answers questions of the same side, ASID, organisation and client only. What was fetched for a holder
    of a smartcard (methods 3 and 4) answers such questions only, as Spine may have told them more.
    """

    side: str
    asid: str
    organisation: str
    client: str
    operation: Operation
    method: AccessMethod


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A kept answer that may be given: by which rule, how old, and from which exchange.

    `stale` says that it is beyond its time to live, or is given because Spine is unavailable. Beyond the time to live
    the record has neither addresses nor telephones.
    """

    outcome: Found
    age_s: int
    from_exchange: str
    rule: str
    stale: bool


class _Entry(msgspec.Struct, frozen=True, kw_only=True):
    """What is sealed: the record, whence it came, and the ages of the rule by which it was kept.

    What may be given is bounded by the rule in force, too, so that a rule that grows makes nothing older.
    """

    kind: Kind
    record: SpineRecord
    exchange: str
    ttl_s: int
    limit_s: int
    stripped: bool = False


class _Order(msgspec.Struct, frozen=True):
    """A change that waits to be made, and the rule by which something is put."""

    change: Change
    rule: CacheRule | None
    done: asyncio.Future[Changed]


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(_Entry).decode


class Cache:
    """What one worker knows of the cache, which all workers share. `rules` gives what is in force now.

    `now` gives UTC microseconds, `sleep` waits some seconds. Off, which is having no rules, it costs nothing.
    """

    def __init__(
        self,
        database: Database,
        keys: CacheKeys,
        rules: Callable[[], CacheRules],
        *,
        now: Callable[[], int],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._database = database
        self._keys = keys
        self._entries = Entries(database, keys)
        self._rules = rules
        self._now = now
        self._sleep = sleep
        self._reader = ThreadPoolExecutor(1, "cache-reading")
        self._writer = ThreadPoolExecutor(1, "cache-writing")
        self._waiting: list[_Order] = []
        self._writing: asyncio.Task[None] | None = None
        self._keeping: set[asyncio.Task[None]] = set()
        self._room: dict[tuple[str, str], int] = {}  # owned by the writing thread
        self._seen: CacheRules | None = None
        self._on = False
        self._since: int | None = None
        """When rules came or went, as far as this worker knows; None where it began without any."""
        self._empty = False
        """Whether there was nothing in the table when there had been no rules for long enough."""
        self._swept_at: int | None = None
        self._counted_at: int | None = None
        self._counted_for: CacheRules | None = None
        self._unreadable = 0
        self._not_read: str | None = None
        self._not_kept: str | None = None
        self._not_swept: str | None = None
        self._look()

    # ── what an exchange asks and tells ─────────────────────────────────────────────────────────────────────────────

    def concerns(self, operation: Operation, client: str) -> CacheRule | None:
        """Give the rule for such questions of this client; None where none is answered from what is kept. No I/O.

        Also then Spine's answers have to be told to `learn`, for the sake of what is kept for others.
        """
        return self._look().rule(operation, client)

    async def answer(self, question: Question, scope: Scope, *, outage: bool) -> Kept | None:
        """Give what is kept that answers a question, if it may be given. `outage` says that Spine is unavailable.

        What cannot be read is not there. Never raises.
        """
        rule = self.concerns(scope.operation, scope.client)
        if rule is None:
            return None
        limit_s = _limit_s(question, rule, scope.method, outage=outage)
        if limit_s <= 0:
            return self._missed()
        try:
            rows = await self._read(self._places(question, scope))
        except StorageUnavailable as error:
            self._not_read = str(error)
            return self._missed()
        self._not_read = None
        kept, spoiled = self._judge(rows, question, rule, limit_s, outage=outage)
        if spoiled:
            with suppress(StorageUnavailable):
                await self._change(Change(forget_exactly=tuple(spoiled)))
        if kept is None:
            return self._missed()
        metrics.CACHE.labels(_SERVICE, "stale" if kept.stale else "fresh").inc()
        return kept

    async def learn(self, question: Question, outcome: Outcome, scope: Scope, *, exchange: str) -> None:
        """Keep what Spine answered, or delete what its answer shows to be wrong. `exchange` is the one that asked.

        When this returns, what had to be deleted is, for everybody and durably.

        Raises:
            StorageUnavailable: it could not be deleted, and nothing may be answered on the strength of Spine's answer.
        """
        rules = self._look()
        if self._empty and not self._on:
            return
        told = lesson(question, outcome)
        rule = rules.rule(scope.operation, scope.client) if told.keep and self._settled() else None
        put = self._sealed(question, outcome, scope, exchange, told.keep, rule) if rule and told.keep else None
        if put is None and not told.forgets:
            return
        change = self._change_for(told, question, scope, put)
        if told.forgets:
            changed = await self._change(change, rule if put else None)
            self._count(changed)
            return
        keeping = asyncio.ensure_future(self._keep(change, rule))
        self._keeping.add(keeping)
        keeping.add_done_callback(self._keeping.discard)
        await asyncio.wait({keeping}, timeout=KEEP_WITHIN_S)

    async def _keep(self, change: Change, rule: CacheRule | None) -> None:
        """Keep an answer. No harm if that cannot be done: what is there is not older than its rule allows."""
        try:
            changed = await self._change(change, rule)
        except StorageUnavailable as error:
            self._not_kept = str(error)
            return
        self._not_kept = None
        self._count(changed)

    @staticmethod
    def _count(changed: Changed) -> None:
        metrics.CACHE.labels(_SERVICE, "kept").inc(changed.kept)
        metrics.CACHE.labels(_SERVICE, "forgotten").inc(changed.forgotten)

    # ── what a worker does in between ───────────────────────────────────────────────────────────────────────────────

    async def watch(self) -> None:
        """Hold what is kept to its times and rules, for as long as the worker serves."""
        while True:
            await self._sleep(PAUSE_S)
            await self.sweep()

    async def sweep(self) -> None:
        """Take out whereabouts and delete entries whose time is over, and what no rule allows any more.

        Does nothing while neither the time nor the rules are others. Never raises: see `warnings`.
        """
        rules, now = self._look(), self._now()
        if self._empty and not self._on:
            return
        if self._counted_for is rules and not _over(self._swept_at, SWEEP_S, now):
            return
        counting = self._counted_for is not rules or _over(self._counted_at, COUNT_S, now)
        try:
            if counting:
                await asyncio.to_thread(self._hold_to, rules, now)
                self._counted_for, self._counted_at = rules, now
            empty = await asyncio.to_thread(self._hold_to_times, now)
        except StorageUnavailable as error:
            self._not_swept = str(error)
            return
        self._not_swept, self._swept_at = None, now
        # Rules that came meanwhile count: another worker may have kept something by them.
        self._empty = empty and self._look() is rules and not self._on and self._unchanged_for(FORGOTTEN_S)

    def warnings(self) -> list[str]:
        """Say what somebody should look at; no answer is wrong for it."""
        hindered = {
            "cannot be read": self._not_read,
            "cannot be added to": self._not_kept,
            "cannot be held to its times": self._not_swept,
        }
        found = [f"what is kept of Spine's answers {what}: {why}" for what, why in hindered.items() if why is not None]
        if self._unreadable:
            found.append(f"{self._unreadable} kept answers could not be opened and were deleted: docs/caching.md")
        return found

    async def close(self) -> None:
        """Make what changes are waiting, and let go of the threads. Nothing can be asked or told afterwards."""
        if self._writing is not None:
            await asyncio.wait([self._writing])
        for thread in (self._reader, self._writer):
            await asyncio.to_thread(thread.shutdown)

    # ── rules as this worker sees them ──────────────────────────────────────────────────────────────────────────────

    def _look(self) -> CacheRules:
        rules = self._rules()
        if rules is not self._seen:
            if self._seen is None:
                self._on = rules.any
                self._since = self._now() if rules.any else None  # the first of them may be this moment's
            elif rules.any is not self._on:
                self._on, self._since = rules.any, self._now()
            if self._on:
                self._empty = False
            self._seen = rules
        return rules

    def _settled(self) -> bool:
        """Whether every worker knows by now that something is kept."""
        return self._unchanged_for(SETTLED_S)

    def _unchanged_for(self, seconds: int) -> bool:
        return self._since is None or _over(self._since, seconds, self._now())

    # ── answering ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _judge(
        self, rows: Sequence[Row], question: Question, rule: CacheRule, limit_s: int, *, outage: bool
    ) -> tuple[Kept | None, list[Row]]:
        """Choose the answer among rows, and say which of them have to go.

        The last that was fetched decides who the person is. An older one may answer where that is only too old itself.
        """
        now = self._now()
        spoiled: list[Row] = []
        for row in sorted(rows, key=lambda each: each.fetched_at, reverse=True):
            entry = self._opened(row)
            age = now - row.fetched_at
            if entry is None or age < 0:
                spoiled.append(row)
                continue
            if not answers(entry.kind, entry.record, question):
                break
            ttl_s = min(rule.ttl_s, entry.ttl_s)
            if age > min(limit_s, entry.limit_s) * _S or (not outage and (entry.stripped or age > ttl_s * _S)):
                continue
            whole = age <= ttl_s * _S
            record = entry.record if whole else without_whereabouts(entry.record)
            kept = Kept(
                outcome=Found(event=PLAINLY, record=record),
                age_s=age // _S,
                from_exchange=entry.exchange,
                rule=rule.name,
                stale=outage or not whole,
            )
            return kept, spoiled
        return None, spoiled

    def _opened(self, row: Row) -> _Entry | None:
        try:
            return _decode(self._keys.open(row.sealed, row.bound))
        except (EntryUnreadable, msgspec.MsgspecError):
            self._unreadable += 1
            return None

    @staticmethod
    def _missed() -> None:
        metrics.CACHE.labels(_SERVICE, "miss").inc()

    async def _read(self, keys: Sequence[bytes]) -> list[Row]:
        return await asyncio.get_running_loop().run_in_executor(self._reader, self._entries.read, keys)

    # ── learning ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _sealed(
        self, question: Question, outcome: Outcome, scope: Scope, exchange: str, kind: Kind, rule: CacheRule
    ) -> Row | None:
        """Make the row of an entry; None where the rule leaves it no time."""
        assert isinstance(outcome, Found)
        assert outcome.record.nhs_number is not None
        limit_s = rule.ttl_s if kind == "search" else _longest_s(rule)
        if limit_s <= 0:
            return None
        now = self._now()
        stripped = rule.ttl_s <= 0
        record = without_whereabouts(outcome.record) if stripped else outcome.record
        entry = _Entry(
            kind=kind, record=record, exchange=exchange, ttl_s=rule.ttl_s, limit_s=limit_s, stripped=stripped
        )
        row = Row(
            self._place(kind, question, scope, personal=_is_personal(scope.method)),
            self._patient(outcome.record.nhs_number),
            scope.client,
            scope.operation.value,
            _SERVICE.value,
            now,
            NEVER if stripped or limit_s <= rule.ttl_s else now + rule.ttl_s * _S,
            now + limit_s * _S,
            b"",
        )
        return msgspec.structs.replace(row, sealed=self._keys.seal(_encode(entry), row.bound))

    def _change_for(self, told: Lesson, question: Question, scope: Scope, put: Row | None) -> Change:
        searches = [self._place("search", question, scope, personal=each) for each in (False, True)]
        return Change(
            forget=tuple(self._patient(number) for number in told.forget),
            forget_keys=tuple(searches) if told.forget_search else (),
            put=put,
        )

    async def _change(self, change: Change, rule: CacheRule | None = None) -> Changed:
        loop = asyncio.get_running_loop()
        order = _Order(change, rule, loop.create_future())
        self._waiting.append(order)
        if self._writing is None:
            self._writing = loop.create_task(self._write())
        return await order.done

    async def _write(self) -> None:
        """Make the changes that are waiting, until none is. A change is made whether or not it is still waited for."""
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                orders = self._waiting[:_MOST_AT_ONCE]
                del self._waiting[:_MOST_AT_ONCE]
                try:
                    changed = await loop.run_in_executor(self._writer, self._make, orders)
                except Exception as error:
                    for order in orders:
                        if not order.done.done():
                            order.done.set_exception(error)
                    continue
                for order, each in zip(orders, changed, strict=True):
                    if not order.done.done():
                        order.done.set_result(each)
        finally:
            self._writing = None

    def _make(self, orders: Sequence[_Order]) -> list[Changed]:
        changes, now = [order.change for order in orders], self._now()
        try:
            changed = self._entries.change(changes, now)
        except StorageUnavailable:
            # A connection may have gone stale, or two have waited for each other. What has to go, has to go.
            changed = self._entries.change([msgspec.structs.replace(each, put=None) for each in changes], now)
        with suppress(StorageUnavailable):  # the next sweep makes up for it
            for order, each in zip(orders, changed, strict=True):
                if each.kept and order.rule is not None and order.change.put is not None:
                    self._make_room(order.change.put, order.rule)
        return changed

    def _make_room(self, put: Row, rule: CacheRule) -> None:
        """Have the oldest entries give way where there are more than the rule allows; not counted every time."""
        whose = put.client, put.operation
        left = min(self._room.get(whose, 0), rule.entries) - 1
        if left < 0:
            left = rule.entries - self._entries.count(*whose)
            if left < 0:
                spare = rule.entries // _ONE_SHARE
                gone = self._entries.delete_oldest(*whose, spare - left)
                metrics.CACHE.labels(_SERVICE, "gone").inc(gone)
                left = spare
            left //= _WORKERS  # the others make use of the same room
        self._room[whose] = left

    # ── places ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _places(self, question: Question, scope: Scope) -> list[bytes]:
        """Give the keys of all entries that may answer a question."""
        kinds: tuple[Kind, ...]
        match question:
            case CrossCheck():
                kinds = ("check", "details")
            case Retrieval():
                kinds = ("details",)
            case Trace():
                kinds = ("search",)
        for_whom = (True, False) if _is_personal(scope.method) else (False,)
        return [self._place(kind, question, scope, personal=personal) for kind in kinds for personal in for_whom]

    def _place(self, kind: Kind, question: Question, scope: Scope, *, personal: bool) -> bytes:
        """Give the key of an entry: only the same question of the same scope has the same."""
        whose = (scope.side, scope.asid, scope.organisation, scope.client, "smartcard" if personal else "any method")
        return self._keys.digest("entry", kind, _SERVICE, *whose, *_subject(question))

    def _patient(self, number: str) -> bytes:
        return self._keys.digest("patient", number)

    # ── sweeping: in a thread ───────────────────────────────────────────────────────────────────────────────────────

    def _hold_to(self, rules: CacheRules, now: int) -> None:
        """Hold what is kept against the rules in force, operation by operation."""
        gone = 0
        for group in self._entries.by_operation():
            whose = group.client, group.operation
            rule = _rule_of(rules, group)
            if rule is None:
                gone += self._entries.delete_operation(*whose)
                continue
            gone += self._entries.delete_older(*whose, now - _longest_s(rule) * _S)
            gone += self._entries.delete_newer(*whose, now + CLOCKS_S * _S)
            self._entries.strip_sooner(*whose, now - rule.ttl_s * _S)
            if group.count > rule.entries and (over := self._entries.count(*whose) - rule.entries) > 0:
                gone += self._entries.delete_oldest(*whose, over)
        metrics.CACHE.labels(_SERVICE, "gone").inc(gone)

    def _hold_to_times(self, now: int) -> bool:
        """Hold what is kept to its own times; gives whether nothing is left."""
        metrics.CACHE.labels(_SERVICE, "gone").inc(self._entries.delete_gone(now))
        while rows := self._entries.to_strip(now):
            opened = [(row, self._opened(row)) for row in rows]
            stripped = [(row, self._stripped(row, entry)) for row, entry in opened if entry is not None]
            self._entries.strip(stripped, [row for row, entry in opened if entry is None])
            metrics.CACHE.labels(_SERVICE, "stripped").inc(len(stripped))
        return self._entries.is_empty()

    def _stripped(self, row: Row, entry: _Entry) -> bytes:
        bare = msgspec.structs.replace(entry, record=without_whereabouts(entry.record), stripped=True)
        return self._keys.seal(_encode(bare), row.bound)


def _limit_s(question: Question, rule: CacheRule, method: AccessMethod, *, outage: bool) -> int:
    """Give the age up to which an entry may answer a question; 0 where none may."""
    if isinstance(question, CrossCheck) and dates.precision(question.birth_date) != "day":
        return 0
    if not outage:
        return 0 if _is_personal(method) else rule.ttl_s
    return 0 if isinstance(question, Trace) else _longest_s(rule)


def _longest_s(rule: CacheRule) -> int:
    """Give the greatest age of anything that is kept by a rule."""
    return min(max(rule.ttl_s, rule.outage_s), MOST_OUTAGE_S)


def _is_personal(method: AccessMethod) -> bool:
    """Tell whether Spine is asked in the name of a smartcard's holder; while it answers, such questions go there."""
    return method in (AccessMethod.SMARTCARD, AccessMethod.SMARTCARD_SESSION)


def _subject(question: Question) -> tuple[str, ...]:
    """Give what an entry is about: a number, or every criterion of a search without the blanks that mean nothing."""
    if not isinstance(question, Trace):
        return (question.nhs_number,)
    criteria = (question.family, question.given, question.gender, question.birth_date, question.postcode)
    return tuple(" ".join((each or "").split()) for each in criteria)


def _rule_of(rules: CacheRules, group: Group) -> CacheRule | None:
    try:
        return rules.rule(Operation(group.operation), group.client)
    except ValueError:  # of another release
        return None


def _over(since: int | None, seconds: int, now: int) -> bool:
    """Tell whether so long has passed. A clock that went back has to be taken as if it had."""
    return since is None or not 0 <= now - since < seconds * _S
