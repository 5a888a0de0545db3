"""What every reference table shares: how it is refused when it does not hold together."""


class TableInvalid(Exception):
    """A table that may not be used: `key` says where in it, `reason` what is wrong."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"{key}: {reason}")
        self.key = key
        self.reason = reason
