"""The names of the kinds of outcome."""

from minispine.domain.outcome import KINDS, Found, Superseded, kind_of
from minispine.domain.patient import SpineRecord


def test_every_kind_is_spoken_of_by_its_name() -> None:
    made = {
        Found: lambda: Found(event="found", record=SpineRecord(nhs_number=None)),
        Superseded: lambda: Superseded(event="x", nhs_number=None),
    }
    for name, kind in KINDS.items():
        make = made.get(kind, lambda kind=kind: kind(event="x"))
        assert kind_of(make()) == name
