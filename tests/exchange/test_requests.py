"""Captured requests are reproduced, number for number."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from actors.domain.instrument import Filters, Instrument
from actors.exchange import requests
from tests.shared import needs_shared, wire

D = Decimal


def instrument(base: str) -> Instrument:
    filters = Filters(
        tick_size=D("0.00000001"),
        min_price=D("0.00000001"),
        max_price=D(1000),
        step_size=D("0.1"),
        min_quantity=D("0.1"),
        max_quantity=D(10**10),
    )
    return Instrument(
        symbol=f"{base}USDT",
        base_asset=base,
        quote_asset="USDT",
        status="TRADING",
        price_precision=8,
        quantity_precision=2,
        base_precision=2,
        quote_precision=8,
        filters=filters,
    )


def body_of(call: requests.Call) -> Any:
    assert call.body is not None
    return msgspec.json.decode(call.body)


def as_numbers(value: Any) -> Any:
    """The same document with every amount as a decimal, whether it was a number or text."""
    if isinstance(value, dict):
        return {key: as_numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_numbers(item) for item in value]
    try:
        return D(str(value))
    except ArithmeticError:
        return value


@needs_shared
@pytest.mark.parametrize("name", ["rest_oto_place_a22", "rest_oto_place_a971"])
def test_a_captured_oto_request_is_reproduced(name):
    sample = wire(name)
    captured = sample["request"]
    call = requests.place_oto(
        instrument(captured["baseAsset"]),
        buy_price=D(captured["workingPrice"]),
        sell_price=D(captured["pendingPrice"]),
        quantity=D(captured["workingQuantity"]),
    )
    assert f"{call.method} {call.path}" == sample["meta"]["http"]
    assert as_numbers(body_of(call)) == as_numbers({"pendingType": "LIMIT", **captured})  # pendingType: since 2026


@needs_shared
@pytest.mark.parametrize("name", ["rest_order_place_buy", "rest_order_place_sell"])
def test_a_captured_limit_request_is_reproduced(name):
    sample = wire(name)
    captured = sample["request"]
    call = requests.place_limit(
        instrument(captured["baseAsset"]),
        side=captured["side"],
        price=D(captured["price"]),
        quantity=D(captured["quantity"]),
    )
    assert f"{call.method} {call.path}" == sample["meta"]["http"]
    assert as_numbers(body_of(call)) == as_numbers(captured)


def test_amounts_leave_as_text_without_exponent_or_trailing_zeros():
    call = requests.place_oto(
        instrument("ALPHA_7"), buy_price=D("5.10E-6"), sell_price=D("0.0000057000"), quantity=D("1960784.30")
    )
    body = body_of(call)
    assert body["workingPrice"] == "0.0000051"
    assert body["pendingPrice"] == "0.0000057"
    assert body["workingQuantity"] == "1960784.3"
    assert body["paymentDetails"] == [{"amount": "9.99999993", "paymentWalletType": "CARD"}]
    assert b"clientOrderId" not in (call.body or b"")


def test_a_sell_pays_its_base_quantity_from_the_alpha_wallet_even_where_its_notional_cuts_to_nothing():
    call = requests.place_limit(instrument("ALPHA_7"), side="SELL", price=D("0.000000001"), quantity=D("0.10"))
    assert body_of(call)["paymentDetails"] == [{"amount": "0.1", "paymentWalletType": "ALPHA"}]


@pytest.mark.parametrize(("price", "quantity"), [("0", "1"), ("1", "0"), ("-1", "1"), ("0.00000001", "0.1")])
def test_a_buy_of_nothing_is_a_bug_of_ours(price, quantity):
    with pytest.raises(AssertionError):
        requests.place_limit(instrument("ALPHA_7"), side="BUY", price=D(price), quantity=D(quantity))


@needs_shared
def test_a_captured_cancel_is_reproduced():
    sample = wire("rest_order_cancel")
    call = requests.cancel("ALPHA_971USDT", "2461654")
    assert f"{call.method} {call.path}" == sample["meta"]["http"]
    assert body_of(call) == sample["request"]


def test_history_asks_for_limit_orders_of_all_final_states_in_pages_of_500():
    call = requests.history(page=3, start_ms=1779206400000, end_ms=1779379199000, base_asset="ALPHA_971")
    assert call.path == "/bapi/defi/v1/private/alpha-trade/order/get-order-history-merge"
    assert call.query == {
        "page": "3",
        "rows": "500",
        "orderStatus": "FILLED,PARTIALLY_FILLED,EXPIRED,CANCELED,REJECTED",
        "startTime": "1779206400000",
        "endTime": "1779379199000",
        "kind": "LIMIT",
        "baseAsset": "ALPHA_971",
    }
    without = requests.history(page=1, start_ms=0, end_ms=1).query
    assert without is not None
    assert "baseAsset" not in without


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (requests.token_list(), "GET /bapi/defi/v1/public/wallet-direct/buw/wallet/cex/alpha/all/token/list"),
        (requests.exchange_info(), "GET /bapi/defi/v1/public/alpha-trade/get-exchange-info"),
        (requests.from_asset(), "GET /bapi/defi/v1/public/alpha-trade/get-from-asset"),
        (requests.fee_rate("A"), "GET /bapi/defi/v1/public/alpha-trade/get-fee-rate symbol=A"),
        (requests.ticker("A"), "GET /bapi/defi/v1/public/alpha-trade/ticker symbol=A"),
        (requests.agg_trades("A", limit=40), "GET /bapi/defi/v1/public/alpha-trade/agg-trades symbol=A limit=40"),
        (
            requests.agg_trades("A", start_ms=5, from_id=7),
            "GET /bapi/defi/v1/public/alpha-trade/agg-trades symbol=A startTime=5 fromId=7 limit=1000",
        ),
        (requests.full_depth("A", limit=5), "GET /bapi/defi/v1/public/alpha-trade/fullDepth symbol=A limit=5"),
        (
            requests.klines("A", "1h", start_ms=1, end_ms=2, limit=2),
            "GET /bapi/defi/v1/public/alpha-trade/klines symbol=A interval=1h startTime=1 endTime=2 limit=2",
        ),
        (requests.open_orders(), "GET /bapi/defi/v1/private/alpha-trade/order/get-open-order side="),
        (
            requests.user_trades("A", "5"),
            "GET /bapi/defi/v1/private/alpha-trade/order/get-user-trades orderId=5 symbol=A",
        ),
        (requests.alpha_wallet(), "GET /bapi/defi/v1/private/wallet-direct/cloud-wallet/alpha includeCex=1"),
        (requests.user_volume(), "GET /bapi/defi/v1/private/wallet-direct/buw/wallet/today/user-volume"),
        (requests.user_score(), "GET /bapi/defi/v1/private/wallet-direct/buw/tge/common/user-score"),
        (
            requests.terms_agreement(),
            "GET /bapi/defi/v1/private/wallet-direct/swap/terms-agreement termType=ALPHA_CEX_ORDER_DISCLAIMER",
        ),
        (requests.listen_key(), "POST /bapi/defi/v1/private/alpha-trade/get-listen-key {}"),
        (
            requests.wallets(),
            "POST /bapi/asset/v3/private/asset-service/asset/get-wallet-asset "
            '{"includeWallets":["CARD","MAIN","SAVING"],"includeEq":true}',
        ),
    ],
)
def test_calls_go_to_the_paths_of_the_sheet(call, expected):
    query = " ".join(f"{name}={value}" for name, value in (call.query or {}).items())
    assert f"{call.method} {call.path} {query}{(call.body or b'').decode()}".rstrip() == expected
