"""What every reference table shares: how it is refused when it does not hold together."""

from typing import Any, TypeVar

import msgspec

T = TypeVar("T")


class TableInvalid(Exception):
    """A table that may not be used: `key` says where in it, `reason` what is wrong."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"{key}: {reason}")
        self.key = key
        self.reason = reason


def converted(value: Any, kind: type[T], place: str) -> T:
    """Read a part of a table as a struct. Whole numbers may stand for others, texts for nothing but texts.

    Raises:
        TableInvalid: it is none; `key` is `place` and where in it.
    """
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        reason, _, where = str(error).partition(" - at `$")
        raise TableInvalid(place + where.rstrip("`"), reason[:1].lower() + reason[1:]) from None
