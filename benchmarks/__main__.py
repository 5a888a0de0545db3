"""`scripts/bench NAME [--json FILE]`: run one benchmark."""

import argparse
import importlib
import json
import subprocess
import sys
from pathlib import Path

NAMES = {"exchange": "what one request costs, beside a floor measured in the same run"}


def main() -> None:
    """Run the benchmark that the command line names."""
    arguments = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    names = arguments.add_subparsers(dest="name", required=True)
    for name, text in NAMES.items():
        module = importlib.import_module(f"benchmarks.{name}")
        one = names.add_parser(name, help=text, description=module.__doc__)
        one.add_argument("--json", type=Path, metavar="FILE", help="write figures and raw measurements here")
        module.options(one)
    given = arguments.parse_args()
    figures, raw = importlib.import_module(f"benchmarks.{given.name}").run(given)
    if given.json:
        commit = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False, cwd=Path(__file__).parent
        ).stdout.strip()
        given.json.write_text(json.dumps({"figures": figures, "commit": commit, "raw": raw}, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
