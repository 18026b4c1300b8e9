"""Exact decimal arithmetic on the exchange's grids: tick, step, cut.

Everything here goes through a context of its own, wide enough for a 12-decimal price times the largest quantity of
wire § 11 and with `Inexact` trapped: a result that would have to be rounded raises instead of losing a digit. The
default context of a thread (28 digits) is never relied upon. Rounding happens only where a name says so: floor, ceil,
cut, ratio.
"""

from __future__ import annotations

from decimal import (
    ROUND_HALF_EVEN,
    ROUND_HALF_UP,
    Context,
    Decimal,
    DivisionByZero,
    Inexact,
    InvalidOperation,
    Overflow,
)

# 20 digits of price, 20 of quantity, their product times a rate or a percentage with 20 more: 60 suffice. 120 costs
# nothing and makes Inexact mean "a bug", never "an unusual token".
DIGITS = 120

EXACT = Context(prec=DIGITS, rounding=ROUND_HALF_EVEN, traps=[Inexact, InvalidOperation, DivisionByZero, Overflow])
"""Use it for own sums: `EXACT.add(a, b)`, or `with localcontext(EXACT):` around a block."""

_NEAREST = Context(prec=DIGITS, rounding=ROUND_HALF_UP, traps=[InvalidOperation, DivisionByZero, Overflow])

ZERO = Decimal(0)


def notional(price: Decimal, quantity: Decimal) -> Decimal:
    """price × quantity, exact: quote asset, as many decimals as both have together."""
    return EXACT.multiply(price, quantity)


def percent(amount: Decimal, percents: Decimal) -> Decimal:
    """`percents` hundredths of amount, exact. percent(Decimal(48), Decimal("0.05")) is 0.0240."""
    return EXACT.multiply(amount, percents).scaleb(-2, EXACT)


def total(*amounts: Decimal) -> Decimal:
    """The exact sum; 0 for nothing."""
    result = ZERO
    for amount in amounts:
        result = EXACT.add(result, amount)
    return result


def floor_to_step(quantity: Decimal, step_size: Decimal) -> Decimal:
    """The largest multiple of step_size that is not above quantity.

    Args:
        quantity: base asset, >= 0, any scale: Decimal("869.473044").
        step_size: base asset, > 0, one per instrument: Decimal("0.01").
    Returns: base asset, 0 <= result <= quantity, on step_size's scale: Decimal("869.47").
    Raises: AssertionError, an argument is out of range, so the caller has a bug.
    Source: LOT_SIZE filter, wire § 11.
    """
    _check_grid(quantity, step_size)
    return EXACT.multiply(EXACT.divide_int(quantity, step_size), step_size)


def ceil_to_step(quantity: Decimal, step_size: Decimal) -> Decimal:
    """The smallest multiple of step_size that is not below quantity; arguments and errors as floor_to_step."""
    floor = floor_to_step(quantity, step_size)
    return floor if floor == quantity else EXACT.add(floor, step_size)


def floor_to_tick(price: Decimal, tick_size: Decimal) -> Decimal:
    """The highest price on the tick grid that is not above price: how BUY prices are rounded.

    Args: price: quote per base, >= 0. tick_size: quote per base, > 0.
    Source: PRICE_FILTER, wire § 11; "rounding never makes a price worse for the user than configured".
    """
    return floor_to_step(price, tick_size)


def ceil_to_tick(price: Decimal, tick_size: Decimal) -> Decimal:
    """The lowest price on the tick grid that is not below price: how SELL prices are rounded."""
    return ceil_to_step(price, tick_size)


def floor_quotient(amount: Decimal, price: Decimal, step_size: Decimal) -> Decimal:
    """The largest quantity on the step grid with price × quantity <= amount: what a budget buys (wire § 5.3).

    Args: amount: quote, >= 0. price: > 0. step_size: base, > 0.
    """
    assert price > 0, price
    cell = EXACT.multiply(price, step_size)  # what one step costs: dividing by it once needs no rounding in between
    _check_grid(amount, cell)
    return EXACT.multiply(EXACT.divide_int(amount, cell), step_size)


def ceil_quotient(amount: Decimal, price: Decimal, step_size: Decimal) -> Decimal:
    """The smallest quantity on the step grid with price × quantity >= amount; arguments as floor_quotient."""
    floor = floor_quotient(amount, price, step_size)
    return floor if notional(price, floor) == amount else EXACT.add(floor, step_size)


def cut(amount: Decimal, places: int) -> Decimal:
    """amount cut (rounded towards zero) to `places` decimals, with exactly that many: payment amounts, wire § 5.3.

    Args: amount: any sign. places: 0 ≤ places, 8 for quote amounts.
    """
    assert places >= 0, places
    unit = Decimal(1).scaleb(-places)
    # (a - a % unit) is exact where quantize(ROUND_DOWN) would raise the trapped Inexact
    return EXACT.quantize(EXACT.subtract(amount, EXACT.remainder(amount, unit)), unit)


def nearest(amount: Decimal, places: int) -> Decimal:
    """amount rounded to the nearest at `places` decimals, half away from zero: commissions, wire § 12.3."""
    assert places >= 0, places
    return amount.quantize(Decimal(1).scaleb(-places), context=_NEAREST)


def on_grid(value: Decimal, step: Decimal) -> bool:
    """Is value a whole multiple of step (> 0)? For prices with the tick, for quantities with the step."""
    assert step > 0, step
    return EXACT.remainder(value, step) == 0


def ratio_up(part: Decimal, whole: Decimal, places: int) -> Decimal:
    """part / whole rounded UP at `places` decimals, for comparing with a limit of at most that many decimals.

    Rounding up keeps "part / whole > limit" true wherever it is true of the exact quotient, and never makes it true
    where it is not. Args: part: >= 0. whole: > 0.
    """
    assert part >= 0, part
    assert whole > 0, whole
    unit = Decimal(1).scaleb(-places)
    return ceil_quotient(part, whole, unit)


def ratio(part: Decimal, whole: Decimal, places: int) -> Decimal:
    """part / whole to the nearest at `places` decimals, for showing and for averages. whole: not 0."""
    assert whole != 0, whole
    return nearest(_NEAREST.divide(part, whole), places)


def _check_grid(value: Decimal, step: Decimal) -> None:
    assert value.is_finite(), value
    assert step.is_finite(), step
    assert value >= 0, value
    assert step > 0, step
