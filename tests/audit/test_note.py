"""Notes are those of the published format; whatever a known key did not sign is refused."""

import base64
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from minispine.audit.note import (
    MAX_NOTE_BYTES,
    MAX_SIGNATURES,
    CosignatureVerifier,
    NoteMalformed,
    NoteUnverified,
    Signature,
    SignatureInvalid,
    Signer,
    Verifier,
    cosigned_at_s,
    open_note,
    sign,
    write_note,
)

# The example of golang.org/x/mod/sumdb/note: keys, text and both signatures are published in its documentation.
PETER_SEED = base64.b64decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")[1:]
PETER_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
ENOCH_KEY = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop"
TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
PETER_LINE = (
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
ENOCH_LINE = (
    "— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=\n"
)
PETER = Verifier.parse(PETER_KEY)
ENOCH = Verifier.parse(ENOCH_KEY)

# The example of c2sp.org/signed-note.
FOO_KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
FOO_NOTE = (
    "This is an example message.\n\n"
    "— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)

LINE = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12)
TEXTS = st.lists(LINE, min_size=1, max_size=5).map(lambda lines: "".join(f"{line}\n" for line in lines))
NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"], exclude_characters="+"), min_size=1, max_size=9)
WITNESS_TIME_S = 1679315147


def signer(name: str, seed: int = 1) -> Signer:
    return Signer(name, Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32))


def witness(name: str, seed: int = 7) -> tuple[Ed25519PrivateKey, CosignatureVerifier]:
    private = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)
    return private, CosignatureVerifier(name, private.public_key().public_bytes_raw())


def cosignature(private: Ed25519PrivateKey, key: CosignatureVerifier, text: str, time_s: int = WITNESS_TIME_S) -> str:
    """A line as a witness makes it, from the words of c2sp.org/tlog-cosignature."""
    signed = private.sign(b"cosignature/v1\n" + f"time {time_s}\n".encode() + text.encode())
    key_id = sha256(key.name.encode() + b"\x0a\x04" + private.public_key().public_bytes_raw()).digest()[:4]
    return f"— {key.name} {base64.b64encode(key_id + time_s.to_bytes(8) + signed).decode()}\n"


def test_the_published_key_signs_the_published_note() -> None:
    peter = Signer("PeterNeumann", Ed25519PrivateKey.from_private_bytes(PETER_SEED))
    assert str(peter.verifier) == PETER_KEY
    assert sign(TEXT, [peter]) == f"{TEXT}\n{PETER_LINE}"


def test_the_published_notes_are_opened() -> None:
    opened = open_note(f"{TEXT}\n{PETER_LINE}{ENOCH_LINE}", [ENOCH, PETER])
    assert opened.text == TEXT
    assert [(s.name, s.key_id.hex()) for s in opened.verified] == [
        ("PeterNeumann", "c74f20a3"),
        ("EnochRoot", "af0cfe78"),
    ]
    assert opened.unverified == ()
    assert open_note(FOO_NOTE, [Verifier.parse(FOO_KEY)]).text == "This is an example message.\n"


def test_a_signature_of_an_unknown_key_is_kept_apart() -> None:
    opened = open_note(f"{TEXT}\n{PETER_LINE}{ENOCH_LINE}{ENOCH_LINE}", [PETER])
    assert [str(s) for s in opened.verified] == [PETER_LINE]
    assert [str(s) for s in opened.unverified] == [ENOCH_LINE]
    assert write_note(opened.text, (*opened.verified, *opened.unverified)) == f"{TEXT}\n{PETER_LINE}{ENOCH_LINE}"


def test_a_key_that_signed_twice_is_counted_once() -> None:
    assert len(open_note(f"{TEXT}\n{PETER_LINE}{PETER_LINE}", [PETER]).verified) == 1
    private, key = witness("witness.example")
    twice = cosignature(private, key, TEXT) + cosignature(private, key, TEXT, WITNESS_TIME_S + 1)
    assert [cosigned_at_s(s) for s in open_note(f"{TEXT}\n{twice}", [key]).verified] == [WITNESS_TIME_S]


def test_a_second_signature_of_a_known_key_has_to_be_right_too() -> None:
    wrong = str(Signature("PeterNeumann", PETER.key_id, bytes(64)))
    with pytest.raises(SignatureInvalid):
        open_note(f"{TEXT}\n{PETER_LINE}{wrong}", [PETER])


def test_a_note_that_no_known_key_signed_is_refused() -> None:
    for known in ([], [ENOCH]):
        with pytest.raises(NoteUnverified) as refused:
            open_note(f"{TEXT}\n{PETER_LINE}", known)
        assert not isinstance(refused.value, SignatureInvalid)


def test_a_wrong_signature_of_a_known_key_is_refused_beside_a_right_one() -> None:
    with pytest.raises(SignatureInvalid) as refused:
        open_note(f"{TEXT}\n{PETER_LINE}{ENOCH_LINE.replace('rwz+eBz', 'rwz+eBx')}", [PETER, ENOCH])
    assert (refused.value.name, refused.value.key_id.hex()) == ("EnochRoot", "af0cfe78")


def test_a_changed_text_is_refused() -> None:
    with pytest.raises(SignatureInvalid):
        open_note(f"{TEXT.replace('answer', 'question')}\n{PETER_LINE}", [PETER])


def test_a_signature_under_another_name_or_id_is_by_an_unknown_key() -> None:
    for line in (PETER_LINE.replace("Peter", "Paul"), PETER_LINE.replace("x08g", "xxxx")):
        with pytest.raises(NoteUnverified) as refused:
            open_note(f"{TEXT}\n{line}", [PETER])
        assert not isinstance(refused.value, SignatureInvalid)


@pytest.mark.parametrize("length", [0, 1, 63, 65, 72])
def test_a_signature_of_another_length_is_wrong(length: int) -> None:
    right = open_note(f"{TEXT}\n{PETER_LINE}", [PETER]).verified[0].content
    assert PETER.verify(TEXT.encode(), right)
    assert not PETER.verify(TEXT.encode(), (right + bytes(8))[:length])
    assert not CosignatureVerifier("w", PETER.public_key).verify(TEXT.encode(), (right + bytes(9))[:length])


@pytest.mark.parametrize(
    "note",
    [
        "",
        "\n",
        TEXT,
        f"{TEXT}\n",
        f"{TEXT}\n\n",
        f"\n{PETER_LINE}",
        f"{TEXT}{PETER_LINE}",
        f"{TEXT}\n{PETER_LINE[:-1]}",
        f"{TEXT}\n{PETER_LINE}\n",
        f"{TEXT}\n{PETER_LINE}Another line.\n",
        f"{TEXT}\n{PETER_LINE}\n{PETER_LINE}"[:-1],
        f"{TEXT}\n{PETER_LINE.replace('—', '-')}",
        f"{TEXT}\n{PETER_LINE.replace('— ', '—')}",
        f"{TEXT}\n{PETER_LINE.replace('— ', '—  ')}",
        f"{TEXT}\n{PETER_LINE.replace('PeterNeumann', 'Peter Neumann')}",
        f"{TEXT}\n{PETER_LINE.replace('PeterNeumann', 'Peter+Neumann')}",
        TEXT + "\n" + PETER_LINE.replace("PeterNeumann", "Peter\u00a0Neumann"),
        f"{TEXT}\n{PETER_LINE.replace('PeterNeumann', '')}",
        f"{TEXT}\n— PeterNeumann\n",
        f"{TEXT}\n— PeterNeumann \n",
        f"{TEXT}\n— PeterNeumann x08gow==\n",
        f"{TEXT}\n{PETER_LINE.replace('=', '')}",
        f"{TEXT}\n{PETER_LINE.replace('nAM=', 'nAN=')}",
        f"{TEXT}\n{PETER_LINE.replace('x08g', 'x08g ')}",
        f"{TEXT}\n{PETER_LINE.replace('/ZJ', '_ZJ')}",
        f"{TEXT}\n{PETER_LINE.replace('/ZJ', 'éZJ')}",
        f"{TEXT}\n{PETER_LINE}".replace("\n", "\r\n"),
        f"{TEXT}\x00\n{PETER_LINE}",
        f"{TEXT}\t\n\n{PETER_LINE}",
        f"\x1f{TEXT}\n{PETER_LINE}",
        f"\ud800{TEXT}\n{PETER_LINE}",
        b"\xff" + f"{TEXT}\n{PETER_LINE}".encode(),
        f"{TEXT}\n" + PETER_LINE * (MAX_SIGNATURES + 1),
        "x" * MAX_NOTE_BYTES + f"\n\n{PETER_LINE}",
    ],
)
def test_what_is_not_a_note_is_refused(note: str | bytes) -> None:
    with pytest.raises(NoteMalformed):
        open_note(note, [PETER, ENOCH])


def test_as_many_signatures_as_are_allowed() -> None:
    unknown = "".join(str(Signature(f"k{n}", bytes(4), bytes(64))) for n in range(MAX_SIGNATURES - 1))
    assert len(open_note(f"{TEXT}\n{PETER_LINE}{unknown}", [PETER]).unverified) == MAX_SIGNATURES - 1


@settings(max_examples=60, deadline=None)
@given(TEXTS, NAMES)
def test_what_is_signed_is_opened(text: str, name: str) -> None:
    log = signer(name)
    note = sign(text, [log])
    assert open_note(note, [log.verifier]).text == text
    assert open_note(note.encode(), [log.verifier]).text == text
    assert Verifier.parse(str(log.verifier)) == log.verifier


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_byte_of_a_note_can_be_changed(data: st.DataObject) -> None:
    """A changed note is refused, or says the same and is signed by the same: unknown signatures are not covered."""
    note = f"{TEXT}\n{PETER_LINE}".encode()
    at = data.draw(st.integers(0, len(note) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value != note[at]))
    with pytest.raises((NoteMalformed, NoteUnverified)):
        open_note(note[:at] + bytes([byte]) + note[at + 1 :], [PETER])


def test_a_text_may_hold_empty_lines_and_what_looks_like_a_signature() -> None:
    log = signer("log.example")
    text = f"{TEXT}\n{PETER_LINE}\n\n"
    assert open_note(sign(text, [log]), [log.verifier, PETER]).text == text


@pytest.mark.parametrize("text", ["", "no newline", "tab\t\n", "carriage return\r\n", "\x00\n", "\ud800\n"])
def test_a_text_that_no_note_can_hold_is_not_signed(text: str) -> None:
    with pytest.raises(NoteMalformed):
        sign(text, [signer("log.example")])


def test_a_note_has_a_signature() -> None:
    with pytest.raises(NoteMalformed):
        sign(TEXT, [])


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\nb", "a\tb", "a\x01b", "a\u2003b", "a\u2028b", "\ud800"])
def test_a_key_name_has_no_spaces_or_pluses(name: str) -> None:
    with pytest.raises(ValueError):
        signer(name)
    with pytest.raises(ValueError):
        Verifier(name, bytes(32))


@pytest.mark.parametrize(
    "vkey",
    [
        "",
        "PeterNeumann",
        "PeterNeumann+c74f20a3",
        PETER_KEY.replace("c74f20a3", "c74f20a4"),
        PETER_KEY.replace("c74f20a3", "C74F20A3"),
        PETER_KEY.replace("PeterNeumann", "PaulNeumann"),
        PETER_KEY.replace("PeterNeumann", ""),
        PETER_KEY.replace("ARpc", "BBpc"),
        PETER_KEY + "=",
        PETER_KEY + "\n",
        PETER_KEY[:-4],
        "PeterNeumann+c74f20a3+",
    ],
)
def test_what_is_not_a_verifier_key_is_refused(vkey: str) -> None:
    with pytest.raises(ValueError):
        Verifier.parse(vkey)


@pytest.mark.parametrize("length", [31, 33])
def test_a_public_key_has_32_bytes(length: int) -> None:
    with pytest.raises(ValueError):
        Verifier("log.example", bytes(length))


def test_a_key_of_one_type_is_not_of_another() -> None:
    """Else a log's key could be given as a witness's, and one party would be both."""
    _, key = witness("witness.example")
    assert CosignatureVerifier.parse(str(key)) == key
    assert str(key) != str(Verifier("witness.example", key.public_key))
    with pytest.raises(ValueError):
        Verifier.parse(str(key))
    with pytest.raises(ValueError):
        CosignatureVerifier.parse(PETER_KEY)


def test_two_verifiers_with_one_name_and_id_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids have 32 bits: such keys can be made, though it takes a while. Here all have the same."""
    open_note(f"{TEXT}\n{PETER_LINE}", [PETER, PETER])
    monkeypatch.setattr(Verifier, "key_id", PETER.key_id)
    with pytest.raises(ValueError, match="same name and key id"):
        open_note(f"{TEXT}\n{PETER_LINE}", [PETER, Verifier("PeterNeumann", bytes(32))])


def test_a_witness_signs_the_text_with_its_time() -> None:
    private, key = witness("witness.example.com/w1")
    opened = open_note(f"{TEXT}\n{PETER_LINE}{cosignature(private, key, TEXT)}", [PETER, key])
    assert [s.name for s in opened.verified] == ["PeterNeumann", "witness.example.com/w1"]
    assert cosigned_at_s(opened.verified[1]) == WITNESS_TIME_S


def test_the_published_cosignature_holds_the_published_time() -> None:
    """The example of c2sp.org/tlog-cosignature, whose text has the time in its words. Its key is not published."""
    line = (
        "— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZ"
        "qhf5nNo0xUe+mbIUBkBIfZ+qnA==\n"
    )
    published = open_note(f"{TEXT}\n{PETER_LINE}{line}", [PETER]).unverified[0]
    assert cosigned_at_s(published) == WITNESS_TIME_S
    assert len(published.content) == 8 + 64


def test_a_witness_signs_one_time() -> None:
    private, key = witness("witness.example")
    line = cosignature(private, key, TEXT)
    content = open_note(f"{TEXT}\n{line}", [key]).verified[0].content
    later = (WITNESS_TIME_S + 1).to_bytes(8) + content[8:]
    with pytest.raises(SignatureInvalid):
        open_note(write_note(TEXT, [Signature(key.name, key.key_id, later)]), [key])


def test_a_time_of_more_than_63_bits_is_refused() -> None:
    private, key = witness("witness.example")
    assert open_note(f"{TEXT}\n{cosignature(private, key, TEXT, 2**63 - 1)}", [key]).verified
    with pytest.raises(SignatureInvalid):
        open_note(f"{TEXT}\n{cosignature(private, key, TEXT, 2**63)}", [key])


def test_a_signature_of_the_text_alone_is_no_cosignature() -> None:
    private, key = witness("witness.example")
    plain = Signature(key.name, key.key_id, WITNESS_TIME_S.to_bytes(8) + private.sign(TEXT.encode()))
    with pytest.raises(SignatureInvalid):
        open_note(write_note(TEXT, [plain]), [key])


def test_a_signer_does_not_show_its_key() -> None:
    assert "private_key" not in repr(signer("log.example"))
