"""The tree as it is kept: against one computed from the leaves, also where tiles are not kept or records are gone."""

import pytest

from minispine.audit.encoding import chain
from minispine.audit.log import AuditLog
from minispine.audit.merkle import leaf_hash
from minispine.audit.tiles import Tile
from minispine.audit.tree import StoredTree, TreeDamaged, keep_tiles
from minispine.storage import Database, Store
from tests.audit import naive_merkle
from tests.audit.checkpoints import grow, leaves, tamper

MANY = 600


def test_any_root_is_that_of_the_leaves_with_tiles_kept_or_not(database: Database, log: AuditLog) -> None:
    grow(log, MANY - 1)
    everything = leaves(database)
    for kept in (False, True):
        if kept:
            keep_tiles(database, MANY)
        with database.reading(Store.AUDIT) as session:
            tree = StoredTree(session, MANY)
            for level, index in ((0, 0), (0, 599), (3, 7), (8, 0), (8, 1), (9, 0)):
                under = everything[index << level : (index + 1) << level]
                assert tree.hashes.read(level, index) == naive_merkle.mth(under)


def test_only_full_tiles_are_kept_and_each_once(database: Database, log: AuditLog) -> None:
    grow(log, MANY - 1)
    keep_tiles(database, 300)
    keep_tiles(database, 255)
    keep_tiles(database, MANY)
    with database.reading(Store.AUDIT) as session:
        rows = session.rows("SELECT level, number, hashes FROM audit_tile ORDER BY level, number")
    hashes = [leaf_hash(leaf) for leaf in leaves(database)]
    assert [(level, number, bytes(tile)) for level, number, tile in rows] == [
        (0, 0, b"".join(hashes[:256])),
        (0, 1, b"".join(hashes[256:512])),
    ]


def test_records_of_the_first_release_count_by_their_leaves(database: Database) -> None:
    """Their hash in the table is a link of the chain."""
    first = [b'\x01{"sequence":%d}' % n for n in range(1, 4)]
    digest = bytes(32)
    with database.session(Store.AUDIT) as session:
        session.begin()
        for sequence, leaf in enumerate(first, start=1):
            digest = chain(digest, leaf)
            session.run("INSERT INTO audit_record (sequence, hash, leaf) VALUES (?, ?, ?)", (sequence, digest, leaf))
        session.commit()
    with database.reading(Store.AUDIT) as session:
        tree = StoredTree(session, 3)
        assert tree.fetch(Tile(0, 0, 3)) == b"".join(map(leaf_hash, first))
        assert tree.leaves(1, 3) == first[1:]


def test_a_record_that_is_gone_is_damage(database: Database, log: AuditLog) -> None:
    grow(log, 9)
    tamper(database, "audit_record", "DELETE FROM audit_record WHERE sequence = 4")
    with database.reading(Store.AUDIT) as session:
        tree = StoredTree(session, 10)
        with pytest.raises(TreeDamaged):
            tree.hashes.read(3, 0)
        with pytest.raises(TreeDamaged):
            tree.leaves(0, 10)
        assert tree.leaves(4, 10)
    grow(log, 300)
    with pytest.raises(TreeDamaged):
        keep_tiles(database, 300)


def test_a_tile_that_was_cut_short_is_damage(database: Database, log: AuditLog) -> None:
    grow(log, 299)
    keep_tiles(database, 300)
    with database.session(Store.AUDIT) as session:
        session.run("UPDATE audit_tile SET hashes = ?", (bytes(8160),))
    with database.reading(Store.AUDIT) as session, pytest.raises(TreeDamaged):
        StoredTree(session, 300).hashes.read(0, 0)
