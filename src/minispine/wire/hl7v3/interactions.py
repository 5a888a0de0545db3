"""Which interaction asks which question, and which ones may answer it."""

from typing import Final, Protocol

from minispine.domain.question import CrossCheck, Question, Retrieval, Trace

HL7: Final = "urn:hl7-org:v3"
SERVICE: Final = "urn:nhs:names:services:pdsquery"
VERSION: Final = "3NPfIT6.3.01"

_ASKED_BY: Final[dict[type[Question], str]] = {
    CrossCheck: "QUPA_IN000014UK01",
    Trace: "QUPA_IN000005UK01",
    Retrieval: "QUPA_IN000008UK02",
}

ANSWERED_BY: Final[dict[type[Question], frozenset[str]]] = {
    CrossCheck: frozenset({"QUPA_IN000015"}),
    Trace: frozenset({"QUPA_IN000007", "QUPA_IN030000"}),
    Retrieval: frozenset({"QUPA_IN000009", "QUPA_IN050000"}),
}
"""Answers with data, without the ``UKnn`` that tells the versions of one interaction apart."""

QUERY_REFUSED: Final = "QUQI_IN010000"
MESSAGE_REFUSED: Final = "MCCI_IN010000"


class Ids(Protocol):
    """The two ids of one message: upper-case UUIDs without prefix, for the SOAP header and for the HL7 message."""

    @property
    def message_id(self) -> str:
        """What wsa:MessageID says after ``uuid:``; comes back in RelatesTo."""

    @property
    def hl7_id(self) -> str:
        """The root of the message's id; comes back in messageRef."""


def interaction(question: Question) -> str:
    """Give the id of the interaction that asks the question."""
    return _ASKED_BY[type(question)]


def action(question: Question) -> str:
    """Give what SOAPAction and wsa:Action say."""
    return f"{SERVICE}/{interaction(question)}"
