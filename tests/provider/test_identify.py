"""Identity reads as a table: these ids in the envelope, this caller or this refusal."""

import pytest

from minispine.domain.identity import AccessMethod, AuditId, Identified, IdentityRefused
from minispine.provider.clients import Registration
from minispine.provider.identify import identify
from minispine.vocabulary import oids

ASSERTED = Registration(
    name="ward", certificates=(), organisations=("RXX",), services=(), methods={}, user_codes="asserted"
)
REGISTERED = Registration(
    name="ward",
    certificates=(),
    organisations=("RXX",),
    services=(),
    methods={},
    user_codes="registered",
    user_code_list=("RXX:jsmith",),
)
ASIDS = {"200000000999": "RXX"}


def local(uri: str) -> AuditId:
    return AuditId(oids.LOCAL_IDENTITY, uri)


def who(*ids: AuditId, registration: Registration = ASSERTED) -> Identified | IdentityRefused:
    return identify(ids, registration, ASIDS.get)


@pytest.mark.requirement("ACCESS-1", "a")
def test_a_system_identity_is_an_unattended_function_and_no_person() -> None:
    assert who(local("urn:nhs-uk:identity:ods:RXX:SYS:nightly-trace")) == Identified(
        organisation="RXX", method=AccessMethod.UNATTENDED, function="nightly-trace"
    )


def test_a_bare_asid_is_an_unattended_function_of_its_one_organisation() -> None:
    assert who(AuditId(oids.ASID, "200000000999")) == Identified(
        organisation="RXX", method=AccessMethod.UNATTENDED, function="asid:200000000999"
    )


@pytest.mark.requirement("SMSP-AUDIT-002", "h", "k")
def test_a_user_code_is_attended_and_belongs_to_its_organisation() -> None:
    assert who(local("urn:nhs-uk:identity:ods:RXX:jsmith")) == Identified(
        organisation="RXX", method=AccessMethod.ATTENDED, user_code="jsmith"
    )
    assert who(local("urn:nhs-uk:identity:ods:RYY:jsmith")) != who(local("urn:nhs-uk:identity:ods:RXX:jsmith"))
    assert who(local("urn:nhs-uk:identity:ods:rxx:jsmith")) == who(local("urn:nhs-uk:identity:ods:RXX:jsmith"))


def test_levels_of_one_identity_are_read_together() -> None:
    found = who(local("urn:nhs-uk:identity:ods:RXX"), local("urn:nhs-uk:identity:ods:RXX:jsmith"))
    assert isinstance(found, Identified)
    assert found.user_code == "jsmith"


def test_a_registered_code_is_known_and_another_is_not() -> None:
    assert isinstance(who(local("urn:nhs-uk:identity:ods:RXX:jsmith"), registration=REGISTERED), Identified)
    assert who(local("urn:nhs-uk:identity:ods:RXX:other"), registration=REGISTERED) == IdentityRefused(
        "code-unregistered"
    )


@pytest.mark.parametrize(
    ("ids", "fault"),
    [
        pytest.param((local(""),), "blank", id="empty uri"),
        pytest.param((), "blank", id="no id"),
        pytest.param((local("urn:nhs-uk:identity:ods:RXX:jsmith"), local("")), "blank", id="one of two blank"),
        pytest.param((AuditId("1.2.3.4", "whatever"),), "unknown-type", id="unknown OID"),
        pytest.param((local("urn:nhs-uk:identity:ods:RXX"),), "organisation-alone", id="organisation alone"),
        pytest.param((local("urn:nhs-uk:identity:ods:RXX:SYS"),), "malformed", id="system without function"),
        pytest.param((local("urn:nhs-uk:identity:ods:RXX:"),), "malformed", id="empty user"),
        pytest.param((local("urn:nhs-uk:identity:ods::jsmith"),), "malformed", id="empty organisation"),
        pytest.param((local("urn:nhs-uk:identity:cfh:nic:jsmith"),), "malformed", id="another authority"),
        pytest.param((local("jsmith"),), "malformed", id="no toolkit identity"),
        pytest.param((local("urn:nhs-uk:identity:ods:RXX:j smith"),), "malformed", id="blank inside"),
        pytest.param(
            (local("urn:nhs-uk:identity:ods:RXX:jsmith"), local("urn:nhs-uk:identity:ods:RYY:jsmith")),
            "malformed",
            id="two organisations",
        ),
        pytest.param(
            (local("urn:nhs-uk:identity:ods:RXX:jsmith"), local("urn:nhs-uk:identity:ods:RXX:other")),
            "too-many",
            id="two users",
        ),
        pytest.param((AuditId(oids.ASID, "999999999999"),), "asid-unknown", id="ASID of nobody"),
        pytest.param((AuditId(oids.ASID, "12"),), "malformed", id="no ASID"),
    ],
)
def test_whoever_cannot_be_told_is_refused(ids: tuple[AuditId, ...], fault: str) -> None:
    assert who(*ids) == IdentityRefused(fault)  # type: ignore[arg-type]


def test_an_absent_identity_is_refused() -> None:
    assert identify(None, ASSERTED, ASIDS.get) == IdentityRefused("absent")


@pytest.mark.parametrize(
    ("ids", "fault"),
    [
        ((AuditId(oids.ROLE_PROFILE, "100102238986"),), "smartcard-incomplete"),
        ((AuditId(oids.USER_ID, "687227875014"),), "smartcard-incomplete"),
        (
            (AuditId(oids.USER_ID, "687227875014"), local("urn:nhs-uk:identity:ods:RXX:jsmith")),
            "smartcard-incomplete",
        ),
        ((AuditId(oids.ROLE_PROFILE, "100102238986"), AuditId(oids.USER_ID, "687227875014")), "smartcard-unsupported"),
    ],
)
def test_smartcard_identities_are_refused_and_never_taken_for_something_less(
    ids: tuple[AuditId, ...], fault: str
) -> None:
    assert who(*ids) == IdentityRefused(fault)  # type: ignore[arg-type]


@pytest.mark.requirement("SMSP-AUDIT-003", "c")
def test_the_kind_of_an_identifier_is_told_by_its_oid_whatever_the_order() -> None:
    urp, user = AuditId(oids.ROLE_PROFILE, "100102238986"), AuditId(oids.USER_ID, "687227875014")
    assert who(urp, user) == who(user, urp) == IdentityRefused("smartcard-unsupported")
    assert isinstance(who(local("urn:nhs-uk:identity:ods:RXX:jsmith")), Identified)
    assert who(AuditId("1.2.826.0.1285.0.2.0.1", "1")) == IdentityRefused("unknown-type")
