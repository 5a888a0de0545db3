"""The library that calls a mini service provider, ours or anybody's: what a supplier would import.

Here: who asks (``identity.py``), the five PDS operations over ITK (``itk.py``), the answers (``answers.py``), the
connection (``connection.py``) and what can go wrong (``errors.py``). How a message looks is ``wire``'s business::

    async with ItkClient(url, connection=Connection(...), sender=Sender(...)) as client:
        answer = await client.verify_nhs_number(nhs_number="9449310467", birth_date="20090310", identity=user)
"""

from minispine.client.answers import Answer, FoundNumber, FoundPatient, Verification
from minispine.client.connection import Connection
from minispine.client.errors import (
    AnswerUnusable,
    Busy,
    ClientError,
    ConnectionFailed,
    FaultReceived,
    IdentityIncomplete,
    ProviderTrouble,
    RequestInvalid,
    RequestNotSent,
    TimedOut,
)
from minispine.client.identity import (
    AuditIdentity,
    AutomatedFunction,
    LocalUser,
    Smartcard,
    SystemAsid,
    parse_identity,
)
from minispine.client.itk import ItkClient, Sender

__all__ = [
    "Answer",
    "AnswerUnusable",
    "AuditIdentity",
    "AutomatedFunction",
    "Busy",
    "ClientError",
    "Connection",
    "ConnectionFailed",
    "FaultReceived",
    "FoundNumber",
    "FoundPatient",
    "IdentityIncomplete",
    "ItkClient",
    "LocalUser",
    "ProviderTrouble",
    "RequestInvalid",
    "RequestNotSent",
    "Sender",
    "Smartcard",
    "SystemAsid",
    "TimedOut",
    "Verification",
    "parse_identity",
]
