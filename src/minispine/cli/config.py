"""`minispine config`: check a configuration, or print one to start from."""

import datetime
import sys
from pathlib import Path

from minispine.audit import keyfiles
from minispine.audit.opening import open_database, signer_for
from minispine.cli.errors import Exit
from minispine.config import Settings, survey
from minispine.config import example as example_text
from minispine.provider.checking import problems


def check(file: Path = Path("minispine.toml"), /, *, live: bool = False) -> int:
    """Check a configuration and everything it names: keys, values, files, certificates, revocation lists.

    Every problem is one line on standard error, all of them at once. Exit code 0 when the provider would start, 2 when
    it would not. Neither the database nor Spine is contacted, unless --live asks for the database: whether they can be
    reached shows when the provider runs.

    Args:
        file: The configuration.
        live: Ask the database too: whether what it commits is durable, whether its tables are those of this release,
            and whether its audit log was begun and has the keys of the audit key folder. Nothing is written.
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
    if live:
        assert read.settings is not None, "or there would have been an error"
        _ask_database(read.settings)
    print(f"{file}: the provider would start")
    return Exit.DONE


def _ask_database(settings: Settings) -> None:
    """Raise what the provider would not start for."""
    keys = keyfiles.load(settings.audit.keys)
    with open_database(settings.storage) as database:
        database.check_durable()
        database.check_schema()
        signer_for(database, keys)


def example() -> None:
    """Print a whole minispine.toml, with what every key means and its default."""
    print(example_text(), end="")
