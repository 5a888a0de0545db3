"""The description of the five PDS mini services for tools that read WSDL 1.1 (SERVICE-PDS a).

It holds everything: SOAP 1.1, document/literal, one service and port for each operation, the envelope's types and those
of the messages inside. The messages are not named by the operations, because every body is a DistributionEnvelope; a
client finds them in the types and puts one into the payload.
"""

from functools import lru_cache
from typing import Final

from minispine.domain.operations import Operation
from minispine.wire import pds, soap, xml

_WSDL: Final = "http://schemas.xmlsoap.org/wsdl/"
_WSDL_SOAP: Final = "http://schemas.xmlsoap.org/wsdl/soap/"
_XS: Final = "http://www.w3.org/2001/XMLSchema"
_HTTP: Final = "http://schemas.xmlsoap.org/soap/http"
_NSMAP: Final[dict[str | None, str]] = {"wsdl": _WSDL, "soap": _WSDL_SOAP, "xs": _XS, "itk": soap.ITK}

_SCHEMAS: Final = {
    soap.ITK: ("itk-envelope", "itk-error"),
    pds.HL7: ("hl7-types", "pds-request", "pds-response"),
}

PATHS: Final[dict[Operation, str]] = {
    operation: f"/interoperability.toolkit/HL7v3/{operation}-v1-0" for operation in Operation
}
"""Where each operation's port is, below the address of the provider."""


@lru_cache(maxsize=4)  # the address may come from a Host header
def wsdl(address: str) -> bytes:
    """Describe the services of the provider at `address`: scheme, host and port, without a path.

    Raises:
        ValueError: the address holds a character that XML cannot carry.
    """
    definitions = xml.root(_wsdl("definitions"), _NSMAP, {"name": "PDSMiniServices", "targetNamespace": soap.ITK})
    _add_types(definitions)
    _add_message(definitions, "DistributionEnvelope")
    _add_message(definitions, "ToolkitErrorInfo")
    for operation in Operation:
        _add_port_type(definitions, operation)
    for operation in Operation:
        _add_binding(definitions, operation)
    for operation in Operation:
        _add_service(definitions, operation, address + PATHS[operation])
    return xml.to_bytes(definitions, pretty=True)


def _wsdl(local: str) -> str:
    return xml.name(_WSDL, local)


def _soap(local: str) -> str:
    return xml.name(_WSDL_SOAP, local)


def _add_types(definitions: xml.Element) -> None:
    """Put our schemas in, one for each namespace, with what they include in the place of the inclusion."""
    types = xml.add(definitions, _wsdl("types"))
    for namespace, names in _SCHEMAS.items():
        schema = xml.add(
            types,
            xml.name(_XS, "schema"),
            {"targetNamespace": namespace, "elementFormDefault": "qualified"},
            nsmap={None: namespace},
        )
        for name in names:
            parts = [part for part in xml.schema_document(name) if part.tag != xml.name(_XS, "include")]
            xml.extend(schema, parts)


def _add_message(definitions: xml.Element, element: str) -> None:
    message = xml.add(definitions, _wsdl("message"), {"name": element})
    xml.add(message, _wsdl("part"), {"name": "body", "element": f"itk:{element}"})


def _add_port_type(definitions: xml.Element, operation: Operation) -> None:
    port_type = xml.add(definitions, _wsdl("portType"), {"name": f"{operation}-v1-0"})
    element = xml.add(port_type, _wsdl("operation"), {"name": f"{operation}-v1-0"})
    xml.add(element, _wsdl("input"), {"message": "itk:DistributionEnvelope"})
    xml.add(element, _wsdl("output"), {"message": "itk:DistributionEnvelope"})
    xml.add(element, _wsdl("fault"), {"name": "standardFault", "message": "itk:ToolkitErrorInfo"})


def _add_binding(definitions: xml.Element, operation: Operation) -> None:
    name = f"{operation}-v1-0"
    binding = xml.add(definitions, _wsdl("binding"), {"name": f"{name}-soap", "type": f"itk:{name}"})
    xml.add(binding, _soap("binding"), {"style": "document", "transport": _HTTP})
    element = xml.add(binding, _wsdl("operation"), {"name": name})
    xml.add(element, _soap("operation"), {"soapAction": pds.MESSAGES[operation].service, "style": "document"})
    for direction in ("input", "output"):
        xml.add(xml.add(element, _wsdl(direction)), _soap("body"), {"use": "literal"})
    fault = xml.add(element, _wsdl("fault"), {"name": "standardFault"})
    xml.add(fault, _soap("fault"), {"name": "standardFault", "use": "literal"})


def _add_service(definitions: xml.Element, operation: Operation, location: str) -> None:
    name = f"{operation}-v1-0"
    service = xml.add(definitions, _wsdl("service"), {"name": name})
    port = xml.add(service, _wsdl("port"), {"name": f"{name}-port", "binding": f"itk:{name}-soap"})
    xml.add(port, _soap("address"), {"location": location})
