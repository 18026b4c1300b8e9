"""executionReport, the one event of the user stream (wire § 6.5), key for key as captured."""

from __future__ import annotations

from typing import Any

from actors.domain.instrument import Instrument
from actors.paper.numbers import bare, cut, fixed, quotient
from actors.paper.orders import Fill, Order


def execution_report(
    order: Order,
    instrument: Instrument,
    kind: str,
    event_id: int,
    *,
    time_ms: int,
    sent_ms: int,
    fill: Fill | None = None,
) -> dict[str, Any]:
    """What happened (`x` = kind) to an order, as it is after it.

    fill: of kind TRADE; then the frame has n and N. Integral values print bare, others with all decimals (wire § 1.3).
    """
    places, base, quote = instrument.price_precision, instrument.base_precision, instrument.quote_precision
    data: dict[str, Any] = {
        "s": order.symbol,
        "c": order.client_id,
        "S": order.side,
        "o": "LIMIT",
        "f": "GTC",
        "q": bare(order.quantity, base),
        "p": bare(order.price, places),
        "ap": average(order, places + 1),
        "P": "0",
        "x": kind,
        "X": order.status,
        "i": str(order.order_id),
        "l": bare(fill.quantity, base) if fill else "0",
        "z": bare(order.cumulative, base),
        "L": bare(fill.price, places) if fill else "0",
    }
    if fill:
        data["n"] = bare(fill.commission, base if fill.side == "BUY" else quote)
        data["N"] = fill.commission_asset
    data |= {
        "t": str(fill.trade_id) if fill else "0",
        "m": fill is not None and is_buyer_maker(fill),
        "ot": "LIMIT",
        "st": 1,
        "O": order.created_ms,
        "Z": bare(order.cumulative_quote, quote),
        "Y": bare(fill.quote, quote) if fill else "0",
        "Q": "0",
        "ba": instrument.base_asset,
        "qa": instrument.quote_asset,
        "id": event_id,
    }
    if order.list_id:
        data |= {"il": str(order.list_id), "ct": "OTO", "cp": order.position}
    return data | {"e": "executionReport", "T": time_ms, "u": time_ms, "E": sent_ms}


def is_buyer_maker(fill: Fill) -> bool:
    """The public convention of `m`: a taker's SELL has true, a taker's BUY false (wire § 6.5)."""
    return fill.maker == (fill.side == "BUY")


def average(order: Order, places: int) -> str:
    """`ap`: Z / z cut to one place more than a price has; "0" before a fill (wire § 12.3)."""
    if not order.cumulative:
        return "0"
    return fixed(cut(quotient(order.cumulative_quote, order.cumulative), places), places)
