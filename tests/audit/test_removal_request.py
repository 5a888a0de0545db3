"""The text that both authorities sign: one form for each request, and nothing in force without both signatures."""

import pytest

from minispine.audit.declaration import Declaration
from minispine.audit.note import Signer, sign
from minispine.audit.removal_request import MOST_RECORDS, RemovalRequest, RequestInvalid, parse_ranges, signed_request
from tests.audit.conftest import AUTHORITIES, AUTHORITY_SIGNERS, ORIGIN, SIGNER

DECLARED = Declaration(
    origin=ORIGIN, epoch=2, log_key=Signer(f"{ORIGIN}/2", SIGNER.private_key).verifier, authorities=AUTHORITIES
)
REQUEST = RemovalRequest(
    origin=ORIGIN, epoch=2, reference="Case 2026/17", ranges=((12, 12), (15, 17)), number="ab" * 16
)
TEXT = f"""minispine audit removal
{ORIGIN}
epoch 2
reference Case 2026/17
records 12,15-17
number {"ab" * 16}
"""


def test_a_request_is_one_text_and_back() -> None:
    assert REQUEST.encode() == TEXT
    assert RemovalRequest.decode(TEXT) == REQUEST
    assert list(REQUEST.sequences) == [12, 15, 16, 17]
    assert REQUEST.ranges_up_to(None) == REQUEST.ranges
    assert REQUEST.ranges_up_to(15) == ((12, 12), (15, 15))
    assert REQUEST.ranges_up_to(11) == ()
    assert [REQUEST.names(n) for n in (11, 12, 14, 17, 18)] == [False, True, False, True, False]


def test_a_new_request_has_a_number_of_its_own() -> None:
    numbers = iter((b"1" * 16, b"2" * 16))

    def make() -> RemovalRequest:
        return RemovalRequest.of(
            DECLARED, reference="Case", ranges=[(3, 4), (1, 2), (4, 9)], random_bytes=lambda _: next(numbers)
        )

    first, second = make(), make()
    assert first.records == "1-9"
    assert first.encode() != second.encode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        TEXT.replace("removal", "keys"),
        TEXT.replace("epoch 2", "epoch 02"),
        TEXT.replace("epoch 2", "2"),
        TEXT.replace("epoch 2", "epoch 0"),
        TEXT.replace("reference ", ""),
        TEXT.replace("reference Case 2026/17", "reference  "),
        TEXT.replace("Case 2026/17", "Case\t2026"),
        TEXT.replace("Case 2026/17", "C" * 121),
        TEXT.replace("12,15-17", "15-17,12"),
        TEXT.replace("12,15-17", "12, 15-17"),
        TEXT.replace("12,15-17", "12,13,15-17"),
        TEXT.replace("12,15-17", "12,17-15"),
        TEXT.replace("12,15-17", "0-17"),
        TEXT.replace("12,15-17", "012"),
        TEXT.replace("12,15-17", ""),
        TEXT.replace("ab", "AB"),
        TEXT.replace("ab", "a"),
        TEXT + "\n",
        TEXT[:-1],
        TEXT.replace("\n", "\r\n"),
    ],
)
def test_any_other_text_is_no_request(text: str) -> None:
    with pytest.raises(RequestInvalid):
        RemovalRequest.decode(text)


def test_records_are_merged_and_bounded() -> None:
    assert parse_ranges("5, 1-3,4") == ((1, 5),)
    assert parse_ranges(f"1-{MOST_RECORDS}") == ((1, MOST_RECORDS),)
    with pytest.raises(RequestInvalid, match="at most"):
        parse_ranges(f"1-{MOST_RECORDS + 1}")


@pytest.mark.requirement("IG-3.9.6", "a")
def test_only_a_request_that_both_authorities_signed_is_in_force() -> None:
    both = sign(TEXT, AUTHORITY_SIGNERS)
    assert signed_request(both, DECLARED) == REQUEST
    one = sign(TEXT, AUTHORITY_SIGNERS[:1])
    twice = one + "".join(one.splitlines(keepends=True)[-1:])
    impostor = Signer(AUTHORITY_SIGNERS[1].name, SIGNER.private_key)
    for note, cause in (
        (TEXT, "not-signed"),
        (one, "not-signed"),
        (twice, "not-signed"),
        (sign(TEXT, [SIGNER]), "not-signed"),
        (sign(TEXT, [AUTHORITY_SIGNERS[0], impostor]), "not-signed"),
        (both.replace("12,15-17", "12,15-18"), "not-signed"),
        (sign(TEXT.replace(ORIGIN, "minispine/other"), AUTHORITY_SIGNERS), "another-log"),
        (sign(TEXT.replace("epoch 2", "epoch 3"), AUTHORITY_SIGNERS), "another-log"),
        (sign("something else\n", AUTHORITY_SIGNERS), "not-a-request"),
        (None, "not-a-request"),
    ):
        with pytest.raises(RequestInvalid) as refused:
            signed_request(note, DECLARED)
        assert refused.value.cause == cause


def test_a_log_without_authorities_obeys_nobody() -> None:
    without = Declaration(origin=ORIGIN, epoch=1, log_key=SIGNER.verifier)
    for declared in (without, None):
        with pytest.raises(RequestInvalid) as refused:
            signed_request(sign(TEXT, AUTHORITY_SIGNERS), declared)
        assert refused.value.cause == "no-authorities"
