"""Reading one person out of an answer, as received and unchecked.

The three generations of messages put the same facts in different places. A trace and everything of 2006-B keep them
under the patient's role and person; a retrieval of 2008-A wraps addresses, telecoms and names in ``PartOfWhole``
elements, and 2008-B wraps gender and dates as well. Elements are known by their local names. Relatives, the place of
birth and the paper record hold addresses too: they are never looked into.
"""

from collections.abc import Iterator

from minispine.domain.patient import SpineAddress, SpineName, SpineRecord, SpineRegistration, SpineTelecom
from minispine.vocabulary import oids
from minispine.wire import xml

_PART = ".Part"
"""What the local name of every such wrapper has in it, as in ``COCT_MT000201UK02.PartOfWhole``."""

_GP_REGISTRATION = "1"
_CARE_PROVISIONS = frozenset({"patientCareProvision", "patientCareProvisionEvent"})
_PROVIDER_PATHS = (
    ("performer", "assignedOrganization"),
    ("performer", "assignedEntity"),
    ("responsibleParty", "healthCareProvider"),
)


def inside(parent: xml.Element | None) -> Iterator[xml.Element]:
    """Give the children, in order; none for a parent of None."""
    return iter(()) if parent is None else iter(parent)


def children(parent: xml.Element | None, local_name: str) -> Iterator[xml.Element]:
    """Give the children of that local name, in order; none for a parent of None."""
    return iter(()) if parent is None else parent.iterchildren("{*}" + local_name)


def child(parent: xml.Element | None, *path: str) -> xml.Element | None:
    """Follow the first child of each local name in turn; None where one is missing."""
    for local_name in path:
        if parent is None:
            break
        parent = next(parent.iterchildren("{*}" + local_name), None)
    return parent


def attribute(element: xml.Element | None, name: str) -> str | None:
    """Give an attribute without surrounding blanks; None where it, or the element, is missing or blank."""
    value = None if element is None else element.get(name)
    return (value.strip() or None) if value is not None else None


def text(element: xml.Element | None) -> str | None:
    """Give the text without the white space of the layout around it; None where there is none."""
    return ((element.text or "").strip() or None) if element is not None else None


def nhs_number(role: xml.Element) -> str | None:
    """Give the patient's current number; None where there is none, or more than one."""
    numbers = {attribute(one, "extension") for one in children(role, "id") if attribute(one, "root") == oids.NHS_NUMBER}
    return numbers.pop() if len(numbers) == 1 else None


def read_record(role: xml.Element, *, limited: bool) -> SpineRecord:
    """Read a ``patientRole``; `limited` says that Spine's reasons speak of details held back."""
    person = child(role, "patientPerson")
    facts = list(_facts(role, person))
    confidentiality = child(role, "confidentialityCode")
    return SpineRecord(
        nhs_number=nhs_number(role),
        names=tuple(_name(element) for kind, element in facts if kind == "name"),
        gender=_first(facts, "administrativeGenderCode", "code"),
        birth_time=_first(facts, "birthTime", "value"),
        deceased_time=_first(facts, "deceasedTime", "value"),
        addresses=tuple(_address(element) for kind, element in facts if kind == "addr"),
        telecoms=tuple(_telecom(element) for kind, element in facts if kind == "telecom"),
        registrations=tuple(_registrations(person)),
        # A code that is not there is not the absence of a code: it stays an empty string, unknown like any other.
        confidentiality=None if confidentiality is None else attribute(confidentiality, "code") or "",
        limited=limited,
    )


def _facts(role: xml.Element, person: xml.Element | None) -> Iterator[tuple[str, xml.Element]]:
    """Give every fact about the patient, with its local name, wherever the generation keeps it."""
    for element in role:
        yield xml.local_name(element), element
    if person is None:
        return
    for element in person:
        local_name = xml.local_name(element)
        if _PART not in local_name:
            yield local_name, element
            continue
        for inner in element:
            if xml.local_name(inner) == "partPerson":
                for fact in inner:
                    yield xml.local_name(fact), fact
            else:
                yield xml.local_name(inner), inner


def _first(facts: list[tuple[str, xml.Element]], kind: str, name: str) -> str | None:
    return next((attribute(element, name) for found, element in facts if found == kind), None)


def _name(element: xml.Element) -> SpineName:
    since, until = _period(child(element, "validTime"))
    given = (text(one) for one in children(element, "given"))
    return SpineName(
        use=attribute(element, "use"),
        prefix=text(child(element, "prefix")),
        given=tuple(name for name in given if name is not None),
        family=text(child(element, "family")),
        valid_from=since,
        valid_to=until,
    )


def _address(element: xml.Element) -> SpineAddress:
    since, until = _period(child(element, "useablePeriod"))
    return SpineAddress(
        use=attribute(element, "use"),
        lines=tuple(text(line) or "" for line in children(element, "streetAddressLine")),
        postcode=text(child(element, "postalCode")),
        valid_from=since,
        valid_to=until,
    )


def _telecom(element: xml.Element) -> SpineTelecom:
    since, until = _period(child(element, "useablePeriod"))
    return SpineTelecom(
        use=attribute(element, "use"), value=attribute(element, "value"), valid_from=since, valid_to=until
    )


def _registrations(person: xml.Element | None) -> Iterator[SpineRegistration]:
    for provider in children(person, "playedOtherProviderPatient"):
        for provision in inside(child(provider, "subjectOf")):
            if xml.local_name(provision) not in _CARE_PROVISIONS:
                continue
            if attribute(child(provision, "code"), "code") != _GP_REGISTRATION:
                continue
            since, until = _period(child(provision, "effectiveTime"))
            yield SpineRegistration(ods_code=_provider(provision), valid_from=since, valid_to=until)


def _provider(provision: xml.Element) -> str | None:
    for path in _PROVIDER_PATHS:
        for one in children(child(provision, *path), "id"):
            if attribute(one, "root") == oids.ODS_SPINE:
                return attribute(one, "extension")
    return None


def _period(element: xml.Element | None) -> tuple[str | None, str | None]:
    """Read the two ends of an interval of time."""
    return attribute(child(element, "low"), "value"), attribute(child(element, "high"), "value")
