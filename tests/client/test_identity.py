from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minispine.client.errors import IdentityIncomplete
from minispine.client.identity import AutomatedFunction, LocalUser, Smartcard, SystemAsid, parse_identity
from minispine.domain.identity import AuditId
from minispine.vocabulary import oids


@pytest.mark.requirement("MSCA-AUD-04", "b")
def test_a_local_user_is_a_toolkit_identity() -> None:
    expected = AuditId("2.16.840.1.113883.2.1.3.2.4.18.27", "urn:nhs-uk:identity:ods:RXX:jsmith")
    assert LocalUser("RXX", "jsmith").audit_ids() == (expected,)


def test_two_users_differ_and_one_user_is_always_the_same() -> None:
    assert LocalUser("RXX", "jsmith").audit_ids() == LocalUser("RXX", "jsmith").audit_ids()
    assert len({LocalUser(o, c).audit_ids() for o in ("RXX", "RYY") for c in ("jsmith", "bjones")}) == 4


def test_an_automated_function_and_an_asid_have_their_own_forms() -> None:
    assert AutomatedFunction("RXX", "nightly").audit_ids()[0].uri == "urn:nhs-uk:identity:ods:RXX:SYS:nightly"
    assert SystemAsid("200000000999").audit_ids() == (AuditId("1.2.826.0.1285.0.2.0.107", "200000000999"),)


@pytest.mark.requirement("MSCA-AUD-04", "d", "e")
def test_a_smartcard_gives_both_ids_and_the_role_when_there_is_one() -> None:
    both = (AuditId(oids.ROLE_PROFILE, "100102238986"), AuditId(oids.USER_ID, "687227875014"))
    assert Smartcard("100102238986", "687227875014").audit_ids() == both
    role = AuditId("1.2.826.0.1285.0.2.1.104", "S8000:G8000:R8001")
    assert Smartcard("100102238986", "687227875014", "S8000:G8000:R8001").audit_ids() == (*both, role)


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (Smartcard, ("100102238986", "")),
        (Smartcard, ("", "687227875014")),
        (Smartcard, ("100102238986", None)),
        (Smartcard, ("100102238986", "687227875014", "")),
        (LocalUser, ("RXX", "")),
        (LocalUser, ("RXX", "j smith")),
        (LocalUser, ("RXX", " ")),
        (LocalUser, ("RXX", "jsmith:")),
        (LocalUser, ("RXX", "SYS:nightly")),
        (LocalUser, ("", "jsmith")),
        (LocalUser, ("rxx", "jsmith")),
        (AutomatedFunction, ("RXX", "")),
        (SystemAsid, ("20000000099",)),
        (SystemAsid, (None,)),
    ],
)
def test_an_identity_that_is_not_whole_cannot_be_made(kind: Any, arguments: tuple[Any, ...]) -> None:
    with pytest.raises(IdentityIncomplete):
        kind(*arguments)


@given(st.sampled_from([LocalUser("RXX", "a:b"), LocalUser("RYY", "jsmith"), AutomatedFunction("RXX", "n:1")]))
def test_a_written_identity_reads_back(identity: LocalUser | AutomatedFunction) -> None:
    """Invariant: parsing the uri of an identity gives that identity."""
    assert parse_identity(identity.audit_ids()[0].uri) == identity


@pytest.mark.parametrize(
    "text", ["", "jsmith", "urn:nhs-uk:identity:ods:RXX", "urn:nhs-uk:identity:ods:RXX:", "urn:nhs-uk:identity:ods::x"]
)
def test_a_text_that_names_nobody_is_refused(text: str) -> None:
    with pytest.raises(IdentityIncomplete):
        parse_identity(text)
