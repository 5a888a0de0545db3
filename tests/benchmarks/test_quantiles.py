"""Quantiles of lists and of histograms, and the spread of equals."""

import math

from benchmarks.quantiles import bucket_quantile, buckets, quantile, spread

PAGE = """# HELP waits_seconds How long
waits_seconds_bucket{le="0.1",lane="attended",service="pds"} 10
waits_seconds_bucket{le="0.2",lane="attended",service="pds"} 20
waits_seconds_bucket{le="+Inf",lane="attended",service="pds"} 20
waits_seconds_bucket{le="0.1",lane="batch",service="pds"} 7
waits_seconds_bucket{le="0.1",lane="attended",service="cpis"} 1
waits_seconds_sum{lane="attended",service="pds"} 3
"""


def test_a_quantile_is_one_of_the_values_and_no_less() -> None:
    assert quantile([3, 1, 2], 0.5) == 2
    assert quantile(list(range(1, 101)), 0.95) == 95
    assert quantile([1.0] * 18 + [math.inf] * 2, 0.95) == math.inf
    assert quantile([], 0.95) is None


def test_the_spread_is_over_the_mean() -> None:
    assert spread([9, 10, 11]) == 0.2
    assert spread([5, 5]) == 0
    assert spread([0, 0]) == math.inf


def test_a_histogram_is_read_by_its_labels() -> None:
    assert buckets(PAGE, "waits_seconds", lane="attended", service="pds") == {0.1: 10, 0.2: 20, math.inf: 20}
    assert buckets(PAGE, "waits_seconds", lane="attended")[0.1] == 11


def test_a_quantile_of_a_histogram_is_straight_within_its_bucket_and_of_what_came_in_between() -> None:
    after = buckets(PAGE, "waits_seconds", lane="attended", service="pds")
    assert bucket_quantile({}, after, 0.5) == 0.1
    assert math.isclose(bucket_quantile({}, after, 0.75) or 0, 0.15)
    assert math.isclose(bucket_quantile({0.1: 10, 0.2: 10, math.inf: 10}, after, 0.5) or 0, 0.15)
    assert bucket_quantile(after, after, 0.5) is None
    assert bucket_quantile({}, {0.1: 0, math.inf: 5}, 0.5) == math.inf
