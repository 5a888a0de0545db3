"""Reading a server's packet: whatever arrives, it is an answer within bounds, or one of three refusals."""

import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from minispine.spine.clock.ntp import (
    PACKET_BYTES,
    Answer,
    AnswerRefused,
    KissOfDeath,
    NotOurAnswer,
    read_answer,
    write_request,
)
from tests.time_server import PACKET, packet

NONCE = bytes(range(1, 9))
ORIGINATE = int.from_bytes(NONCE)
AT_S = 1_790_000_000
AT_US = AT_S * 1_000_000
ERA_1_S = 2_085_978_496
"""2036-02-07T06:28:16Z, when NTP's seconds begin again from 0."""


def read(content: bytes, *, sent_at_us: int = AT_US, took_us: int = 40_000) -> Answer:
    return read_answer(content, nonce=NONCE, sent_at_us=sent_at_us, took_us=took_us)


def test_a_request_holds_nothing_but_its_kind_and_its_nonce() -> None:
    request = write_request(NONCE)
    assert (len(request), request[0], request[1:40], request[40:]) == (PACKET_BYTES, 0x23, bytes(39), NONCE)


@pytest.mark.parametrize("ahead_us", [0, 1_000, -1_000, 250_000, -3_600_000_000, 10**15])
def test_the_offset_is_what_has_to_be_added_to_our_clock(ahead_us: int) -> None:
    """The server's clock is `ahead_us` of ours; the packet is 20 ms on its way out and 10 ms back, held for 10 ms."""
    content = packet(ORIGINATE, (AT_US + 20_000 + ahead_us) / 1e6, held_s=0.01)
    answer = read(content)
    assert answer.stratum == 2
    assert answer.delay_us == pytest.approx(30_000, abs=2)
    assert answer.offset_us == pytest.approx(ahead_us + 5_000, abs=2)  # half the difference of the two ways
    assert abs(answer.offset_us - ahead_us) <= answer.delay_us // 2 + 2


@pytest.mark.parametrize(("ours_s", "theirs_s"), [(ERA_1_S - 1, ERA_1_S + 1), (ERA_1_S + 1, ERA_1_S - 1)])
def test_the_end_of_an_era_is_no_jump(ours_s: int, theirs_s: int) -> None:
    answer = read(packet(ORIGINATE, theirs_s), sent_at_us=ours_s * 1_000_000, took_us=0)
    assert answer.offset_us == (theirs_s - ours_s) * 1_000_000


def test_a_clock_that_was_never_set_learns_how_far_it_is_out() -> None:
    assert read(packet(ORIGINATE, AT_S), sent_at_us=0, took_us=0).offset_us == AT_US


@pytest.mark.parametrize(
    "content",
    [
        b"",
        packet(ORIGINATE, AT_S)[:-1],
        packet(ORIGINATE + 1, AT_S),
        packet(0, AT_S),
        packet(ORIGINATE, AT_S, mode=3),
        packet(ORIGINATE, AT_S, mode=5),
        packet(ORIGINATE, AT_S, version=2),
        packet(ORIGINATE + 1, AT_S, stratum=0, leap=3, reference_id=b"DENY"),
    ],
    ids=["nothing", "short", "another nonce", "no nonce", "a request", "a broadcast", "version 2", "a forged farewell"],
)
def test_what_does_not_answer_our_request_is_nothing_to_us(content: bytes) -> None:
    with pytest.raises(NotOurAnswer):
        read(content)


@pytest.mark.requirement("SMSP-AUDIT-010", "a")
@pytest.mark.parametrize(
    "says",
    [
        {"leap": 3},
        {"stratum": 0, "reference_id": b"INIT"},
        {"stratum": 16},
        {"stratum": 255},
        {"root_dispersion_s": 1.0},
        {"root_delay_s": 2.0},
    ],
    ids=str,
)
def test_a_server_that_is_not_synchronised_is_refused(says: dict[str, object]) -> None:
    with pytest.raises(AnswerRefused) as refused:
        read(packet(ORIGINATE, AT_S, **says))  # type: ignore[arg-type]
    assert refused.value.cause == "unsynchronised"


@pytest.mark.parametrize(
    "content",
    [
        packet(ORIGINATE, AT_S)[:32] + bytes(8) + packet(ORIGINATE, AT_S)[40:],
        packet(ORIGINATE, AT_S)[:40] + bytes(8),
        packet(ORIGINATE, AT_S, reference_s=AT_S + 60),
        packet(ORIGINATE, AT_S, held_s=1.0),
        packet(ORIGINATE, AT_S, held_s=-1.0),
    ],
    ids=[
        "no receive time",
        "no transmit time",
        "set in the future",
        "held longer than we waited",
        "sent before it came",
    ],
)
def test_times_that_cannot_have_been_are_refused(content: bytes) -> None:
    with pytest.raises(AnswerRefused) as refused:
        read(content)
    assert refused.value.cause == "unusable"


@pytest.mark.parametrize("zeros", [slice(32, 40), slice(40, 48), slice(32, 48)], ids=["receive", "transmit", "both"])
def test_a_server_that_leaves_a_time_out_is_said_to(zeros: slice) -> None:
    content = bytearray(packet(ORIGINATE, AT_S))
    content[zeros] = bytes(zeros.stop - zeros.start)
    with pytest.raises(AnswerRefused, match="does not say what time it is"):
        read(bytes(content))


def test_a_servers_coarse_clock_does_not_make_a_delay_less_than_nothing() -> None:
    """It seems to have held our packet for 10 ms longer than we waited: its clock counts in steps of 15 ms."""
    answer = read(packet(ORIGINATE, AT_S, held_s=0.015), took_us=5_000)
    assert answer.delay_us == 0
    assert abs(answer.offset_us) <= 16_000


@pytest.mark.parametrize(("code", "farewell"), [(b"DENY", True), (b"RSTR", True), (b"RATE", False)])
def test_a_kiss_of_death_is_told_from_other_answers(code: bytes, farewell: bool) -> None:
    with pytest.raises(KissOfDeath) as kiss:
        read(packet(ORIGINATE, AT_S, leap=3, stratum=0, reference_id=code))
    assert kiss.value.farewell is farewell
    assert code.decode() in kiss.value.what


def test_extension_fields_are_not_read() -> None:
    assert read(packet(ORIGINATE, AT_S) + b"anything") == read(packet(ORIGINATE, AT_S))


_WHOLE = st.integers(0, 2**64 - 1)
_SOMETIMES_OURS = st.one_of(st.just(ORIGINATE), _WHOLE)
_PACKETS = st.builds(
    lambda *parts: PACKET.pack(*parts),
    st.one_of(st.just(0x24), st.integers(0, 255)),
    st.integers(0, 255),
    *[st.integers(-128, 127)] * 2,
    *[st.integers(0, 2**32 - 1)] * 3,
    _WHOLE,
    _SOMETIMES_OURS,
    _WHOLE,
    _WHOLE,
)


@given(
    st.one_of(st.binary(max_size=100), _PACKETS),
    st.integers(0, 2**53),
    st.integers(0, 10_000_000),
)
@example(struct.pack("!BBbbIIIQQQQ", 0x24, 1, 0, 0, 0, 0, 0, 0, ORIGINATE, 2**63, 2**63), 0, 0)
@example(packet(ORIGINATE, AT_S), AT_US, 0)
def test_whatever_arrives_is_an_answer_within_bounds_or_refused(content: bytes, sent_at_us: int, took_us: int) -> None:
    """Any bytes give an answer with stratum 1 to 15, a delay of 0 to what we waited and a tick, and an offset within
    half an era; or one of the reader's own refusals, and nothing else."""
    try:
        answer = read(content, sent_at_us=sent_at_us, took_us=took_us)
    except (NotOurAnswer, AnswerRefused):
        return
    assert 1 <= answer.stratum <= 15
    assert 0 <= answer.delay_us <= took_us + 16_000
    assert abs(answer.offset_us) <= 2**31 * 1_000_000 + took_us
