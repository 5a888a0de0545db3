"""What systemd-timesyncd says of the server it follows, by ``timedatectl``.

``show`` tells whether the kernel counts the clock as synchronised, ``show-timesync`` which server is followed and the
values of its last answer, among them that server's own leap indicator and stratum::

    ServerName=ntp.example.org
    NTPMessage={ Leap=0, Version=4, Mode=4, Stratum=2, Precision=-25, ... PacketCount=7, Jitter=170us }
"""

import asyncio
import re
from collections.abc import Sequence
from typing import Final

from minispine.spine.clock.command import CommandFailed, output
from minispine.spine.clock.port import Cause, DaemonReading, Reason

_NAME: Final = "systemd-timesyncd"
_LEAP_UNSYNCHRONISED: Final = 3
_PROPERTY: Final = re.compile(r"^(\w+)=(.*)$", re.MULTILINE)
_MEMBER: Final = re.compile(r"\b(Leap|Stratum)=(\d{1,3})\b")


class Timesyncd:
    """`DaemonPort` over timedatectl, which has `timeout_s` seconds."""

    def __init__(self, *, timeout_s: float, command: Sequence[str] = ("timedatectl",)) -> None:
        self._state = (*command, "show", "--property=NTPSynchronized")
        self._server = (*command, "show-timesync", "--property=ServerName", "--property=NTPMessage")
        self._timeout_s = timeout_s

    async def read(self) -> DaemonReading:
        """Ask systemd. Never raises for anything that it does."""
        commands = (self._state, self._server)
        printed = await asyncio.gather(
            *(output(command, timeout_s=self._timeout_s) for command in commands), return_exceptions=True
        )
        texts: list[str] = []
        for one in printed:
            if isinstance(one, CommandFailed):
                return _failed("silent", f"does not answer: {one}; is systemd-timesyncd running?")
            if isinstance(one, BaseException):
                raise one
            texts.append(one)
        return read_properties("\n".join(texts))


def read_properties(text: str) -> DaemonReading:
    """Read what the two commands print."""
    properties = dict(_PROPERTY.findall(text))
    if properties.get("NTPSynchronized") != "yes" or not properties.get("NTPMessage"):
        return _failed("unsynchronised", "is not synchronised")
    answer = {name: int(value) for name, value in _MEMBER.findall(properties["NTPMessage"])}
    if answer.keys() != {"Leap", "Stratum"}:
        return _failed("unusable", "says something that cannot be read")
    if answer["Leap"] == _LEAP_UNSYNCHRONISED or answer["Stratum"] < 1:
        return _failed("unsynchronised", "follows a server that is not synchronised")
    return DaemonReading(name=_NAME, stratum=answer["Stratum"], follows=properties.get("ServerName") or None)


def _failed(cause: Cause, what: str) -> DaemonReading:
    return DaemonReading(name=_NAME, fault=Reason(cause, _NAME, f"{_NAME} {what}"))
