"""Exact decimals off the wire and back onto it; never by way of a float.

The exchange prints amounts as text or as JSON numbers, with or without trailing zeros (wire § 1.3). Here three field
types for msgspec structs accept both and refuse the rest at decode, so that no later arithmetic meets a NaN, a number
of a thousand digits, or an exponent that explodes when it is added:

    Amount   a price, quantity or quote amount of the order book: >= 0, recordable as DECIMAL(38,18)
    Figure   any other quantity the exchange shows (holdings, volumes): >= 0, wider
    Signed   a Figure that may be negative (a change in percent)

For mypy all three are Decimal, which is what decoding yields. At run time each is a marker class, because that makes
msgspec ask `amount_hook`; the class answers isinstance for Decimal, as msgspec checks what the hook returned.

Exponents are accepted within the bounds (a Java writer prints 0.0000001 as 1E-7), and come out as plain digits.
"""

from __future__ import annotations

import re
from decimal import ROUND_DOWN, Context, Decimal, Inexact, InvalidOperation
from typing import TYPE_CHECKING, Any, TypeAlias

TEXT_MAX = 80  # longest number seen: 32 digits; beyond this it is no number but an attack or a fault
BOOK_INTEGERS = 20  # DECIMAL(38,18) has room for 20 digits before the point ...
BOOK_DECIMALS = 18  # ... and 18 after it; the finest grid seen has 12
WIDE_INTEGERS = 30
WIDE_DECIMALS = 40
PAYMENT_DECIMALS = 8  # wire § 5.3

EXACT = Context(prec=200, traps=[Inexact, InvalidOperation])
"""Arithmetic that raises rather than rounds. The default context has 28 digits: price × quantity may need 76."""

_CUT = Context(prec=200, rounding=ROUND_DOWN, traps=[InvalidOperation])
_PLAIN = re.compile(r"[0-9]{1,20}(?:\.[0-9]{1,18})?", re.ASCII).fullmatch
_NUMBER = re.compile(r"(-?)[0-9]{1,64}(?:\.[0-9]{1,64})?(?:[eE][+-]?[0-9]{1,3})?", re.ASCII).fullmatch

if TYPE_CHECKING:
    Amount: TypeAlias = Decimal
    Figure: TypeAlias = Decimal
    Signed: TypeAlias = Decimal
else:

    class _Decimals(type):
        def __instancecheck__(cls, value: object) -> bool:
            return type(value) is Decimal

    class Amount(metaclass=_Decimals):
        pass

    class Figure(metaclass=_Decimals):
        pass

    class Signed(metaclass=_Decimals):
        pass


def amount_hook(kind: type, raw: Any) -> Decimal:
    """msgspec's dec_hook for the three types. The decoder must be built with float_hook=str: a fraction stays text.

    Raises: ValueError without the value in its text; msgspec adds the path of the field.
    """
    if type(raw) is str:
        if _PLAIN(raw) is not None:
            return Decimal(raw)
        return _slow(kind, raw)
    if type(raw) is int:
        if raw.bit_length() > 256:
            raise _refusal("got more digits than any amount has")
        return _slow(kind, str(raw))
    raise _refusal(f"got `{_JSON_WORDS.get(type(raw).__name__, 'another type')}`")


_JSON_WORDS = {"NoneType": "null", "bool": "bool", "dict": "object", "list": "array"}


def _slow(kind: type, text: str) -> Decimal:
    """Everything but plain digits in the book's range."""
    if len(text) > TEXT_MAX:
        raise _refusal(f"got {len(text)} characters, at most {TEXT_MAX}")
    match = _NUMBER(text)
    if match is None:
        raise _refusal("got text that is no number")
    value = Decimal(text)
    if value.is_zero():
        return Decimal(0)
    if match[1] and kind is not Signed:
        raise _refusal("got a negative number")
    integers, decimals = (BOOK_INTEGERS, BOOK_DECIMALS) if kind is Amount else (WIDE_INTEGERS, WIDE_DECIMALS)
    if value.adjusted() >= integers:
        raise _refusal(f"got more than {integers} digits before the point")
    if _exponent(value) > 0:
        return EXACT.quantize(value, Decimal(1))
    if _exponent(value) < -decimals:
        value = EXACT.normalize(value)  # trailing zeros are no digits
    if _exponent(value) < -decimals:
        raise _refusal(f"got more than {decimals} digits after the point")
    return value


def _refusal(got: str) -> ValueError:
    return ValueError(f"Expected a plain decimal, {got}")


def _exponent(value: Decimal) -> int:
    exponent = value.as_tuple().exponent
    assert isinstance(exponent, int), "NaN and Infinity do not match the pattern of a number"
    return exponent


def plain(value: Decimal) -> str:
    """The number as text without exponent and without trailing zeros: Decimal("5.10E-6") -> "0.0000051"."""
    assert value.is_finite(), value
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def payment(price: Decimal, quantity: Decimal) -> Decimal:
    """price × quantity cut (rounded down) to 8 decimals: what a BUY pays in the quote asset.

    Source: wire § 5.3: 48.01706542 × 0.2082 = 9.997153020444 is sent as 9.99715302; a rounded amount may be refused.
    """
    assert price > 0, price
    assert quantity > 0, quantity
    return _CUT.quantize(EXACT.multiply(price, quantity), Decimal(1).scaleb(-PAYMENT_DECIMALS))


def total(*amounts: Decimal) -> Decimal:
    """The exact sum, whatever the number of digits."""
    result = Decimal(0)
    for amount in amounts:
        result = EXACT.add(result, amount)
    return result
