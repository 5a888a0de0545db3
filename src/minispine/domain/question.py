"""The questions put to the Personal Demographics Service, free of any message format."""

import msgspec


class CrossCheck(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Is this number this person? `birth_date` is YYYYMMDD; names are optional."""

    nhs_number: str
    birth_date: str
    family: str | None = None
    given: str | None = None


class Trace(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Who is this person? `birth_date` may be partial and texts may end in ``*``; an adapter may refuse either."""

    family: str
    gender: str
    birth_date: str
    given: str | None = None
    postcode: str | None = None


class Retrieval(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """All that is held of a number. Asked only after the number was proved to be the person's."""

    nhs_number: str


Question = CrossCheck | Trace | Retrieval
