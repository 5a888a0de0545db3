"""The answers of the five operations, as a caller can safely use them.

The response code is believed first: demographics, a number or a verification are only handed on under a code that
says success (SMSP-0000, or SMSP-0003 from the provider's own store). Unknown codes are kept and are no success.
"""

import datetime
from typing import Final

import msgspec

from minispine.domain.patient import Patient
from minispine.domain.request import LocalIdentifier
from minispine.vocabulary.codes import UnknownCode, shipped_vocabulary

SUCCESS: Final = frozenset({"SMSP-0000", "SMSP-0003"})
SUPERSEDED: Final = "DEMOG-0017"


class Exchange(msgspec.Struct, frozen=True, kw_only=True):
    """The ids and times of one call, for the caller's own audit trail (MSCA-AUD-03), and both messages as sent.

    `answer_message_id` is None where the provider gave its answer no id.
    """

    message_id: str
    tracking_id: str
    answer_message_id: str | None
    sent_at: datetime.datetime
    received_at: datetime.datetime
    sent: bytes
    received: bytes


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What every operation answers: a response code, and the replacement number where the number was superseded."""

    code: str
    replacement_nhs_number: str | None
    exchange: Exchange

    @property
    def success(self) -> bool:
        """Whether the question was answered."""
        return self.code in SUCCESS

    @property
    def text(self) -> str:
        """What the code means, in the words of the vocabulary (a message carries the code alone)."""
        try:
            return shipped_vocabulary("pds").text(self.code)
        except UnknownCode:
            return "a response code that this client does not know"


class Verification(Answer, frozen=True, kw_only=True):
    """Whether the number is the person's; None where the provider could not say."""

    verified: bool | None


class FoundNumber(Answer, frozen=True, kw_only=True):
    """The person's NHS number, None where nobody or more than one was found."""

    nhs_number: str | None
    local_identifier: LocalIdentifier | None


class FoundPatient(Answer, frozen=True, kw_only=True):
    """The person's NHS number and demographics, None where nobody or more than one was found."""

    nhs_number: str | None
    patient: Patient | None
    local_identifier: LocalIdentifier | None
