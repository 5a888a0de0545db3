"""A ring is the file it is written as; a damaged file is refused, and no secret is ever in what is said."""

import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minispine.keys.files import KeyFileRefused
from minispine.keys.ring import KEY_BYTES, KeyRing, MasterKey, new_ring, parse_ring, read_ring

FILE = Path("master.keys")
VARIABLE = "MASTER_KEYS"
SECRETS = st.lists(st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES), min_size=1, max_size=4, unique=True)
LINE = MasterKey.of(bytes(KEY_BYTES)).id.hex() + " " + base64.b64encode(bytes(KEY_BYTES)).decode()


def ring_of(secrets: list[bytes]) -> KeyRing:
    return KeyRing(tuple(MasterKey.of(secret) for secret in secrets))


@given(SECRETS)
def test_parsing_is_the_inverse_of_encoding(secrets: list[bytes]) -> None:
    ring = ring_of(secrets)
    assert parse_ring(ring.encode(), FILE) == ring
    assert parse_ring(b"\n" + ring.encode().replace(b"\n", b"\r\n\r\n"), FILE) == ring


@given(SECRETS, st.data())
def test_a_bit_that_was_lost_is_noticed_and_nothing_is_quoted(secrets: list[bytes], data: st.DataObject) -> None:
    content = bytearray(ring_of(secrets).encode())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= 1 << data.draw(st.integers(0, 7))
    said = ""
    try:
        read = parse_ring(bytes(content), FILE)
    except KeyFileRefused as refused:
        said = str(refused)
    else:
        assert read == ring_of(secrets), "blanks, ends of lines and unused bits of base64 say nothing"
    assert not any(base64.b64encode(secret).decode() in said for secret in secrets)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "holds no master key"),
        ("\n \n", "holds no master key"),
        (LINE.replace(" ", ""), "line 1 is not an id and a key"),
        (f"{LINE} more", "line 1 is not an id and a key"),
        (LINE.replace("=", ""), "line 1 is not an id and a key"),
        (LINE.replace("AAA", "A!A"), "line 1 is not an id and a key"),
        (f"{LINE}\nÄÖ {LINE.split()[1]}", "line 2 is not an id and a key"),
        (f"{LINE}\n00000000 {LINE.split()[1]}", "line 2 is damaged"),
        (f"{MasterKey.of(b'short').id.hex()} {base64.b64encode(b'short').decode()}", "line 1 is damaged"),
        (f"{LINE}\n{LINE}", "line 2 repeats a key"),
    ],
)
def test_what_is_no_ring_is_refused_with_its_line(content: str, reason: str) -> None:
    with pytest.raises(KeyFileRefused, match=f"^master.keys: {reason}"):
        parse_ring(content.encode(), FILE)


def test_the_newest_key_is_the_first_and_the_others_stay() -> None:
    numbers = iter(range(1, 9))
    ring = new_ring(lambda count: bytes([next(numbers)]) * count)
    assert [key.secret for key in ring.keys] == [bytes([1]) * KEY_BYTES]
    newer = ring.with_new(lambda count: bytes([next(numbers)]) * count)
    assert [key.secret[0] for key in newer.keys] == [2, 1]
    assert newer.newest == newer.keys[0]
    assert newer.newest.id != ring.newest.id


def test_no_secret_is_shown() -> None:
    ring = ring_of([b"\x07" * KEY_BYTES])
    assert repr(ring) == f"KeyRing(keys=(MasterKey({ring.newest.id.hex()}),))"


def test_the_environment_comes_before_the_file_and_is_named_where_it_is_wrong(tmp_path: Path) -> None:
    first, second = ring_of([b"\x01" * KEY_BYTES]), ring_of([b"\x02" * KEY_BYTES])
    file = tmp_path / "master.keys"
    file.write_bytes(first.encode())
    file.chmod(0o600)
    assert read_ring(file, {}, VARIABLE) == first
    assert read_ring(file, {VARIABLE: ""}, VARIABLE) == first
    assert read_ring(file, {VARIABLE: second.encode().decode()}, VARIABLE) == second
    with pytest.raises(KeyFileRefused, match=r"^\$MASTER_KEYS: line 1"):
        read_ring(file, {VARIABLE: "\ud800 wrong"}, VARIABLE)
    file.chmod(0o644)
    with pytest.raises(KeyFileRefused, match="chmod 600"):
        read_ring(file, {}, VARIABLE)
