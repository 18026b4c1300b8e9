"""The shapes of REST replies: envelope, refusals, rows (wire § 1.2, § 4, § 9)."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec
from msgspec import Struct

from actors.domain.instrument import Instrument
from actors.paper.numbers import ZERO, bare, fixed, nearest, quotient, stripped
from actors.paper.orders import Fill, Order
from actors.paper.rules import Rules

ILLEGAL = "000002"
LOGIN_EXPIRED = "100002001"
VERIFICATION = "100001003"
INSUFFICIENT = "481020"
ABOVE_MAXIMUM = "481011"
BELOW_MINIMUM = "481013"
# Codes that nobody has seen; ours, chosen among 4810xx so that they count as refusals (wire § 9, § 18.4 no. 7)
MALFORMED = "481001"
OFF_TICK = "481002"
OFF_STEP = "481010"
ABOVE_TOTAL = "481014"
OUT_OF_RANGE = "481015"
TOO_MANY = "481016"
NOT_TRADING = "481017"
UNKNOWN_SYMBOL = "481018"

_encoder = msgspec.json.Encoder()


class Refused(Exception):
    """The request is refused: code and text of the reply."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code} {message}")
        self.code = code
        self.message = message


class Page(Struct, frozen=True):
    """Data of a reply that has a top-level `total`."""

    data: Any
    total: int


class Bare(Struct, frozen=True):
    """A reply without envelope."""

    body: dict[str, Any]


def success(data: Any) -> bytes:
    if isinstance(data, Bare):
        return _encoder.encode(data.body)
    envelope: dict[str, Any] = {"code": "000000", "message": None, "messageDetail": None}
    if isinstance(data, Page):
        return _encoder.encode(envelope | {"data": data.data, "total": data.total, "success": True})
    return _encoder.encode(envelope | {"data": data, "success": True})


def refusal(code: str, message: str) -> bytes:
    if code == LOGIN_EXPIRED:  # captured with three keys only
        return _encoder.encode({"code": code, "message": "登录状态已经失效，请重新登录！", "success": False})
    return _encoder.encode({"code": code, "message": message, "messageDetail": None, "data": None, "success": False})


def order_row(order: Order, instrument: Instrument, rules: Rules) -> dict[str, Any]:
    """A row of open orders or history (wire § 4.1). Rows of OTO legs were captured without `time` and `updateTime`."""
    average = ZERO
    if order.cumulative:
        average = nearest(quotient(order.cumulative_quote, order.cumulative), instrument.price_precision)
    row: dict[str, Any] = {
        "kind": "LIMIT",
        "orderId": str(order.order_id),
        "symbol": order.symbol,
        "status": order.status,
        "price": stripped(order.price),
        "avgPrice": stripped(average),
        "origQty": stripped(order.quantity),
        "executedQty": stripped(order.cumulative),
        "cumQuote": stripped(order.cumulative_quote),
        "type": "LIMIT",
        "side": order.side,
        "stopPrice": "0",
    }
    if not order.list_id or rules.oto_row_times:
        row |= {"time": order.created_ms, "updateTime": order.updated_ms}
    return row | {
        "orderListId": str(order.list_id) if order.list_id else "-1",
        "baseAsset": instrument.base_asset,
        "quoteAsset": instrument.quote_asset,
        "alphaId": instrument.base_asset,
        "contingencyType": "OTO" if order.list_id else None,
        "contingencyOrderPosition": order.position or None,
        "workingTime": order.working_ms if order.list_id else 0,
        "targetStrategy": None,
    }


def fill_row(fill: Fill, instrument: Instrument, *, newest: bool) -> dict[str, Any]:
    """A row of get-user-trades (wire § 4.2). id and tradeId are the match; only pageId is unique."""
    base, quote = instrument.base_precision, instrument.quote_precision
    return {
        "symbol": fill.symbol,
        "id": str(fill.trade_id),
        "orderId": str(fill.order_id),
        "tradeId": str(fill.trade_id),
        "side": fill.side,
        "price": bare(fill.price, instrument.price_precision),
        "qty": bare(fill.quantity, base),
        "quoteQty": bare(fill.quote, quote),
        "commission": bare(fill.commission, base if fill.side == "BUY" else quote),
        "commissionAsset": fill.commission_asset,
        "time": fill.time_ms,
        "pageId": str(fill.page_id),
        "buyer": fill.side == "BUY",
        "baseAsset": instrument.base_asset,
        "quoteAsset": instrument.quote_asset,
        "orderType": "LIMIT",
        "lastTrade": newest,
    }


FILTER_KEYS = (
    "minPrice", "maxPrice", "tickSize", "stepSize", "maxQty", "minQty", "limit", "minNotional", "maxNotional",
    "multiplierDown", "multiplierUp", "bidMultiplierUp", "askMultiplierUp", "bidMultiplierDown", "askMultiplierDown",
)  # fmt: skip
"""Every filter object carries every key, the inapplicable ones null (wire § 3.7)."""


def instrument_row(instrument: Instrument, status: str) -> dict[str, Any]:
    """A symbol of exchange-info with its eight filters (wire § 11)."""
    limits = instrument.filters
    notional = {"minNotional": _text(limits.min_notional), "maxNotional": _text(limits.max_notional)}
    filters: list[tuple[str, dict[str, Any]]] = [
        (
            "PRICE_FILTER",
            {
                "minPrice": _text(limits.min_price),
                "maxPrice": _text(limits.max_price),
                "tickSize": _text(limits.tick_size),
            },
        ),
        (
            "LOT_SIZE",
            {
                "stepSize": bare(limits.step_size, instrument.quantity_precision),
                "minQty": bare(limits.min_quantity, instrument.quantity_precision),
                "maxQty": _text(limits.max_quantity),
            },
        ),
        ("MAX_NUM_ORDERS", {"limit": limits.max_open_orders}),
        ("MIN_NOTIONAL", {"minNotional": notional["minNotional"]}),
        ("MAX_NOTIONAL", {"maxNotional": notional["maxNotional"]}),
        ("NOTIONAL", notional),
        (
            "PERCENT_PRICE",
            {
                "multiplierDown": _text(limits.bid_multiplier_down),
                "multiplierUp": _text(limits.bid_multiplier_up),
            },
        ),
        (
            "PERCENT_PRICE_BY_SIDE",
            {
                "bidMultiplierUp": _text(limits.bid_multiplier_up),
                "askMultiplierUp": _text(limits.ask_multiplier_up),
                "bidMultiplierDown": _text(limits.bid_multiplier_down),
                "askMultiplierDown": _text(limits.ask_multiplier_down),
            },
        ),
    ]
    return {
        "symbol": instrument.symbol,
        "status": status,
        "baseAsset": instrument.base_asset,
        "quoteAsset": instrument.quote_asset,
        "pricePrecision": instrument.price_precision,
        "quantityPrecision": instrument.quantity_precision,
        "baseAssetPrecision": instrument.base_precision,
        "quotePrecision": instrument.quote_precision,
        "filters": [{"filterType": name} | dict.fromkeys(FILTER_KEYS) | values for name, values in filters],
        "orderTypes": ["LIMIT"],
    }


def bucket_row(free: Decimal, locked: Decimal) -> dict[str, str] | None:
    """A bucket of get-wallet-asset; null when empty (wire § 4.3)."""
    if not free and not locked:
        return None
    return {"free": bare(free, 8), "locked": bare(locked, 8), "freeze": "0", "withdrawing": "0"}


def levels_rows(levels: Sequence[Any], instrument: Instrument) -> list[tuple[str, str]]:
    return [
        (fixed(level.price, instrument.price_precision), fixed(level.quantity, instrument.quantity_precision))
        for level in levels
    ]


def _text(value: Decimal | None) -> str | None:
    return None if value is None else stripped(value)
