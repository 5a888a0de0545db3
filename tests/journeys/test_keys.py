"""Keys replaced beside a provider that serves, as an operator does it."""

import json
import re

from minispine.audit import keyfiles
from tests.journeys.conftest import HouseMaker
from tests.journeys.house import House, Spine, until
from tests.journeys.messages import VERIFY, Message


def asked(house: House, spine: Spine) -> None:
    (person,) = spine.people("plain", limit=1)
    answer = house.ask(Message(VERIFY, nhs_number=person["nhs_number"], birth_date=person["birth_date"]))
    assert answer.code == "SMSP-0000"


def test_keys_are_replaced_while_the_provider_serves_and_nothing_that_was_recorded_is_lost(
    make_house: HouseMaker, spine: Spine
) -> None:
    house = make_house()
    house.write()
    house.load_organisations()
    house.register()
    house.start()
    asked(house, spine)

    house.must_run("audit", "rotate-master-key")
    asked(house, spine)  # by a process that knows nothing of it
    refused = house.run("audit", "rotate-master-key", "--forget-old")
    assert (refused.returncode, "stop it and start it again" in refused.stderr) == (1, True)
    proposal = house.folder / "change"
    proposal.write_text(house.must_run("audit", "change-keys", "--print", "--new-log-key"))
    key = house.must_run("audit", "change-keys", str(proposal)).splitlines()[-1]
    house.stop()

    house.start()
    asked(house, spine)
    house.must_run("audit", "rotate-master-key", "--forget-old")
    asked(house, spine)
    assert len(keyfiles.load(house.audit_keys).ring.keys) == 1
    checkpoint = house.folder / "checkpoint"
    checkpoint.write_text(house.must_run("audit", "checkpoint"))
    assert key.partition("+")[0] in checkpoint.read_text()
    proven = house.must_run("audit", "verify", "--index", "--checkpoint", str(checkpoint), "--key", key)
    assert re.search(r"^proven up to record \d+ by ", proven, re.MULTILINE)
    read = [event for event in house.trail() if event["type"] == "exchange.received"]
    assert len([event for event in read if event["private"]["nhs_number"]]) == 4
    told = json.loads(house.must_run("audit", "forecast", "--json"))
    assert told["records"] == house.last()


def test_a_provider_that_was_not_started_again_cannot_write_under_a_key_that_was_retired(
    make_house: HouseMaker, spine: Spine
) -> None:
    """As one of several on PostgreSQL might: it refuses its clients rather than write what nobody can read."""
    house = make_house()
    house.write()
    house.load_organisations()
    house.register()
    house.start()
    ring = keyfiles.load(house.audit_keys).ring
    house.must_run("audit", "rotate-master-key")
    house.stop()
    house.start()  # this one has the new key
    keys = keyfiles.load(house.audit_keys).ring
    house.stop()
    keyfiles.replace_ring(house.audit_keys, ring)
    house.start()  # and this one, for all it knows, has not
    keyfiles.replace_ring(house.audit_keys, keys)
    house.must_run("audit", "rotate-master-key", "--resume")
    house.must_run("audit", "rotate-master-key", "--forget-old")
    spine.forget_calls()
    (person,) = spine.people("plain", limit=1)
    answer = house.ask(Message(VERIFY, nhs_number=person["nhs_number"], birth_date=person["birth_date"]))
    assert answer.status == 500
    assert spine.calls() == []
    until(lambda: "the audit log cannot be written" in house.ready()[1].get("reasons", []), what="not ready")
