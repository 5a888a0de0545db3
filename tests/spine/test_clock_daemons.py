"""chrony and systemd-timesyncd, played by scripts that print what chronyc and timedatectl print."""

import asyncio
import time
from pathlib import Path

import pytest

from minispine.config.settings import Clock
from minispine.spine.clock import clock_sources
from minispine.spine.clock.chrony import Chrony, read_tracking
from minispine.spine.clock.port import DaemonReading
from minispine.spine.clock.timesyncd import Timesyncd, read_properties
from tests.time_server import TimeServerDouble

TRACKING = (
    "9BE7E703,10.0.0.3,{stratum},1790000000.123456789,-0.000012345,0.000001234,0.000045678,-12.345,0.001,0.012,"
    "0.012345678,{dispersion},64.2,{leap}\n"
)
MESSAGE = (
    "{{ Leap={leap}, Version=4, Mode=4, Stratum={stratum}, Precision=-25, RootDelay=15.1ms, RootDispersion=3.9ms, "
    "Reference=C342F10A, OriginateTimestamp=Sat 2026-11-21 13:53:43 GMT, ReceiveTimestamp=Sat 2026-11-21 13:53:43 GMT, "
    "TransmitTimestamp=Sat 2026-11-21 13:53:43 GMT, DestinationTimestamp=Sat 2026-11-21 13:53:43 GMT, Ignored=no "
    "PacketCount=1, Jitter=0 }}"
)


def tracking(stratum: int = 4, leap: str = "Normal", dispersion: str = "0.001234567") -> str:
    return TRACKING.format(stratum=stratum, leap=leap, dispersion=dispersion)


def properties(synchronised: str = "yes", stratum: int = 3, leap: int = 0) -> str:
    message = MESSAGE.format(stratum=stratum, leap=leap)
    return f"NTPSynchronized={synchronised}\nServerName=time.example\nNTPMessage={message}\n"


def cause(reading: DaemonReading) -> str | None:
    return reading.fault.cause if reading.fault is not None else None


def script(folder: Path, name: str, body: str) -> Path:
    file = folder / name
    file.write_text(f"#!/bin/sh\n{body}\n")
    file.chmod(0o755)
    return file


@pytest.mark.requirement("SMSP-AUDIT-010", "a")
@pytest.mark.parametrize(("ours", "source"), [(1, 0), (2, 1), (4, 3), (5, 4)])
def test_chronys_stratum_is_one_more_than_its_sources(ours: int, source: int) -> None:
    assert read_tracking(tracking(ours)) == DaemonReading(name="chrony", stratum=source, follows="10.0.0.3")


@pytest.mark.parametrize("leap", ["Insert second", "Delete second"])
def test_a_leap_second_to_come_is_no_fault(leap: str) -> None:
    assert cause(read_tracking(tracking(leap=leap))) is None


@pytest.mark.requirement("SMSP-AUDIT-010", "a")
@pytest.mark.parametrize(
    "text",
    [
        "00000000,,0,0.000000000,0.000000000,0.000000000,0.000000000,0.000,0.000,0.000,1.000000000,1.000000000,0.0,"
        "Not synchronised\n",
        tracking(leap="Not synchronised"),
        tracking(leap="Unknown"),
        tracking(stratum=0),
        tracking().replace("9BE7E703,10.0.0.3", "7F7F0101,"),
        tracking(dispersion="1.5"),
        tracking(dispersion="nan"),
    ],
    ids=["as it prints", "leap", "unknown leap", "stratum 0", "follows itself", "lost its source", "no number"],
)
def test_chrony_that_follows_nothing_is_not_synchronised(text: str) -> None:
    assert cause(read_tracking(text)) == "unsynchronised"


@pytest.mark.parametrize(
    "text", ["", "\n", "506 Cannot talk to daemon\n", tracking() * 2, tracking().replace(",4,", ",x,")]
)
def test_what_chrony_does_not_print_is_unusable(text: str) -> None:
    assert cause(read_tracking(text)) == "unusable"


@pytest.mark.requirement("SMSP-AUDIT-010", "a")
@pytest.mark.parametrize("stratum", [1, 3, 4, 15])
def test_timesyncd_tells_the_stratum_of_its_server(stratum: int) -> None:
    expected = DaemonReading(name="systemd-timesyncd", stratum=stratum, follows="time.example")
    assert read_properties(properties(stratum=stratum)) == expected


@pytest.mark.requirement("SMSP-AUDIT-010", "a")
@pytest.mark.parametrize(
    "text",
    [
        properties(synchronised="no"),
        properties().partition("\n")[2],
        "NTPSynchronized=yes\nServerName=time.example\n",
        "NTPSynchronized=yes\nNTPMessage=\n",
        properties(leap=3),
        properties(stratum=0),
        "",
    ],
    ids=["no", "not said", "no answer yet", "empty answer", "leap 3", "stratum 0", "nothing"],
)
def test_timesyncd_that_follows_nothing_is_not_synchronised(text: str) -> None:
    assert cause(read_properties(text)) == "unsynchronised"


def test_an_answer_without_a_stratum_is_unusable() -> None:
    assert cause(read_properties(properties().replace("Stratum=3, ", ""))) == "unusable"


def test_chronyc_is_asked_as_documented(tmp_path: Path) -> None:
    chronyc = script(tmp_path, "chronyc", f'[ "$*" = "-n -c tracking" ] && echo "{tracking().strip()}"')
    reading = asyncio.run(Chrony(timeout_s=10, command=[str(chronyc)]).read())
    assert (reading.stratum, reading.fault) == (3, None)


def test_timedatectl_is_asked_as_documented(tmp_path: Path) -> None:
    synchronised, server, message = properties().splitlines()
    timedatectl = script(
        tmp_path,
        "timedatectl",
        f"""case "$*" in
"show --property=NTPSynchronized") echo "{synchronised}" ;;
"show-timesync --property=ServerName --property=NTPMessage") echo "{server}"; echo "{message}" ;;
*) exit 1 ;;
esac""",
    )
    reading = asyncio.run(Timesyncd(timeout_s=10, command=[str(timedatectl)]).read())
    assert (reading.stratum, reading.follows, reading.fault) == (3, "time.example", None)


@pytest.mark.parametrize(
    ("body", "said"), [("echo secret; exit 3", "exit code 3"), ("exec sleep 60", "did not end within 0.2 s")]
)
def test_a_command_that_fails_is_a_silent_daemon(tmp_path: Path, body: str, said: str) -> None:
    command = [str(script(tmp_path, "ask", body))]
    for daemon in (Chrony(timeout_s=0.2, command=command), Timesyncd(timeout_s=0.2, command=command)):
        begun = time.monotonic()
        reading = asyncio.run(daemon.read())
        assert time.monotonic() - begun < 10
        assert cause(reading) == "silent"
        assert reading.fault is not None
        assert said in reading.fault.text or (body.startswith("echo") and "exit code" in reading.fault.text)
        assert "secret" not in reading.fault.text


def test_a_command_that_is_not_there_is_a_silent_daemon(tmp_path: Path) -> None:
    reading = asyncio.run(Chrony(timeout_s=1, command=[str(tmp_path / "chronyc")]).read())
    assert reading.fault is not None
    assert reading.fault.cause == "silent"
    assert "cannot run chronyc: no such file" in reading.fault.text


@pytest.mark.parametrize("source", ["ntp", "chrony", "timesyncd"])
def test_the_settings_name_what_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    script(tmp_path, "chronyc", f'echo "{tracking().strip()}"')
    script(tmp_path, "timedatectl", f'echo "{properties()}"')
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with TimeServerDouble(stratum=1) as one, TimeServerDouble(stratum=2) as other:
        settings = Clock(source=source, servers=(one.name, other.name), timeout_s=5.0)  # type: ignore[arg-type]
        port = clock_sources(settings, now=lambda: time.time_ns() // 1000, monotonic=time.monotonic)
        readings = asyncio.run(port.read())
    assert [(s.name, s.stratum) for s in readings.servers] == [(one.name, 1), (other.name, 2)]
    daemon = readings.daemon.name if readings.daemon is not None else "ntp"
    assert source in daemon
    assert readings.daemon is None or readings.daemon.stratum == 3
