"""A leaf is canonical and tells nothing of a patient; what is framed is unframed."""

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minispine.audit.encoding import (
    BEGINNING_BYTES,
    MOST_LEAF_BYTES,
    WHOLE_BODY_BYTES,
    EntryInvalid,
    Prepared,
    commit,
    encode_text,
    frame_bodies,
    iso_time,
    leaf_of,
    message_digest,
    prepare,
    read_leaf,
    unframe_bodies,
)
from minispine.audit.events import Body, Cut, Entry, Event, EventType
from minispine.audit.vault import Part, Vault
from tests.audit.conftest import RING, VAULT

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
OBJECT = st.dictionaries(TEXT, JSON, max_size=4)
PRIVATE = st.dictionaries(st.sampled_from(["family", "given", "postcode"]), JSON, min_size=1, max_size=3)
KEPT = {"peer": "10.20.0.7", "path": "/smsp/pds", "lane": "attended"}


def fixed(number: int) -> Vault:
    """A vault whose random bytes are always the same."""
    return Vault(RING, bytes(32), lambda count: bytes([number]) * count)


def prepared(entry: Entry, vault: Vault = VAULT) -> Prepared:
    return prepare(entry, instance="instance-1", vault=vault)


def leaf(entry: Entry, vault: Vault = VAULT) -> bytes:
    return leaf_of(prepared(entry, vault), repeats=None, sealed_at=2, sequence=1, system_id=encode_text("SMSP-1"))


def one_event(data: Any = None, private: Any = None, **options: Any) -> Entry:
    """An event that may hold anything: its `lane` does."""
    told = KEPT | {"lane": "attended" if data is None else data}
    return Entry(events=(Event(type=EventType.EXCHANGE_RECEIVED, at=1, data=told, private=private or {}),), **options)


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
    assert made == b"\x02" + again or b"\\" in made  # the standard library may escape a control character differently
    assert fields["events"] == [{"at": 1, "data": KEPT | {"lane": data}, "type": "exchange.received"}]
    assert (fields["client"], fields["system_id"], fields["repeats"]) == (client, system_id, repeats)


def test_a_leaf_as_it_is_written_down() -> None:
    """The format of version 2: it may never change, because old records have to verify for ever."""
    entry = Entry(
        events=(
            Event(
                type=EventType.EXCHANGE_RECEIVED,
                at=1,
                data=KEPT | {"asid": ["é", None, True]},
                private={"family": "x"},
            ),
        ),
        exchange="e",
        client="c",
        client_message_id="m",
        bodies=(Body("request", b"<x/>"),),
    )
    kept = prepared(entry, fixed(7))
    made = leaf_of(kept, repeats="r", sealed_at=3, sequence=2, system_id=encode_text("SMSP-1"))
    assert kept.payload is not None
    salt = hashlib.sha256(b"minispine audit salt" + b"\x07" * 32).digest()
    assert kept.payload.salt == salt
    private = hashlib.sha256(salt + b"\x00" + (kept.payload.private or b"")).hexdigest()
    bodies = hashlib.sha256(salt + b"\x01" + (kept.payload.bodies or b"")).hexdigest()
    assert made.decode() == (
        f'\x02{{"bodies":"{bodies}",'
        '"client":"c","client_message_id":"m",'
        '"events":[{"at":1,"data":{"asid":["é",null,true],"lane":"attended","path":"/smsp/pds","peer":"10.20.0.7"},'
        '"type":"exchange.received"}],'
        '"exchange":"e","instance":"instance-1",'
        f'"private":"{private}",'
        '"repeats":"r","sealed_at":3,"sequence":2,"system_id":"SMSP-1"}'
    )


@given(PRIVATE, st.binary(min_size=1, max_size=40))
def test_a_leaf_does_not_depend_on_patient_data_but_through_salted_commitments(
    private: dict[str, Any], content: bytes
) -> None:
    """Two entries that differ in private parts and bodies alone differ in their leaves' two commitments alone."""
    entry = one_event(private=private, bodies=(Body("request", content),))
    fields = read_leaf(leaf(entry, fixed(1)))
    changed = one_event(private={"given": "other"}, bodies=(Body("request", content + b"."),))
    other = read_leaf(leaf(changed, fixed(1)))
    commitments = {name: fields.pop(name) for name in ("private", "bodies")}
    assert {name: other.pop(name) for name in ("private", "bodies")} != commitments
    assert fields == other
    resalted = read_leaf(leaf(entry, fixed(2)))
    assert all(resalted[name] != commitment for name, commitment in commitments.items())


def test_private_parts_and_bodies_are_nowhere_in_a_leaf() -> None:
    entry = one_event(private={"family": "Markerby"}, bodies=(Body("request", b"<family>Markerby</family>"),))
    assert b"Markerby" not in leaf(entry)
    assert b"family" not in leaf(entry)


def test_commitments_are_to_what_is_kept() -> None:
    entry = one_event(private={"family": "Markerby"}, bodies=(Body("request", b"<x/>"),))
    kept = prepared(entry)
    fields = read_leaf(leaf_of(kept, repeats=None, sealed_at=2, sequence=1, system_id=b'"S"'))
    payload = kept.payload
    assert payload is not None
    assert payload.private is not None
    assert payload.bodies is not None
    opened = VAULT.open(Part.PRIVATE, payload.private, salt=payload.salt, wrapped=payload.wrapped)
    assert json.loads(opened) == [{"family": "Markerby"}]
    assert fields["private"] == commit(payload.salt, Part.PRIVATE, payload.private)
    assert fields["bodies"] == commit(payload.salt, Part.BODIES, payload.bodies)
    assert commit(payload.salt, Part.PRIVATE, b"x") != commit(payload.salt, Part.BODIES, b"x")


def test_what_is_too_long_for_a_leaf_is_kept_in_private() -> None:
    document = {"text": "x" * 70_000}
    told = {
        "kind": "table",
        "key": "k",
        "version": 1,
        "changed_entries": 1,
        "actor": None,
        "before": None,
        "after": document,
    }
    told["actor"] = {"user_id": "jo"} | dict.fromkeys(
        ("name", "role_profile", "organisation", "authority", "device", "account", "uid")
    )
    kept = prepared(Entry(events=(Event(type=EventType.TABLE_CHANGED, at=1, data=told),)))
    made = leaf_of(kept, repeats=None, sealed_at=2, sequence=1, system_id=b'"S"')
    assert len(made) <= MOST_LEAF_BYTES
    data = read_leaf(made)["events"][0]["data"]
    assert data == told | {"after": None}
    payload = kept.payload
    assert payload is not None
    assert payload.private is not None
    opened = VAULT.open(Part.PRIVATE, payload.private, salt=payload.salt, wrapped=payload.wrapped)
    assert json.loads(opened) == [{"moved": {"after": document}}]


def test_a_message_id_of_any_length_finds_a_place() -> None:
    entry = one_event(exchange="e", client="c", client_message_id="m" * 100_000)
    assert len(leaf(entry)) <= MOST_LEAF_BYTES


def test_an_entry_of_more_events_than_a_leaf_takes_is_refused() -> None:
    event = one_event().events[0]
    with pytest.raises(EntryInvalid):
        prepared(Entry(events=(event,) * 1000))


def test_a_field_that_the_catalogue_does_not_have_is_refused() -> None:
    event = Event(type=EventType.EXCHANGE_RECEIVED, at=1, data=KEPT | {"family": "Markerby"})
    with pytest.raises(EntryInvalid) as refused:
        prepared(Entry(events=(event,)))
    assert "Markerby" not in repr(refused.value)


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
        prepared(one_event(private={"family": b"Markerby", "given": "\ud800"}))
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


def test_of_a_long_message_its_length_digest_and_beginning_are_kept() -> None:
    whole, long = b"w" * WHOLE_BODY_BYTES, b"l" * (WHOLE_BODY_BYTES + 1)
    framed = frame_bodies([Body("request", long), Body("reply", whole)])
    cut = Cut(len(long), hashlib.sha256(long).digest())
    assert unframe_bodies(framed) == (Body("request", long[:BEGINNING_BYTES], cut), Body("reply", whole))
    assert len(framed) < len(whole) + BEGINNING_BYTES + 100


def test_messages_framed_by_the_first_release_are_read() -> None:
    assert unframe_bodies(b"\x01\x00\x01r\x00\x00\x00\x02<>") == (Body("r", b"<>"),)


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
