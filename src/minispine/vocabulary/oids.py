"""The object identifiers and URNs of the messages, each by the name the field uses."""

from typing import Final

NHS_NUMBER: Final = "2.16.840.1.113883.2.1.4.1"
ODS_SPINE: Final = "2.16.840.1.113883.2.1.4.3"
"""An organisation in a message from Spine."""
ODS_SITE: Final = "2.16.840.1.113883.2.1.3.2.4.19.2"
"""A practice in the answer of a mini service."""
GENDER: Final = "2.16.840.1.113883.2.1.3.2.4.16.25"
CONFIDENTIALITY: Final = "2.16.840.1.113883.2.1.3.2.4.16.1"

MESSAGE_TYPE: Final = "2.16.840.1.113883.2.1.3.2.4.17.284"
VERIFIED_IDENTIFIER: Final = "2.16.840.1.113883.2.1.3.2.4.17.287"

ASID: Final = "1.2.826.0.1285.0.2.0.107"
USER_ID: Final = "1.2.826.0.1285.0.2.0.65"
ROLE_PROFILE: Final = "1.2.826.0.1285.0.2.0.67"
ROLE: Final = "1.2.826.0.1285.0.2.1.104"
ROLE_ALTERNATIVE: Final = "1.2.826.0.1285.0.2.0.108"
"""Sent by one known client for the role (D17)."""
LOCAL_IDENTITY: Final = "2.16.840.1.113883.2.1.3.2.4.18.27"

INTERACTION: Final = "2.16.840.1.113883.2.1.3.2.4.12"
PDS_REASON: Final = "2.16.840.1.113883.2.1.3.2.4.17.42"
TMS_ACKNOWLEDGEMENT: Final = "2.16.840.1.113883.2.1.3.2.4.17.32"
HISTORIC_DATA: Final = "2.16.840.1.113883.2.1.3.2.4.17.36"
CARE_PROVISION: Final = "2.16.840.1.113883.2.1.3.2.4.17.37"
