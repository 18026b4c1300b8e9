"""Rounding and printing as the captures prove them (wire § 1.3, § 5.3, § 12.3)."""

from __future__ import annotations

from decimal import Decimal as D
from fractions import Fraction

import pytest

from actors.paper.numbers import bare, cut, fixed, grid_floor, nearest, on_grid, product, quotient, stripped


@pytest.mark.parametrize(
    ("price", "quantity", "amount"),
    [
        ("0.22690469", "869.56", "197.30724223"),
        ("0.22690468", "669.47", "151.90587611"),  # rounding would give …612
        ("0.000005583", "1791151.7", "9.99999994"),
        ("48.01706542", "0.2082", "9.99715302"),
    ],
)
def test_quote_amounts_are_cut(price, quantity, amount):
    assert cut(product(D(price), D(quantity))) == D(amount)


@pytest.mark.parametrize(("quote", "commission"), [("151.90587611", "0.01519059"), ("45.380936", "0.00453809")])
def test_commissions_in_quote_are_rounded_to_nearest(quote, commission):
    assert nearest(D(quote) * D("0.0001")) == D(commission)


def test_long_numbers_stay_exact():
    price, quantity = D("0.123456789012"), D("99999999999.12345678")
    assert Fraction(product(price, quantity)) == Fraction(price) * Fraction(quantity), "30 digits"
    assert cut(product(price, quantity)) == D("12345678901.09178478")


def test_grid():
    assert grid_floor(D("869.473044"), D("0.01")) == D("869.47")
    assert grid_floor(D("52932.71"), D("0.10")) == D("52932.70")
    assert on_grid(D("52932.70"), D("0.10"))
    assert not on_grid(D("52932.75"), D("0.10"))
    assert fixed(cut(quotient(D("197.28681211"), D("869.47")), 9), 9) == "0.226904679"


def test_how_numbers_print():
    assert [bare(D("869.56"), 8), bare(D("200.00"), 8), bare(D(0), 8)] == ["869.56000000", "200", "0"]
    assert [fixed(D(500), 8), fixed(D("93876860.6"), 2)] == ["500.00000000", "93876860.60"]
    assert [stripped(D("9.98651580")), stripped(D("200.00")), stripped(D("1E-9"))] == [
        "9.9865158",
        "200",
        "0.000000001",
    ]
    assert stripped(D("1E+6")) == "1000000"
