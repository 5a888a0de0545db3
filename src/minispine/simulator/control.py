"""The control address: what this Spine was asked, which faults are in force, and people to try. Plain HTTP, loopback.

`GET /control/calls`, `DELETE /control/calls`, `GET /control/faults`, `POST /control/faults`, `GET /control/patients`.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import parse_qs

import msgspec

from minispine.simulator.asgi import Receive, Scope, Send, read_body, respond, respond_in_pieces
from minispine.simulator.exchange import Spine
from minispine.simulator.faults import FaultsRefused, read_rules
from minispine.simulator.record import Person

MAX_BODY: Final = 1024 * 1024
_MOST: Final = 1_000_000
_JSON: Final = b"application/json"


class _QueryRefused(Exception):
    pass


class Control:
    """The ASGI application of the control address."""

    def __init__(self, spine: Spine) -> None:
        self._spine = spine
        self._routes: dict[str, dict[str, Any]] = {
            "/control/calls": {"GET": self._calls, "DELETE": self._forget},
            "/control/faults": {"GET": self._faults, "POST": self._set_faults},
            "/control/patients": {"GET": self._patients},
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; anything it cannot use gets a status of 400 to 499 and a JSON reason."""
        methods = self._routes.get(scope["path"])
        if methods is None:
            await _refuse(send, 404, "path", f"one of {', '.join(self._routes)}")
            return
        handler = methods.get(scope["method"])
        if handler is None:
            await _refuse(send, 405, "method", f"one of {', '.join(methods)}")
            return
        try:
            await handler(scope, receive, send)
        except _QueryRefused as problem:
            await _refuse(send, 400, *problem.args)

    async def _calls(self, scope: Scope, receive: Receive, send: Send) -> None:
        limit = _whole_number(_query(scope), "limit", None)
        await respond_in_pieces(send, 200, _JSON, self._spine.calls.as_json(limit))

    async def _forget(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._spine.calls.clear()
        await respond(send, 200, _JSON, b"[]\n")

    async def _faults(self, scope: Scope, receive: Receive, send: Send) -> None:
        await respond(send, 200, _JSON, _json(self._spine.faults.in_force()))

    async def _set_faults(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await read_body(receive, MAX_BODY)
        if body is None:
            await _refuse(send, 413, "$", f"more than {MAX_BODY} bytes")
            return
        try:
            rules = read_rules(body)
        except FaultsRefused as problem:
            await _refuse(send, 400, problem.key, problem.reason)
            return
        self._spine.faults.replace(rules)
        await self._faults(scope, receive, send)

    async def _patients(self, scope: Scope, receive: Receive, send: Send) -> None:
        query = _query(scope)
        limit = _whole_number(query, "limit", 50)
        kind = query.get("kind")
        people: Iterable[Person] = self._spine.register.people()
        kinds = {person.kind for person in people}
        if kind is not None and kind not in kinds:
            raise _QueryRefused("kind", f"one of {', '.join(sorted(kinds))}")
        shown: list[dict[str, Any]] = []
        for person in _one_of_each_kind_in_turn(people, kind):
            if len(shown) == limit:
                break
            shown.append(_shown(person))
        await respond(send, 200, _JSON, _json(shown))


def _one_of_each_kind_in_turn(people: Iterable[Person], kind: str | None) -> Iterator[Person]:
    by_kind: dict[str, list[Person]] = defaultdict(list)
    for person in people:
        if kind in (None, person.kind):
            by_kind[person.kind].append(person)
    for turn in range(max(map(len, by_kind.values()), default=0)):
        yield from (held[turn] for held in by_kind.values() if turn < len(held))


def _shown(person: Person) -> dict[str, Any]:
    name = person.usual_name
    return {
        "nhs_number": person.nhs_number,
        "kind": person.kind,
        "family": name.family,
        "given": list(name.given),
        "other_names": [{"use": n.use, "family": n.family, "given": list(n.given)} for n in person.names if n != name],
        "birth_date": person.birth_time,
        "death_date": person.deceased_time,
        "gender": person.gender,
        "postcode": person.addresses[0].postcode if person.addresses else None,
        "practice": person.registration.practice if person.registration else None,
        "confidentiality": person.confidentiality,
        "superseded_by": person.superseded_by,
        "invalidated": person.invalidated,
    }


def _query(scope: Scope) -> Mapping[str, str]:
    return {key: values[-1] for key, values in parse_qs(scope["query_string"].decode("ascii", "replace")).items()}


def _whole_number(query: Mapping[str, str], key: str, default: int | None) -> int | None:
    text = query.get(key)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 7 and int(text) <= _MOST):
        raise _QueryRefused(key, f"a whole number of at most {_MOST}")
    return int(text)


def _json(value: object) -> bytes:
    return msgspec.json.encode(value) + b"\n"


async def _refuse(send: Send, status: int, key: str, reason: str) -> None:
    await respond(send, status, _JSON, _json({"key": key, "reason": reason}))
