"""What requests would have waited in one perfect queue: the least that their moments and the budget allow.

Requests that come at random wait however well they are served, and in a short run chance decides how long. So what was
measured is held against this: slots at equal distances, none lost, each known the moment it is due, to the lane that
goes first, a request's second call before another's first, and now and then one to those who wait in lower lanes.
"""

import math
from collections import deque
from collections.abc import Sequence

import msgspec


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """When a request came, and how many calls it takes, one after another."""

    at_s: float
    calls: int


def waits_s(requests: Sequence[Request], *, per_second: float, answer_s: float, lower_share: float) -> list[float]:
    """Give how long each request waits for all its slots together; `requests` in the order in which they came.

    `answer_s` is how long an answer takes. Others, who always wait, get every slot that nobody here wants, and one
    after they were passed over 1 / `lower_share` - 1 times running.
    """
    waited = [0.0] * len(requests)
    begun: deque[tuple[float, int]] = deque()
    """Those whose next call is not the first: since when it waits, and whose it is."""
    coming = deque(range(len(requests)))
    left = [request.calls for request in requests]
    slot_s = requests[0].at_s if requests else 0.0
    patience = round(1 / lower_share) - 1 if lower_share else math.inf
    passed_over = 0
    while coming or begun:
        slot_s += 1 / per_second
        waiting_again = begun and begun[0][0] <= slot_s
        if not waiting_again and not (coming and requests[coming[0]].at_s <= slot_s):
            passed_over = 0
            continue
        if passed_over >= patience:
            passed_over = 0
            continue
        passed_over += 1
        since_s, number = begun.popleft() if waiting_again else (requests[coming[0]].at_s, coming.popleft())
        waited[number] += slot_s - since_s
        left[number] -= 1
        if left[number]:
            begun.append((slot_s + answer_s, number))
    return waited
