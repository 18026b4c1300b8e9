"""What the exchange says about a token and about its symbol: names, grids, filters.

Source: wire § 3.6 (token list), § 3.7 and § 11 (exchange info).
"""

from __future__ import annotations

from decimal import Decimal

from msgspec import Struct


class Filters(Struct, frozen=True, kw_only=True):
    """All limits of one symbol; quote amounts in the quote asset, quantities in base. None: not limited."""

    tick_size: Decimal  # PRICE_FILTER
    min_price: Decimal
    max_price: Decimal
    step_size: Decimal  # LOT_SIZE; not 10^-quantity_precision (ALPHA_971: 0.10 against 2)
    min_quantity: Decimal
    max_quantity: Decimal
    min_notional: Decimal = Decimal(0)  # the stricter of MIN_NOTIONAL and NOTIONAL
    max_notional: Decimal | None = None
    bid_multiplier_up: Decimal | None = None  # the stricter of PERCENT_PRICE and PERCENT_PRICE_BY_SIDE
    bid_multiplier_down: Decimal | None = None
    ask_multiplier_up: Decimal | None = None
    ask_multiplier_down: Decimal | None = None
    max_open_orders: int | None = None  # MAX_NUM_ORDERS, per symbol


class Instrument(Struct, frozen=True, kw_only=True):
    """One tradable symbol, e.g. ALPHA_22USDT."""

    symbol: str  # orders: "ALPHA_22USDT"; streams use it in lower case
    base_asset: str  # = alphaId, "ALPHA_22"
    quote_asset: str
    status: str  # "TRADING", "DELISTED", other words kept
    price_precision: int
    quantity_precision: int
    base_precision: int  # decimals of base commission (wire § 12.3)
    quote_precision: int
    filters: Filters


class Token(Struct, frozen=True, kw_only=True):
    """One row of the token list, merged by alphaId. None: the row did not say."""

    alpha_id: str
    name: str  # short name (ticker), "KOGE"; not unique
    chain_id: str | None = None
    contract: str | None = None
    mul_point: int | None = None
    listing_cex: bool | None = None
    offline: bool | None = None
    offsell: bool | None = None
    halted: bool | None = None  # stockState
    fully_delisted: bool | None = None
    listed_ms: int | None = None
    online_tge: bool | None = None
    online_airdrop: bool | None = None


class Market(Struct, frozen=True, kw_only=True):
    """A token with its symbol: what a short name resolves to. The answer of the token catalogue."""

    token: Token
    instrument: Instrument
    warnings: tuple[str, ...] = ()  # e.g. "KOGE is also listed on spot: its volume may not count"
    fetched_ms: int  # when the older of the two was read from the exchange
