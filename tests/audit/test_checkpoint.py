"""A checkpoint is written and read in one way only, and is its own log's."""

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from minispine.audit.checkpoint import (
    MAX_SIZE,
    Checkpoint,
    CheckpointMalformed,
    OriginMismatch,
    open_checkpoint,
    sign_checkpoint,
)
from minispine.audit.merkle import EMPTY_ROOT
from minispine.audit.note import NoteMalformed, NoteUnverified, SignatureInvalid, Signer, Verifier, open_note, sign

LOG = Signer("log.example/audit", Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
ROOT = bytes(range(32))
ROOT_LINE = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="

# The example of c2sp.org/tlog-checkpoint. Its signature is the Go checksum database's, of a checkpoint that calls
# itself `go.sum database tree`; the example gives both other names. With the names put back it is right; as printed,
# wrong.
SOFA_TEXT = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
SOFA_SIGNATURE = "Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8="
GO_KEY = Verifier.parse("sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8")

LINE = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)


def test_the_published_example_is_read() -> None:
    checkpoint = Checkpoint.decode(SOFA_TEXT)
    assert checkpoint.origin == "example.com/behind-the-sofa"
    assert checkpoint.size == 20852163
    assert checkpoint.root.hex() == "0ac5186a91863e8e1d90c808014aa89bf5da8e3ee1d9f07630f0378f68f1ab62"
    assert checkpoint.extensions == ()
    assert checkpoint.encode() == SOFA_TEXT


def test_a_checkpoint_of_the_go_checksum_database() -> None:
    text = SOFA_TEXT.replace("example.com/behind-the-sofa", "go.sum database tree")
    opened = open_note(f"{text}\n— sum.golang.org {SOFA_SIGNATURE}\n", [GO_KEY])
    assert Checkpoint.decode(opened.text).size == 20852163
    with pytest.raises(SignatureInvalid):
        open_note(f"{SOFA_TEXT}\n— sum.golang.org {SOFA_SIGNATURE}\n", [GO_KEY])


def test_a_checkpoint_of_another_name_than_its_key_is_refused() -> None:
    """As the Go checksum database's, which is older than the rule."""
    text = SOFA_TEXT.replace("example.com/behind-the-sofa", "go.sum database tree")
    with pytest.raises(OriginMismatch):
        open_checkpoint(f"{text}\n— sum.golang.org {SOFA_SIGNATURE}\n", GO_KEY)
    with pytest.raises(OriginMismatch):
        sign_checkpoint(Checkpoint("log.example/other", 1, ROOT), LOG)
    with pytest.raises(OriginMismatch):
        open_checkpoint(sign(Checkpoint("log.example/other", 1, ROOT).encode(), [LOG]), LOG.verifier)


def test_its_bytes() -> None:
    checkpoint = Checkpoint("log.example/audit", 257, ROOT, ("one", "two words"))
    assert checkpoint.encode() == f"log.example/audit\n257\n{ROOT_LINE}\none\ntwo words\n"


@settings(max_examples=60, deadline=None)
@given(LINE, st.integers(1, MAX_SIZE), st.binary(min_size=32, max_size=32), st.lists(LINE, max_size=3))
def test_what_is_written_is_read(origin: str, size: int, root: bytes, extensions: list[str]) -> None:
    checkpoint = Checkpoint(origin, size, root, tuple(extensions))
    assert Checkpoint.decode(checkpoint.encode()) == checkpoint


@settings(max_examples=60, deadline=None)
@given(st.integers(1, MAX_SIZE), st.binary(min_size=32, max_size=32), st.lists(LINE, max_size=3))
def test_what_is_signed_is_opened(size: int, root: bytes, extensions: list[str]) -> None:
    checkpoint = Checkpoint(LOG.name, size, root, tuple(extensions))
    note = sign_checkpoint(checkpoint, LOG)
    assert open_checkpoint(note, LOG.verifier) == checkpoint
    assert open_checkpoint(note.encode(), LOG.verifier) == checkpoint


def test_an_empty_log_has_the_root_of_the_empty_tree() -> None:
    empty = Checkpoint(LOG.name, 0, EMPTY_ROOT)
    assert open_checkpoint(sign_checkpoint(empty, LOG), LOG.verifier) == empty
    with pytest.raises(CheckpointMalformed):
        Checkpoint(LOG.name, 0, ROOT)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "a\n1\n",
        f"a\n1\n{ROOT_LINE}",
        f"a\n1\n{ROOT_LINE}\nx",
        f"a\n1\n{ROOT_LINE}\nxy",
        f"\n1\n{ROOT_LINE}\n",
        f"a\n\n{ROOT_LINE}\n",
        "a\n1\n\n",
        f"a\n1\n{ROOT_LINE}\n\n",
        f"a\n1\n{ROOT_LINE}\nx\n\n",
        f"a\n1\n{ROOT_LINE}\n\ny\n",
        f"a\n01\n{ROOT_LINE}\n",
        f"a\n00\n{ROOT_LINE}\n",
        f"a\n+1\n{ROOT_LINE}\n",
        f"a\n-1\n{ROOT_LINE}\n",
        f"a\n 1\n{ROOT_LINE}\n",
        f"a\n1 \n{ROOT_LINE}\n",
        f"a\n1_0\n{ROOT_LINE}\n",
        f"a\n0x1\n{ROOT_LINE}\n",
        f"a\n\u0661\n{ROOT_LINE}\n",
        f"a\n1\u0661\n{ROOT_LINE}\n",
        f"a\n{2**63}\n{ROOT_LINE}\n",
        f"a\n{'1' * 5000}\n{ROOT_LINE}\n",
        f"a\n1\n{ROOT_LINE[:-1]}\n",
        f"a\n1\n{ROOT_LINE[:-2]}9=\n",
        f"a\n1\n{ROOT_LINE} \n",
        f"a\n1\n{base64.b64encode(bytes(31)).decode()}\n",
        f"a\n1\n{base64.b64encode(bytes(33)).decode()}\n",
        f"a\n1\n{ROOT.hex()}\n",
        f"a\r\n1\r\n{ROOT_LINE}\r\n",
        f"a\x00\n1\n{ROOT_LINE}\n",
        f"a\n1\n{ROOT_LINE}\nx\ty\n",
    ],
)
def test_what_is_not_a_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(CheckpointMalformed):
        Checkpoint.decode(text)


def test_a_signed_note_that_is_no_checkpoint_is_refused() -> None:
    with pytest.raises(CheckpointMalformed):
        open_checkpoint(sign("log.example/audit\n", [LOG]), LOG.verifier)


@pytest.mark.parametrize(
    ("origin", "size", "root", "extensions"),
    [
        ("", 1, ROOT, ()),
        ("a\nb", 1, ROOT, ()),
        ("a\ud800", 1, ROOT, ()),
        ("a", -1, ROOT, ()),
        ("a", 2**63, ROOT, ()),
        ("a", 1, ROOT[:-1], ()),
        ("a", 1, ROOT, ("",)),
        ("a", 1, ROOT, ("x\n",)),
    ],
)
def test_what_no_checkpoint_can_say_is_not_one(
    origin: str, size: int, root: bytes, extensions: tuple[str, ...]
) -> None:
    with pytest.raises(CheckpointMalformed):
        Checkpoint(origin, size, root, extensions)


def test_a_checkpoint_that_another_key_signed_is_refused() -> None:
    other = Signer(LOG.name, Ed25519PrivateKey.from_private_bytes(bytes(32)))
    with pytest.raises(NoteUnverified):
        open_checkpoint(sign_checkpoint(Checkpoint(LOG.name, 1, ROOT), other), LOG.verifier)


def test_a_changed_checkpoint_is_refused() -> None:
    note = sign_checkpoint(Checkpoint(LOG.name, 1, ROOT), LOG)
    with pytest.raises(SignatureInvalid):
        open_checkpoint(note.replace("\n1\n", "\n2\n"), LOG.verifier)
    with pytest.raises(NoteMalformed):
        open_checkpoint(note.partition("\n\n")[0] + "\n", LOG.verifier)
