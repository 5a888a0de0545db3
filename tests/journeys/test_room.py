"""A provider whose disk is nearly full, as its clients and its operator see it."""

from pathlib import Path

import pytest

from minispine.storage.disk import space
from tests.journeys.conftest import HouseMaker
from tests.journeys.house import Spine, until
from tests.journeys.messages import VERIFY, Message

REFUSES_BELOW = 0.89
"""The largest limit that may be configured; nearly every disk is as full as this."""


def test_without_room_clients_are_told_to_come_back_on_record_and_with_room_they_are_served(
    make_house: HouseMaker, spine: Spine, tmp_path: Path
) -> None:
    disk = space(tmp_path)
    if disk is None or disk.share >= REFUSES_BELOW:
        pytest.skip("the disk of the tests is too empty to be taken for a full one")
    house = make_house().configure("storage", warn_free=0.9, refuse_free=REFUSES_BELOW)
    house.write()
    house.load_organisations()
    house.register()
    house.launch()
    (person,) = spine.people("plain", limit=1)
    question = {"nhs_number": person["nhs_number"], "birth_date": person["birth_date"]}
    until(lambda: house.ready()[0] == 503, what="not ready")
    [reason] = house.ready()[1]["reasons"]
    assert "requests are refused until there is more than 89%" in reason
    spine.forget_calls()
    answer = house.ask(Message(VERIFY, **question))
    assert (answer.status, answer.headers["retry-after"]) == (503, "60")
    assert b"2100" in answer.body
    assert spine.calls() == []
    [refusal] = [event for event in house.trail() if event["type"] == "exchange.refused"]
    assert refusal["data"]["reason"] == "disk"
    assert house.metric("minispine_refusals_total", reason="disk") == 1
    assert house.metric("minispine_storage_free_ratio") == pytest.approx(disk.share, abs=0.05)
    house.stop()

    house.configure("storage", warn_free=None, refuse_free=None)
    house.write()
    house.start()
    assert house.ask(Message(VERIFY, **question)).code == "SMSP-0000"
