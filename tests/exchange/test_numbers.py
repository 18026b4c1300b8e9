"""Amounts come in and go out exactly, or not at all."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.errors import ProtocolChanged
from actors.exchange.numbers import Amount, Figure, Signed, payment, plain, total
from actors.exchange.shapes import Shape

D = Decimal
amount = Shape(Amount, of="test")
figure = Shape(Figure, of="test")
signed = Shape(Signed, of="test")

book_amounts = st.decimals(min_value=0, max_value=10**20 - 1, places=18, allow_nan=False)
positive = st.decimals(min_value=D("1E-12"), max_value=10**10, places=12).filter(lambda value: value > 0)


@pytest.mark.parametrize(
    ("wire", "value"),
    [
        ('"869.56000000"', "869.56"),
        ('"200"', "200"),
        ("0.00000558", "0.00000558"),
        ("197.43566840519998", "197.43566840519998"),
        ("5.89775438E-6", "0.00000589775438"),
        ('"1E-7"', "0.0000001"),
        ('"0E-8"', "0"),
        ("1e3", "1000"),
        ("52938", "52938"),
        ('"-0"', "0"),
        ("-0.0", "0"),
        ('"0.10000000000000000000000000"', "0.1"),
    ],
)
def test_numbers_and_texts_are_read_exactly(wire, value):
    read = amount.read(wire.encode())
    assert read == D(value)
    assert read.is_signed() is False
    assert "E" not in str(plain(read))


@pytest.mark.parametrize(
    "wire",
    [
        '"NaN"', '"sNaN"', '"Infinity"', '"-Infinity"', '"-1"', "-1", "-0.5", '"1_000"', '" 1"', '"1 "', '"+1"', '""',
        '"0x10"', '"١"', '"1,5"', '"1.2.3"', '"."', '".5"', '"5."', "1e400", '"1E99999999999"', "1e-400", "1e20",
        '"100000000000000000000"', "9" * 21, "9" * 400, '"' + "9" * 5000 + '"', "0." + "1" * 19, "0." + "1" * 100,
        "true", "null", "[1]", '{"value": 1}',
    ],
)  # fmt: skip
def test_what_is_no_amount_is_refused_at_decode(wire):
    with pytest.raises(ProtocolChanged) as caught:
        amount.read(wire.encode())
    assert len(str(caught.value)) < 300


def test_figures_are_wider_and_only_signed_ones_may_be_negative():
    assert figure.read(b'"0.0000058977543828696305"') == D("0.0000058977543828696305")
    assert figure.read(b'"92337367.987773163328517135635"') == D("92337367.987773163328517135635")
    assert signed.read(b'"-0.00007172"') == D("-0.00007172")
    assert signed.read(b"-8.841") == D("-8.841")
    with pytest.raises(ProtocolChanged, match="negative"):
        figure.read(b'"-1"')
    with pytest.raises(ProtocolChanged, match="digits before the point"):
        figure.read(b"1e30")


def test_the_error_names_the_field_and_hides_the_value():
    class Row(msgspec.Struct):
        price: Amount

    with pytest.raises(ProtocolChanged) as caught:
        Shape(list[Row], of="rows (wire § 0)").read(b'[{"price": "secretsecretsecret1"}]')
    assert str(caught.value).startswith("Expected a plain decimal, got text that is no number - at `$[0].price` [rows")


@given(book_amounts)
def test_any_recordable_amount_survives_the_way_there_and_back(value):
    for wire in (f'"{plain(value)}"', plain(value), f'"{value:f}"'):
        assert amount.read(wire.encode()) == value
    assert amount.read(str(value).encode()) == value  # as a JSON writer with exponents would print it


@given(book_amounts)
def test_plain_text_has_digits_and_a_point_only(value):
    text = plain(value)
    assert set(text) <= set("0123456789.")
    assert D(text) == value
    assert not ("." in text and text.endswith(("0", ".")))


@given(st.text(max_size=40))
def test_any_text_is_an_amount_or_a_protocol_change(text):
    try:
        value = amount.read(msgspec.json.encode(text))
    except ProtocolChanged:
        return
    assert value.is_finite()
    assert value >= 0
    assert value == D(text)


@pytest.mark.parametrize(
    ("price", "quantity", "sent"),
    [  # wire § 5.3
        ("0.000005583", "1791151.7", "9.99999994"),
        ("0.0000051", "1960784.3", "9.99999993"),
        ("48.01706542", "0.2082", "9.99715302"),
        ("1.5", "0.00000001", "0.00000001"),  # 0.000000015: cut, where rounding half up would give 2
    ],
)
def test_the_payment_is_cut_to_8_decimals(price, quantity, sent):
    assert plain(payment(D(price), D(quantity))) == sent


@given(positive, positive)
def test_the_payment_is_the_largest_8_decimals_not_above_the_notional(price, quantity):
    exact = Fraction(price) * Fraction(quantity)
    cut = payment(price, quantity)
    assert Fraction(cut) <= exact < Fraction(cut) + Fraction(1, 10**8)
    assert cut.as_tuple().exponent == -8


@given(st.lists(book_amounts, max_size=6))
def test_sums_do_not_round(values):
    assert Fraction(total(*values)) == sum((Fraction(value) for value in values), Fraction(0))


def test_products_beyond_28_digits_are_not_rounded_before_they_are_cut():
    price, quantity = D("1234567.123456789012"), D("9999999999.999999999")
    notional = Fraction(price) * Fraction(quantity)
    assert Fraction(price * quantity) != notional, "the default context rounds here"
    assert Fraction(payment(price, quantity)) == Fraction(int(notional * 10**8), 10**8)
