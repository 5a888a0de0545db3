"""The normal form of telephones and e-mail addresses."""

import re
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minispine.domain.patient import TelecomUse
from minispine.domain.telecom import NormalTelecom, normal_telecom


@pytest.mark.parametrize(
    ("use", "value", "normal"),
    [
        ("H", "tel:01133973555", ("H", "tel:01133973555")),
        ("HP", "tel:01133973555", ("H", "tel:01133973555")),
        ("MC", "tel:07700900123", ("MC", "tel:07700900123")),
        ("WP", "tel:0113", ("WP", "tel:0113")),
        ("HV", "tel:0113", ("HV", "tel:0113")),
        ("EC", "tel:0113", ("EC", "tel:0113")),
        ("HV", "mailto:joe@example.org", ("H", "mailto:joe@example.org")),
        ("PG", "mailto:joe@example.org", ("H", "mailto:joe@example.org")),
        (None, "mailto:joe@example.org", ("H", "mailto:joe@example.org")),
        ("MC", " TEL: 0113  397\n3555 ", ("MC", "tel:0113 397 3555")),
        ("PG MC", "tel:0113", ("MC", "tel:0113")),
    ],
)
def test_what_has_a_normal_form(use: str | None, value: str, normal: tuple[TelecomUse, str]) -> None:
    assert normal_telecom(use, value) == NormalTelecom(*normal)


@pytest.mark.parametrize(
    ("use", "value", "why"),
    [
        ("H", "fax:01133973555", "scheme"),
        ("H", "textphone:01133973555", "scheme"),
        ("H", "01133973555", "scheme"),
        ("H", ":0113", "scheme"),
        ("PG", "tel:0113", "use"),
        ("AS", "tel:0113", "use"),
        ("XX", "tel:0113", "use"),
        (None, "tel:0113", "use"),
        ("H", "tel:", "empty"),
        ("H", "mailto: ", "empty"),
        ("H", "", "empty"),
        ("H", None, "empty"),
    ],
)
def test_what_has_none(use: str | None, value: str | None, why: str) -> None:
    assert normal_telecom(use, value) == why


@given(
    st.none() | st.text(), st.none() | st.text() | st.text().map("tel:{}".format) | st.text().map("mailto:{}".format)
)
def test_the_normal_form_fits_the_interface_and_is_its_own(use: str | None, value: str | None) -> None:
    """Invariant: what has a normal form has a use of the interface, a value its schema takes, and stays as it is."""
    normal = normal_telecom(use, value)
    if isinstance(normal, NormalTelecom):
        assert normal.use in get_args(TelecomUse)
        assert re.fullmatch(r"(tel|mailto):[^\n\r]+", normal.value)
        assert normal_telecom(normal.use, normal.value) == normal
