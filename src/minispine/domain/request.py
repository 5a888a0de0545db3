"""What a mini service is asked, and what it replies, free of any message format."""

from typing import Literal

import msgspec

from minispine.domain.operations import Operation
from minispine.domain.patient import Patient


class LocalIdentifier(msgspec.Struct, frozen=True):
    """The caller's own identifier of the patient: never sent to Spine, echoed beside the NHS number (D26)."""

    root: str
    extension: str


class PdsRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The parameters of any of the five PDS operations, already checked and normalised.

    `birth_date` is YYYYMMDD, or for getNHSNumber also YYYYMM or YYYY (D1). `family`, `given` and `postcode` may
    end in a wildcard ``*`` in a search. What an operation does not take, or the caller left out, is None.
    Names and postcode are upper case, trimmed, with single blanks.
    """

    operation: Operation
    birth_date: str
    nhs_number: str | None = None
    family: str | None = None
    given: str | None = None
    gender: str | None = None
    postcode: str | None = None
    local_identifier: LocalIdentifier | None = None


class InvalidInput(msgspec.Struct, frozen=True):
    """A parameter that may not go to Spine: answered SMSP-0001 (SMSP-VAL-001 b).

    `field` is the interface's name of the parameter and `reason` a fixed phrase; neither holds what was sent.
    """

    field: str
    reason: str


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What the caller is told, before it is written in a message format.

    `code` is a response code of the vocabulary. `nhs_number` goes into the subject's id. `verified` is the answer of
    verifyNHSNumber and None elsewhere. `patient` is present only when demographics are disclosed.
    """

    code: str
    nhs_number: str | None = None
    verified: bool | None = None
    patient: Patient | None = None
    local_identifier: LocalIdentifier | None = None


Source = Literal["spine", "local", "cache"]
"""Where an answer came from (SMSP-AUDIT-006): Spine was asked, it was decided here, or it was kept from before."""
