"""The judge of the power-cut drill sees every way in which a flush can be missing, late, early or in vain."""

from pathlib import Path

import pytest
from benchmarks.order import Exchange, Ports, PostgresqlFlushing, SqliteFlushing, judge
from benchmarks.tracing import Call, read_trace

WAL = "/data/audit.db-wal"
MACHINES = "TCP:[127.0.0.1:9443->127.0.0.1:50000]"
SPINE = "TCP:[127.0.0.1:50001->127.0.0.1:9444]"
OURS, SERVERS = "UNIX-STREAM:[11->12]", 'UNIX-STREAM:[12->11,"/x"]'
PORTS = Ports(machines=9443, spine=9444)
FIRST, LAST = b"\x01" * 32, b"\x02" * 32
MARKED, UNMARKED = bytes(4) + b"\0\0\0\x09" + bytes(16), bytes(24)


Step = tuple[str, str, bytes]


def calls(*steps: Step) -> list[Call]:
    """Calls one after another, each over before the next."""
    return [
        Call(1, 100 + n, name, target, content, begun=2 * n, ended=2 * n + 1, done=True)
        for n, (name, target, content) in enumerate(steps)
    ]


def commit(digest: bytes) -> list[Step]:
    """A commit of two pages, of which the first holds the record."""
    page = b"...." + digest + b"...."
    frames = [(UNMARKED, page), (MARKED, b"another page")]
    return [("pwrite64", WAL, part) for frame in frames for part in frame] + [FLUSH]


FLUSH = ("fdatasync", WAL, b"")
ASK, REPLY = ("write", SPINE, b"\x17"), ("write", MACHINES, b"\x17")
GOOD = [*commit(FIRST), ASK, *commit(LAST), REPLY]
EXCHANGE = Exchange(message_id="A", since_us=0, until_us=1000, asking=FIRST, replying=LAST)


def test_what_is_flushed_before_it_leaves_is_in_order() -> None:
    order = judge(calls(*GOOD), [EXCHANGE], SqliteFlushing(), PORTS)
    assert (order.checked, order.violations, order.not_told_apart) == (1, [], [])


DISORDERS = {
    "no flush at all": [step for step in GOOD if step != FLUSH],
    "only the first is flushed": [*GOOD[:-2], REPLY],
    "only the last is flushed": [*GOOD[:4], ASK, *GOOD[6:]],
    "the flush comes after the question": [*GOOD[:4], ASK, FLUSH, *GOOD[6:]],
    "the flush comes after the reply": [*GOOD[:-2], REPLY, FLUSH],
    "the flush comes before the frame that ends the commit": [*GOOD[:2], FLUSH, *GOOD[2:4], *GOOD[5:]],
    "the flush comes before the page of that frame": [*GOOD[:3], FLUSH, GOOD[3], *GOOD[5:]],
    "another file is flushed": [("fdatasync", "/data/audit.db", b"") if step == FLUSH else step for step in GOOD],
    "the commit has no end": [("pwrite64", WAL, UNMARKED) if step[-1] == MARKED else step for step in GOOD],
}


@pytest.mark.parametrize("steps", DISORDERS.values(), ids=DISORDERS)
def test_disorder_is_seen(steps: list[Step]) -> None:
    order = judge(calls(*steps), [EXCHANGE], SqliteFlushing(), PORTS)
    assert (order.checked, order.violations) == (1, ["A"])


def test_a_flush_that_fails_or_is_not_over_covers_nothing() -> None:
    for spoil in ({"done": False}, {"ended": 1 << 40}, {"begun": 5}):
        made = calls(*GOOD)
        for name, value in spoil.items():
            setattr(made[4], name, value)  # begun before the last page was written, or ended after the question
        assert judge(made, [EXCHANGE], SqliteFlushing(), PORTS).violations == ["A"], spoil


def test_what_cannot_be_told_apart_is_not_counted_as_checked() -> None:
    unwritten = [step for step in GOOD if step not in commit(FIRST)[:2]]
    for steps in (GOOD[:-1], [step for step in GOOD if step != ASK], unwritten):
        order = judge(calls(*steps), [EXCHANGE], SqliteFlushing(), PORTS)
        assert (order.checked, order.not_told_apart) == (0, ["A"])


SENT = [("sendto", OURS, FIRST), ("sendto", OURS, b"commit, by a statement the server knows")]
WRITTEN = ("pwrite64", "/pg/pg_wal/000000010000000000000001", b"wal")
FLUSHED = ("fdatasync", "/pg/pg_wal/000000010000000000000001", b"")
SAID = ("sendto", SERVERS, b"C\0\0\0\x0bCOMMIT\0Z")


def test_postgresql_is_in_order_when_the_server_says_commit_after_its_flush() -> None:
    flushing = PostgresqlFlushing()

    def before(*steps: Step) -> bool | None:
        made = calls(*steps)
        return flushing.before(made, FIRST, made[-1])

    assert before(*SENT, WRITTEN, FLUSHED, SAID, ASK) is True
    assert before(*SENT, WRITTEN, SAID, ASK) is False
    assert before(*SENT, SAID, ASK) is False
    assert before(*SENT, FLUSHED, SAID, ASK) is False
    assert before(*SENT, WRITTEN, SAID, FLUSHED, ASK) is False
    assert before(SENT[0], WRITTEN, FLUSHED, SENT[1], SAID, ASK) is False
    assert before(*SENT, WRITTEN, FLUSHED, ASK) is False
    assert before(WRITTEN, FLUSHED, SAID, ASK) is None


TRACE = r"""
7  1700000000.000001 pwrite64(4<\x2f\x77>, "\x41\x42", 2, 0 <unfinished ...>
8  1700000000.000002 write(9<TCP:[127.0.0.1:1->127.0.0.1:2]>, "\x17", 1) = 1
7  1700000000.000003 <... pwrite64 resumed>) = 2
7  1700000000.000004 writev(5<TCP:[127.0.0.1:1->127.0.0.1:2]>, [{iov_base="\x01", iov_len=1}, {iov_base="\x02"}], 2) = 2
7  1700000000.000005 fdatasync(4<\x2f\x77>) = -1 EIO (Input/output error)
8  1700000000.000006 +++ exited with 0 +++
7  1700000000.000007 fdatasync(4<\x2f\x77> <unfinished ...>
"""


def test_a_trace_is_read_with_when_each_call_began_and_ended(tmp_path: Path) -> None:
    (tmp_path / "trace").write_text(TRACE.lstrip())
    write, send, several, failed, pending = read_trace(tmp_path / "trace")
    assert (write.thread, write.name, write.target, write.content) == (7, "pwrite64", "/w", b"AB")
    assert (write.begun, write.ended, write.done, write.at_us) == (0, 2, True, 1700000000_000001)
    assert (send.begun, send.ended, send.target, send.content) == (1, 1, "TCP:[127.0.0.1:1->127.0.0.1:2]", b"\x17")
    assert several.content == b"\x01\x02"
    assert (failed.flushes, failed.done) == (True, False)
    assert (pending.done, pending.ended > 10**9) == (False, True)
