"""Tiles have the published names; every hash and proof of a tree can be had from its tiles alone."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minispine.audit.merkle import consistency_proof, inclusion_proof, leaf_hash, perfect_root, root_at
from minispine.audit.tiles import (
    MAX_ENTRY_BYTES,
    Tile,
    TileHashes,
    decode_entries,
    encode_entries,
    entries_path,
    read_tile,
    tiles_between,
)
from tests.audit.naive_merkle import NaiveHashes, mth, path, proof

MANY = [index.to_bytes(2) for index in range(600)]
TILES = st.builds(Tile, st.integers(0, 63), st.integers(0, 2**63 - 1), st.integers(1, 256))


@pytest.mark.parametrize(
    ("tile", "at"),
    [
        (Tile(0, 0), "tile/0/000"),
        (Tile(0, 0, 1), "tile/0/000.p/1"),
        (Tile(1, 999, 255), "tile/1/999.p/255"),
        (Tile(2, 1000), "tile/2/x001/000"),
        (Tile(0, 1234067), "tile/0/x001/x234/067"),
        (Tile(63, 123456789, 16), "tile/63/x123/x456/789.p/16"),
    ],
)
def test_paths(tile: Tile, at: str) -> None:
    """With the example of c2sp.org/tlog-tiles, index 1234067."""
    assert tile.path == at
    assert Tile.parse(at) == tile


def test_paths_of_entries() -> None:
    assert entries_path(1234067) == "tile/entries/x001/x234/067"
    assert entries_path(0, 112) == "tile/entries/000.p/112"
    for index, width in ((-1, 1), (0, 0), (0, 257)):
        with pytest.raises(ValueError):
            entries_path(index, width)


@given(TILES)
def test_a_path_is_read_as_it_was_written(tile: Tile) -> None:
    assert Tile.parse(tile.path) == tile


@pytest.mark.parametrize(
    "at",
    [
        "",
        "tile",
        "tile/0",
        "tile/0/",
        "tile/0/0",
        "tile/0/0000",
        "/tile/0/000",
        "tile/0/000/",
        "tile/0/000\n",
        "tile/00/000",
        "tile/01/000",
        "tile/64/000",
        "tile/-1/000",
        "tile/8/0/000",
        "tile/entries/000",
        "tile/0/x000/001",
        "tile/0/001/001",
        "tile/0/x001",
        "tile/0/x001/x001",
        "tile/0/X001/001",
        "tile/0/x01/001",
        "tile/0/000.p",
        "tile/0/000.p/",
        "tile/0/000.p/0",
        "tile/0/000.p/01",
        "tile/0/000.p/256",
        "tile/0/000.p/999",
        "tile/0/000.p/-1",
        "tile/0/x001.p/1/000",
        "tile/0/../000",
        "tile/\u0661/000",
        "tile/0/00\u0661",
    ],
)
def test_what_is_not_a_path_of_a_tile_is_refused(at: str) -> None:
    with pytest.raises(ValueError):
        Tile.parse(at)


@pytest.mark.parametrize(("level", "index", "width"), [(-1, 0, 1), (64, 0, 1), (0, -1, 1), (0, 0, 0), (0, 0, 257)])
def test_there_is_no_such_tile(level: int, index: int, width: int) -> None:
    with pytest.raises(ValueError):
        Tile(level, index, width)


def test_the_tiles_of_a_tree_of_70000() -> None:
    """The example of c2sp.org/tlog-tiles: 273 + 1 of 112, 1 + 1 of 17, 1 of 1."""
    tiles = list(tiles_between(0, 70_000))
    assert tiles == [
        *(Tile(0, index) for index in range(273)),
        Tile(0, 273, 112),
        Tile(1, 0),
        Tile(1, 1, 17),
        Tile(2, 0, 1),
    ]


def test_the_tiles_of_a_tree_of_256() -> None:
    """The other example of c2sp.org/tlog-tiles."""
    assert list(tiles_between(0, 256)) == [Tile(0, 0), Tile(1, 0, 1)]


def test_what_is_new_of_a_tree() -> None:
    assert list(tiles_between(0, 0)) == []
    assert list(tiles_between(300, 300)) == []
    assert list(tiles_between(255, 257)) == [Tile(0, 0), Tile(0, 1, 1), Tile(1, 0, 1)]
    assert list(tiles_between(512, 600)) == [Tile(0, 2, 88)]
    with pytest.raises(ValueError):
        list(tiles_between(2, 1))


@given(st.integers(0, 2**20), st.integers(0, 2**20))
@settings(max_examples=40, deadline=None)
def test_what_is_new_is_what_the_older_tree_has_not(one: int, other: int) -> None:
    old, new = sorted((one, other))
    assert set(tiles_between(old, new)) == set(tiles_between(0, new)) - set(tiles_between(0, old))


def stored(size: int) -> dict[Tile, bytes]:
    """The tiles of the first leaves of MANY, each hash computed from the leaves below it."""
    reader = NaiveHashes(MANY[:size])
    return {tile: read_tile(reader, tile) for tile in tiles_between(0, size)}


def test_the_bytes_of_a_tile() -> None:
    assert read_tile(NaiveHashes(MANY), Tile(0, 1, 3)) == b"".join(leaf_hash(MANY[n]) for n in (256, 257, 258))
    assert read_tile(NaiveHashes(MANY), Tile(1, 0, 2)) == mth(MANY[:256]) + mth(MANY[256:512])


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 511, 512, 600])
def test_every_node_can_be_read_from_the_tiles(size: int) -> None:
    """The tiles asked for are tiles of a tree of this size, or the look-up fails."""
    hashes = TileHashes(stored(size).__getitem__, size)
    leaves = NaiveHashes(MANY[:size])
    for level in range(size.bit_length()):
        for index in range(size >> level):
            assert hashes.read(level, index) == leaves.read(level, index)
        with pytest.raises(ValueError):
            hashes.read(level, size >> level)


@settings(max_examples=30, deadline=None)
@given(st.data(), st.integers(1, len(MANY)))
def test_every_proof_can_be_had_from_the_tiles(data: st.DataObject, size: int) -> None:
    index = data.draw(st.integers(0, size - 1))
    old = data.draw(st.integers(1, size))
    hashes = TileHashes(stored(size).__getitem__, size)
    assert inclusion_proof(hashes, index, size) == path(index, MANY[:size])
    assert consistency_proof(hashes, old, size) == proof(old, MANY[:size])
    assert root_at(hashes, old) == mth(MANY[:old])


def test_a_tree_of_three_levels_of_tiles() -> None:
    """Nodes of 2**16 leaves and more, whose hashes are in the tiles of level 2."""
    size = 3 << 16
    row = [leaf_hash(index.to_bytes(4)) for index in range(size)]
    levels = {0: row}
    for tile_level in (1, 2):
        below = levels[tile_level - 1]
        levels[tile_level] = [perfect_root(below[at : at + 256]) for at in range(0, len(below), 256)]

    def fetch(tile: Tile) -> bytes:
        start = tile.index * 256
        return b"".join(levels[tile.level][start : start + tile.width])

    hashes = TileHashes(fetch, size)
    assert hashes.read(16, 2) == perfect_root(row[2 << 16 :])
    assert hashes.read(17, 0) == perfect_root(row[: 2 << 16])
    assert hashes.read(11, 5) == perfect_root(row[5 << 11 : 6 << 11])


@pytest.mark.parametrize(("level", "index"), [(-1, 0), (0, -1), (0, 600), (10, 0), (64, 0)])
def test_a_node_that_is_not_in_the_tree(level: int, index: int) -> None:
    with pytest.raises(ValueError):
        TileHashes(stored(600).__getitem__, 600).read(level, index)


@pytest.mark.parametrize("change", [lambda tile: tile[:-1], lambda tile: tile + bytes(32), lambda tile: b""])
def test_a_tile_of_another_width_is_refused(change: Callable[[bytes], bytes]) -> None:
    tiles = stored(300)
    with pytest.raises(ValueError):
        TileHashes(lambda tile: change(tiles[tile]), 300).read(0, 299)


def test_the_bytes_of_a_bundle() -> None:
    assert encode_entries([b"ab", b"", b"c" * 258]) == b"\x00\x02ab\x00\x00\x01\x02" + b"c" * 258
    assert encode_entries([]) == b""


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_a_bundle_is_read_as_it_was_written(leaves: list[bytes]) -> None:
    assert decode_entries(encode_entries(leaves)) == leaves


def test_the_longest_entry_and_the_fullest_bundle() -> None:
    longest = bytes(MAX_ENTRY_BYTES)
    assert decode_entries(encode_entries([longest])) == [longest]
    assert decode_entries(encode_entries([b"x"] * 256)) == [b"x"] * 256
    with pytest.raises(ValueError):
        encode_entries([bytes(MAX_ENTRY_BYTES + 1)])
    with pytest.raises(ValueError):
        encode_entries([b"x"] * 257)
    with pytest.raises(ValueError):
        decode_entries(b"\x00\x01x" * 257)


def test_a_bundle_that_is_cut_short_is_refused() -> None:
    bundle = encode_entries([b"ab", b"cde"])
    for end in range(1, len(bundle)):
        if end != 4:
            with pytest.raises(ValueError):
                decode_entries(bundle[:end])
    assert decode_entries(bundle[:4]) == [b"ab"]
    with pytest.raises(ValueError):
        decode_entries(bundle + b"\x00")
