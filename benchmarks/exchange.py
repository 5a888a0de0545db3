"""What one request costs: rate, latency and the CPU of all the provider's processes and threads per exchange.

Measured at 1, 8 and 64 connections with the five operations in equal parts, over mutual TLS, schemas both ways, a
durable audit log and Spine calls to the simulator in its own process. Beside it a floor in the same run: the same
server, mutual TLS and both request schemas, with a fixed reply. Every provider is fresh from its start, warmed up, and
measured with the load in a process of its own.

How long a microsecond of CPU is depends on the machine and on what else runs on it, from one minute to the next too;
the floor is measured in turn with the provider so that the two can be compared round by round.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.processes import cpu_us, demonstration, fetch, main_threads_us

AIM_CPU_US = 1500.0
AIM_RATIO = 0.2
CONNECTIONS = (1, 8, 64)
SIDES = ("provider", "floor")


def options(arguments: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    arguments.add_argument("--seconds", type=float, default=8.0, help="how long each level is measured (8)")
    arguments.add_argument("--rounds", type=int, default=3, help="how often all levels are measured (3)")


def _load(described: dict[str, Any]) -> dict[str, Any]:
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(described, file)
        file.flush()
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.load", file.name], capture_output=True, text=True, check=True
        )
    return dict(json.loads(done.stdout))


def _level(described: dict[str, Any], pids: list[int], connections: int, seconds: float) -> dict[str, Any]:
    before, main_before = cpu_us(*pids), main_threads_us(*pids)
    measured = _load(described | {"connections": connections, "seconds": seconds})
    cpu, main = cpu_us(*pids) - before, main_threads_us(*pids) - main_before
    exchanges = measured["exchanges"]
    return measured | {"connections": connections, "cpu_us": cpu / exchanges, "main_threads_us": main / exchanges}


def _stages(management_url: str) -> dict[str, float]:
    text = fetch(f"{management_url}/metrics").decode()
    found = re.findall(r'minispine_stage_seconds_sum\{stage="([^"]+)"\} ([0-9.e+-]+)', text)
    return {stage: float(value) for stage, value in found}


def run(given: argparse.Namespace) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Measure, print, and give figures and raw measurements."""
    raw: list[dict[str, Any]] = []
    stages: dict[str, float] = {}
    exchanges = 0
    with demonstration("--size", "2000") as demo:
        people = json.loads(fetch(f"{demo['simulator_control_url']}/control/patients?kind=plain&limit=500"))
        provider = [pid for name, pid in demo["pids"].items() if name.startswith("provider")]
        config = Path(demo["audit"][-1])
        floor = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.floor", str(config)], stdout=subprocess.PIPE, text=True
        )
        assert floor.stdout is not None
        port = json.loads(floor.stdout.readline())["port"]
        described = {key: demo[key] for key in ("ca", "client_cert", "client_key")} | {"people": people}
        sides = {
            "provider": (described | {"url": demo["itk_url"]}, provider),
            "floor": (described | {"url": f"https://127.0.0.1:{port}"}, [floor.pid]),
        }
        assert urlsplit(demo["itk_url"]).hostname
        try:
            for side, (what, pids) in sides.items():
                _level(what, pids, 8, 2.0)
                print(f"{side} warmed up", file=sys.stderr)
            for number in range(given.rounds):
                for connections in CONNECTIONS:
                    for side, (what, pids) in sides.items():
                        before = _stages(demo["management_url"])
                        measured = _level(what, pids, connections, given.seconds)
                        raw.append({"side": side, "round": number + 1} | measured)
                        print(_line(raw[-1]), file=sys.stderr)
                        if side == "provider" and connections == 8:
                            exchanges += measured["exchanges"]
                            for stage, total in _stages(demo["management_url"]).items():
                                stages[stage] = stages.get(stage, 0.0) + total - before.get(stage, 0.0)
        finally:
            floor.kill()
            floor.wait()
    return _figures(raw, {stage: 1e6 * s / exchanges for stage, s in stages.items()}), raw


def _line(one: dict[str, Any]) -> str:
    return (
        f"{one['side']:>8} {one['connections']:>3} connections: {one['rate_per_s']:7.0f}/s  "
        f"p50 {one['p50_ms']:6.1f} ms  p99 {one['p99_ms']:6.1f} ms  CPU {one['cpu_us']:6.0f} us/exchange"
        + (f"  {one['not_answered_well']} not SMSP-0000" if one["not_answered_well"] else "")
    )


def _figures(raw: list[dict[str, Any]], stages: dict[str, float]) -> dict[str, Any]:
    def median(side: str, connections: int, what: str) -> float:
        return statistics.median(r[what] for r in raw if r["side"] == side and r["connections"] == connections)

    at_8 = {side: [r["cpu_us"] for r in raw if r["side"] == side and r["connections"] == 8] for side in SIDES}
    figures: dict[str, Any] = {
        "cpu_us_per_exchange": median("provider", 8, "cpu_us"),
        "main_threads_us": median("provider", 8, "main_threads_us"),
        "cpu_to_floor": statistics.median(ours / floor for ours, floor in zip(*at_8.values(), strict=True)),
        "floor_cpu_us": median("floor", 8, "cpu_us"),
        "rate_per_s": median("provider", 8, "rate_per_s"),
        "floor_rate_per_s": median("floor", 8, "rate_per_s"),
        "p50_ms_8_connections": median("provider", 8, "p50_ms"),
        "p99_ms_8_connections": median("provider", 8, "p99_ms"),
        "not_answered_well": sum(r["not_answered_well"] for r in raw),
    }
    figures["ratio_to_floor"] = figures["rate_per_s"] / figures["floor_rate_per_s"]
    for connections in CONNECTIONS:
        for what in ("rate_per_s", "p50_ms", "p99_ms", "cpu_us"):
            figures[f"{what}_{connections}"] = median("provider", connections, what)
    figures["stage_us"] = stages
    print(f"\nmedians at 8 connections, of {len(raw)} measurements:")
    print(f"  CPU per exchange   {figures['cpu_us_per_exchange']:8.0f} us   (aim: at most {AIM_CPU_US:.0f})")
    print(f"    of it main thread{figures['main_threads_us']:8.0f} us   (the rest is the audit writer's)")
    print(f"  floor's CPU        {figures['floor_cpu_us']:8.0f} us")
    print(f"  CPU to floor's     {figures['cpu_to_floor']:8.1f}      (median of the rounds)")
    print(f"  rate               {figures['rate_per_s']:8.0f} /s   p99 {figures['p99_ms_8_connections']:.1f} ms")
    print(f"  rate to floor's    {figures['ratio_to_floor']:8.2f}      (aim: at least {AIM_RATIO})")
    print("  where the time of an exchange goes (waiting included):")
    for stage, us in stages.items():
        print(f"    {stage:<14} {us:8.0f} us")
    return figures
