"""The one place that parses, validates and writes XML (Law 7).

What is refused: a document type declaration, entities other than XML's five, bytes that are not UTF-8, more bytes
or deeper nesting than allowed. Nothing is ever fetched. Other modules use `Element` as an opaque type together
with the functions below, and never import an XML library.
"""

import re
from collections.abc import Iterable, Iterator
from copy import deepcopy
from functools import cache
from importlib.resources import files
from typing import Final, Literal, NamedTuple

from lxml import etree

Element = etree._Element

MAX_BYTES: Final = 1024 * 1024
MAX_DEPTH: Final = 64

MAX_TAGS: Final = 10_000
MAX_DECLARATIONS: Final = 500
MAX_ATTRIBUTES: Final = 10_000
"""Some things that the XML library does take time that grows with the square of these. A record of Spine with its whole
history has 2,100 tags, and no message known 50 namespace declarations."""

Reason = Literal[
    "the message is larger than allowed",
    "a document type declaration is not allowed",
    "the message is not well-formed XML in UTF-8",
    "the message is nested too deeply",
    "the message has more elements or attributes than allowed",
]

_STEP: Final = re.compile(r"(?P<name>[^\[\]@]+)(\[(?P<position>[0-9]+)\])?")
_TOO_DEEP = etree.XPath("boolean(" + "/*" * (MAX_DEPTH + 1) + ")")
_PARSER: Final = etree.XMLParser(
    encoding="utf-8",
    resolve_entities=False,
    load_dtd=False,
    no_network=True,
    huge_tree=False,
    remove_comments=True,
    remove_pis=True,
)
"""For every document from outside; it keeps nothing of one document for the next, and locks itself."""


class XmlRefused(Exception):
    """The bytes are not XML that we read; `reason` is a fixed phrase that holds nothing of the bytes."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason: Final = reason


class Invalid(NamedTuple):
    """One way in which a document breaks its schema: where, and which rule; never the value.

    `path` holds the local names from the document's root to the place, as the document spells them: a name that the
    schema does not know is the writer's own text, so compare names with known ones rather than repeat them.
    """

    path: tuple[str, ...]
    rule: str


def parse(body: bytes, *, max_bytes: int = MAX_BYTES) -> Element:
    """Read a document into an element tree, with comments and processing instructions left out.

    The bytes are read as UTF-8 whatever an HTTP header or the XML declaration says, because real clients mislabel it.

    Raises:
        XmlRefused: not well formed, or one of the refusals named at the top of this module.
    """
    if len(body) > max_bytes:
        raise XmlRefused("the message is larger than allowed")
    if b"<!DOCTYPE" in body:
        raise XmlRefused("a document type declaration is not allowed")
    if body.count(b"<") > MAX_TAGS or body.count(b"xmlns") > MAX_DECLARATIONS or body.count(b"=") > MAX_ATTRIBUTES:
        raise XmlRefused("the message has more elements or attributes than allowed")
    try:
        root = etree.fromstring(body, _PARSER)
    except (etree.XMLSyntaxError, ValueError):
        raise XmlRefused("the message is not well-formed XML in UTF-8") from None
    if root.getroottree().docinfo.doctype:  # type: ignore[union-attr]
        raise XmlRefused("a document type declaration is not allowed")
    if _TOO_DEEP(root):
        raise XmlRefused("the message is nested too deeply")
    return root


class Schema:
    """A compiled XML schema of ours."""

    def __init__(self, compiled: etree.XMLSchema) -> None:
        self._compiled = compiled

    def first_error(self, element: Element) -> Invalid | None:
        """Say where `element`, taken as a document of its own, first breaks the schema; None when it is valid."""
        if self._compiled.validate(element):
            return None
        error = self._compiled.error_log[0]  # type: ignore[index]
        return Invalid(path=_names_along(element, error.path), rule=error.type_name.removeprefix("SCHEMAV_").lower())


def _names_along(element: Element, path: str | None) -> tuple[str, ...]:
    """Follow a path such as ``/*/itk:header/*[2]`` from its first step, which is `element`, as far as it leads.

    The path names no element whose prefix is the default one; libxml2 then counts all elements, else namesakes.
    """
    names = [local_name(element)]
    for step in (path or "").split("/")[2:]:
        match = _STEP.fullmatch(step)
        if match is None:
            break
        prefixed, position = match["name"], int(match["position"] or 1)
        local = prefixed.rpartition(":")[2]
        namesakes = [child for child in element if prefixed == "*" or local_name(child) == local]
        if position > len(namesakes):
            break
        element = namesakes[position - 1]
        names.append(local_name(element))
    return tuple(names)


@cache
def schema(name: str) -> Schema:
    """Load and compile ``wire/schemas/<name>.xsd`` once per process."""
    source = files("minispine.wire") / "schemas" / f"{name}.xsd"
    parser = etree.XMLParser(resolve_entities=False, no_network=True)
    return Schema(etree.XMLSchema(etree.fromstring(source.read_bytes(), parser, base_url=str(source))))


def schema_document(name: str) -> Element:
    """Give the document ``wire/schemas/<name>.xsd`` itself, for a description of the service to hold."""
    return parse((files("minispine.wire") / "schemas" / f"{name}.xsd").read_bytes())


def name(namespace: str, local: str) -> str:
    """Write a qualified name as the element tree knows it: ``{namespace}local``."""
    return f"{{{namespace}}}{local}"


def local_name(element: Element) -> str:
    """Give the name without its namespace."""
    return element.tag.rpartition("}")[2]


def child(element: Element, tag: str) -> Element | None:
    """Give the first child of that qualified name, None when there is none."""
    return next(element.iterchildren(tag), None)


def children(element: Element, tag: str) -> Iterator[Element]:
    """Give the children of that qualified name in order."""
    return element.iterchildren(tag)


def descendants(element: Element) -> Iterator[Element]:
    """Give every element below this one, in document order."""
    return element.iterdescendants()


def text(element: Element | None) -> str:
    """Give the text before the first child, without blanks around it; empty when there is no element or no text."""
    return (element.text or "").strip() if element is not None else ""


def attribute(element: Element, name: str) -> str:
    """Give an attribute without blanks around it; empty when there is none."""
    return element.get(name, "").strip()


def root(tag: str, nsmap: dict[str | None, str], attributes: dict[str, str] | None = None) -> Element:
    """Start a document; `nsmap` gives the prefixes it declares."""
    return etree.Element(tag, attributes or {}, nsmap=nsmap)  # type: ignore[arg-type]  # the stubs leave out the default namespace


def add(
    parent: Element,
    tag: str,
    attributes: dict[str, str] | None = None,
    text: str | None = None,
    *,
    nsmap: dict[str | None, str] | None = None,
) -> Element:
    """Append a child and return it.

    Raises:
        ValueError: a text or attribute holds a character that XML cannot carry.
    """
    child = etree.SubElement(parent, tag, attributes or {}, nsmap=nsmap)  # type: ignore[arg-type]
    if text is not None:
        child.text = text
    return child


def extend(parent: Element, children: Iterable[Element]) -> None:
    """Append ready-made elements."""
    parent.extend(children)


def copy(document: Element) -> Element:
    """Give a copy of a whole document, to be filled in and changed while the original stays as it is."""
    return deepcopy(document)


def to_bytes(element: Element, *, pretty: bool = False) -> bytes:
    """Write the document in UTF-8 with an XML declaration."""
    return etree.tostring(element, encoding="UTF-8", xml_declaration=True, pretty_print=pretty)
