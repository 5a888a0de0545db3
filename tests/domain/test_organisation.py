import pytest

from minispine.domain.organisation import is_ods_code


@pytest.mark.parametrize("code", ["RXX", "Y90001", "8HK48", "A1B2C3D4E5"])
def test_three_to_ten_capitals_and_digits_are_an_ods_code(code: str) -> None:
    assert is_ods_code(code)


@pytest.mark.parametrize("text", ["", "RX", "rxx", "RXX ", "RXX\n", "R-X", "A1B2C3D4E5F", "ÄXX", "R\u0661\u0661"])
def test_anything_else_is_none(text: str) -> None:
    assert not is_ods_code(text)
