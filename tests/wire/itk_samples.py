"""Requests as a good client sends them, for the tests of the wire to spoil."""

import datetime
from collections.abc import Callable

from lxml import etree

from minispine.domain.identity import AuditId
from minispine.domain.operations import Operation
from minispine.domain.request import LocalIdentifier, PdsRequest
from minispine.vocabulary import oids
from minispine.wire import itk, pds, soap

NOW = datetime.datetime(2024, 5, 1, 10, 0, tzinfo=datetime.UTC)
MESSAGE_ID = "0B000001-0000-4000-8000-00000000000A"
TIMESTAMP_ID = "0B000002-0000-4000-8000-00000000000A"
TRACKING_ID = "0B000003-0000-4000-8000-00000000000A"
PAYLOAD_ID = "0B000004-0000-4000-8000-00000000000A"
HL7_ID = "0B000005-0000-4000-8000-00000000000A"
TO = "https://smsp.invalid/smsp/pds"

LOCAL = LocalIdentifier(root="2.16.840.1.113883.2.1.3.2.4.18.24", extension="RXX:17")
NUMBER = "9449310467"
POLICY = itk.EnvelopePolicy()

QUESTIONS: dict[Operation, PdsRequest] = {
    question.operation: question
    for question in (
        PdsRequest(
            operation=Operation.VERIFY_NHS_NUMBER,
            birth_date="20090310",
            nhs_number=NUMBER,
            family="LANGAN",
            given="LEE",
        ),
        PdsRequest(
            operation=Operation.GET_NHS_NUMBER,
            birth_date="20090310",
            gender="1",
            family="LANGAN",
            given="LEE",
            postcode="KT21 2PN",
            local_identifier=LOCAL,
        ),
        PdsRequest(
            operation=Operation.GET_PATIENT_DETAILS_BY_NHS_NUMBER,
            birth_date="20090310",
            nhs_number=NUMBER,
            family="LANGAN",
            given="LEE",
            local_identifier=LOCAL,
        ),
        PdsRequest(
            operation=Operation.GET_PATIENT_DETAILS_BY_SEARCH,
            birth_date="20090310",
            gender="1",
            family="LANGAN",
            given="LEE",
            postcode="KT21 2PN",
            local_identifier=LOCAL,
        ),
        PdsRequest(
            operation=Operation.GET_PATIENT_DETAILS,
            birth_date="20090310",
            nhs_number=NUMBER,
            gender="1",
            family="LANGAN",
            given="LEE",
            postcode="KT21 2PN",
            local_identifier=LOCAL,
        ),
    )
}
"""A full question for each operation."""


def request(operation: Operation = Operation.VERIFY_NHS_NUMBER, question: PdsRequest | None = None) -> bytes:
    """A whole, correct message."""
    return itk.write_request(
        pds.write_request(question or QUESTIONS[operation], id=HL7_ID),
        operation=operation,
        message_id=MESSAGE_ID,
        tracking_id=TRACKING_ID,
        payload_id=PAYLOAD_ID,
        to=TO,
        from_address="https://client.invalid/",
        timestamp=soap.Timestamp(created=NOW, expires=NOW + datetime.timedelta(minutes=10), id=TIMESTAMP_ID),
        username="A client",
        audit_identity=(AuditId(type=oids.LOCAL_IDENTITY, uri="urn:nhs-uk:identity:ods:RXX:jsmith"),),
        sender_address="urn:nhs-uk:addressing:ods:RXX:client",
    )


PREFIXES = {"s": soap.SOAP, "wsa": soap.WSA, "wsse": soap.WSSE, "wsu": soap.WSU, "itk": soap.ITK, "v3": pds.HL7}


def edited(edit: Callable[[etree._Element], object], operation: Operation = Operation.VERIFY_NHS_NUMBER) -> bytes:
    """The whole message after `edit` has worked on its root."""
    root = etree.fromstring(request(operation))
    edit(root)
    return etree.tostring(root)


def at(root: etree._Element, path: str) -> etree._Element:
    """The one element at an XPath."""
    (element,) = root.xpath(path, namespaces=PREFIXES)
    return element


def setting(path: str, attribute: str, value: str | None) -> Callable[[etree._Element], None]:
    """An edit that gives an attribute another value, or takes it away."""

    def edit(root: etree._Element) -> None:
        element = at(root, path)
        element.attrib.pop(attribute, None)
        if value is not None:
            element.set(attribute, value)

    return edit


def saying(path: str, text: str) -> Callable[[etree._Element], None]:
    """An edit that changes an element's text."""
    return lambda root: setattr(at(root, path), "text", text)


def without(path: str) -> Callable[[etree._Element], None]:
    """An edit that drops an element."""

    def edit(root: etree._Element) -> None:
        element = at(root, path)
        parent = element.getparent()
        assert parent is not None
        parent.remove(element)

    return edit


def with_child(path: str, child: str) -> Callable[[etree._Element], None]:
    """An edit that appends a child, given as XML."""
    declarations = " ".join(f'xmlns:{prefix}="{uri}"' for prefix, uri in PREFIXES.items())
    return lambda root: at(root, path).append(etree.fromstring(f"<x {declarations}>{child}</x>")[0])
