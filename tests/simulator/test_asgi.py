import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest

from minispine.simulator.asgi import Disconnected, read_body

GONE = {"type": "http.disconnect"}


def body(*messages: dict[str, Any], limit: int = 10) -> bytes | None:
    left = iter(messages)

    async def receive() -> MutableMapping[str, Any]:
        return next(left)

    return asyncio.run(read_body(receive, limit))


def piece(content: bytes, *, more: bool = True) -> dict[str, Any]:
    return {"type": "http.request", "body": content, "more_body": more}


def test_a_body_in_pieces_is_put_together() -> None:
    assert body(piece(b"ab"), piece(b""), piece(b"c", more=False)) == b"abc"


@pytest.mark.parametrize("last", [piece(b"", more=False), piece(b"x", more=False)])
def test_one_that_is_too_long_is_none(last: dict[str, Any]) -> None:
    assert body(piece(b"12345"), piece(b"678901"), last) is None
    assert body(piece(b"12345678901", more=False)) is None
    assert body(piece(b"1234567890", more=False)) == b"1234567890"


def test_a_peer_that_goes_is_not_a_body() -> None:
    for messages in ((GONE,), (piece(b"a"), GONE)):
        with pytest.raises(Disconnected):
            body(*messages)
