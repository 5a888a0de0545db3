"""A leaf is canonical and tells nothing of a patient; what is framed is unframed."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minispine.audit.encoding import (
    EntryInvalid,
    Prepared,
    commit_bodies,
    commit_private,
    encode_text,
    frame_bodies,
    iso_time,
    leaf_of,
    message_digest,
    prepare,
    read_leaf,
    unframe_bodies,
)
from minispine.audit.events import Body, Entry, Event, EventType

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
OBJECT = st.dictionaries(TEXT, JSON, max_size=4)
SALT = bytes(range(16))


def prepared(entry: Entry, salt: bytes = SALT) -> Prepared:
    return prepare(entry, instance="instance-1", salt=salt)


def leaf(entry: Entry, salt: bytes = SALT) -> bytes:
    return leaf_of(prepared(entry, salt), repeats=None, sealed_at=2, sequence=1, system_id=encode_text("SMSP-1"))


def one_event(data: Any = None, private: Any = None, **options: Any) -> Entry:
    event = Event(type=EventType.EXCHANGE_RECEIVED, at=1, data=data or {}, private=private or {})
    return Entry(events=(event,), **options)


@given(OBJECT, TEXT, TEXT, TEXT | st.none())
def test_a_leaf_is_the_one_canonical_json_of_what_it_says(
    data: dict[str, Any], client: str, system_id: str, repeats: str | None
) -> None:
    """Encoding what a leaf decodes to, with sorted keys and nothing escaped needlessly, gives the leaf again."""
    made = leaf_of(
        prepared(one_event(data, client=client)),
        repeats=repeats,
        sealed_at=2,
        sequence=1,
        system_id=encode_text(system_id),
    )
    fields = read_leaf(made)
    again = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert json.loads(again) == json.loads(made[1:])
    assert made == b"\x01" + again or b"\\" in made  # the standard library may escape a control character differently
    assert fields["events"] == [{"at": 1, "data": data, "type": "exchange.received"}]
    assert (fields["client"], fields["system_id"], fields["repeats"]) == (client, system_id, repeats)


def test_a_leaf_as_it_is_written_down() -> None:
    """The format of version 1: it may never change, because old records have to verify for ever."""
    entry = Entry(
        events=(
            Event(type=EventType.EXCHANGE_RECEIVED, at=1, data={"b": 1, "a": ["é", None, True]}, private={"n": "x"}),
        ),
        exchange="e",
        client="c",
        client_message_id="m",
        bodies=(Body("request", b"<x/>"),),
    )
    made = leaf_of(prepared(entry), repeats="r", sealed_at=3, sequence=2, system_id=encode_text("SMSP-1"))
    assert made.decode() == (
        '\x01{"bodies":"06c3d34a241231d980425988124287c31e12a68bdcec0755c80ba51dbfef445a",'
        '"client":"c","client_message_id":"m",'
        '"events":[{"at":1,"data":{"a":["é",null,true],"b":1},"type":"exchange.received"}],'
        '"exchange":"e","instance":"instance-1",'
        '"private":"5e2f5b3ee2b936706034e7011f1540edc9432e7eca239f158650d4b5eed5a1f0",'
        '"repeats":"r","sealed_at":3,"sequence":2,"system_id":"SMSP-1"}'
    )


@given(st.dictionaries(TEXT, JSON, min_size=1, max_size=3), st.binary(min_size=1, max_size=40))
def test_a_leaf_does_not_depend_on_patient_data_but_through_salted_commitments(
    private: dict[str, Any], content: bytes
) -> None:
    """Two entries that differ in private parts and bodies alone differ in their leaves' two commitments alone."""
    fields = read_leaf(leaf(one_event(private=private, bodies=(Body("request", content),))))
    other = read_leaf(leaf(one_event(private={"other": 1}, bodies=(Body("request", content + b"."),))))
    commitments = {name: fields.pop(name) for name in ("private", "bodies")}
    assert {name: other.pop(name) for name in ("private", "bodies")} != commitments
    assert fields == other
    resalted = read_leaf(leaf(one_event(private=private, bodies=(Body("request", content),)), salt=bytes(16)))
    assert all(resalted[name] != commitment for name, commitment in commitments.items())


def test_private_parts_and_bodies_are_nowhere_in_a_leaf() -> None:
    entry = one_event(private={"family": "Markerby"}, bodies=(Body("request", b"<family>Markerby</family>"),))
    assert b"Markerby" not in leaf(entry)
    assert b"family" not in leaf(entry)


def test_commitments_are_to_what_is_kept() -> None:
    entry = one_event(private={"family": "Markerby"}, bodies=(Body("request", b"<x/>"),))
    kept = prepared(entry)
    fields = read_leaf(leaf(entry))
    assert kept.private is not None
    assert kept.bodies is not None
    assert json.loads(kept.private) == [{"family": "Markerby"}]
    assert fields["private"] == commit_private(SALT, kept.private)
    assert fields["bodies"] == commit_bodies(SALT, kept.bodies)
    assert commit_private(SALT, b"x") != commit_bodies(SALT, b"x")


def test_an_entry_without_a_payload_commits_to_none() -> None:
    fields = read_leaf(leaf(one_event()))
    assert (fields["private"], fields["bodies"]) == (None, None)


@pytest.mark.parametrize(
    "data", [{"x": 1.0}, {"x": [{"y": 0.5}]}, {"x": b"Markerby"}, {"x": {1: "Markerby"}}, {"x": "\ud800"}, {"x": 2**70}]
)
def test_what_has_no_canonical_form_is_refused_without_being_quoted(data: dict[str, Any]) -> None:
    with pytest.raises(EntryInvalid) as refused:
        prepared(one_event(data))
    assert "Markerby" not in repr(refused.value)
    assert refused.value.__suppress_context__ or refused.value.__context__ is None


def test_what_is_private_has_to_be_json_and_is_not_quoted() -> None:
    with pytest.raises(EntryInvalid) as refused:
        prepared(one_event(private={"name": b"Markerby", "x": "\ud800"}))
    assert "Markerby" not in repr(refused.value)
    assert refused.value.__suppress_context__


@pytest.mark.parametrize("options", [{"opens": True}, {"closes": True}])
def test_to_open_or_close_needs_an_exchange(options: dict[str, bool]) -> None:
    with pytest.raises(EntryInvalid):
        prepared(one_event(**options))


def test_an_entry_needs_an_event() -> None:
    with pytest.raises(EntryInvalid):
        prepared(Entry(events=()))


@given(st.lists(st.builds(Body, TEXT, st.binary(max_size=300)), max_size=4).map(tuple))
def test_unframing_is_the_inverse_of_framing(messages: tuple[Body, ...]) -> None:
    """unframe_bodies(frame_bodies(b)) == b, and no proper beginning of a frame is taken for the whole."""
    framed = frame_bodies(messages)
    assert unframe_bodies(framed) == messages
    for length in range(len(framed) - 1, max(len(framed) - 8, 1), -1):
        try:
            assert unframe_bodies(framed[:length]) == messages[:-1]
        except ValueError:
            continue


def test_message_ids_of_different_clients_are_different() -> None:
    assert len({message_digest("a", "bc"), message_digest("ab", "c"), message_digest("a", "b")}) == 3


@pytest.mark.parametrize(
    ("us", "text"),
    [
        (0, "1970-01-01T00:00:00.000000Z"),
        (1_793_061_000_000_001, "2026-10-27T00:30:00.000001Z"),
        (1_792_888_200_999_999, "2026-10-25T00:30:00.999999Z"),
    ],
)
def test_times_are_utc_with_six_decimals(us: int, text: str) -> None:
    assert iso_time(us) == text
