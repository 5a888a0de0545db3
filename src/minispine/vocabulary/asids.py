"""The table from an organisation to the accredited system id (ASID) it is known to Spine by (SMSP-IG-003).

A document is ``{"RXX": "200000000999", ...}``: the ODS code of an organisation, and the ASID that its messages carry.
Nothing ships: an organisation that is not in the operator's own table cannot be asked for.
"""

import re
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Final

from minispine.domain.organisation import is_ods_code
from minispine.vocabulary.tables import TableInvalid

ASID: Final = re.compile(r"[0-9]{12}")


class Asids:
    """Organisations and their ASIDs, looked up either way."""

    __slots__ = ("_asids", "_organisations")

    def __init__(self, asids: Mapping[str, str]) -> None:
        self._asids = dict(asids)
        shared: dict[str, list[str]] = defaultdict(list)
        for ods_code, asid in asids.items():
            shared[asid].append(ods_code)
        self._organisations = {asid: codes[0] for asid, codes in shared.items() if len(codes) == 1}

    def asid(self, ods_code: str) -> str | None:
        """Give the ASID that messages for this organisation carry; None when it has none."""
        return self._asids.get(ods_code)

    def organisation(self, asid: str) -> str | None:
        """Give the ODS code of the one organisation with this ASID; None when there is none, or more than one."""
        return self._organisations.get(asid)

    def __len__(self) -> int:
        return len(self._asids)


def load_asids(document: Mapping[str, Any]) -> Asids:
    """Read the table.

    Raises:
        TableInvalid: a key is not an ODS code, or a value not an ASID of twelve digits; `key` is the ODS code.
    """
    for ods_code, asid in document.items():
        if not is_ods_code(ods_code):
            raise TableInvalid(ods_code, "is not an ODS code (3 to 10 capital letters and digits)")
        if not isinstance(asid, str) or not ASID.fullmatch(asid):
            raise TableInvalid(ods_code, "must have an ASID of 12 digits, in quotation marks")
    return Asids(document)
