"""From readings to what is known of the clock."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minispine.spine.clock import DaemonReading, Limits, Readings, Reason, ServerReading, judge

LIMITS = Limits(max_stratum=3, max_offset_us=250_000)


def server(name: str = "a", offset_us: int = 0, stratum: int = 2, delay_us: int = 1000) -> ServerReading:
    return ServerReading(name=name, stratum=stratum, offset_us=offset_us, delay_us=delay_us)


def silent(name: str) -> ServerReading:
    return ServerReading(name=name, fault=Reason("silent", name, f"time server {name} does not answer"))


def unsynchronised(name: str) -> ServerReading:
    return ServerReading(name=name, fault=Reason("unsynchronised", name, f"time server {name} is not synchronised"))


def causes(readings: Readings) -> list[tuple[str, str]]:
    return [(reason.cause, reason.about) for reason in judge(readings, LIMITS).reasons]


def of(*servers: ServerReading, daemon: DaemonReading | None = None) -> Readings:
    return Readings(servers=servers, daemon=daemon)


@pytest.mark.requirement("SMSP-AUDIT-010", "a")
@pytest.mark.parametrize("stratum", [1, 2, 3])
def test_two_servers_of_stratum_3_or_better_and_a_small_offset_are_good(stratum: int) -> None:
    state = judge(of(server("a", 900, stratum=1), server("b", -400, stratum=stratum)), LIMITS)
    assert (state.status, state.stratum, state.offset_us, state.reasons) == ("good", stratum, 900, ())


@pytest.mark.requirement("SMSP-AUDIT-010", "a")
def test_above_stratum_3_a_server_is_not_counted() -> None:
    state = judge(of(server("a"), server("b", stratum=4)), LIMITS)
    assert state.status == "bad"
    assert set(state.causes) == {("stratum", "b")}
    assert state.reasons[0].text == "time server b is at stratum 4, at most 3 is permitted"
    state = judge(of(server("a"), server("b", stratum=4), server("c")), LIMITS)
    assert (state.status, state.stratum) == ("good", 2)
    assert [s.fault is None for s in state.servers] == [True, False, True]


@pytest.mark.requirement("SMSP-AUDIT-010", "a")
def test_all_at_stratum_4_is_bad_and_says_which_stratum() -> None:
    state = judge(of(server("a", stratum=5), server("b", stratum=4)), LIMITS)
    assert (state.status, state.stratum, state.offset_us) == ("bad", 4, None)


@pytest.mark.requirement("SMSP-AUDIT-010", "a")
def test_without_synchronisation_the_clock_is_bad() -> None:
    state = judge(of(server("a"), unsynchronised("b")), LIMITS)
    assert state.status == "bad"
    assert set(state.causes) == {("unsynchronised", "b")}


@pytest.mark.parametrize(
    ("readings", "status", "expected"),
    [
        (of(), "unknown", [("too-few-servers", "")]),
        (of(server()), "unknown", [("too-few-servers", "")]),
        (of(server("a"), silent("b")), "unknown", [("silent", "b")]),
        (of(silent("a"), silent("b")), "unknown", [("silent", "a"), ("silent", "b")]),
        (of(silent("a"), server("b"), server("c")), "good", []),
        (of(server("a", 250_000), server("b", 250_000)), "good", []),
        (of(server("a", 250_001), server("b", 250_000)), "bad", [("offset", "")]),
        (of(server("a", -250_001), server("b", -250_001)), "bad", [("offset", "")]),
        (of(server("a", 0), server("b", 250_001)), "bad", [("disagreement", "")]),
        (of(server("a", 0), server("b", 9**9), server("c", -(9**9))), "bad", [("disagreement", "")]),
        (of(server("a", 0), server("b", 0), server("c", 9**9), server("d", 9**9)), "bad", [("disagreement", "")]),
        (of(server("a"), server("b", delay_us=500_000)), "good", []),
        (of(server("a"), server("b", delay_us=500_001)), "unknown", [("unusable", "b")]),
        (of(server("a"), ServerReading(name="b", stratum=2)), "unknown", [("unusable", "b")]),
    ],
)
def test_each_cause(readings: Readings, status: str, expected: list[tuple[str, str]]) -> None:
    assert judge(readings, LIMITS).status == status
    assert causes(readings) == expected


def test_the_words_say_which_way_the_clock_is_out() -> None:
    behind, ahead = (judge(of(server("a", us), server("b", us)), LIMITS).reasons[0].text for us in (812_300, -812_300))
    assert behind == "this machine's clock is 812.3 ms behind its time servers, at most 250.0 ms is permitted"
    assert "812.3 ms ahead of" in ahead


def test_a_server_that_stands_alone_is_not_counted_and_says_why() -> None:
    state = judge(of(server("a", 100), server("liar", 10_000_000), server("c", -100)), LIMITS)
    assert (state.status, state.offset_us) == ("good", 100)
    faults = {s.name: s.fault.cause for s in state.servers if s.fault is not None}
    assert faults == {"liar": "disagreement"}


GOOD = st.integers(-250_000, 250_000)


@given(st.lists(st.integers(-100_000, 100_000), min_size=2, max_size=6), st.integers(-(2**50), 2**50), st.data())
def test_one_server_that_is_wrong_among_three_or_more_moves_nothing(
    true_us: list[int], wrong_us: int, data: st.DataObject
) -> None:
    """The offset lies among those of the servers that are right, wherever the wrong one stands."""
    where = data.draw(st.integers(0, len(true_us)))
    offsets = [*true_us[:where], wrong_us, *true_us[where:]]
    state = judge(of(*(server(str(n), us) for n, us in enumerate(offsets))), LIMITS)
    assert state.status == "good"
    assert state.offset_us is not None
    assert min(true_us) <= state.offset_us <= max(true_us)


@given(st.lists(st.integers(-600_000, 600_000), min_size=2, max_size=5))
def test_the_order_of_the_servers_does_not_matter(offsets: list[int]) -> None:
    servers = [server(str(n), us) for n, us in enumerate(offsets)]
    found = {
        (state.status, None if state.offset_us is None else abs(state.offset_us))
        for state in (judge(of(*order), LIMITS) for order in itertools.islice(itertools.permutations(servers), 24))
    }
    assert len(found) == 1


@given(st.lists(GOOD, min_size=2, max_size=5), st.booleans())
def test_good_is_exactly_without_reasons(offsets: list[int], unsure: bool) -> None:
    servers = [server(str(n), us) for n, us in enumerate(offsets)]
    state = judge(of(*servers, *([silent("z")] if unsure else [])), LIMITS)
    assert (state.status == "good") == (not state.reasons)


@pytest.mark.requirement("SMSP-AUDIT-010", "a")
@pytest.mark.parametrize(
    ("daemon", "status", "expected"),
    [
        (DaemonReading(name="chrony", stratum=3), "good", []),
        (DaemonReading(name="chrony", stratum=4), "bad", [("stratum", "chrony")]),
        (DaemonReading(name="chrony"), "bad", [("stratum", "chrony")]),
        (
            DaemonReading(name="chrony", fault=Reason("unsynchronised", "chrony", "chrony is not synchronised")),
            "bad",
            [("unsynchronised", "chrony")],
        ),
        (
            DaemonReading(name="chrony", fault=Reason("silent", "chrony", "chrony does not answer")),
            "unknown",
            [("silent", "chrony")],
        ),
    ],
)
def test_the_daemon_has_to_follow_a_good_source_as_well(
    daemon: DaemonReading, status: str, expected: list[tuple[str, str]]
) -> None:
    readings = of(server("a", stratum=1), server("b", stratum=1), daemon=daemon)
    state = judge(readings, LIMITS)
    assert (state.status, state.stratum) == (status, daemon.stratum)
    assert causes(readings) == expected


def test_a_good_daemon_does_not_stand_for_servers_that_are_silent() -> None:
    readings = of(silent("a"), server("b"), daemon=DaemonReading(name="chrony", stratum=1))
    assert judge(readings, LIMITS).status == "unknown"
