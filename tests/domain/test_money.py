"""Exact arithmetic on tick and step grids."""

from __future__ import annotations

from decimal import ROUND_DOWN, Context, Decimal, Inexact, localcontext
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.domain.money import (
    EXACT,
    ceil_quotient,
    ceil_to_step,
    ceil_to_tick,
    cut,
    floor_quotient,
    floor_to_step,
    floor_to_tick,
    nearest,
    notional,
    on_grid,
    percent,
    ratio,
    ratio_up,
    total,
)

D = Decimal
amounts = st.decimals(min_value=0, max_value=D("9999999999"), places=12)
prices = st.decimals(min_value=D("0.000000000001"), max_value=100_000, places=12)
steps = st.sampled_from([D(t) for t in ("1", "0.10", "0.01", "0.001", "0.0001", "0.00000001", "0.000000000001", "0.5")])


def exact(value: Decimal) -> Fraction:
    return Fraction(value)


@given(amounts, steps)
def test_floor_is_the_largest_multiple_that_is_not_above(quantity, step):
    floor = floor_to_step(quantity, step)
    assert exact(floor) / exact(step) == exact(quantity) // exact(step)
    assert 0 <= floor <= quantity
    assert on_grid(floor, step)


@given(amounts, steps)
def test_ceil_is_the_smallest_multiple_that_is_not_below(quantity, step):
    ceil = ceil_to_step(quantity, step)
    assert exact(ceil) / exact(step) == -(-exact(quantity) // exact(step))
    assert on_grid(ceil, step)
    assert ceil_to_step(ceil, step) == ceil == floor_to_step(ceil, step)


@given(prices, amounts)
def test_a_product_loses_no_digit(price, quantity):
    assert exact(notional(price, quantity)) == exact(price) * exact(quantity)


@given(amounts, prices, steps)
def test_a_quotient_on_the_grid_is_what_a_budget_buys(amount, price, step):
    quantity = floor_quotient(amount, price, step)
    assert on_grid(quantity, step)
    assert notional(price, quantity) <= amount < notional(price, EXACT.add(quantity, step))


@given(amounts, prices, steps)
def test_a_ceiled_quotient_just_reaches_the_amount(amount, price, step):
    quantity = ceil_quotient(amount, price, step)
    assert on_grid(quantity, step)
    assert notional(price, quantity) >= amount
    assert quantity == 0 or notional(price, EXACT.subtract(quantity, step)) < amount


@given(amounts, st.integers(0, 12))
def test_cutting_drops_digits_and_never_rounds(amount, places):
    short = cut(amount, places)
    assert short == amount.quantize(D(1).scaleb(-places), context=Context(prec=60, rounding=ROUND_DOWN))
    assert -short.as_tuple().exponent == places


@given(amounts, prices, st.integers(0, 12))
def test_a_ratio_rounded_up_compares_with_a_limit_as_the_exact_one_does(part, whole, places):
    quotient = exact(part) / exact(whole)
    up = ratio_up(part, whole, places)
    assert 0 <= exact(up) - quotient < Fraction(1, 10**places)


def test_the_default_context_is_not_relied_upon():
    with localcontext(Context(prec=3)):
        assert floor_to_step(D("869.473044"), D("0.01")) == D("869.47")
        assert notional(D("0.000005583"), D("1791151.7")) == D("9.9999999411")
        assert percent(D("48.0001"), D("0.05")) == D("0.02400005")
        assert total(D("10000000000"), D("0.000000000001")) == D("10000000000.000000000001")


def test_rounding_that_nobody_asked_for_raises():
    with pytest.raises(Inexact):
        EXACT.divide(D(1), D(3))


@pytest.mark.parametrize(
    ("product", "amount"),
    [("9.9999999411", "9.99999994"), ("9.99999993", "9.99999993"), ("9.997153020444", "9.99715302")],
)
def test_payment_amounts_of_the_captures_are_cut(product, amount):  # wire § 5.3
    assert str(cut(D(product), 8)) == amount


def test_commissions_of_the_captures_are_rounded_to_the_nearest():  # wire § 12.3
    assert nearest(D("0.015190587611"), 8) == D("0.01519059")
    assert nearest(D("0.0045380936"), 8) == D("0.00453809")
    assert nearest(D("5.2938"), 2) == D("5.29")
    assert nearest(D("0.005"), 2) == D("0.01")


def test_results_carry_the_scale_of_the_grid():
    assert str(floor_to_step(D("12"), D("0.10"))) == "12.00"
    assert str(floor_to_tick(D("48.02412345678"), D("0.00000001"))) == "48.02412345"
    assert str(ceil_to_tick(D("48.02412345678"), D("0.00000001"))) == "48.02412346"


def test_a_negative_amount_is_cut_towards_zero():
    assert cut(D("-1.239"), 2) == D("-1.23")


def test_ratio_is_the_nearest():
    assert ratio(D(2), D(3), 4) == D("0.6667")
    assert ratio(D(-1), D(3), 4) == D("-0.3333")


@pytest.mark.parametrize(
    ("quantity", "step"), [(D(-1), D(1)), (D(1), D(0)), (D(1), D(-1)), (D("Infinity"), D(1)), (D(1), D("NaN"))]
)
def test_nonsense_is_a_bug_of_the_caller(quantity, step):
    with pytest.raises(AssertionError):
        floor_to_step(quantity, step)
