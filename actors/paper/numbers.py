"""Exact arithmetic and the exchange's ways of printing numbers (wire § 1.3, § 12.3).

Written anew for the exchange's side on purpose: were the double to share the daemon's rounding, a mistake in it would
agree with itself.
"""

from __future__ import annotations

from decimal import ROUND_DOWN, ROUND_HALF_UP, Context, Decimal

EXACT = Context(prec=60, rounding=ROUND_DOWN)
"""60 digits: the longest legal quantity (12 digits) times the longest price (16) is exact, with room to spare."""

QUOTE_DECIMALS = 8
"""Decimals of every quote amount: 197.30724223 (wire § 12.3)."""

ZERO = Decimal(0)
_UNITS = tuple(Decimal(1).scaleb(-n) for n in range(31))


def cut(value: Decimal, decimals: int = QUOTE_DECIMALS) -> Decimal:
    """value rounded towards zero: 197.3072422364 → 197.30724223."""
    return value.quantize(_UNITS[decimals], ROUND_DOWN, EXACT)


def nearest(value: Decimal, decimals: int = QUOTE_DECIMALS) -> Decimal:
    """value rounded to the nearest, ties away from zero: 0.0045380936 → 0.00453809."""
    return value.quantize(_UNITS[decimals], ROUND_HALF_UP, EXACT)


def product(a: Decimal, b: Decimal) -> Decimal:
    return EXACT.multiply(a, b)


def quotient(a: Decimal, b: Decimal) -> Decimal:
    """a / b to 60 digits; round it before use."""
    return EXACT.divide(a, b)


def grid_floor(value: Decimal, step: Decimal) -> Decimal:
    """The largest multiple of step not above value >= 0: (869.473044, 0.01) → 869.47."""
    return EXACT.multiply(EXACT.divide_int(value, step), step)


def on_grid(value: Decimal, step: Decimal) -> bool:
    return not EXACT.remainder(value, step)


def fixed(value: Decimal, decimals: int) -> str:
    """Always all decimals, as in book levels and public trades: 500 → "500.00000000"."""
    return f"{value:.{decimals}f}"


def bare(value: Decimal, decimals: int) -> str:
    """An integral value bare, any other with all its decimals: 200 → "200", 669.47 → "669.47000000"."""
    if value == value.to_integral_value():
        return f"{value:.0f}"
    return f"{value:.{decimals}f}"


def stripped(value: Decimal) -> str:
    """Without trailing zeros and exponent, as in history rows: 9.98651580 → "9.9865158"."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
