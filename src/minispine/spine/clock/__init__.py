"""This machine's clock as others see it: time servers by NTP, the daemon that sets it, and what to make of both.

``port.py`` says what can be read, ``judging.py`` what follows from it; ``ntp.py`` has the packets, ``asking.py`` sends
them; ``chrony.py`` and ``timesyncd.py`` ask the daemon. What a provider does about its clock is not decided here.
"""

from minispine.spine.clock.judging import NOT_MEASURED, ClockState, Limits, judge
from minispine.spine.clock.port import Cause, ClockPort, DaemonReading, Readings, Reason, ServerReading
from minispine.spine.clock.sources import clock_sources

__all__ = [
    "NOT_MEASURED",
    "Cause",
    "ClockPort",
    "ClockState",
    "DaemonReading",
    "Limits",
    "Readings",
    "Reason",
    "ServerReading",
    "clock_sources",
    "judge",
]
