"""`scripts/bench NAME [--json FILE]`: run one benchmark."""

import argparse
import importlib
import json
import subprocess
import sys
from pathlib import Path

NAMES = {
    "exchange": "what one request costs, beside a floor measured in the same run",
    "audit": "how many records are written and verified in a second, and how long a search takes",
    "crash": "does the audit trail hold everything when processes are killed, and is it on disk before anything leaves",
    "budget": "is the budget kept and used whatever happens, who waits how long, and what does admission cost",
    "outage": "what is served while Spine is gone, and does anybody rush at it when it is back",
}


def main() -> int:
    """Run the benchmark that the command line names; gives 1 where its figures show that something is wrong."""
    arguments = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    names = arguments.add_subparsers(dest="name", required=True)
    for name, text in NAMES.items():
        module = importlib.import_module(f"benchmarks.{name}")
        one = names.add_parser(name, help=text, description=module.__doc__)
        one.add_argument("--json", type=Path, metavar="FILE", help="write figures and raw measurements here")
        module.options(one)
    given = arguments.parse_args()
    module = importlib.import_module(f"benchmarks.{given.name}")
    figures, raw = module.run(given)
    if given.json:
        commit = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False, cwd=Path(__file__).parent
        ).stdout.strip()
        given.json.write_text(json.dumps({"figures": figures, "commit": commit, "raw": raw}, indent=1) + "\n")
    wrong = module.wrong(figures) if hasattr(module, "wrong") else []
    for each in wrong:
        print(each, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
