"""Verifying a log where it is published, without its database; and the tiles above the lowest."""

import shutil
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from minispine.audit.checkpointing import last_checkpoint
from minispine.audit.merkle import perfect_root
from minispine.audit.publishing import Publication
from minispine.audit.tiles import Tile
from minispine.audit.verification import Broken, NoCheckpoint, Proof, PublishedLog, Verified, verify_source
from minispine.audit.verification.trusted import read
from minispine.audit.verification.upper import UpperTiles
from minispine.audit.witnesses.recipient import Offer, Taken
from minispine.storage import Database, Store
from tests.audit.conftest import SIGNER
from tests.audit.long_log import RECORDS, SIZES, checkpoint


@pytest.fixture(scope="module")
def kept(long_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Database]]:
    """The log, published."""
    folder = tmp_path_factory.mktemp("published") / "log"
    with Database.open(f"sqlite:{long_sqlite}") as database:
        with database.reading(Store.AUDIT) as session:
            newest = last_checkpoint(session)
        assert newest is not None
        Publication(folder).take(Offer(database, newest, Taken()))
        yield folder, database


@pytest.fixture
def published(kept: tuple[Path, Database], tmp_path: Path) -> Path:
    """A copy of what is published, to be spoilt."""
    shutil.copytree(kept[0], tmp_path / "log")
    return tmp_path / "log"


def flip(file: Path, at: int = 40) -> None:
    content = bytearray(file.read_bytes())
    content[at] ^= 1
    file.write_bytes(content)


def rename(file: Path) -> None:
    file.write_bytes(file.read_bytes().replace(b'"client":"ward"', b'"client":"home"', 1))


def test_a_published_log_is_verified_without_its_database(published: Path, kept: tuple[Path, Database]) -> None:
    trusted = [checkpoint(kept[1], 2)]
    result = verify_source(PublishedLog.open(published), trusted=trusted, known_key=SIGNER.verifier)
    assert isinstance(result, Verified)
    assert (result.records, result.proof) == (RECORDS, Proof(SIZES[1], "the witness"))
    assert [each.kind for each in result.observations] == ["removed"]
    alone = verify_source(PublishedLog.open(published))
    assert isinstance(alone, Verified)
    assert alone.proof is None, "the checkpoint beside the tiles proves nothing"


TAMPERING: dict[str, tuple[Callable[[Path], object], tuple[int, str]]] = {
    "an entry": (lambda log: rename(log / "tile/entries/000"), (2, "tile")),
    "a later entry": (lambda log: rename(log / "tile/entries/001.p/156"), (257, "tile")),
    "a bit of an entry": (lambda log: flip(log / "tile/entries/000", 60), (1, "leaf")),
    "a bit of a tile": (lambda log: flip(log / "tile/0/000"), (2, "tile")),
    "a bit of the tile above": (lambda log: flip(log / "tile/1/000.p/1", 5), (1, "tile")),
    "a tile cut short": (lambda log: (log / "tile/0/000").write_bytes(b""), (1, "tile")),
    "entries gone": (lambda log: (log / "tile/entries/000").unlink(), (1, "sequence")),
    "the last entries gone": (lambda log: shutil.rmtree(log / "tile/entries/001.p"), (257, "sequence")),
    "entries that are none": (lambda log: (log / "tile/entries/000").write_bytes(b"\xff" * 99), (1, "sequence")),
    "a bit of the checkpoint's root": (
        lambda log: (log / "checkpoint").write_text((log / "checkpoint").read_text().replace("=\n", "E\n", 1)),
        (0, ""),
    ),
    "a bit of the checkpoint's signature": (lambda log: flip(log / "checkpoint", -9), (1, "checkpoint")),
    "a checkpoint over fewer records": (
        lambda log: (log / "checkpoint").write_text((log / "checkpoint").read_text().replace("412", "256", 1)),
        (1, "checkpoint"),
    ),
}


@pytest.mark.parametrize("tampering", TAMPERING)
def test_what_is_published_shows_when_it_was_changed(published: Path, tampering: str) -> None:
    tamper, expected = TAMPERING[tampering]
    tamper(published)
    if not expected[0]:
        with pytest.raises(NoCheckpoint):
            PublishedLog.open(published)
        return
    result = verify_source(PublishedLog.open(published))
    assert isinstance(result, Broken)
    assert (result.sequence, result.check) == expected


def test_the_latest_epoch_is_the_log(published: Path) -> None:
    shutil.copytree(published, published / "2")
    flip(published / "tile/entries/000", 60)
    assert isinstance(verify_source(PublishedLog.open(published)), Verified)
    (published / "3").mkdir()
    with pytest.raises(NoCheckpoint):
        PublishedLog.open(published)


def test_checkpoints_are_read_from_where_a_log_is_published(published: Path) -> None:
    assert {each.checkpoint.size for each in read(published)} == {RECORDS}
    assert len(read(published)) == 2, "the newest, and the history"
    assert len(read(published / "checkpoint")) == 1


class Tiles:
    """Tiles as they should be, but for one."""

    def __init__(self, blocks: list[bytes], wrong: Tile | None) -> None:
        self._rows = {1: blocks, 2: [perfect_root(blocks[at : at + 256]) for at in range(0, len(blocks) - 255, 256)]}
        self._wrong = wrong
        self.asked: list[Tile] = []

    def tile(self, tile: Tile) -> bytes | None:
        self.asked.append(tile)
        content = bytearray(b"".join(self._rows[tile.level][tile.index * 256 : tile.index * 256 + tile.width]))
        if tile == self._wrong:
            content[33] ^= 1
        return bytes(content)


@pytest.mark.parametrize(
    ("wrong", "first"),
    [
        (None, None),
        (Tile(1, 0), 1 + 256),
        (Tile(1, 1), 1 + 257 * 256),
        (Tile(1, 2, 2), 1 + 513 * 256),
        (Tile(2, 0, 2), 1 + 256 * 256),
    ],
)
def test_a_tile_above_the_lowest_is_laid_to_the_first_record_below_it(wrong: Tile | None, first: int | None) -> None:
    blocks = [sha256(bytes((number % 251, number // 251))).digest() for number in range(514)]
    tiles = Tiles(blocks, wrong)
    upper = UpperTiles(tiles)  # type: ignore[arg-type]
    found = None
    for at in range(0, 514, 16):
        found = found or upper.take(blocks[at : at + 16])
    found = found or upper.finish()
    assert (found and found.sequence) == first
    if wrong is None:
        assert tiles.asked == [Tile(1, 0), Tile(1, 1), Tile(1, 2, 2), Tile(2, 0, 2)]
