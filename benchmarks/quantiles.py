"""Figures that sum up many: quantiles of measurements and of a histogram, and how far apart equals are."""

import math
import re
from collections.abc import Mapping, Sequence

_LABEL = re.compile(r'(\w+)="([^"]*)"')


def quantile(values: Sequence[float], part: float) -> float | None:
    """Give the least value that at least this part of the values does not exceed; None without any."""
    if not values:
        return None
    return sorted(values)[max(0, math.ceil(part * len(values)) - 1)]


def spread(counts: Sequence[float]) -> float:
    """Give the difference of the greatest and the least, over their mean."""
    mean = sum(counts) / len(counts)
    return (max(counts) - min(counts)) / mean if mean else math.inf


def buckets(text: str, name: str, **labels: str) -> dict[float, float]:
    """Read a histogram out of a page of metrics: how many values are at most so great, by that bound."""
    found: dict[float, float] = {}
    for line in text.splitlines():
        head, _, value = line.rpartition(" ")
        if not head.startswith(f"{name}_bucket{{"):
            continue
        has = dict(_LABEL.findall(head))
        if all(has.get(label) == wanted for label, wanted in labels.items()):
            bound = math.inf if has["le"] == "+Inf" else float(has["le"])
            found[bound] = found.get(bound, 0.0) + float(value)
    return found


def bucket_quantile(before: Mapping[float, float], after: Mapping[float, float], part: float) -> float | None:
    """Estimate a quantile of what a histogram counted in between, straight within a bucket; None where nothing."""
    counted = {bound: count - before.get(bound, 0.0) for bound, count in sorted(after.items())}
    total = counted.get(math.inf, 0.0)
    if total <= 0:
        return None
    wanted = part * total
    low, below = 0.0, 0.0
    for bound, count in counted.items():
        if count >= wanted:
            return (
                bound
                if math.isinf(bound) or count == below
                else low + (bound - low) * (wanted - below) / (count - below)
            )
        low, below = bound, count
    return math.inf
