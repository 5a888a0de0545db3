"""Every small way of spoiling an XML document, one at a time: for comparing two schemas that should say the same."""

import copy
from collections.abc import Callable, Iterator

from lxml import etree

HL7 = "urn:hl7-org:v3"
XSI = "http://www.w3.org/2001/XMLSchema-instance"

VALUES = (
    "", " ", "x", "X", "0", "1", "2", "3", "9", "01", "true", "false", " true ", "TRUE", "a b", "x:y", "tel:",
    "tel:1 2", "TEL:1", "mailto:a@b.c", "http://[", "%", "1.2.3", "1..2", "1.2.", "A-1", "-A", "H", "HP", "H TMP",
    "H  PST", "L",
    "NI", "MSK", "QS", "TRC", "NAV", "added", "B64", "TXT", "SHA-256", "GZ", "FAM", "GIV", "ZIP", "COMP", "EVN", "OBS",
    "2009", "200903", "20090310", "2009-03-10", "200903101", "20090310120000", "20090310120000.5", "200903101200.5",
    "20090310120000+01", "20090310120000+01000", "20090310Z", "20090310\n", "a000000f-aaaa-4bbb-8ccc-00000000000f",
    "A000000F-AAAA-4BBB-8CCC-00000000000F", "A000000FAAAA4BBB8CCC00000000000F", "uuid_x", "1x", "é", "urn:a b", "+1",
    "1.0",
)  # fmt: skip
"""What is put in the place of every attribute's value."""

ATTRIBUTES = (
    "unknown", "nullFlavor", "updateMode", "displayName", "codeSystemName", "codeSystemVersion", "extension", "root",
    "assigningAuthorityName", "displayable", "use", "value", "code", "codeSystem", "classCode", "moodCode", "typeCode",
    "determinerCode", "partType", "qualifier", "representation", "mediaType", "language", "compression",
    "integrityCheck", "integrityCheckAlgorithm", "operator", "inclusive", "unit", "type", "uri", "id", "filename",
    "metadata", "profileid", "count", "{urn:other}a", "{urn:nhs-itk:ns:201005}a",
    "{http://www.w3.org/XML/1998/namespace}lang", f"{{{XSI}}}nil", f"{{{XSI}}}schemaLocation", f"{{{XSI}}}type",
)  # fmt: skip
"""What is added to every element that lacks it."""

ATTRIBUTE_VALUES = ("x", "1", "true", "NI", "MSK", "H", "GIV", "a b")

CHILDREN = (
    "unknown", "realmCode", "typeId", "templateId", "id", "code", "value", "name", "given", "family", "prefix",
    "suffix",
    "delimiter", "validTime", "postalCode", "streetAddressLine", "telecom", "addr", "reference", "thumbnail",
    "useablePeriod", "low", "high", "width", "center", "translation", "originalText", "semanticsText", "queryEvent",
    "subject", "patient", "component", "Person.Name", "Person.Postcode", "{urn:other}a", "{}a",
    "{urn:nhs-itk:ns:201005}address", "{urn:nhs-itk:ns:201005}spec",
)  # fmt: skip
"""What is put before and after the content of every element."""

Mutation = tuple[str, Callable[[etree._Element], None]]


def mutants(seed: etree._Element) -> Iterator[tuple[str, etree._Element]]:
    """Give every mutant of the seed with a word on what was done to it; each is a tree of its own."""
    for index, element in enumerate(seed.iter()):
        for word, mutate in _mutations(element, is_root=element is seed):
            mutant = copy.deepcopy(seed)
            target = next(each for position, each in enumerate(mutant.iter()) if position == index)
            mutate(target)
            yield f"{etree.QName(element).localname}: {word}", mutant


def _mutations(element: etree._Element, *, is_root: bool) -> Iterator[Mutation]:
    namespace = etree.QName(element).namespace
    if not is_root:
        yield "drop", lambda e: e.getparent().remove(e)
        yield "duplicate", lambda e: e.addnext(copy.deepcopy(e))
        yield "move last", lambda e: e.getparent().append(e)
        yield "move first", lambda e: e.getparent().insert(0, e)
        yield "text after", lambda e: setattr(e, "tail", "x")
        for sibling in element.getparent():
            if sibling.tag != element.tag:
                yield f"rename to {sibling.tag}", lambda e, tag=sibling.tag: setattr(e, "tag", tag)  # type: ignore[misc]
    for tag in ("unknown", f"{{{namespace}}}unknown", f"{{urn:other}}{etree.QName(element).localname}"):
        yield f"rename to {tag}", lambda e, tag=tag: setattr(e, "tag", tag)  # type: ignore[misc]
    yield "empty", lambda e: e.__delitem__(slice(None))
    for text in ("x", " ", "Person.Name", None):
        yield f"text {text!r}", lambda e, text=text: setattr(e, "text", text)  # type: ignore[misc]
    for name in element.keys():  # noqa: SIM118 - an element is not a mapping
        yield f"without @{name}", lambda e, name=name: e.attrib.pop(name)  # type: ignore[misc]
        for value in VALUES:
            yield f"@{name}={value!r}", lambda e, name=name, value=value: e.set(name, value)  # type: ignore[misc]
    for position, name in enumerate(ATTRIBUTES, len(element.tag)):
        if name not in element.attrib:
            # Three values each, other ones for the next attribute and the next element: all would take too long.
            for value in (ATTRIBUTE_VALUES * 2)[position % len(ATTRIBUTE_VALUES) :][:3]:
                yield f"with @{name}={value!r}", lambda e, name=name, value=value: e.set(name, value)  # type: ignore[misc]
    for child in CHILDREN:
        tag = child if child.startswith("{") else f"{{{namespace}}}{child}"
        tag = tag.removeprefix("{}")
        yield f"first child {child}", lambda e, tag=tag: e.insert(0, etree.Element(tag))  # type: ignore[misc]
        yield f"last child {child}", lambda e, tag=tag: e.append(etree.Element(tag))  # type: ignore[misc]
