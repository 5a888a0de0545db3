"""Reading a query and holding it against Spine 2's request rules, in Spine's order and by Spine's names.

What each broken rule is answered with is the table `RULES`. Whether the sender is known or the id was used before is
the exchange's affair, not this module's. Messages are read by local name.
"""

from collections.abc import Callable
from typing import Final, Literal, NamedTuple

import msgspec

from minispine.simulator.matching import CrossCheck, Query, Retrieval, Trace
from minispine.vocabulary import oids
from minispine.wire import xml

HL7: Final = "urn:hl7-org:v3"
SOAP: Final = "http://schemas.xmlsoap.org/soap/envelope/"
WSA: Final = "http://schemas.xmlsoap.org/ws/2004/08/addressing"

MAX_BYTES: Final = 4_999_600
"""The largest request a national message handler sends."""

Layer = Literal["fault", "reject", "query"]
"""How a broken rule is answered: a SOAP fault, an MCCI acknowledgement, or a QUQI business answer."""


class Rule(NamedTuple):
    """What breaking a rule is answered with. `code` is Spine's where it is known, else the nearest that is."""

    layer: Layer
    code: str
    text: str


RULES: Final[dict[str, Rule]] = {
    "MESSAGE_NOT_WELL_FORMED": Rule("fault", "201", "The message is not well formed"),
    "SOAP_MESSAGE_ID_ERROR": Rule("fault", "300", "SOAP MessageID error"),
    "SOAP_ACTION_ERROR": Rule("fault", "300", "SOAP Action error"),
    "SOAP_TO_ERROR": Rule("fault", "300", "SOAP To error"),
    "SOAP_COMM_FUNC_RCV_ERROR": Rule("fault", "300", "SOAP communicationFunctionRcv error"),
    "SOAP_COMM_FUNC_SND_ERROR": Rule("fault", "300", "SOAP communicationFunctionSnd error"),
    "INTERACTION_NOT_SUPPORTED": Rule("fault", "101", "The service/interaction is not supported for the requested URI"),
    "INVALID_ID": Rule("reject", "GE002", "Invalid message id"),
    "INVALID_CREATION_TIME": Rule("reject", "GE002", "Invalid creation time"),
    "INVALID_VERSION_CODE": Rule("reject", "GE002", "Invalid version code"),
    "INVALID_CONTROL_ACT": Rule("reject", "GE002", "Invalid control act"),
    "CONTROL_ACT_AUTHOR_INVALID": Rule("reject", "GE002", "Control act author invalid"),
    "CONTROL_ACT_AUTHOR_INVALID_CARDINALITY": Rule("reject", "GE002", "Control act author invalid cardinality"),
    "CONTROL_ACT_AUTHOR_AGENT_INVALID": Rule("reject", "GE002", "Control act author agent invalid"),
    "CONTROL_ACT_AUTHOR_AGENT2_INVALID": Rule("reject", "GE002", "Control act author second agent invalid"),
    "CONTROL_ACT_QUERY_INVALID": Rule("reject", "GE002", "Control act query invalid"),
    "INCONSISTENT_HL7_INTERACTION_ID": Rule("reject", "GE002", "Inconsistent HL7 interaction id"),
    "INCONSISTENT_COMM_FUNC_RCV": Rule(
        "reject", "519", "communicationFunctionRcv device id is not [1..1] or inconsistent with the SOAP header"
    ),
    "INCONSISTENT_COMM_FUNC_SND": Rule("reject", "GE002", "communicationFunctionSnd inconsistent with the SOAP header"),
    "RECEIVER_UNKNOWN": Rule(
        "reject", "506", "communicationFunctionRcv device id is missing, empty, invalid or an ACL violation"
    ),
    "SENDER_UNKNOWN": Rule("reject", "506", "communicationFunctionSnd device id is invalid or an ACL violation"),
    "DUPLICATE_ID": Rule("reject", "202", "Duplicate HL7 ID Error"),
    "MISSING_BIRTH_TIME": Rule("query", "AT002", "Missing mandatory search field - birthTime"),
    "MISSING_FAMILY": Rule("query", "AT002", "Missing mandatory search field - name.family"),
    "MISSING_GENDER": Rule("query", "AT002", "Missing mandatory search field - administrativeGenderCode"),
    "DATE_OF_BIRTH_MISSING": Rule("query", "AT002", "Missing mandatory search field - date of birth"),
    "MISSING_NHS_NUMBER": Rule("query", "AT002", "Missing mandatory search field - NHS Number"),
    "NOT_NEW_STYLE_NHS_NUMBER": Rule("query", "42", "Not a new style NHS Number"),
    "INVALID_NAME_FORMAT": Rule("query", "GE002", "Invalid name format"),
    "INVALID_HISTORIC_DATA_INDICATOR": Rule("query", "GE002", "Invalid historic data indicator"),
    "NHS_NUMBER_UNSPECIFIED": Rule("query", "AT002", "Missing mandatory search field - NHS Number unspecified"),
    "INVALID_NHS_NUMBER": Rule("query", "GE002", "Invalid NHS Number"),
}


class Author(msgspec.Struct, frozen=True):
    """The person on whose behalf a query was sent."""

    role_profile: str
    user: str
    role: str


class Heading(msgspec.Struct, kw_only=True):
    """What could be read of a query before anything in it was found wrong; absent parts are None."""

    interaction: str | None = None
    message_id: str | None = None
    hl7_id: str | None = None
    sender: str | None = None
    receiver: str | None = None
    author: Author | None = None


class Broken(Exception):
    """The query breaks a rule of `RULES`; `heading` is what had been read by then."""

    def __init__(self, rule: str, heading: Heading) -> None:
        super().__init__(rule)
        self.rule = rule
        self.heading = heading


def read(body: bytes) -> tuple[Heading, Query]:
    """Read a query.

    Raises:
        Broken: it is no query that this Spine answers; the first broken rule is named.
    """
    heading = Heading()
    try:
        envelope = xml.parse(body, max_bytes=MAX_BYTES)
    except xml.XmlRefused:
        raise Broken("MESSAGE_NOT_WELL_FORMED", heading) from None
    return heading, _Reader(heading).query(envelope)


class _Reader:
    def __init__(self, heading: Heading) -> None:
        self.heading = heading

    def need(self, held: object, rule: str) -> None:
        if not held:
            raise Broken(rule, self.heading)

    def query(self, envelope: xml.Element) -> Query:
        heading = self.heading
        self.need(envelope.tag == xml.name(SOAP, "Envelope"), "MESSAGE_NOT_WELL_FORMED")
        headers = envelope.findall(xml.name(SOAP, "Header"))
        bodies = envelope.findall(xml.name(SOAP, "Body"))
        self.need(len(headers) == 1 and len(bodies) == 1 and len(bodies[0]) == 1, "MESSAGE_NOT_WELL_FORMED")
        header, message = headers[0], bodies[0][0]
        heading.interaction = _text(header, WSA, "Action").rpartition("/")[2] or None
        heading.message_id = _text(header, WSA, "MessageID").removeprefix("uuid:") or None
        heading.sender = _asid(header, "communicationFunctionSnd")
        heading.receiver = _asid(header, "communicationFunctionRcv")
        self._header(header)
        heading.hl7_id = _attribute(message, "root", "id")
        heading.author = _author(message)
        read_query = QUERIES.get(xml.local_name(message))
        if read_query is None:
            raise Broken("INTERACTION_NOT_SUPPORTED", heading)
        return read_query(self, self._message(header, message))

    def _header(self, header: xml.Element) -> None:
        self.need(len(_text(header, WSA, "MessageID")) == 41, "SOAP_MESSAGE_ID_ERROR")
        self.need(len(header.findall(xml.name(WSA, "Action"))) == 1, "SOAP_ACTION_ERROR")
        self.need(_text(header, WSA, "To") and len(header.findall(xml.name(WSA, "To"))) == 1, "SOAP_TO_ERROR")
        self.need(self.heading.receiver, "SOAP_COMM_FUNC_RCV_ERROR")
        self.need(self.heading.sender, "SOAP_COMM_FUNC_SND_ERROR")

    def _message(self, header: xml.Element, message: xml.Element) -> xml.Element:
        """Check the message around the query, and give the query."""
        need = self.need
        need(len(_all(message, "id")) == 1 and self.heading.hl7_id, "INVALID_ID")
        need(_attribute(message, "value", "creationTime"), "INVALID_CREATION_TIME")
        need(_attribute(message, "code", "versionCode"), "INVALID_VERSION_CODE")
        acts = _all(message, "ControlActEvent")
        need(len(acts) == 1, "INVALID_CONTROL_ACT")
        act = acts[0]
        need(len(_all(act, "author")) <= 1, "CONTROL_ACT_AUTHOR_INVALID")
        systems = _all(act, "author1")
        need(len(systems) in (1, 2), "CONTROL_ACT_AUTHOR_INVALID_CARDINALITY")
        queries = _all(act, "query")
        need(len(queries) == 1 and len(queries[0]), "CONTROL_ACT_QUERY_INVALID")
        interaction = _rooted(message, oids.INTERACTION, "interactionId")
        need(
            interaction == self.heading.interaction == xml.local_name(message),
            "INCONSISTENT_HL7_INTERACTION_ID",
        )
        need(_asid(message, "communicationFunctionRcv") == self.heading.receiver, "INCONSISTENT_COMM_FUNC_RCV")
        need(_asid(message, "communicationFunctionSnd") == self.heading.sender, "INCONSISTENT_COMM_FUNC_SND")
        need(not _all(act, "author") or self.heading.author, "CONTROL_ACT_AUTHOR_INVALID")
        system = ("AgentSystemSDS", "agentSystemSDS", "id")
        need(_rooted(systems[0], oids.ASID, *system), "CONTROL_ACT_AUTHOR_AGENT_INVALID")
        if len(systems) == 2:
            need(_attribute(systems[1], "extension", *system), "CONTROL_ACT_AUTHOR_AGENT2_INVALID")
        return queries[0]

    def trace(self, query: xml.Element) -> Query:
        birth = _value(query, "value", "person.birthTime")
        self.need(birth is not None, "MISSING_BIRTH_TIME")
        families = _all(query, "person.name", "value", "family")
        self.need(len(families) == 1 and _content(families[0]), "MISSING_FAMILY")
        gender = _value(query, "code", "person.administrativeGenderCode")
        self.need(gender in ("0", "1", "2", "9"), "MISSING_GENDER")
        return Trace(
            gender=gender or "",
            birth_time=birth or "",
            family=_content(families[0]),
            given=_given(query),
            postcode=_first(query, "person.address", "value", "postalCode"),
            paf_key=_first(query, "person.address", "value", "addressKey"),
            deceased_time=_value(query, "value", "person.deceasedTime"),
        )

    def cross_check(self, query: xml.Element) -> Query:
        births = _all(query, "person.birthTime", "value")
        self.need(len(births) == 1 and births[0].get("value"), "DATE_OF_BIRTH_MISSING")
        numbers = _all(query, "person.id", "value")
        self.need(len(numbers) == 1 and numbers[0].get("extension"), "MISSING_NHS_NUMBER")
        self.need(numbers[0].get("root") == oids.NHS_NUMBER, "NOT_NEW_STYLE_NHS_NUMBER")
        families = _all(query, "person.name", "value", "family")
        given = _all(query, "person.name", "value", "given")
        self.need(len(families) <= 1 and len(given) <= 1, "INVALID_NAME_FORMAT")
        return CrossCheck(
            nhs_number=numbers[0].get("extension", ""),
            birth_time=births[0].get("value", ""),
            family=_content(families[0]) if families else None,
            given=_given(query),
        )

    def retrieval(self, query: xml.Element) -> Query:
        history = _value(query, "code", "historicDataIndicator")
        self.need(history in ("0", "1"), "INVALID_HISTORIC_DATA_INDICATOR")
        numbers = _all(query, "person.id", "value")
        named = len(numbers) == 1 and numbers[0].get("root") == oids.NHS_NUMBER
        self.need(named and numbers[0].get("extension") is not None, "NHS_NUMBER_UNSPECIFIED")
        number = numbers[0].get("extension", "")
        self.need(len(number) == 10, "INVALID_NHS_NUMBER")
        return Retrieval(nhs_number=number, items=bool(_all(query, "retrievalItem")), history=history == "1")


QUERIES: Final[dict[str, Callable[[_Reader, xml.Element], Query]]] = {
    "QUPA_IN000005UK01": _Reader.trace,
    "QUPA_IN000014UK01": _Reader.cross_check,
    "QUPA_IN000008UK02": _Reader.retrieval,
}
"""The interactions this Spine answers."""


def _all(element: xml.Element, *path: str) -> list[xml.Element]:
    return element.findall("/".join(xml.name(HL7, step) for step in path))


def _content(element: xml.Element) -> str:
    return " ".join((element.text or "").split())


def _text(element: xml.Element, namespace: str, local: str) -> str:
    return (element.findtext(xml.name(namespace, local)) or "").strip()


def _first(element: xml.Element, *path: str) -> str | None:
    found = _all(element, *path)
    return (_content(found[0]) or None) if found else None


def _attribute(element: xml.Element, attribute: str, *path: str) -> str | None:
    found = _all(element, *path)
    return (found[0].get(attribute) or None) if found else None


def _value(query: xml.Element, attribute: str, parameter: str) -> str | None:
    return _attribute(query, attribute, parameter, "value")


def _given(query: xml.Element) -> tuple[str, ...]:
    return tuple(filter(None, map(_content, _all(query, "person.name", "value", "given"))))


def _rooted(element: xml.Element, root: str, *path: str) -> str | None:
    """Give the extension of the one id with this root."""
    found = [each for each in _all(element, *path) if each.get("root") == root]
    return (found[0].get("extension") or None) if len(found) == 1 else None


def _asid(element: xml.Element, function: str) -> str | None:
    return _rooted(element, oids.ASID, function, "device", "id")


def _author(message: xml.Element) -> Author | None:
    """Give the person, where all three of their ids are there."""
    agents = _all(message, "ControlActEvent", "author", "AgentPersonSDS")
    if len(agents) != 1:
        return None
    profile = _rooted(agents[0], oids.ROLE_PROFILE, "id")
    user = _rooted(agents[0], oids.USER_ID, "agentPersonSDS", "id")
    role = _rooted(agents[0], oids.ROLE, "part", "partSDSRole", "id")
    return Author(profile, user, role) if profile and user and role else None
