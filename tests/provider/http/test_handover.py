"""What a supervisor tells arrives whole and in order, and the supervisor's end is noticed."""

from collections import deque
from itertools import repeat
from pathlib import Path

import msgspec
import pytest

from minispine.config import example, load
from minispine.provider.http.handover import Handover, line, tell, told


@pytest.fixture
def handover(tmp_path: Path) -> Handover:
    file = tmp_path / "minispine.toml"
    file.write_text(example())
    return Handover(settings=load(file), file=file, sha256="00", need_a_restart=("storage.url",))


def test_messages_arrive_whole_and_in_order_until_the_supervisor_is_gone(handover: Handover) -> None:
    ours, theirs = line()
    with theirs:
        many = tuple(Path(f"/revocations/{n}") for n in range(2000))
        machines = msgspec.structs.replace(handover.settings.machines, crl=many)
        long = msgspec.structs.replace(handover, settings=msgspec.structs.replace(handover.settings, machines=machines))
        with ours:
            tell(ours, handover)
            tell(ours, long)
        assert [told(theirs), told(theirs), told(theirs)] == [handover, long, None]


def test_a_worker_that_is_gone_or_does_not_listen_does_not_hold_up_the_supervisor(handover: Handover) -> None:
    ours, theirs = line()
    with ours:
        with theirs, pytest.raises(BlockingIOError):
            deque(map(tell, repeat(ours, 100_000), repeat(handover)), maxlen=0)
        with pytest.raises(ConnectionError):
            tell(ours, handover)
