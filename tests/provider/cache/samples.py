"""People, questions, rules and scopes for the tests of the cache."""

from typing import Any

from minispine.domain.identity import AccessMethod
from minispine.domain.operations import Operation
from minispine.domain.outcome import Found
from minispine.domain.patient import SpineAddress, SpineName, SpineRecord, SpineTelecom
from minispine.domain.question import CrossCheck, Retrieval, Trace
from minispine.keys.ring import KeyRing, MasterKey
from minispine.provider.cache import CacheKeys, Scope
from minispine.vocabulary.cache_rules import CacheRules, load_cache_rules, shipped_document

S = 1_000_000
START = 1_790_000_000 * S
NUMBER, OTHER = "9000000009", "9000000017"
BORN = "19800229"
RING = KeyRing((MasterKey.of(bytes(32)),))
INDEX_KEY = bytes(range(32))
KEYS = CacheKeys(RING, INDEX_KEY)
TTL_S, OUTAGE_S = 60, 600


class Clock:
    """Microseconds since 1970, as the test says."""

    def __init__(self) -> None:
        self.us = START

    def __call__(self) -> int:
        return self.us

    def pass_s(self, seconds: float) -> None:
        self.us += round(seconds * S)


def person(number: str = NUMBER, **changed: Any) -> SpineRecord:
    return SpineRecord(
        **{
            "nhs_number": number,
            "names": (SpineName(use="L", given=("MARKERGIVEN",), family="MARKERFAMILY"),),
            "gender": "2",
            "birth_time": BORN,
            "addresses": (SpineAddress(use="H", lines=("MARKERSTREET",), postcode="LS1 4HY"),),
            "telecoms": (SpineTelecom(use="HP", value="tel:MARKERPHONE"),),
        }
        | changed
    )


def found(record: SpineRecord | None = None, event: str = "found") -> Found:
    return Found(event=event, record=record or person())


def check(number: str = NUMBER, **changed: Any) -> CrossCheck:
    return CrossCheck(**{"nhs_number": number, "birth_date": BORN} | changed)


def retrieval(number: str = NUMBER) -> Retrieval:
    return Retrieval(nhs_number=number)


def search(**changed: Any) -> Trace:
    return Trace(**{"family": "MARKERFAMILY", "gender": "2", "birth_date": BORN} | changed)


def scope(**changed: Any) -> Scope:
    return Scope(
        **{
            "side": "hl7v3",
            "asid": "200000000999",
            "organisation": "RXX",
            "client": "ward",
            "operation": Operation.GET_PATIENT_DETAILS,
            "method": AccessMethod.ATTENDED,
        }
        | changed
    )


def rule(name: str = "ward-round", **changed: Any) -> dict[str, Any]:
    return {"name": name, "service": "pds", "ttl_s": TTL_S, "outage_s": OUTAGE_S, "reason": "a test"} | changed


def rules(*several: dict[str, Any], **services: bool) -> CacheRules:
    document = shipped_document()
    for service, kept in services.items():
        document["services"][service]["kept"] = kept
    return load_cache_rules(document | {"rule": list(several)})


NO_RULES = rules()
