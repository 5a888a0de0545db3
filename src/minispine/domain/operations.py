"""The five PDS mini services by the names that the interface specification gives them (SERVICE-PDS)."""

from enum import StrEnum


class NationalService(StrEnum):
    """A national service behind mini services; access methods are permitted for each apart (ACCESS-1 c)."""

    PDS = "pds"
    CPIS = "cpis"
    SCR = "scr"
    FGM = "fgm"


class Operation(StrEnum):
    """One mini service operation."""

    VERIFY_NHS_NUMBER = "verifyNHSNumber"
    GET_NHS_NUMBER = "getNHSNumber"
    GET_PATIENT_DETAILS_BY_NHS_NUMBER = "getPatientDetailsByNHSNumber"
    GET_PATIENT_DETAILS_BY_SEARCH = "getPatientDetailsBySearch"
    GET_PATIENT_DETAILS = "getPatientDetails"

    @property
    def national_service(self) -> NationalService:
        """The national service that answers this operation."""
        return NationalService.PDS
