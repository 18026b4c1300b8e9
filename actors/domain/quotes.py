"""Prices as an actor sees them: the newest quote of a symbol and the 60 s range."""

from __future__ import annotations

from decimal import Decimal

from msgspec import Struct


class Quote(Struct, frozen=True, kw_only=True):
    """What the feed of a token knows now; replaced whole, the newest wins.

    price: last trade, quote per base. agg_id: id of that aggTrade, orders trades. trade_ms: its exchange time.
    confirmed_ms: wall time of the latest moment at which nothing newer is known to exist (a trade's arrival, or a REST
    read that showed none). bid, ask: best prices, None before the first bookTicker, never used when crossed.
    range_percent: (high - low) / low of the trades of the last 60 s, 0 for fewer than two.
    """

    symbol: str
    price: Decimal
    agg_id: int
    trade_ms: int
    confirmed_ms: int
    bid: Decimal | None
    ask: Decimal | None
    range_percent: Decimal
    connected: bool
    disconnected_since_ms: int | None = None


class Trade(Struct, frozen=True, kw_only=True):
    """One public aggregate trade (wire § 3.1). buyer_maker: the aggressor sold."""

    agg_id: int
    price: Decimal
    quantity: Decimal
    time_ms: int
    buyer_maker: bool


class BookTicker(Struct, frozen=True, kw_only=True):
    """Best prices of a symbol (wire § 6.3). Quantities in base."""

    bid: Decimal
    bid_quantity: Decimal
    ask: Decimal
    ask_quantity: Decimal
    update_id: int
    time_ms: int
