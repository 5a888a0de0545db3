"""The tree against published vectors and a naive implementation; proofs show what is so and nothing else."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minispine.audit.merkle import (
    EMPTY_ROOT,
    Frontier,
    ProofInvalid,
    check_consistency,
    check_inclusion,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    perfect_root,
    root_at,
)
from tests.audit.naive_merkle import NaiveHashes, mth, path, proof

# The leaves, roots and nodes that Certificate Transparency's implementations have been tested with since RFC 6962, as
# published in github.com/transparency-dev/merkle, testonly/constants.go.
LEAVES = [
    bytes.fromhex(leaf)
    for leaf in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = [
    bytes.fromhex(root)
    for root in (
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    )
]
NODES = {
    name: bytes.fromhex(node)
    for name, node in {
        (0, 0): "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        (0, 1): "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        (0, 2): "0298d122906dcfc10892cb53a73992fc5b9f493ea4c9badb27b791b4127a7fe7",
        (0, 4): "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        (0, 6): "b08693ec2e721597130641e8211e7eedccb4c26413963eee6c1e2ed16ffb1a5f",
        (1, 0): "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        (1, 1): "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        (1, 2): "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        (1, 3): "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        (2, 0): "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        (2, 1): "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    }.items()
}
# Index and size, or older and newer size, and the nodes of the proof: published with the leaves above in
# github.com/transparency-dev/merkle, proof/verify_test.go, commit 02194e9. (There the leaves are counted from 1.)
INCLUSION: dict[tuple[int, int], list[tuple[int, int]]] = {
    (0, 1): [],
    (0, 8): [(0, 1), (1, 1), (2, 1)],
    (5, 8): [(0, 4), (1, 3), (2, 0)],
    (2, 3): [(1, 0)],
    (1, 5): [(0, 0), (1, 1), (0, 4)],
}
CONSISTENCY: dict[tuple[int, int], list[tuple[int, int]]] = {
    (1, 1): [],
    (1, 8): [(0, 1), (1, 1), (2, 1)],
    (6, 8): [(1, 2), (1, 3), (2, 0)],
    (2, 5): [(1, 1), (0, 4)],
}
MANY = [index.to_bytes(2) for index in range(600)]
SIZES = st.integers(0, len(MANY))


def frontier(leaves: Sequence[bytes]) -> Frontier:
    return Frontier.EMPTY.extend([leaf_hash(leaf) for leaf in leaves])


def test_published_roots() -> None:
    assert Frontier.EMPTY.root() == ROOTS[0]
    for size, root in enumerate(ROOTS):
        assert frontier(LEAVES[:size]).root() == root
        assert root_at(NaiveHashes(LEAVES), size) == root


def test_published_nodes() -> None:
    hashes = [leaf_hash(leaf) for leaf in LEAVES]
    for (level, index), node in NODES.items():
        assert perfect_root(hashes[index << level : (index + 1) << level]) == node
    assert node_hash(NODES[2, 0], NODES[2, 1]) == ROOTS[8]
    assert frontier(LEAVES[:7]).hashes == (NODES[2, 0], NODES[1, 2], NODES[0, 6])


@pytest.mark.parametrize(("index", "size"), INCLUSION)
def test_published_inclusion_proofs(index: int, size: int) -> None:
    published = [NODES[name] for name in INCLUSION[index, size]]
    assert inclusion_proof(NaiveHashes(LEAVES), index, size) == published
    check_inclusion(published, index, size, leaf_hash(LEAVES[index]), ROOTS[size])


@pytest.mark.parametrize(("old", "new"), CONSISTENCY)
def test_published_consistency_proofs(old: int, new: int) -> None:
    published = [NODES[name] for name in CONSISTENCY[old, new]]
    assert consistency_proof(NaiveHashes(LEAVES), old, new) == published
    check_consistency(published, old, ROOTS[old], new, ROOTS[new])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=8), max_size=70), st.lists(st.integers(0, 70), max_size=5))
def test_a_tree_is_the_same_however_its_leaves_came(leaves: list[bytes], cuts: list[int]) -> None:
    grown = Frontier.EMPTY
    start = 0
    for end in [*sorted(cut for cut in cuts if cut <= len(leaves)), len(leaves)]:
        grown = grown.extend([leaf_hash(leaf) for leaf in leaves[start:end]])
        assert grown.root() == mth(leaves[:end])
        start = end
    assert grown == frontier(leaves)


@settings(max_examples=60, deadline=None)
@given(SIZES)
def test_a_frontier_keeps_the_perfect_subtrees_and_is_decoded_to_itself(size: int) -> None:
    made = frontier(MANY[:size])
    start = 0
    for level, root in zip((b for b in reversed(range(10)) if size >> b & 1), made.hashes, strict=True):
        assert root == mth(MANY[start : start + (1 << level)])
        start += 1 << level
    assert Frontier.decode(size, made.encode()) == made


@pytest.mark.parametrize("size", [-1, 0, 1, 4, 8])
def test_a_frontier_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(ValueError):
        Frontier.decode(size, frontier(LEAVES[:3]).encode())


def test_a_frontier_has_no_negative_size() -> None:
    with pytest.raises(ValueError):
        Frontier(-1, (ROOTS[1],))


@pytest.mark.parametrize("blob", [bytes(31), bytes(33), bytes(64), b""])
def test_a_frontier_of_other_bytes_is_refused(blob: bytes) -> None:
    with pytest.raises(ValueError):
        Frontier.decode(1, blob)


@settings(max_examples=40, deadline=None)
@given(SIZES, st.integers(0, 6))
def test_chunks_hashed_apart_make_the_same_tree(size: int, level: int) -> None:
    """As parallel verification does it: aligned chunks give one hash each, the last and shorter one a frontier."""
    width = 1 << level
    hashes = [leaf_hash(leaf) for leaf in MANY[:size]]
    whole = size - size % width
    roots = [perfect_root(hashes[at : at + width]) for at in range(0, whole, width)]
    rest = Frontier.EMPTY.extend(hashes[whole:])
    at_once = Frontier.EMPTY.extend(roots, level).join(rest)
    one_by_one = Frontier.EMPTY
    for root in roots:
        one_by_one = one_by_one.append_perfect(root, level)
    assert at_once == one_by_one.join(rest) == frontier(MANY[:size])


def test_a_subtree_begins_at_a_multiple_of_its_size() -> None:
    with pytest.raises(ValueError):
        frontier(LEAVES[:2]).append_perfect(NODES[2, 0], 2)
    with pytest.raises(ValueError):
        frontier(LEAVES[:1]).join(frontier(LEAVES[:2]))


@pytest.mark.parametrize("count", [0, 3, 6, 255])
def test_a_perfect_subtree_has_a_power_of_two_of_leaves(count: int) -> None:
    with pytest.raises(ValueError):
        perfect_root([bytes(32)] * count)


def test_every_proof_of_every_small_tree() -> None:
    """Each proof is the one that RFC 6962 defines, and shows its leaf, or its older tree, and no other."""
    roots = [mth(MANY[:size]) for size in range(34)]
    hashes = [leaf_hash(leaf) for leaf in MANY[:34]]
    for size in range(34):
        reader = NaiveHashes(MANY[:size])
        for index in range(size):
            inclusion = inclusion_proof(reader, index, size)
            assert inclusion == path(index, MANY[:size])
            for other in range(size):
                shown = _shows_inclusion(inclusion, other, size, hashes[index], roots[size])
                assert shown == (other == index)
        for old in range(size + 1):
            consistency = consistency_proof(reader, old, size)
            assert consistency == (proof(old, MANY[:size]) if old else [])
            for other in range(1, size + 1) if old else ():
                assert _shows_consistency(consistency, other, roots[old], size, roots[size]) == (other == old)


def _shows_inclusion(proof: list[bytes], index: int, size: int, leaf: bytes, root: bytes) -> bool:
    try:
        check_inclusion(proof, index, size, leaf, root)
    except ProofInvalid:
        return False
    return True


def _shows_consistency(proof: list[bytes], old_size: int, old_root: bytes, new_size: int, new_root: bytes) -> bool:
    try:
        check_consistency(proof, old_size, old_root, new_size, new_root)
    except ProofInvalid:
        return False
    return True


@settings(max_examples=40, deadline=None)
@given(st.data(), st.integers(1, len(MANY)))
def test_proofs_of_larger_trees(data: st.DataObject, size: int) -> None:
    reader = NaiveHashes(MANY[:size])
    index = data.draw(st.integers(0, size - 1))
    old = data.draw(st.integers(1, size))
    inclusion = inclusion_proof(reader, index, size)
    assert inclusion == path(index, MANY[:size])
    check_inclusion(inclusion, index, size, leaf_hash(MANY[index]), mth(MANY[:size]))
    consistency = consistency_proof(reader, old, size)
    assert consistency == proof(old, MANY[:size])
    check_consistency(consistency, old, mth(MANY[:old]), size, mth(MANY[:size]))
    assert root_at(reader, old) == mth(MANY[:old])


def _spoiled(data: st.DataObject, hashes: list[bytes]) -> list[bytes]:
    """The hashes with one bit turned, one cut, left out, doubled, put in, or changed for its neighbour."""
    at = data.draw(st.integers(0, len(hashes) - 1)) if hashes else 0
    before, here, after = hashes[:at], hashes[at : at + 1], hashes[at + 1 :]
    ways = [[*hashes, bytes(32)], [*before, mth([b"other"]), *here, *after]]
    if here:
        bit = data.draw(st.integers(0, 255))
        turned = (int.from_bytes(here[0]) ^ 1 << bit).to_bytes(32)
        ways += [[*before, turned, *after], [*before, *after], [*before, *here, *here, *after]]
        ways += [[*before, here[0][:-1], *after], [*before, here[0] + b"\x00", *after]]
    if after:
        ways += [[*before, after[0], *here, *after[1:]]]
    return data.draw(st.sampled_from(ways))


@settings(max_examples=300, deadline=None)
@given(st.data(), st.integers(1, 70))
def test_a_spoiled_inclusion_proof_is_refused(data: st.DataObject, size: int) -> None:
    index = data.draw(st.integers(0, size - 1))
    spoiled = _spoiled(data, path(index, MANY[:size]))
    with pytest.raises(ProofInvalid):
        check_inclusion(spoiled, index, size, leaf_hash(MANY[index]), mth(MANY[:size]))


@settings(max_examples=300, deadline=None)
@given(st.data(), st.integers(1, 70))
def test_a_spoiled_consistency_proof_is_refused(data: st.DataObject, size: int) -> None:
    old = data.draw(st.integers(1, size))
    spoiled = _spoiled(data, proof(old, MANY[:size]))
    with pytest.raises(ProofInvalid):
        check_consistency(spoiled, old, mth(MANY[:old]), size, mth(MANY[:size]))


@settings(max_examples=100, deadline=None)
@given(st.data(), st.integers(2, 70))
def test_a_proof_is_of_one_leaf_and_two_roots(data: st.DataObject, size: int) -> None:
    """A right proof with another leaf or root, or with the root of a log that was rewritten, shows nothing."""
    index = data.draw(st.integers(0, size - 1))
    old = data.draw(st.integers(1, size - 1))
    root, old_root = mth(MANY[:size]), mth(MANY[:old])
    rewritten = mth([*MANY[:index], b"rewritten", *MANY[index + 1 : size]])
    inclusion = path(index, MANY[:size])
    consistency = proof(old, MANY[:size])
    for leaf, of in ((b"rewritten", root), (MANY[index], rewritten)):
        with pytest.raises(ProofInvalid):
            check_inclusion(inclusion, index, size, leaf_hash(leaf), of)
    for old_of, of in ((old_root, rewritten), (mth([b"rewritten", *MANY[1:old]]), root)):
        with pytest.raises(ProofInvalid):
            check_consistency(consistency, old, old_of, size, of)


@pytest.mark.parametrize("size", range(1, 18))
def test_the_roots_of_a_proof_of_consistency_with_a_rewritten_log_differ(size: int) -> None:
    """Whoever rewrites a leaf cannot prove with the new log's own hashes that it goes on from the old one."""
    for old in range(1, size):
        rewritten = [b"rewritten", *MANY[1:size]]
        with pytest.raises(ProofInvalid):
            check_consistency(proof(old, rewritten), old, mth(MANY[:old]), size, mth(rewritten))


def test_an_empty_tree_is_the_beginning_of_every_tree() -> None:
    check_consistency([], 0, EMPTY_ROOT, 0, EMPTY_ROOT)
    check_consistency([], 0, EMPTY_ROOT, 8, ROOTS[8])
    for proof_, old_root, new_size, new_root in (
        ([ROOTS[1]], EMPTY_ROOT, 8, ROOTS[8]),
        ([], ROOTS[1], 8, ROOTS[8]),
        ([], EMPTY_ROOT, 0, ROOTS[1]),
    ):
        with pytest.raises(ProofInvalid):
            check_consistency(proof_, 0, old_root, new_size, new_root)


def test_two_trees_of_one_size_have_one_root_and_need_no_proof() -> None:
    check_consistency([], 8, ROOTS[8], 8, ROOTS[8])
    with pytest.raises(ProofInvalid):
        check_consistency([], 8, ROOTS[8], 8, ROOTS[7])
    with pytest.raises(ProofInvalid):
        check_consistency([ROOTS[8]], 8, ROOTS[8], 8, ROOTS[8])


@pytest.mark.parametrize(("index", "size"), [(-1, 8), (8, 8), (1, 1), (-1, 1), (0, 0), (0, -1)])
def test_a_leaf_that_is_not_there(index: int, size: int) -> None:
    with pytest.raises(ValueError):
        inclusion_proof(NaiveHashes(LEAVES), index, size)
    with pytest.raises(ProofInvalid):
        check_inclusion([], index, size, ROOTS[1], ROOTS[1])


@pytest.mark.parametrize(("old", "new"), [(5, 4), (2, 1), (-1, 4), (-2, -1)])
def test_an_older_tree_that_is_larger(old: int, new: int) -> None:
    with pytest.raises(ValueError):
        consistency_proof(NaiveHashes(LEAVES), old, new)
    with pytest.raises(ProofInvalid):
        check_consistency([], old, ROOTS[1], new, ROOTS[1])


def test_a_tree_has_no_negative_size() -> None:
    with pytest.raises(ValueError):
        root_at(NaiveHashes(LEAVES), -1)


@pytest.mark.parametrize("lengths", [(31, 33), (33, 31), (0, 64)])
def test_hashes_of_other_lengths_are_refused_though_they_join_to_the_same_bytes(lengths: tuple[int, int]) -> None:
    """Without that, what is a sibling and what is the leaf could be parted anywhere."""
    both = leaf_hash(LEAVES[0]) + leaf_hash(LEAVES[1])
    left, right = both[: lengths[0]], both[lengths[0] :]
    with pytest.raises(ProofInvalid):
        check_inclusion([right], 0, 2, left, ROOTS[2])
    with pytest.raises(ProofInvalid):
        check_consistency([right], 1, left, 2, ROOTS[2])


def test_a_refusal_says_what_is_wrong_with_a_proof_of_another_length() -> None:
    leaf = leaf_hash(LEAVES[5])
    inclusion, consistency = path(5, LEAVES), proof(6, LEAVES)
    for length in ("long", "short"):
        other = [*inclusion, ROOTS[1]] if length == "long" else inclusion[:-1]
        with pytest.raises(ProofInvalid, match=length):
            check_inclusion(other, 5, 8, leaf, ROOTS[8])
        other = [*consistency, ROOTS[1]] if length == "long" else consistency[:-1]
        with pytest.raises(ProofInvalid, match=length):
            check_consistency(other, 6, ROOTS[6], 8, ROOTS[8])
