"""The NHS number and its Modulus 11 check (SMSP-VAL-002)."""

_WEIGHTS = (10, 9, 8, 7, 6, 5, 4, 3, 2)
_DIGITS = frozenset("0123456789")


def check_digit(first_nine: str) -> int | None:
    """Give the tenth digit for the first nine, or None where no NHS number begins with them.

    The weighted sum is taken modulo 11 and subtracted from 11; eleven counts as nought and ten means that
    the nine digits are never issued.
    """
    digit = 11 - sum(weight * int(d) for weight, d in zip(_WEIGHTS, first_nine, strict=True)) % 11
    return None if digit == 10 else digit % 11


def is_valid(number: str) -> bool:
    """Tell whether `number` is ten ASCII digits whose last is the Modulus 11 check digit of the others."""
    return len(number) == 10 and _DIGITS.issuperset(number) and check_digit(number[:9]) == int(number[9])


def grouped(number: str) -> str:
    """Write the number as people read it: 3-3-4 (MSCA-PDS-06)."""
    return f"{number[:3]} {number[3:6]} {number[6:]}"
