"""The index of searches, held against a model: for each record, the keys that it has."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import count, islice, pairwise, permutations
from pathlib import Path
from random import Random
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from minispine.audit import index
from minispine.audit.index import Difference, IndexBroken, Shape
from minispine.audit.index.layout import numbers, split
from minispine.storage import Database, Session, StorageUnavailable, Store

SMALL = Shape(block=16, fan=2, top=2, dense=4, page=5, slice=8)
"""As the index is, with blocks of 16 records, segments of 16, 32 and 64, and five entries a page."""

KEYS = [Random(n).randbytes(8) for n in range(12)]


class Model:
    """A log of which only the keys are known, in the database's tables, and what is to be found in it."""

    def __init__(self, database: Database, shape: Shape = SMALL) -> None:
        self.database = database
        self.shape = shape
        self.records: dict[int, set[bytes]] = {}

    def commit(self, records: Sequence[set[bytes]]) -> None:
        """What the writer of the log does for the index, in the transaction that writes records."""
        first = len(self.records) + 1
        self.records |= dict(enumerate(records, start=first))
        last = len(self.records)
        entries = b"".join(index.entry(key, n) for n in range(first, last + 1) for key in sorted(self.records[n]))
        with self.database.session(Store.AUDIT) as session:
            session.begin()
            session.run(
                "INSERT INTO audit_index_pending (first, last, entries) VALUES (?, ?, ?)", (first, last, entries)
            )
            session.run("UPDATE audit_head SET sequence = ?", (last,))
            session.commit()

    def remove(self, sequence: int) -> None:
        """What a redaction does."""
        with self.database.session(Store.AUDIT) as session:
            session.begin()
            index.remove(session, sequence, self.records[sequence], shape=self.shape)
            session.commit()
        self.records[sequence] = set()

    def fold(self, between: Callable[[], None] = lambda: None) -> int | None:
        return index.fold(self.database, between=between, shape=self.shape)

    def rebuild(self, **options: Any) -> None:
        index.rebuild(self.database, self.entries_of, shape=self.shape, **options)

    def entries_of(self, first: int, last: int) -> Iterator[tuple[int, Sequence[bytes]]]:
        for sequence in range(first, last + 1):
            yield sequence, sorted(self.records[sequence])

    def matching(self, groups: Sequence[Sequence[bytes]], **options: Any) -> list[int]:
        return list(index.matching(self.database, groups, shape=self.shape, **options))

    def differences(self, first: int = 1, last: int | None = None) -> list[Difference]:
        return list(index.differences(self.database, self.entries_of, first, last, shape=self.shape))

    def expected(self, groups: Sequence[Sequence[bytes]], first: int = 1, last: int | None = None) -> list[int]:
        return [
            n
            for n, keys in self.records.items()
            if first <= n and (last is None or n <= last) and all(any(key in keys for key in group) for group in groups)
        ]

    def check(self, keys: Sequence[bytes] = KEYS) -> None:
        """Every posting list is what it should be, both ways, and so is each intersection with the most frequent."""
        for key in keys:
            expected = self.expected([[key]])
            assert list(index.postings(self.database, key, shape=self.shape)) == expected
            assert self.matching([[key]], newest_first=True) == expected[::-1]
            assert self.matching([[key], KEYS[:2]]) == self.expected([[key], KEYS[:2]])

    def run(self, statement: str, parameters: Sequence[Any] = ()) -> None:
        """Change the tables behind the product's back."""
        with self.database.session(Store.AUDIT) as session:
            session.run(statement, parameters)

    def rows(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self.database.session(Store.AUDIT) as session:
            return session.rows(statement, parameters)

    def levels(self) -> list[int]:
        rows = self.rows("SELECT level, number FROM audit_index_segment ORDER BY level DESC, number")
        return [level for level, _ in rows]


@pytest.fixture
def model(database: Database) -> Model:
    return Model(database)


def records(random: Random, number: int) -> list[set[bytes]]:
    """Records with keys of which some are frequent and some are rare."""
    return [{key for n, key in enumerate(KEYS) if random.random() < 0.9 / (n + 1)} for _ in range(number)]


def filled(model: Model, number: int, *, commit: int = 7, seed: int = 1) -> Model:
    random = Random(seed)
    while number:
        these = min(commit, number)
        model.commit(records(random, these))
        number -= these
    return model


class Crash(Exception):
    """The process ended here."""


def crash() -> None:
    raise Crash


def after(transactions: int, step: Callable[[], None]) -> Callable[[], None]:
    """Does something once, after so many transactions."""
    steps = count(1)
    return lambda: step() if next(steps) == transactions else None


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("commit"), st.integers(1, 40)),
        st.tuples(st.just("commit"), st.integers(1, 40)),
        st.tuples(st.just("fold"), st.just(0)),
        st.tuples(st.just("crash"), st.integers(1, 30)),
        st.tuples(st.just("remove"), st.integers(0, 1000)),
        st.tuples(st.just("remove while folding"), st.integers(1, 30)),
        st.tuples(st.just("rebuild"), st.just(0)),
        st.tuples(st.just("crash while rebuilding"), st.integers(1, 60)),
        st.tuples(st.just("remove while rebuilding"), st.integers(1, 60)),
        st.tuples(st.just("commit while rebuilding"), st.integers(1, 60)),
    ),
    min_size=4,
    max_size=16,
)


def act(model: Model, random: Random, action: str, number: int) -> None:
    some_record = random.randrange(len(model.records)) + 1 if model.records else None
    if action == "commit":
        model.commit(records(random, number))
    elif action == "remove" and some_record:
        model.remove(some_record)
    else:
        what, _, where = action.rpartition(" while ")
        work = model.rebuild if "rebuild" in where else model.fold
        step: Callable[[], None] = {
            "crash": crash,
            "remove": lambda: model.remove(some_record) if some_record else None,
            "commit": lambda: model.commit(records(random, 20)),
        }.get(what or where, lambda: None)
        with suppress(Crash):
            work(between=after(number, step))


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ACTIONS, st.integers(0, 1_000))
def test_the_index_finds_what_the_records_have_whatever_is_done_with_it(
    database: Database, actions: list[tuple[str, int]], seed: int
) -> None:
    """Writing, folding, redacting and rebuilding, ended anywhere: after each, every search is right."""
    model = emptied(database)
    random = Random(seed)
    for action, number in actions if database.kind == "sqlite" else actions[:6]:
        act(model, random, action, number)
        model.check(random.sample(KEYS, 2))
        assert model.differences() == []
    model.fold()
    model.check()
    kept = model.rows("SELECT COUNT(*) FROM audit_index_segment WHERE state <> 'live'")
    assert kept == [(0,)]
    assert set(model.rows("SELECT segment FROM audit_index_page UNION SELECT segment FROM audit_index_bits")) <= set(
        model.rows("SELECT id FROM audit_index_segment")
    )


@pytest.mark.parametrize("work", [Model.fold, Model.rebuild])
@pytest.mark.parametrize("end", [True, False], ids=["ended", "redacted"])
def test_no_moment_is_a_bad_one(model: Model, work: Callable[..., object], end: bool) -> None:
    """Between any two transactions: the process ends, or a record's entries are removed."""
    random = Random(4)
    for transactions in count(1, 1 if model.database.kind == "sqlite" else 3):
        emptied(model.database)
        model.records.clear()
        model.commit(records(random, 21))
        model.commit(records(random, 16))
        sequence = next(n for n in range(transactions % 30 + 1, 38) if model.records[n])
        reached: list[bool] = []

        def step(sequence: int = sequence, reached: list[bool] = reached) -> None:
            reached.append(True)
            if end:
                raise Crash
            model.remove(sequence)

        with suppress(Crash):
            work(model, between=after(transactions, step))
        model.check(KEYS[:3])
        assert model.differences() == []
        model.fold()
        assert model.differences() == []
        if not reached:
            break
    assert transactions > 12


def emptied(database: Database) -> Model:
    model = Model(database)
    for table in ("segment", "page", "bits", "pending"):
        model.run(f"DELETE FROM audit_index_{table}")
    model.run("UPDATE audit_head SET sequence = 0")
    return model


def test_segments_grow_and_cover_all_but_the_last_block(model: Model) -> None:
    filled(model, 16 * 7 + 5)
    assert model.fold() == 7 + 3 + 1  # segments of blocks, of two of those, of four
    assert model.levels() == [2, 1, 0]
    assert model.rows("SELECT MAX(first) FROM audit_index_pending WHERE last < ?", (16 * 7,)) == [(None,)]
    assert model.fold() == 0


def test_terms_of_many_records_are_kept_as_bits_and_others_as_entries(model: Model) -> None:
    rare = [bytes([16 * n]) * 8 for n in range(3)]  # each in a part of its own when sorted
    model.commit(
        [{KEYS[0], KEYS[n]} for n in (1, 1, 1, 1, 1, 2, 2, 2, 2)] + [{KEYS[0], *rare[:n]} for n in (3, 3, 3, 0, 0, 0)]
    )
    model.fold()
    dense = model.rows("SELECT key, bits FROM audit_index_bits")
    assert {bytes(key): list(numbers(int.from_bytes(bits, "little"))) for key, bits in dense} == {
        KEYS[0]: list(range(1, 16)),
        KEYS[1]: [1, 2, 3, 4, 5],
        KEYS[2]: [6, 7, 8, 9],
    }
    pages = model.rows("SELECT first_key, entries FROM audit_index_page ORDER BY first_key")
    entries = [each for _, page in pages for each in split(bytes(page))]
    assert entries == sorted(index.entry(key, n) for n, keys in model.records.items() for key in keys if key in rare)
    assert all(bytes(page).startswith(bytes(first)) for first, page in pages)


def test_terms_kept_in_both_ways_are_found_together(model: Model) -> None:
    frequent, rare, other = KEYS[:3]
    model.commit([{frequent, rare, other}] + [{frequent}] * 7 + [{rare, other}] * 2 + [{other}] * 5 + [{rare}] * 16)
    model.fold()
    assert model.levels() == [1]
    for groups in permutations([[frequent], [rare]]):
        assert model.matching(groups, last=15) == [1]
    for groups in permutations([[frequent, rare], [other], [rare]]):
        assert model.matching(groups) == [1, 9, 10]


def test_the_index_as_it_is_measured_out_for_use(sqlite_database: Database) -> None:
    model = Model(sqlite_database, index.SHAPE)
    random = Random(2)
    for _ in range(9):
        model.commit([{KEYS[n & 1], KEYS[2 + n % 60 % 9], random.randbytes(8)} for n in range(1000)])
    assert model.fold() == 2
    for groups in ([[KEYS[0]]], [[KEYS[0]], [KEYS[1]]], [[KEYS[0], KEYS[1]], [KEYS[5], KEYS[6]], [KEYS[0], KEYS[6]]]):
        assert model.matching(groups) == model.expected(groups)
        assert model.matching(groups, newest_first=True) == model.expected(groups)[::-1]
    some = [each for n in (5, 4095, 4096, 8192, 9000) for each in model.records[n] - set(KEYS)]
    assert [model.matching([[key]]) for key in some] == [[5], [4095], [4096], [8192], [9000]]
    assert model.differences() == []


def test_a_search_is_bounded_by_sequences(model: Model) -> None:
    filled(model, 16 * 6 + 9)
    model.fold()
    for first, last in ((1, 16), (15, 33), (40, 40), (90, 400), (70, 60), (-5, 0)):
        expected = model.expected([KEYS[:1]], first, last)
        assert model.matching([KEYS[:1]], first=first, last=last) == expected
        assert model.matching([KEYS[:1]], first=first, last=last, newest_first=True) == expected[::-1]


def test_a_search_does_not_follow_a_growing_log_and_can_be_gone_on_with(model: Model) -> None:
    filled(model, 16 * 40)
    found = index.matching(model.database, [KEYS[:1]], shape=SMALL)
    some = list(islice(found, 10))
    model.fold()
    expected = model.expected([KEYS[:1]])
    filled(model, 100, seed=2)
    model.fold()
    assert some + list(found) == expected
    assert model.matching([KEYS[:1]], first=some[-1] + 1, last=16 * 40) == expected[10:]


def test_the_first_page_costs_the_same_however_long_the_lists_are(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[int] = []
    reading = Session.rows

    def counted(session: Session, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        found = reading(session, sql, parameters)
        if "audit_index_segment" not in sql:
            rows.append(len(found))
        return found

    def cost(newest_first: bool) -> int:
        rows.clear()
        assert (
            len(list(islice(index.matching(model.database, [[KEYS[0]]], newest_first=newest_first, shape=SMALL), 20)))
            == 20
        )
        return sum(rows)

    both = {KEYS[0], KEYS[1]}
    for costs in (short := {}, long := {}):
        for _ in range(16):
            model.commit([both] * 64)
        model.fold()
        with monkeypatch.context() as patch:
            patch.setattr(Session, "rows", counted)
            costs |= {newest_first: cost(newest_first) for newest_first in (False, True)}
    assert long == short


@pytest.mark.parametrize("groups", [[], [[b"short"]], [[KEYS[0]], [KEYS[1] + b"x"]]])
def test_a_search_without_sense_is_refused(model: Model, groups: list[list[bytes]]) -> None:
    with pytest.raises(ValueError):
        model.matching(groups)


def test_of_no_key_nothing_is_found(model: Model) -> None:
    filled(model, 40)
    assert model.matching([KEYS[:1], []]) == []


def test_one_folds_at_a_time(model: Model, database_url: str) -> None:
    filled(model, 16 * 5)
    others: list[int | None] = []
    with Database.open(database_url) as another:
        assert model.fold(lambda: others.append(index.fold(another, shape=SMALL)))
        assert set(others) == {None}
        assert index.fold(another, shape=SMALL) == 0
    model.check()


def test_a_rebuild_waits_for_its_turn(model: Model, database_url: str) -> None:
    filled(model, 16 * 5)
    with Database.open(database_url) as another:
        rebuilding = threading.Thread(target=index.rebuild, args=(another, model.entries_of), kwargs={"shape": SMALL})

        def start() -> None:
            rebuilding.start()
            rebuilding.join(0.1)
            assert model.levels() == [0]  # the one that is being made: nothing is rebuilt yet

        model.fold(after(1, start))
        rebuilding.join()
    model.check()


def test_entries_do_not_come_back_when_they_are_removed_at_the_moment_of_folding(
    model: Model, database_url: str
) -> None:
    filled(model, 16 * 3)
    sequence = next(n for n in range(20, 40) if model.records[n])
    with Database.open(database_url) as another:
        folding = threading.Thread(target=index.fold, args=(another,), kwargs={"shape": SMALL})
        with model.database.session(Store.AUDIT) as session:
            session.begin()
            index.remove(session, sequence, model.records[sequence], shape=SMALL)
            folding.start()
            folding.join(0.1)  # were it not kept off, it would be done by now
            session.commit()
        folding.join()
    model.records[sequence] = set()
    model.fold()
    assert 0 in model.levels()
    model.check()


def test_entries_are_removed_from_dead_segments_too(model: Model) -> None:
    """What no search sees any more is still on the disk."""
    filled(model, 64)
    sequence = next(n for n in range(20, 40) if model.records[n])
    keys = model.records[sequence]

    def traces() -> int:
        pages = model.rows("SELECT entries FROM audit_index_page")
        bits = model.rows("SELECT key, bits FROM audit_index_bits WHERE block = ?", (sequence // 16,))
        gone = {index.entry(key, sequence) for key in keys}
        return sum(each in gone for (page,) in pages for each in split(bytes(page))) + sum(
            bytes(key) in keys and bool(int.from_bytes(its, "little") >> sequence % 16 & 1) for key, its in bits
        )

    found: list[tuple[int, int]] = []

    def remove_from_all() -> None:
        if (2, "live") in model.rows("SELECT level, state FROM audit_index_segment"):
            before = traces()
            model.remove(sequence)
            found.append((before, traces()))
            raise Crash

    with pytest.raises(Crash):
        model.fold(remove_from_all)
    (before, afterwards) = found[0]
    assert before > len(keys)
    assert afterwards == 0


def test_removing_nothing_is_no_error(model: Model) -> None:
    filled(model, 20)
    with model.database.session(Store.AUDIT) as session:
        session.begin()
        index.remove(session, 5, [bytes(8)], shape=SMALL)
        index.remove(session, 5000, [KEYS[0]], shape=SMALL)
        session.commit()
    model.check()


def test_folding_leaves_durability_as_it_is_for_others(model: Model) -> None:
    filled(model, 40)
    model.fold()
    model.rebuild()
    statement = "PRAGMA synchronous" if model.database.kind == "sqlite" else "SHOW synchronous_commit"
    for _ in range(6):
        assert model.rows(statement) in ([(2,)], [("on",)])


def test_folding_writes_nothing_when_there_is_nothing_to_fold(model: Model) -> None:
    filled(model, 16 * 3)
    model.fold()
    transactions: list[None] = []
    assert model.fold(lambda: transactions.append(None)) == 0
    assert not transactions


def test_no_transaction_is_long(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slices of larger segments are no larger: as many pages are written at once at every level."""
    random = Random(3)
    for _ in range(16):
        model.commit([{random.randbytes(8) for _ in range(4)} for _ in range(16)])
    written: list[int] = []
    writing = Session.run_many

    def counted(session: Session, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        written.append(len(rows))
        writing(session, sql, rows)

    monkeypatch.setattr(Session, "run_many", counted)
    model.fold()
    assert model.levels() == [2, 2, 2, 2]
    assert max(written) <= 4


def test_a_hole_in_the_index_is_no_empty_answer(model: Model) -> None:
    filled(model, 16 * 5 + 3)
    model.fold()
    model.run("DELETE FROM audit_index_segment WHERE level = 2")
    with pytest.raises(IndexBroken):
        model.matching([KEYS[:1]])
    with pytest.raises(IndexBroken):
        model.fold()
    assert model.differences() == [Difference("gap", 1, 63)]
    model.rebuild()
    model.check()
    assert model.differences() == []
    assert {1} == {count for _, count in model.rows(SEGMENT_ROWS)}  # nothing is left of the one that was removed


SEGMENT_ROWS = """
    SELECT DISTINCT segment, (SELECT COUNT(*) FROM audit_index_segment WHERE id = segment) FROM audit_index_page
"""


def test_a_missing_pending_row_is_no_empty_answer(model: Model) -> None:
    filled(model, 60)
    model.run("DELETE FROM audit_index_pending WHERE first = 36")
    assert model.matching([KEYS[:1]], last=31) == model.expected([KEYS[:1]], last=31)
    with pytest.raises(IndexBroken):
        model.matching([KEYS[:1]])
    with pytest.raises(IndexBroken):
        model.fold()
    assert Difference("gap", 32, 47) in model.differences()
    model.rebuild()
    model.check()


def test_records_of_a_release_without_an_index_are_not_passed_over(model: Model) -> None:
    filled(model, 50)
    model.run("DELETE FROM audit_index_pending WHERE first < 30")
    with pytest.raises(IndexBroken):
        model.matching([KEYS[:1]])
    model.rebuild()
    model.check()
    assert model.fold() == 0


def test_a_second_segment_for_the_same_records_is_no_double_answer(model: Model) -> None:
    filled(model, 16 * 3)
    model.fold()
    model.run("INSERT INTO audit_index_segment (id, level, number, state) VALUES (900, 0, 1, 'live')")
    with pytest.raises(IndexBroken):
        model.matching([KEYS[:1]])
    assert Difference("overlap", 16, 31) in model.differences()
    model.rebuild()
    model.check()


def test_a_segment_of_records_that_are_not_there_is_named_and_goes(model: Model) -> None:
    filled(model, 20)
    model.fold()
    model.run("INSERT INTO audit_index_segment (id, level, number, state) VALUES (900, 0, 1, 'live')")
    assert Difference("overlap", 21, 31) in model.differences()
    model.rebuild()
    assert model.differences() == []
    filled(model, 100, seed=2)
    model.fold()
    model.check()


FORGED = index.entry(b"\x77" * 8, 20)


@pytest.mark.parametrize(
    ("statement", "row"),
    [
        ("INSERT INTO audit_index_page (segment, first_key, entries) VALUES (2, ?, ?)", (FORGED, FORGED)),
        ("INSERT INTO audit_index_bits (segment, key, block, bits) VALUES (2, ?, 1, ?)", (FORGED[:8], bytes(2))),
    ],
)
def test_rows_of_no_segment_are_in_nobodys_way(model: Model, statement: str, row: tuple[bytes, bytes]) -> None:
    model.run(statement, row)
    filled(model, 70)
    model.fold()
    assert (2,) not in model.rows("SELECT id FROM audit_index_segment")
    model.check()
    assert model.differences() == []


def forge_page(model: Model, segment: int) -> None:
    model.run("INSERT INTO audit_index_page VALUES (?, ?, ?)", (segment, FORGED, FORGED))


def forge_bits(model: Model, segment: int) -> None:
    model.run("INSERT INTO audit_index_bits VALUES (?, ?, 1, ?)", (segment, FORGED[:8], bytes([1 << 4, 0])))


def forge_pending(model: Model, segment: int) -> None:
    ((first, entries),) = model.rows("SELECT first, entries FROM audit_index_pending WHERE first <= 67 AND last >= 67")
    forged = bytes(entries) + index.entry(FORGED[:8], 67)
    model.run("UPDATE audit_index_pending SET entries = ? WHERE first = ?", (forged, first))


def drop_page(model: Model, segment: int) -> None:
    model.run("DELETE FROM audit_index_page WHERE segment = ? AND first_key = ?", (segment, page_of(model, segment)[0]))


def drop_bits(model: Model, segment: int) -> None:
    model.run("DELETE FROM audit_index_bits WHERE segment = ? AND block = 1", (segment,))


def hide_page(model: Model, segment: int) -> None:
    """Under a key after its own entries, where no search looks for them."""
    first_key, _ = page_of(model, segment)
    hidden = first_key[:8] + b"\xff" * 8
    model.run(
        "UPDATE audit_index_page SET first_key = ? WHERE segment = ? AND first_key = ?", (hidden, segment, first_key)
    )


def shuffle_page(model: Model, segment: int) -> None:
    first_key, entries = page_of(model, segment)
    turned = b"".join(reversed(split(entries)))
    model.run(
        "UPDATE audit_index_page SET entries = ? WHERE segment = ? AND first_key = ?", (turned, segment, first_key)
    )


def swap_entries(model: Model, segment: int) -> None:
    """The page still begins and ends with what it should."""
    first_key, entries = page_of(model, segment)
    several = split(entries)
    several[1], several[2] = several[2], several[1]
    model.run(
        "UPDATE audit_index_page SET entries = ? WHERE segment = ? AND first_key = ?",
        (b"".join(several), segment, first_key),
    )


def misplace_entry(model: Model, segment: int) -> None:
    """An entry goes to the page before its own, which stays sorted."""
    rows = model.rows(
        "SELECT first_key, entries FROM audit_index_page WHERE segment = ? ORDER BY first_key", (segment,)
    )
    (before, its), (after_it, others) = next(two for two in pairwise(rows) if len(two[1][1]) > 16)
    statement = "UPDATE audit_index_page SET entries = ? WHERE segment = ? AND first_key = ?"
    model.run(statement, (bytes(its) + bytes(others)[16:32], segment, before))
    model.run(statement, (bytes(others)[:16] + bytes(others)[32:], segment, after_it))


def cut_page(model: Model, segment: int) -> None:
    first_key, entries = page_of(model, segment)
    model.run(
        "UPDATE audit_index_page SET entries = ? WHERE segment = ? AND first_key = ?",
        (entries[:-3], segment, first_key),
    )


def stray_entry(model: Model, segment: int) -> None:
    """Of a record that the segment does not cover."""
    stray = index.entry(FORGED[:8], 66)
    model.run("INSERT INTO audit_index_page VALUES (?, ?, ?)", (segment, stray, stray))


def page_of(model: Model, segment: int) -> tuple[bytes, bytes]:
    rows = model.rows(
        "SELECT first_key, entries FROM audit_index_page WHERE segment = ? ORDER BY first_key", (segment,)
    )
    first_key, entries = next(row for row in rows if len(row[1]) > 32)
    return bytes(first_key), bytes(entries)


@pytest.mark.parametrize(
    ("tamper", "kinds"),
    [
        (forge_page, {"false"}),
        (forge_bits, {"false"}),
        (forge_pending, {"false"}),
        (stray_entry, {"false"}),
        (drop_page, {"missing"}),
        (drop_bits, {"missing"}),
        (hide_page, {"missing"}),
        (shuffle_page, {"missing"}),
        (swap_entries, {"missing"}),
        (misplace_entry, {"missing"}),
        (cut_page, {"missing"}),
    ],
)
def test_forged_and_missing_rows_are_named(model: Model, tamper: Callable[[Model, int], None], kinds: set[str]) -> None:
    filled(model, 16 * 4 + 6)
    model.fold()
    ((segment,),) = model.rows("SELECT id FROM audit_index_segment")
    assert model.differences() == []
    tamper(model, segment)
    differences = model.differences()
    assert {each.kind for each in differences} == kinds
    for each in differences:
        has = each.key in model.records[each.sequence]
        assert has is (each.kind == "missing")
        if tamper in (drop_page, drop_bits):
            assert each.sequence not in model.matching([[each.key]])
    if tamper in (forge_page, forge_bits):
        assert differences == [Difference("false", 20, 20, FORGED[:8])]
    model.rebuild()
    assert model.differences() == []
    model.check()


def test_what_a_search_cannot_find_is_what_is_named_as_missing(model: Model) -> None:
    """A whole posting list gone: as many differences, and all of them at the records that had the term."""
    filled(model, 16 * 9 + 5)
    model.fold()
    model.run("DELETE FROM audit_index_bits WHERE key = ?", (KEYS[0],))
    gone = [n for n in model.expected([[KEYS[0]]]) if n not in model.matching([[KEYS[0]]])]
    assert len(gone) > 60
    assert [each.sequence for each in model.differences() if each.key == KEYS[0]] == gone
    assert {each.sequence for each in model.differences(10, 50)} == {n for n in gone if 10 <= n <= 50}


def test_differences_are_right_while_the_index_is_folded(model: Model) -> None:
    filled(model, 16 * 6 + 5)
    model.run("UPDATE audit_index_pending SET entries = ? WHERE first = 36", (b"",))
    found = index.differences(model.database, model.entries_of, shape=SMALL)
    some = [next(found)]
    model.fold()
    named = some + list(found)
    assert {(each.kind, each.sequence, each.key) for each in named} == {
        ("missing", n, key) for n in range(36, 43) for key in model.records[n]
    }


def test_a_rebuild_tells_how_far_it_is(model: Model) -> None:
    filled(model, 100)
    told: list[tuple[int, int]] = []
    model.rebuild(progress=lambda done, records: told.append((done, records)))
    assert told == sorted(told)
    assert told[0] == (15, 100)
    assert told[-1] == (100, 100)


def test_an_empty_log_has_an_index(model: Model) -> None:
    assert model.matching([KEYS[:1]]) == []
    assert model.fold() == 0
    model.rebuild()
    assert model.differences() == []


@given(st.integers(0, 2**4096 - 1))
def test_the_numbers_of_bits(bits: int) -> None:
    expected = [n for n in range(bits.bit_length()) if bits >> n & 1]
    assert list(numbers(bits)) == expected
    assert list(numbers(bits, newest_first=True)) == expected[::-1]


def test_no_database_is_told_as_such(tmp_path: Path) -> None:
    with Database.open(f"sqlite:{tmp_path / 'none'}") as database, pytest.raises(StorageUnavailable):
        index.fold(database)
