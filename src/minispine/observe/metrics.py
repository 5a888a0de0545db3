"""Metrics: one table, fixed labels, no personal values. Every worker writes; /metrics sums over workers.

Several processes share one folder of files (``PROMETHEUS_MULTIPROC_DIR``, set by the supervisor before a worker
starts), which is prometheus-client's own way of summing.
"""

import os
from functools import cache
from pathlib import Path
from typing import Final

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
)

MULTIPROCESS_DIRECTORY: Final = "PROMETHEUS_MULTIPROC_DIR"

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25)

EXCHANGES: Final = Counter(
    "minispine_exchanges", "Requests of identified clients, by what they were answered", ("operation", "answer")
)
EXCHANGE_SECONDS: Final = Histogram(
    "minispine_exchange_seconds", "From a request read to its answer written", ("operation",), buckets=_SECONDS
)
STAGE_SECONDS: Final = Histogram(
    "minispine_stage_seconds", "Time spent in each stage of an exchange", ("stage",), buckets=_SECONDS
)
LAST_MINUTE: Final = Gauge(
    "minispine_exchanges_last_minute", "Requests answered in the last 60 seconds", multiprocess_mode="livesum"
)
IN_FLIGHT: Final = Gauge(
    "minispine_in_flight",
    "Calls to a national service that are not answered yet",
    ("service",),
    multiprocess_mode="livesum",
)
CONCURRENCY: Final = Gauge(
    "minispine_concurrency_limit", "How many such calls there may be at once", ("service",), multiprocess_mode="livesum"
)
WAITING: Final = Gauge(
    "minispine_waiting", "Calls waiting for a slot of the budget", ("service", "lane"), multiprocess_mode="livesum"
)
SLOT_SECONDS: Final = Histogram(
    "minispine_slot_seconds", "How long calls waited for a slot", ("service", "lane"), buckets=_SECONDS
)
SLOTS: Final = Counter(
    "minispine_slots",
    "Slots of the budget taken: used, or lost because nothing left in time",
    ("service", "asid", "result"),
)
BUDGET_PER_SECOND: Final = Gauge(
    "minispine_budget_per_second", "The limit in force", ("service", "asid"), multiprocess_mode="livemostrecent"
)
CACHE: Final = Counter(
    "minispine_cache",
    "Questions to what is kept: fresh, stale, miss; and what became of it: kept, forgotten, stripped, gone",
    ("service", "result"),
)
SHARED: Final = Counter("minispine_shared", "Questions answered by another's that was on its way", ("service",))
RETRIES: Final = Counter(
    "minispine_retries", "Calls that repeat another: made, or refused by their budget", ("service", "result")
)
SPINE_SECONDS: Final = Histogram(
    "minispine_spine_seconds", "From a call's first byte to its whole answer", ("interaction",), buckets=_SECONDS
)
SPINE_CALLS: Final = Counter("minispine_spine_calls", "Messages to Spine, by what came", ("interaction", "outcome"))
PEERS_REFUSED: Final = Counter("minispine_peers_refused", "Connections without an identified client", ("reason",))
REFUSALS: Final = Counter("minispine_refusals", "Requests answered without an outcome of Spine, by reason", ("reason",))
AUDIT_AVAILABLE: Final = Gauge(
    "minispine_audit_available", "1 while the audit log can be written", multiprocess_mode="livemin"
)
BREAKER_OPEN: Final = Gauge(
    "minispine_breaker_open", "Workers whose breaker is not closed", ("service",), multiprocess_mode="livesum"
)
CLOCK_GOOD: Final = Gauge("minispine_clock_good", "1 while the clock is known to be right", multiprocess_mode="livemin")
CLOCK_STRATUM: Final = Gauge(
    "minispine_clock_stratum", "The stratum of what the time is taken from", multiprocess_mode="livemax"
)
CLOCK_OFFSET_SECONDS: Final = Gauge(
    "minispine_clock_offset_seconds",
    "What would have to be added to the clock to make it right",
    multiprocess_mode="livemostrecent",
)
CERTIFICATE_DAYS: Final = Gauge(
    "minispine_certificate_days_left", "Days until a certificate expires", ("use",), multiprocess_mode="livemin"
)
CLIENT_CERTIFICATE_DAYS: Final = Gauge(
    "minispine_client_certificate_days_left",
    "Days until the certificate expires by which a client last came",
    ("client",),
    multiprocess_mode="livemin",
)
CHECKPOINT_AGE_SECONDS: Final = Gauge(
    "minispine_audit_checkpoint_age_seconds",
    "How old the last checkpoint of the audit log is",
    multiprocess_mode="livemostrecent",
)
WITNESS_AGE_SECONDS: Final = Gauge(
    "minispine_audit_witness_age_seconds",
    "How long ago a recipient took a checkpoint of the audit log",
    ("recipient",),
    multiprocess_mode="livemostrecent",
)
WITNESS_WAITING_SECONDS: Final = Gauge(
    "minispine_audit_witness_waiting_seconds",
    "How old the oldest checkpoint is that a recipient has not taken, or anything after it; 0 if there is none",
    ("recipient",),
    multiprocess_mode="livemostrecent",
)
STORAGE_FREE: Final = Gauge(
    "minispine_storage_free_ratio", "The part of the audit log's disk that is free", multiprocess_mode="livemin"
)
REGISTRY_VERSION: Final = Gauge(
    "minispine_registry_version", "The version of the registry in force", multiprocess_mode="livemin"
)


stage_seconds: Final = cache(STAGE_SECONDS.labels)
exchanges: Final = cache(EXCHANGES.labels)
exchange_seconds: Final = cache(EXCHANGE_SECONDS.labels)
spine_calls: Final = cache(SPINE_CALLS.labels)
spine_seconds: Final = cache(SPINE_SECONDS.labels)
slot_seconds: Final = cache(SLOT_SECONDS.labels)
slots: Final = cache(SLOTS.labels)
waiting: Final = cache(WAITING.labels)
client_certificate_days: Final = cache(CLIENT_CERTIFICATE_DAYS.labels)
"""The same with their labels looked up once: these are counted for every request."""


def exposition() -> tuple[bytes, str]:
    """Give the body and content type of /metrics, over all workers where there are several."""
    if os.environ.get(MULTIPROCESS_DIRECTORY):
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry), CONTENT_TYPE_LATEST
    return generate_latest(), CONTENT_TYPE_LATEST


def forget_process(pid: int, folder: Path) -> None:
    """Drop the live values of a worker that has ended from the folder that the workers share."""
    multiprocess.mark_process_dead(pid, folder)  # type: ignore[no-untyped-call]
