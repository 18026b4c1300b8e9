"""Every call the daemon makes, as data: method, path, query, JSON body. Nothing is sent here.

Amounts leave as text in plain digits (the mobile app's typing, wire § 1.3); a number would be a float in between, and
below 1e-6 it would have an exponent. There is no client order id and no time-in-force: a placement cannot be repeated.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Literal

import msgspec
from msgspec import Struct

from actors.domain.instrument import Instrument
from actors.domain.orders import Side
from actors.exchange.numbers import payment, plain

_PUBLIC = "/bapi/defi/v1/public/alpha-trade"
_ALPHA = "/bapi/defi/v1/public/wallet-direct/buw/wallet/cex/alpha"
_ASSET = "/bapi/asset/v1/private/alpha-trade"
_DEFI = "/bapi/defi/v1/private/alpha-trade"

HISTORY_ROWS = 500  # the most that was accepted (wire § 4)
HISTORY_STATUS = "FILLED,PARTIALLY_FILLED,EXPIRED,CANCELED,REJECTED"  # what the web page asks for
TRADES_MAX = 1000
DISCLAIMER = "ALPHA_CEX_ORDER_DISCLAIMER"


class Call(Struct, frozen=True, kw_only=True):
    """One request, before it has a session: no header, no cookie."""

    method: Literal["GET", "POST"]
    path: str
    query: Mapping[str, str] | None = None
    body: bytes | None = None


# -- public (wire § 3)


def token_list() -> Call:
    return _get(f"{_ALPHA}/all/token/list")


def exchange_info() -> Call:
    return _get(f"{_PUBLIC}/get-exchange-info")


def agg_trades(symbol: str, *, start_ms: int | None = None, from_id: int | None = None, limit: int = 1000) -> Call:
    """limit: 1 to 1000. Without start_ms and from_id the newest."""
    assert 1 <= limit <= TRADES_MAX, limit
    return _get(f"{_PUBLIC}/agg-trades", symbol=symbol, startTime=start_ms, fromId=from_id, limit=limit)


def full_depth(symbol: str, *, limit: int = 500) -> Call:
    assert limit in (5, 10, 20, 50, 100, 500, 1000), limit
    return _get(f"{_PUBLIC}/fullDepth", symbol=symbol, limit=limit)


def klines(
    symbol: str, interval: str, *, start_ms: int | None = None, end_ms: int | None = None, limit: int = 500
) -> Call:
    """interval: "1s", "15s", "1m" … (wire § 3.3)."""
    assert 1 <= limit <= 1500, limit
    return _get(f"{_PUBLIC}/klines", symbol=symbol, interval=interval, startTime=start_ms, endTime=end_ms, limit=limit)


def ticker(symbol: str) -> Call:
    return _get(f"{_PUBLIC}/ticker", symbol=symbol)


def fee_rate(symbol: str) -> Call:
    return _get(f"{_PUBLIC}/get-fee-rate", symbol=symbol)


def from_asset() -> Call:
    return _get(f"{_PUBLIC}/get-from-asset")


# -- orders (wire § 4, § 5)


def place_limit(instrument: Instrument, *, side: Side, price: Decimal, quantity: Decimal) -> Call:
    """A plain LIMIT order. BUY pays the notional from CARD, SELL the base quantity from ALPHA."""
    return _post(
        f"{_ASSET}/order/place",
        {
            "baseAsset": instrument.base_asset,
            "quoteAsset": instrument.quote_asset,
            "side": side,
            "price": plain(price),
            "quantity": plain(quantity),
            "paymentDetails": _payment_details(side, price, quantity),
            "orderType": "LIMIT",
        },
    )


def place_oto(instrument: Instrument, *, buy_price: Decimal, sell_price: Decimal, quantity: Decimal) -> Call:
    """A working BUY whose complete fill releases a SELL; the exchange derives the SELL's quantity (wire § 7.2)."""
    assert sell_price > 0, sell_price
    return _post(
        f"{_ASSET}/oto-order/place",
        {
            "baseAsset": instrument.base_asset,
            "quoteAsset": instrument.quote_asset,
            "workingSide": "BUY",
            "workingPrice": plain(buy_price),
            "workingQuantity": plain(quantity),
            "paymentDetails": _payment_details("BUY", buy_price, quantity),
            "pendingPrice": plain(sell_price),
            "pendingType": "LIMIT",
        },
    )


def cancel(symbol: str, order_id: str) -> Call:
    return _post(f"{_DEFI}/order/cancel", {"orderId": order_id, "symbol": symbol})


def open_orders() -> Call:
    """All of the account: an empty side means both."""
    return _get(f"{_DEFI}/order/get-open-order", side="")


def history(*, page: int, start_ms: int, end_ms: int, base_asset: str | None = None) -> Call:
    """page: from 1, of HISTORY_ROWS rows each."""
    assert page >= 1, page
    assert 0 <= start_ms <= end_ms, (start_ms, end_ms)
    return _get(
        f"{_DEFI}/order/get-order-history-merge",
        page=page,
        rows=HISTORY_ROWS,
        orderStatus=HISTORY_STATUS,
        startTime=start_ms,
        endTime=end_ms,
        kind="LIMIT",
        baseAsset=base_asset,
    )


def user_trades(symbol: str, order_id: str) -> Call:
    return _get(f"{_DEFI}/order/get-user-trades", orderId=order_id, symbol=symbol)


# -- the account (wire § 4, § 10.3, § 14)


def listen_key() -> Call:
    return _post(f"{_DEFI}/get-listen-key", {})


def alpha_wallet() -> Call:
    return _get("/bapi/defi/v1/private/wallet-direct/cloud-wallet/alpha", includeCex=1)


def wallets() -> Call:
    return _post(
        "/bapi/asset/v3/private/asset-service/asset/get-wallet-asset",
        {"includeWallets": ["CARD", "MAIN", "SAVING"], "includeEq": True},
    )


def user_volume() -> Call:
    return _get("/bapi/defi/v1/private/wallet-direct/buw/wallet/today/user-volume")


def user_score() -> Call:
    return _get("/bapi/defi/v1/private/wallet-direct/buw/tge/common/user-score")


def terms_agreement() -> Call:
    return _get("/bapi/defi/v1/private/wallet-direct/swap/terms-agreement", termType=DISCLAIMER)


# -- leaves


def _payment_details(side: Side, price: Decimal, quantity: Decimal) -> list[dict[str, str]]:
    """The sum of the amounts must be exactly what the exchange computes, else 000002 (wire § 5.3)."""
    notional = payment(price, quantity)
    if side == "SELL":
        return [{"amount": plain(quantity), "paymentWalletType": "ALPHA"}]
    assert notional > 0, (price, quantity)
    return [{"amount": plain(notional), "paymentWalletType": "CARD"}]


def _get(path: str, **query: str | int | None) -> Call:
    return Call(
        method="GET", path=path, query={name: str(value) for name, value in query.items() if value is not None} or None
    )


def _post(path: str, body: Mapping[str, Any]) -> Call:
    return Call(method="POST", path=path, body=msgspec.json.encode(body))
