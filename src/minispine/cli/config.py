"""`minispine config`: check a configuration, or print one to start from."""

import datetime
import sys
from pathlib import Path

from minispine.cli.errors import Exit
from minispine.config import example as example_text
from minispine.config import load
from minispine.provider.checking import problems


def check(file: Path = Path("minispine.toml"), /) -> int:
    """Check a configuration and everything it names: values, files, keys, certificates, revocation lists.

    Every problem is one line on standard error. Exit code 0 when the provider would start, 1 when it would not, 2 when
    the file cannot be read as a configuration.

    Args:
        file: The configuration.
    """
    found = problems(load(file), now=datetime.datetime.now(datetime.UTC))
    for problem in found:
        print(f"{problem.severity}: {file}: {problem.key}: {problem.reason}", file=sys.stderr)
    errors = sum(problem.severity == "error" for problem in found)
    if errors:
        print(f"{file}: {errors} error{'s' if errors > 1 else ''}; the provider would not start", file=sys.stderr)
        return Exit.FAILED
    print(f"{file}: the provider would start")
    return Exit.DONE


def example() -> None:
    """Print a whole minispine.toml, with what every key means and its default."""
    print(example_text(), end="")
