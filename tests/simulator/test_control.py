import asyncio
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minispine.simulator.control import Control
from minispine.simulator.exchange import Spine

from .messages import NOON, person, retrieval, spine


def asked(held: Spine, method: str, path: str, body: bytes = b"") -> tuple[int, Any]:
    """Send one request to the application; give the status and the JSON."""
    path, _, query = path.partition("?")
    sent: list[Any] = []

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"path": path, "method": method, "query_string": query.encode()}
    asyncio.run(Control(held)(scope, receive, send))
    answer = b"".join(message.get("body", b"") for message in sent)
    return sent[0]["status"], msgspec.json.decode(answer)


def test_calls_are_shown_and_forgotten() -> None:
    held = spine(person())
    assert asked(held, "GET", "/control/calls") == (200, [])
    for number in range(3):
        held.answer(retrieval("9990000018"), NOON + number)
    status, calls = asked(held, "GET", "/control/calls")
    assert (status, len(calls)) == (200, 3)
    assert calls[0]["interaction"] == "QUPA_IN000008UK02"
    assert calls[0]["time"] == "2026-01-01T12:00:00.000000Z"
    assert asked(held, "GET", "/control/calls?limit=1")[1] == calls[2:]
    assert asked(held, "DELETE", "/control/calls") == (200, [])
    assert asked(held, "GET", "/control/calls")[1] == []


def test_faults_are_set_shown_and_cleared() -> None:
    held = spine(person())
    rules = b'[{"action":"reset","times":1},{"action":"delay","seconds":1}]'
    status, shown = asked(held, "POST", "/control/faults", rules)
    assert (status, [rule["action"] for rule in shown]) == (200, ["reset", "delay"])
    assert held.answer(retrieval("9990000018"), NOON).ending == "reset"
    assert [rule["fired"] for rule in asked(held, "GET", "/control/faults")[1]] == [1, 0]
    assert asked(held, "POST", "/control/faults", b"[]") == (200, [])
    assert held.answer(retrieval("9990000018"), NOON).seconds == 0


def test_rules_that_cannot_be_used_leave_those_in_force() -> None:
    held = spine(person())
    asked(held, "POST", "/control/faults", b'[{"action":"reset"}]')
    status, refused = asked(held, "POST", "/control/faults", b'[{"action":"explode"}]')
    assert (status, refused["key"]) == (400, "$[0].action")
    assert "explode" in refused["reason"]
    assert "silence" in refused["reason"]
    assert len(asked(held, "GET", "/control/faults")[1]) == 1


def test_patients_come_one_of_each_kind_in_turn() -> None:
    held = spine(
        person("9990000018", kind="a"), person("9990000026", kind="a"), person("9990000034", kind="b", invalidated=True)
    )
    status, people = asked(held, "GET", "/control/patients")
    assert status == 200
    assert [one["nhs_number"] for one in people] == ["9990000018", "9990000034", "9990000026"]
    assert people[0] == {
        "nhs_number": "9990000018", "kind": "a", "family": "SMITH", "given": ["ANNE", "JOY"], "other_names": [],
        "birth_date": "19800229", "death_date": None, "gender": "2", "postcode": "LS6 4AB", "practice": "Y90001",
        "confidentiality": None, "superseded_by": None, "invalidated": False,
    }  # fmt: skip
    assert [one["kind"] for one in asked(held, "GET", "/control/patients?kind=b")[1]] == ["b"]
    assert len(asked(held, "GET", "/control/patients?limit=2")[1]) == 2


@pytest.mark.parametrize(
    ("method", "path", "status", "key"),
    [
        ("GET", "/control/else", 404, "path"),
        ("PUT", "/control/faults", 405, "method"),
        ("GET", "/control/patients?kind=none", 400, "kind"),
        ("GET", "/control/patients?limit=-1", 400, "limit"),
        ("GET", "/control/calls?limit=x", 400, "limit"),
    ],
)
def test_what_cannot_be_used_is_named(method: str, path: str, status: int, key: str) -> None:
    answered, refused = asked(spine(person()), method, path)
    assert (answered, refused["key"]) == (status, key)


def test_a_list_of_rules_may_not_be_endless() -> None:
    assert asked(spine(), "POST", "/control/faults", b" " * (1024 * 1024 + 1))[0] == 413


@given(query=st.text(max_size=30), body=st.binary(max_size=30))
def test_nothing_sent_breaks_the_control_address(query: str, body: bytes) -> None:
    """Whatever query or body arrives, there is an answer below 500."""
    held = spine()
    for method, path in (("GET", "/control/patients"), ("GET", "/control/calls"), ("POST", "/control/faults")):
        assert asked(held, method, f"{path}?{query}", body)[0] < 500
