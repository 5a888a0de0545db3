"""`minispine config`: check a configuration, or print one to start from."""

import datetime
import sys
from pathlib import Path

from minispine.cli.errors import Exit
from minispine.config import example as example_text
from minispine.config import survey
from minispine.provider.checking import problems


def check(file: Path = Path("minispine.toml"), /) -> int:
    """Check a configuration and everything it names: keys, values, files, certificates, revocation lists.

    Every problem is one line on standard error, all of them at once. Exit code 0 when the provider would start, 2 when
    it would not. Neither the database nor Spine is contacted: whether they can be reached shows when the provider runs.

    Args:
        file: The configuration.
    """
    read = survey(file)
    told = problems(read.settings, now=datetime.datetime.now(datetime.UTC))
    found = [*read.problems, *(problem for problem in told if read.stands(problem.key))]
    for problem in found:
        warning = "warning: " if problem.severity == "warning" else ""
        print(f"minispine: {warning}{file}: {problem.key}: {problem.reason}", file=sys.stderr)
    errors = sum(problem.severity == "error" for problem in found)
    if errors:
        counted = f"{errors} error{'s' if errors > 1 else ''}"
        print(f"minispine: {file}: {counted}; the provider would not start", file=sys.stderr)
        return Exit.MISTAKE
    print(f"{file}: the provider would start")
    return Exit.DONE


def example() -> None:
    """Print a whole minispine.toml, with what every key means and its default."""
    print(example_text(), end="")
