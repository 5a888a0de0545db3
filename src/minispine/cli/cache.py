"""`minispine cache`: what is kept of Spine's answers, counted, and throwing it away.

By which rules anything is kept is a table: `minispine table load cache FILE`. Why and for how long is in
docs/caching.md.
"""

from pathlib import Path
from typing import Final

from minispine.cli.account import actor
from minispine.cli.audit_criteria import NhsNumberFile, nhs_number_in
from minispine.cli.errors import Mistaken
from minispine.cli.output import table
from minispine.cli.trail import CONFIG, OpenTrail, now_us, opened
from minispine.cli.values import Reason, unknown
from minispine.domain.operations import Operation
from minispine.provider import in_force
from minispine.provider.cache import CacheKeys, purge_now
from minispine.provider.cache.entries import Entries, Group
from minispine.storage import Registry
from minispine.vocabulary.cache_rules import CacheRules

_UNITS: Final = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def show(*, config: Path = CONFIG) -> None:
    """Say how many answers are kept for each operation of each client, how old they are, and by which rule.

    The rule is the one in force now; what no rule allows any more is deleted within a minute while the provider serves.
    Nothing of a patient is shown, so that nothing is recorded.

    Parameters
    ----------
    config
        The provider's configuration, which says where the registry is.
    """
    with opened(config) as trail:
        rules = _rules(trail)
        groups = Entries(trail.database, CacheKeys.of(trail.keys)).by_operation()
        now = now_us()
    if not groups:
        print("nothing is kept" if rules.any else "nothing is kept, and no rule would have anything kept")
        return
    names = ("client", "operation", "answers", "newest", "oldest", "rule", "time to live", "in an outage", "most")
    table(names, [_row(group, rules, now) for group in groups])


def purge(
    *,
    reason: Reason,
    nhs_number_file: NhsNumberFile | None = None,
    client: str | None = None,
    all_: bool = False,
    config: Path = CONFIG,
) -> None:
    """Throw away what is kept of one patient, for one client, or all of it.

    It holds for all workers and nodes at once, and is recorded. The next question goes to Spine, and its answer is kept
    again as the rules say; those of one patient not for five minutes. To have nothing kept, change the rules.

    Parameters
    ----------
    reason
        Why, for the audit trail.
    nhs_number_file
        What is kept of the patient whose NHS number is in this file (- for standard input); on a command line everybody
        on the machine could read it.
    client
        What is kept for this client: the name of its registration.
    all_
        Everything.
    config
        The provider's configuration, which says where the registry is.
    """
    if [nhs_number_file is not None, client is not None, all_].count(True) != 1:
        raise Mistaken("give one of --nhs-number-file, --client and --all")
    number = nhs_number_in(nhs_number_file) if nhs_number_file is not None else None
    with opened(config) as trail, trail.log() as log:
        keys = CacheKeys.of(trail.keys)
        if client is not None:
            _check_client(client, trail, keys)
        count = purge_now(trail.database, keys, log, actor=actor(), reason=reason, nhs_number=number, client=client)
    print("nothing was kept" if count == 0 else f"thrown away: {count} {'answer' if count == 1 else 'answers'}")


def _check_client(name: str, trail: OpenTrail, keys: CacheKeys) -> None:
    """Raise `Mistaken` for a name that neither a registration nor anything that is kept has."""
    known = set(Registry(trail.database).snapshot().documents.get(in_force.CLIENT, {}))
    if name not in known:
        known |= {group.client for group in Entries(trail.database, keys).by_operation()}
    if name not in known:
        raise unknown("client", name, sorted(known)) if known else Mistaken("no client is registered")


def _rules(trail: OpenTrail) -> CacheRules:
    return in_force.read(Registry(trail.database).snapshot()).cache_rules


def _row(group: Group, rules: CacheRules, now: int) -> list[str]:
    known = group.operation in set(Operation)
    rule = rules.rule(Operation(group.operation), group.client) if known else None
    ages = [_lasting(max(0, now - at) // 1_000_000) for at in (group.newest_at, group.oldest_at)]
    told = [group.client, group.operation, str(group.count), *ages]
    if rule is None:
        return [*told, "none", "", "", ""]
    longest_s = max(rule.ttl_s, rule.outage_s)
    return [*told, rule.name, _lasting(rule.ttl_s), _lasting(longest_s), str(rule.entries)]


def _lasting(seconds: int) -> str:
    """Write a time in the greatest unit that leaves no more than it says, with the next smaller one."""
    for n, (unit_s, unit) in enumerate(_UNITS):
        if seconds >= unit_s:
            rest = seconds % unit_s // _UNITS[n + 1][0] if n + 1 < len(_UNITS) else 0
            return f"{seconds // unit_s} {unit}" + (f" {rest} {_UNITS[n + 1][1]}" if rest else "")
    return "0 s"
