"""Organisations of the NHS, known by the codes that the Organisation Data Service gives them."""

import re
from typing import Final

_ODS_CODE: Final = re.compile(r"[A-Z0-9]{3,10}")


def is_ods_code(written: str) -> bool:
    """Tell whether a text is written as an ODS code is: 3 to 10 capital letters and digits."""
    return _ODS_CODE.fullmatch(written) is not None
