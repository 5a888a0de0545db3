"""`minispine serve`."""

import datetime
import shlex
from pathlib import Path

from minispine import config as configuration
from minispine.cli.account import account
from minispine.cli.errors import EnvironmentFailed, Mistaken
from minispine.provider.checking import problems
from minispine.provider.http.supervisor import CannotServe
from minispine.provider.http.supervisor import serve as run


def serve(*, config: Path = Path("minispine.toml")) -> int:
    """Run the provider until it is told to stop.

    It logs JSON lines to stdout. SIGTERM stops accepting, lets requests being served finish within `drain_s`, and ends;
    SIGHUP reads the configuration again and takes what may change without a restart. Try `minispine config check`
    first: it lists everything that is wrong at once. The exit code is 2 for a configuration that cannot be served with
    and 3 when an address is taken or the database is away.

    Parameters
    ----------
    config
        The configuration file; `minispine config example` prints one to start from.
    """
    settings, digest = _usable(config)
    try:
        return run(config.absolute(), settings, digest, started_by=account())
    except CannotServe as refused:
        raise EnvironmentFailed(str(refused)) from None


def _usable(file: Path) -> tuple[configuration.Settings, str]:
    settings, digest = configuration.load_with_digest(file)
    errors = [p for p in problems(settings, now=datetime.datetime.now(datetime.UTC)) if p.severity == "error"]
    if errors:
        more = (
            f" (and {len(errors) - 1} more: minispine config check {shlex.quote(str(file))})" if len(errors) > 1 else ""
        )
        raise Mistaken(f"{file}: {errors[0].key}: {errors[0].reason}{more}")
    return settings, digest
