import copy
from typing import Any

import pytest

from minispine.domain.operations import NationalService, Operation
from minispine.vocabulary.cache_rules import load_cache_rules, shipped_cache_rules, shipped_document
from minispine.vocabulary.tables import TableInvalid

VERIFY = Operation.VERIFY_NHS_NUMBER
DETAILS = Operation.GET_PATIENT_DETAILS_BY_NHS_NUMBER
RULE: dict[str, Any] = {"name": "wards", "service": "pds", "ttl_s": 60, "reason": "the same patient, again and again"}


def document(*rules: dict[str, Any], **services: Any) -> dict[str, Any]:
    shipped = copy.deepcopy(shipped_document())
    shipped["services"] |= services
    return {**shipped, "rule": list(rules)}


def test_what_ships_keeps_nothing_and_says_for_each_service_who_decides() -> None:
    rules = shipped_cache_rules()
    assert not rules.any
    assert all(rules.rule(operation, "ward") is None for operation in Operation)
    assert {service: rule.kept for service, rule in rules.services.items()} == {
        NationalService.PDS: True,
        NationalService.CPIS: False,
        NationalService.SCR: False,
        NationalService.FGM: False,
    }
    assert all(rule.source for rule in rules.services.values())


def test_the_first_rule_for_the_operation_and_the_client_holds() -> None:
    rules = load_cache_rules(
        document(
            RULE | {"name": "no-lab", "clients": ["lab"], "ttl_s": 0},
            RULE | {"name": "verify", "operations": [VERIFY.value], "ttl_s": 5},
            RULE | {"name": "rest", "ttl_s": 0, "outage_s": 86_400, "entries": 7},
        )
    )
    assert rules.any
    assert rules.rule(VERIFY, "lab") is None, "a rule that keeps nothing hides those after it"
    verify, rest = rules.rule(VERIFY, "ward"), rules.rule(DETAILS, "ward")
    assert verify is not None
    assert rest is not None
    assert (verify.name, verify.ttl_s, verify.outage_s, verify.entries) == ("verify", 5, 0, 10_000)
    assert (rest.name, rest.ttl_s, rest.outage_s, rest.entries) == ("rest", 0, 86_400, 7)


def test_a_service_that_is_not_kept_any_more_silences_its_rules() -> None:
    found = load_cache_rules(document(RULE | {"ttl_s": 0}, pds={"kept": False, "source": "the trust's own rule"}))
    assert found.rule(VERIFY, "ward") is None
    assert not found.any


def test_a_rule_without_room_or_ages_keeps_nothing() -> None:
    assert load_cache_rules(document(RULE | {"entries": 0})).rule(VERIFY, "ward") is None
    assert load_cache_rules(document(RULE | {"ttl_s": 0})).rule(VERIFY, "ward") is None


PERHAPS = {"kept": True, "source": "somebody"}


@pytest.mark.parametrize(
    ("wrong", "key", "reason"),
    [
        (document() | {"rules": []}, "cache", "rules"),
        (document() | {"rule": {}}, "rule", "list"),
        (document(fgm=PERHAPS), "services.fgm.kept", "never be kept"),
        (document(pds={"kept": True, "source": " "}), "services.pds.source", "where the rule comes from"),
        (document(pds={"kept": True}), "services.pds", "source"),
        (document(pds={"kept": "yes", "source": "x"}), "services.pds.kept", "expected `bool`"),
        (document(gp=PERHAPS), "services.gp", "is no national service"),
        ({"version": "1"}, "cache", "services"),
        ({"version": "1", "services": {"pds": PERHAPS}}, "services.cpis", "is missing"),
        (document(RULE | {"service": "scr"}), "rule 1 (wards)", "of scr may not be kept"),
        (document(RULE | {"reason": ""}), "rule 1 (wards).reason", "for which use"),
        (document(RULE, RULE), "rule 2 (wards)", "there twice"),
        (document(RULE, RULE | {"name": "x", "outage_s": 86_401}), "rule 2.outage_s", "<= 86400"),
        (document(RULE | {"ttl_s": -1}), "rule 1.ttl_s", ">= 0"),
        (document(RULE | {"name": "Wards!"}), "rule 1.name", "matching"),
        (document(RULE | {"operations": ["verifyNhsNumber"]}), "rule 1 (wards).operations", "no 'verifyNhsNumber'"),
        (document(RULE | {"for": "ward"}), "rule 1", "for"),
    ],
)
def test_a_table_that_does_not_hold_together_is_refused_by_key_and_reason(
    wrong: dict[str, Any], key: str, reason: str
) -> None:
    with pytest.raises(TableInvalid) as refused:
        load_cache_rules(wrong)
    assert refused.value.key == key
    assert reason in refused.value.reason
