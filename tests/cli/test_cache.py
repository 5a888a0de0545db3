import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minispine.audit import keyfiles
from minispine.cli.cache import _lasting
from minispine.config import load
from minispine.domain.operations import Operation
from minispine.domain.question import Question
from minispine.provider.cache import Cache, CacheKeys
from minispine.provider.cache.keeping import SETTLED_S
from minispine.storage import Database
from tests.cli.conftest import Command
from tests.provider.cache.samples import NUMBER, OTHER, check, found, person, retrieval, rule, rules, scope

pytestmark = pytest.mark.usefixtures("begun")


@pytest.fixture
def keep(config: Path) -> Callable[..., None]:
    """Have the provider keep an answer, so many seconds ago."""
    settings = load(config)
    keys = CacheKeys.of(keyfiles.load(settings.audit.keys))

    def run(question: Question, number: str = NUMBER, *, age_s: int = 0, **whose: Any) -> None:
        async def learn() -> None:
            then_us = time.time_ns() // 1000 - age_s * 1_000_000
            earlier = [then_us - SETTLED_S * 1_000_000]
            with Database.open(settings.storage.url) as database:
                cache = Cache(database, keys, lambda: rules(rule()), now=lambda: earlier.pop() if earlier else then_us)
                await cache.learn(question, found(person(number)), scope(**whose), exchange="E-1")
                await cache.close()

        asyncio.run(learn())

    return run


@pytest.fixture
def number_file(tmp_path: Path) -> Path:
    file = tmp_path / "number.txt"
    file.write_text(f"{NUMBER[:3]} {NUMBER[3:6]} {NUMBER[6:]}\n")
    return file


def test_what_is_kept_is_counted_with_the_rule_in_force(
    minispine: Command, config: Path, tmp_path: Path, keep: Callable[..., None]
) -> None:
    assert (
        minispine("cache", "show", "--config", config).out == "nothing is kept, and no rule would have anything kept\n"
    )
    keep(check(), age_s=7300)
    keep(retrieval(OTHER), OTHER, age_s=90)
    keep(check(), client="lab", operation=Operation.VERIFY_NHS_NUMBER)
    file = tmp_path / "cache.toml"
    document = rules(rule(clients=["ward"], ttl_s=300, outage_s=43_200, entries=500))
    services = "".join(
        f'[services.{name}]\nkept = {str(each.kept).lower()}\nsource = "a test"\n'
        for name, each in document.services.items()
    )
    file.write_text(
        f'version = "1"\n{services}[[rule]]\nname = "ward-round"\nservice = "pds"\nclients = ["ward"]\n'
        'ttl_s = 300\noutage_s = 43200\nentries = 500\nreason = "a test"\n'
    )
    loaded = minispine("table", "load", "cache", file, "--reason", "a test", "--config", config)
    assert loaded.code == 0, loaded.err
    shown = minispine("cache", "show", "--config", config)
    lines = [line.split() for line in shown.out.splitlines()[1:]]
    assert lines[0][:3] == ["lab", "verifyNHSNumber", "1"]
    assert lines[0][-1] == "none"
    assert lines[1][:3] == ["ward", "getPatientDetails", "2"]
    assert " ".join(lines[1][3:]).startswith("1 min 3")
    assert " ".join(lines[1][3:]).endswith("2 h 1 min ward-round 5 min 12 h 500")
    assert NUMBER not in shown.out


def test_a_patients_answers_are_thrown_away_on_the_record(
    minispine: Command,
    config: Path,
    keep: Callable[..., None],
    number_file: Path,
    trail: Callable[[], list[dict[str, Any]]],
) -> None:
    keep(check())
    keep(retrieval(OTHER), OTHER)
    ended = minispine("cache", "purge", "--nhs-number-file", number_file, "--reason", "asked to", "--config", config)
    assert (ended.code, ended.out) == (0, "thrown away: 1 answer\n")
    event = trail()[-1]
    assert event["type"] == "cache.purged"
    assert (event["data"]["scope"], event["data"]["count"]) == ("a patient's", 1)
    assert event["data"]["actor"]["user_id"]
    assert event["private"] == {"nhs_number": NUMBER, "reason": "asked to"}
    again = minispine("cache", "purge", "--nhs-number-file", number_file, "--reason", "again", "--config", config)
    assert (again.code, again.out) == (0, "nothing was kept\n")


def test_a_clients_or_all_answers_are_thrown_away(
    minispine: Command, config: Path, keep: Callable[..., None], trail: Callable[[], list[dict[str, Any]]]
) -> None:
    for client in ("ward", "lab", "clinic"):
        keep(check(), client=client)
    ended = minispine("cache", "purge", "--client", "lab", "--reason", "gone", "--config", config)
    assert ended.out == "thrown away: 1 answer\n"
    assert trail()[-1]["data"]["client"] == "lab"
    assert (
        minispine("cache", "purge", "--all", "--reason", "gone", "--config", config).out == "thrown away: 2 answers\n"
    )
    assert trail()[-1]["data"]["scope"] == "all"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "give one of --nhs-number-file, --client and --all"),
        (("--all", "--client", "ward"), "give one of --nhs-number-file, --client and --all"),
        (("--client", "wrad"), "'wrad' is no client; did you mean ward?"),
    ],
)
def test_what_is_not_meant_is_not_done(
    minispine: Command, config: Path, keep: Callable[..., None], options: tuple[str, ...], said: str
) -> None:
    keep(check())
    ended = minispine("cache", "purge", *options, "--reason", "r", "--config", config)
    assert ended.code == 2
    assert said in ended.err
    assert "nothing is kept" not in minispine("cache", "show", "--config", config).out


def test_what_is_no_nhs_number_is_not_quoted(minispine: Command, config: Path, tmp_path: Path) -> None:
    file = tmp_path / "number.txt"
    file.write_text("9000000008")
    ended = minispine("cache", "purge", "--nhs-number-file", file, "--reason", "r", "--config", config)
    assert ended.code == 2
    assert "9000000008" not in ended.err


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(0, "0 s"), (59, "59 s"), (60, "1 min"), (61, "1 min 1 s"), (3_660, "1 h 1 min"), (86_400, "1 d")],
)
def test_times_are_written_as_people_say_them(seconds: int, written: str) -> None:
    assert _lasting(seconds) == written
