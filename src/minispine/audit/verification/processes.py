"""Sharing the chunks of a long log out to several processes, and having them back in order."""

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Final

from minispine.audit.verification.chunk import CHUNK_RECORDS, Followed
from minispine.audit.verification.sources import Source

_LONG_RECORDS: Final = 512 * CHUNK_RECORDS
"""A shorter log is followed before another process would have started."""
_AHEAD: Final = 3
"""Chunks in hand for each process, so that none waits for another."""

Sizes = Callable[[int, int], Sequence[int]]

_source: Source


def followed(source: Source, sizes_within: Sizes, *, payloads: bool, processes: int | None) -> Iterator[Followed]:
    """Every chunk of a log in order. `sizes_within` gives the sizes within a chunk at which the root will be asked for.

    Nothing follows a chunk in which a record is bad.
    """
    if processes is None:
        processes = len(os.sched_getaffinity(0)) if source.records >= _LONG_RECORDS else 1
    work = _here if processes <= 1 else _shared_out
    for chunk in work(source, sizes_within, payloads, processes):
        yield chunk
        if chunk.broken is not None:
            return


def _chunks(records: int) -> Iterator[tuple[int, int]]:
    for first in range(1, records + 1, CHUNK_RECORDS):
        yield first, min(first + CHUNK_RECORDS - 1, records)


def _here(source: Source, sizes_within: Sizes, payloads: bool, _: int) -> Iterator[Followed]:
    for first, last in _chunks(source.records):
        yield source.chunk(first, last, sizes_within(first, last), payloads)


def _shared_out(source: Source, sizes_within: Sizes, payloads: bool, processes: int) -> Iterator[Followed]:
    # Begun anew and not forked: whoever verifies may have threads and connections, which would not survive it.
    context = multiprocessing.get_context("spawn")
    waiting: deque[Future[Followed]] = deque()
    with ProcessPoolExecutor(processes, context, _begin, (source,)) as pool:
        try:
            for first, last in _chunks(source.records):
                waiting.append(pool.submit(_follow, first, last, sizes_within(first, last), payloads))
                if len(waiting) >= _AHEAD * processes:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _begin(source: Source) -> None:
    global _source  # one process, one log
    _source = source


def _follow(first: int, last: int, sizes: Sequence[int], payloads: bool) -> Followed:
    return _source.chunk(first, last, sizes, payloads)
