"""What a registration allows, decided without any I/O."""

import datetime

import msgspec
import pytest

from minispine.domain.identity import AccessMethod, Identified
from minispine.domain.operations import NationalService, Operation
from minispine.provider.clients import (
    CertificateNames,
    ClientCertificate,
    Registration,
    accepts,
    denial,
    in_networks,
)

NOW = datetime.datetime(2026, 11, 21, 12, 0, tzinfo=datetime.UTC)
NAMES = CertificateNames(subject="CN=ward", issuer="CN=Issuing", fingerprint="aa")
WARD = Registration(
    name="ward",
    certificates=(ClientCertificate(subject="CN=ward", issuer="CN=Issuing"),),
    organisations=("RXX", "RYY"),
    services=(Operation.VERIFY_NHS_NUMBER,),
    methods={NationalService.PDS: (AccessMethod.ATTENDED,)},
)
JSMITH = Identified(organisation="RXX", method=AccessMethod.ATTENDED, user_code="jsmith")
replace = msgspec.structs.replace


def test_what_is_registered_is_allowed() -> None:
    assert denial(WARD, Operation.VERIFY_NHS_NUMBER, JSMITH, "200000000999") is None


@pytest.mark.requirement("ACCESS-1", "c")
def test_a_method_is_permitted_for_each_national_service_apart() -> None:
    unattended = replace(JSMITH, method=AccessMethod.UNATTENDED)
    assert denial(WARD, Operation.VERIFY_NHS_NUMBER, unattended, "200000000999") == "method"
    elsewhere = replace(WARD, methods={NationalService.SCR: (AccessMethod.UNATTENDED,)})
    assert denial(elsewhere, Operation.VERIFY_NHS_NUMBER, unattended, "200000000999") == "method"
    here = replace(WARD, methods={NationalService.PDS: (AccessMethod.UNATTENDED,)})
    assert denial(here, Operation.VERIFY_NHS_NUMBER, unattended, "200000000999") is None


def test_whatever_is_not_registered_is_denied() -> None:
    assert denial(WARD, Operation.GET_NHS_NUMBER, JSMITH, "200000000999") == "service"
    foreign = replace(JSMITH, organisation="RZZ")
    assert denial(WARD, Operation.VERIFY_NHS_NUMBER, foreign, "200000000999") == "organisation"
    assert denial(WARD, Operation.VERIFY_NHS_NUMBER, JSMITH, None) == "asid"


def test_networks() -> None:
    assert in_networks(WARD, "203.0.113.9")
    near = replace(WARD, networks=("10.0.0.0/8", "2001:db8::/32"))
    assert in_networks(near, "10.1.2.3")
    assert in_networks(near, "2001:db8::1")
    assert not in_networks(near, "203.0.113.9")
    assert not in_networks(near, "unknown")


def test_a_certificate_counts_by_both_names_its_pin_and_its_dates() -> None:
    assert accepts(WARD, NAMES, NOW)
    assert not accepts(WARD, replace(NAMES, issuer="CN=Somebody else"), NOW)
    assert not accepts(WARD, replace(NAMES, subject="CN=other"), NOW)

    def only(**restriction: object) -> Registration:
        return replace(WARD, certificates=(replace(WARD.certificates[0], **restriction),))

    assert accepts(only(fingerprint="aa"), NAMES, NOW)
    assert not accepts(only(fingerprint="bb"), NAMES, NOW)
    day = datetime.timedelta(days=1)
    assert accepts(only(not_before=NOW - day, not_after=NOW + day), NAMES, NOW)
    assert not accepts(only(not_before=NOW + day), NAMES, NOW)
    assert not accepts(only(not_after=NOW), NAMES, NOW)
