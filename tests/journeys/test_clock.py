"""A provider with time servers of its own, as an operator and a load balancer see it."""

from contextlib import ExitStack
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from tests.journeys.house import House, Spine, until
from tests.journeys.messages import VERIFY, Message
from tests.time_server import TimeServerDouble


@pytest.mark.requirement("SMSP-AUDIT-009", "b")
@pytest.mark.requirement("SMSP-AUDIT-010", "a")
def test_the_provider_is_ready_while_its_time_is_good_and_the_trail_tells_of_each_change(
    tmp_path: Path, keys: Path, spine: Spine
) -> None:
    with ExitStack() as doors:
        servers = [doors.enter_context(TimeServerDouble(stratum=3)) for _ in range(2)]
        house = House(tmp_path, keys, spine.url, spine.practices)
        names = [server.name for server in servers]
        house.configure("clock", policy="require", servers=names, interval_s=1.0)
        house.write()
        house.load_organisations()
        house.register()
        doors.enter_context(house.start())
        (person,) = spine.people("plain", limit=1)
        question = {"nhs_number": person["nhs_number"], "birth_date": person["birth_date"]}

        def found(code: int) -> bool:
            status, said = house.ready()
            assert status == 200 or all("clock" in reason for reason in said["reasons"])
            return status == code

        for says in ({"stratum": 4}, {"stratum": 0, "leap": 3}):
            for server in servers:
                server.says = dict(says)
            until(lambda: found(503), what="not ready")
            # Being ready is the load balancer's affair: who asks all the same is answered.
            assert house.ask(Message(VERIFY, **question)).code == "SMSP-0000"
            for server in servers:
                server.says = {"stratum": 3}
            until(lambda: found(200), what="ready again")
        states: list[dict[str, Any]] = [each["data"] for each in house.trail() if each["type"] == "clock.state"]
    assert [state for state, _ in groupby(each["state"] for each in states)] == ["good", "bad", "good", "bad", "good"]
    assert {text.partition(" is ")[2] for each in states for text in each["reasons"]} == {
        "at stratum 4, at most 3 is permitted",
        "not synchronised",
    }
    assert [each["name"] for each in states[0]["servers"]] == names
    assert all(abs(each["offset_us"]) < 250_000 for each in states[0]["servers"])
