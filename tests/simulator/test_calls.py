import msgspec

from minispine.simulator.calls import Call, CallLog, cut
from minispine.simulator.requests import Author


def call(time: int, **parts: object) -> Call:
    fields = dict.fromkeys(("interaction", "asid", "author", "message_id", "hl7_id", "refused", "fault"))
    return Call(time=time, **(fields | parts))  # type: ignore[arg-type]


def as_json(log: CallLog, count: int | None = None) -> list[dict[str, object]]:
    return msgspec.json.decode(b"".join(log.as_json(count)))  # type: ignore[no-any-return]


def test_a_call_is_shown_with_its_time_to_the_microsecond() -> None:
    log = CallLog()
    log.add(call(1_767_268_800_000_001, asid="1", author=Author("p", "u", "r"), message_id="M"))
    assert as_json(log) == [
        {
            "time": "2026-01-01T12:00:00.000001Z",
            "interaction": None,
            "asid": "1",
            "author": {"role_profile": "p", "user": "u", "role": "r"},
            "message_id": "M",
            "hl7_id": None,
            "refused": None,
            "fault": None,
        }
    ]


def test_only_the_newest_are_kept_and_they_can_be_forgotten() -> None:
    log = CallLog(limit=3)
    for time in range(5):
        log.add(call(time))
    assert [kept.time for kept in log.newest(10)] == [2, 3, 4]
    assert [kept.time for kept in log.newest(1)] == [4]
    assert log.newest(0) == []
    log.clear()
    assert (len(log), as_json(log)) == (0, [])


def test_more_calls_than_one_piece_are_one_array() -> None:
    log = CallLog()
    for time in range(2500):
        log.add(call(time))
    assert len(as_json(log)) == 2500
    assert len(as_json(log, 7)) == 7
    assert as_json(log, 0) == []


def test_an_entry_takes_little_room() -> None:
    log = CallLog()
    identifier = "A0000000-0000-4000-8000-000000000001"
    log.add(call(1, interaction="QUPA_IN000005UK01", asid="2" * 12, message_id=identifier, hl7_id=identifier))
    assert len(log._packed[0]) < 130


def test_a_peers_text_is_cut() -> None:
    assert cut("x" * 100) == "x" * 64
    assert cut("") is None
