"""Requests as client systems send them, ways to spoil one, and answers as client systems read them."""

import datetime
import itertools
import uuid
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
from lxml import etree

from minispine.domain import nhs_number
from minispine.domain.identity import AuditId
from minispine.domain.operations import Operation
from minispine.domain.request import PdsRequest
from minispine.vocabulary import oids
from minispine.wire import itk, pds, soap

JSMITH = "urn:nhs-uk:identity:ods:RXX:jsmith"
ROBOT = "urn:nhs-uk:identity:ods:RXX:SYS:nightly"
LOCAL_ROOT = "2.16.840.1.113883.2.1.3.2.4.18.24"

PREFIXES = {
    "s": soap.SOAP,
    "wsa": soap.WSA,
    "wsse": soap.WSSE,
    "wsu": soap.WSU,
    "itk": soap.ITK,
    "v3": pds.HL7,
    "xsi": "http://www.w3.org/2001/XMLSchema-instance",
}

VERIFY = Operation.VERIFY_NHS_NUMBER
FIND = Operation.GET_NHS_NUMBER
BY_NUMBER = Operation.GET_PATIENT_DETAILS_BY_NHS_NUMBER
BY_SEARCH = Operation.GET_PATIENT_DETAILS_BY_SEARCH
EITHER = Operation.GET_PATIENT_DETAILS

_SCHEMAS = Path(__file__).parents[2] / "src/minispine/wire/schemas"
_OFFICIAL = {
    "verifyNHSNumberResponse-v1-0": "COMT_MT000013GB01",
    "getNHSNumberResponse-v1-0": "COMT_MT000014GB01",
    "getPatientDetailsResponse-v1-0": "COMT_MT000016GB01",
    "DistributionEnvelope": "distributionEnvelope-v2-0",
    "ToolkitErrorInfo": "ITKMessageTypes-2010-05",
}
_OURS = {
    "verifyNHSNumberResponse-v1-0": "pds-response",
    "getNHSNumberResponse-v1-0": "pds-response",
    "getPatientDetailsResponse-v1-0": "pds-response",
    "DistributionEnvelope": "itk-envelope",
    "ToolkitErrorInfo": "itk-error",
}


def new_id() -> str:
    return str(uuid.uuid4()).upper()


class Message:
    """One request: its operation, the ids that it carries, and its bytes."""

    def __init__(
        self,
        operation: Operation,
        *,
        identity: Any = JSMITH,
        identity_type: Any = oids.LOCAL_IDENTITY,
        created: Any = None,
        valid_s: Any = 600,
        **parameters: Any,
    ) -> None:
        """Ask `operation` with the `parameters` of a `PdsRequest`.

        `identity` is the uri of the one audit identity, or None for a message without; `created` an aware time, now by
        default. They are of type Any so that parameters can come out of any dict.
        """
        self.operation = operation
        self.message_id, self.tracking_id, self.payload_id = new_id(), new_id(), new_id()
        created = created or datetime.datetime.now(datetime.UTC)
        identities = () if identity is None else (AuditId(type=identity_type, uri=identity),)
        question = msgspec.convert({"operation": operation, **parameters}, PdsRequest)
        self.body = itk.write_request(
            pds.write_request(question, id=new_id()),
            operation=operation,
            message_id=self.message_id,
            tracking_id=self.tracking_id,
            payload_id=self.payload_id,
            to="https://smsp.example/smsp/pds",
            timestamp=soap.Timestamp(
                created=created, expires=created + datetime.timedelta(seconds=valid_s), id=new_id()
            ),
            username="A client",
            audit_identity=identities,
            sender_address="urn:nhs-uk:addressing:ods:RXX:client",
        )
        if not identities:
            self.edit(without(".//itk:auditIdentity"))

    @property
    def service(self) -> str:
        return pds.MESSAGES[self.operation].service

    def edit(self, *edits: "Edit") -> "Message":
        """Change the message by edits of its root, one after another."""
        root = etree.fromstring(self.body)
        for change in edits:
            change(root)
        self.body = etree.tostring(root)
        return self

    def replace(self, old: str, new: str) -> "Message":
        """Change the message's text, where editing XML cannot spoil it enough."""
        assert old.encode() in self.body
        self.body = self.body.replace(old.encode(), new.encode())
        return self


Edit = Callable[[etree._Element], object]


def found(root: etree._Element, path: str) -> list[Any]:
    """What an XPath with our prefixes finds: elements, or texts."""
    matches = root.xpath(path, namespaces=PREFIXES)
    assert isinstance(matches, list)
    return matches


def at(root: etree._Element, path: str) -> etree._Element:
    """The one element at an XPath."""
    (element,) = found(root, path)
    assert isinstance(element, etree._Element)
    return element


def setting(path: str, attribute: str, value: str | None) -> Edit:
    """Give an attribute another value, or take it away."""

    def edit(root: etree._Element) -> None:
        element = at(root, path)
        element.attrib.pop(attribute, "")
        if value is not None:
            element.set(attribute, value)

    return edit


def saying(path: str, text: str) -> Edit:
    """Change an element's text."""
    return lambda root: setattr(at(root, path), "text", text)


def without(path: str) -> Edit:
    """Drop an element; where auditIdentity was never written there is nothing to drop."""

    def edit(root: etree._Element) -> None:
        for element in found(root, path):
            element.getparent().remove(element)

    return edit


def twice(path: str) -> Edit:
    """Put a copy of an element beside it."""

    def edit(root: etree._Element) -> None:
        element = at(root, path)
        element.addnext(etree.fromstring(etree.tostring(element)))

    return edit


_NOBODYS = filter(nhs_number.is_valid, map(str, itertools.count(9434765919)))


def about_nobody() -> Message:
    """A question about a number that nobody has, each time another: the same one would only be asked once."""
    return Message(VERIFY, nhs_number=next(_NOBODYS), birth_date="20090310")


class Answer:
    """What came back: an HTTP status, headers in lower case, and the SOAP message taken apart."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body
        self._root = etree.fromstring(body) if headers.get("content-type", "").startswith("text/xml") else None

    def __repr__(self) -> str:
        return f"<{self.status} {self.code or self.fault}>"

    def texts(self, path: str) -> list[str]:
        assert self._root is not None
        return [str(text) for text in found(self._root, path)]

    def _text(self, path: str) -> str | None:
        return next(iter(self.texts(path)), None)

    @property
    def payload(self) -> etree._Element | None:
        return None if self._root is None else next(iter(found(self._root, "//itk:payload/*")), None)

    @property
    def code(self) -> str | None:
        """The response code of a business answer, None for a fault."""
        return None if self.payload is None else self._text("//itk:payload/*/v3:value/@code")

    @property
    def fault(self) -> str | None:
        """The code of a technical error, None for a business answer."""
        return None if self._root is None else self._text("//s:Fault/detail/itk:ToolkitErrorInfo/itk:ErrorCode/text()")

    @property
    def diagnostic(self) -> str | None:
        return self._text("//itk:ErrorDiagnosticText/text()")

    @property
    def number(self) -> str | None:
        return self._text("//itk:payload//v3:patient/v3:id[1]/@extension")

    @property
    def verified(self) -> bool | None:
        said = self._text("//v3:validIdentifier/v3:value/@value")
        return None if said is None else said == "true"

    def must_be_valid(self, corpus: Path | None) -> None:
        """Check everything with a schema in this answer by our schema and, where it is there, by the official one."""
        assert self._root is not None
        parts = [part for part in self._root.iter() if etree.QName(part).localname in _OURS]
        assert parts, "an answer without any part that has a schema"
        for part in parts:
            name = etree.QName(part).localname
            schemas = [_SCHEMAS / f"{_OURS[name]}.xsd"]
            if corpus is not None:
                schemas.append(corpus / f"itk/schemas/Schemas/{_OFFICIAL[name]}.xsd")
            alone = etree.fromstring(etree.tostring(part))
            for schema in schemas:
                assert _schema(schema).validate(alone), f"{name} is not valid by {schema.name}"


@cache
def _schema(path: Path) -> etree.XMLSchema:
    return etree.XMLSchema(etree.parse(path))
