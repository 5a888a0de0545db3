"""Documents and their versions."""

from typing import Any

import pytest

from minispine.storage import Database, Registry, Store, VersionConflict
from minispine.storage.registry import put_document, version_in_force


def put(
    database: Database, kind: str, key: str, body: dict[str, Any] | None, expected_version: int | None = None
) -> None:
    with database.session(Store.REGISTRY) as session:
        session.begin()
        try:
            put_document(
                session,
                kind,
                key,
                body,
                expected_version=expected_version,
                changed_at=1_700_000_000_000_000,
                changed_by={"account": "jo"},
                reason="asked for",
            )
            session.commit()
        finally:
            session.rollback()


def test_an_empty_registry(database: Database) -> None:
    registry = Registry(database)
    assert registry.version() == 0
    assert registry.snapshot().documents == {}
    assert registry.history("client", "a") == []


def test_each_change_is_a_version_and_moves_the_counter(database: Database) -> None:
    registry = Registry(database)
    put(database, "client", "a", {"n": 1})
    put(database, "client", "b", {"n": 2.5})
    put(database, "table", "a", {"é": None})
    put(database, "client", "a", {"n": 3})
    snapshot = registry.snapshot()
    assert snapshot.version == registry.version() == 4
    assert {k: {key: (d.version, d.body) for key, d in v.items()} for k, v in snapshot.documents.items()} == {
        "client": {"a": (2, {"n": 3}), "b": (1, {"n": 2.5})},
        "table": {"a": (1, {"é": None})},
    }
    first, second = registry.history("client", "a")
    assert (first.version, first.body, second.version, second.body) == (1, {"n": 1}, 2, {"n": 3})
    assert (first.changed_at, first.changed_by, first.reason) == (1_700_000_000_000_000, {"account": "jo"}, "asked for")


def test_a_removed_document_is_not_in_force_and_its_versions_go_on(database: Database) -> None:
    put(database, "client", "a", {"n": 1})
    put(database, "client", "a", None)
    assert Registry(database).snapshot().documents == {}
    assert [v.body for v in Registry(database).history("client", "a")] == [{"n": 1}, None]
    with database.session(Store.REGISTRY) as session:
        assert version_in_force(session, "client", "a") is None
        assert version_in_force(session, "client", "never") is None
    put(database, "client", "a", {"n": 2}, expected_version=0)
    assert Registry(database).snapshot().documents["client"]["a"].version == 3


@pytest.mark.parametrize("expected", [0, 2, 7])
def test_a_change_to_another_version_than_the_one_in_force_changes_nothing(database: Database, expected: int) -> None:
    put(database, "client", "a", {"n": 1})
    with pytest.raises(VersionConflict) as conflict:
        put(database, "client", "a", {"n": 2}, expected_version=expected)
    assert conflict.value.current == 1
    assert Registry(database).version() == 1
    assert Registry(database).snapshot().documents["client"]["a"].body == {"n": 1}
