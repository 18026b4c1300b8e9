"""Every captured or documented sample is read, and its values are the ones it shows."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import Raw

from actors.domain.instrument import Token
from actors.domain.orders import Balance, Execution, NoAnswer, OrderView, Refused
from actors.domain.quotes import BookTicker, Trade
from actors.exchange import account, listing, market, news, orders, stream, subscribing
from actors.exchange.classify import Success, classify
from tests.shared import SHARED, market_file, needs_shared

D = Decimal
FILES = sorted((SHARED / "wire").glob("*.json"))


class Sample(msgspec.Struct):
    """The parts of a sample file as the bytes they had on the wire."""

    meta: dict[str, Any]
    request: Raw = Raw(b"")
    response: Raw = Raw(b"")
    frame: Raw = Raw(b"")
    reply: dict[str, Any] | None = None


def load(path: Path) -> Sample:
    return msgspec.json.decode(path.read_bytes(), type=Sample)


def sample(name: str) -> Sample:
    return load(SHARED / "wire" / f"{name}.json")


def data_of(name: str) -> Raw:
    verdict = classify(200, {}, bytes(sample(name).response), "read")
    assert isinstance(verdict, Success)
    return verdict.data


def message(name: str) -> Any:
    return stream.read_frame(bytes(sample(name).frame))


READERS: dict[str, Callable[[Raw], Any]] = {
    "rest.agg_klines": market.read_agg_klines,
    "rest.agg_ticker24": listing.read_tokens,
    "rest.agg_trades": market.read_agg_trades,
    "rest.avg_cost": account.read_average_cost,
    "rest.exchange_info": listing.read_instruments,
    "rest.fee_rate": listing.read_fee_rate,
    "rest.from_asset": listing.read_assets,
    "rest.full_depth": market.read_depth,
    "rest.klines": market.read_klines,
    "rest.listen_key": account.read_listen_key,
    "rest.open_orders": orders.read_orders,
    "rest.order_history": orders.read_orders,
    "rest.order_place": orders.read_order_id,
    "rest.oto_place": orders.read_oto_ids,
    "rest.order_cancel": bytes,
    "rest.terms_agreement": account.read_terms,
    "rest.ticker": market.read_ticker,
    "rest.token_full_info": listing.read_token_info,
    "rest.token_list": listing.read_tokens,
    "rest.user_score": account.read_user_score,
    "rest.user_trades": lambda data: orders.read_executions(
        data, symbol="ALPHA_971USDT", order_id="3570338" if b"3570338" in bytes(data) else "3570419"
    ),
    "rest.user_volume": account.read_user_volume,
    "rest.wallet_alpha": account.read_alpha_wallet,
    "rest.wallet_asset": account.read_wallets,
}


@needs_shared
@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_every_sample_is_understood(path):
    one = load(path)
    if bytes(one.frame):
        assert not isinstance(stream.read_frame(bytes(one.frame)), news.Unknown)
    elif one.reply is not None:
        verdict = classify(one.reply["status"], one.reply["headers"], one.reply["body_text"].encode(), "placement")
        assert isinstance(verdict, NoAnswer)
    elif one.meta["kind"] == "rest.error":
        assert isinstance(classify(200, {}, bytes(one.response), "placement"), Refused | NoAnswer)
    else:
        assert READERS[one.meta["kind"]](data_of(path.stem)) is not None


# -- orders

pytestmark = needs_shared


def test_placed_orders_have_their_ids_as_text():
    assert orders.read_oto_ids(data_of("rest_oto_place_a22")) == ("176849327", "176849328")
    assert orders.read_oto_ids(data_of("rest_oto_place_a971")) == ("2464786", "2464787")
    assert orders.read_order_id(data_of("rest_order_place_buy")) == "2459886"


def test_a_filled_order_of_the_history():
    assert orders.read_orders(data_of("rest_order_history_filled")) == [
        OrderView(
            symbol="ALPHA_971USDT",
            order_id="2418529",
            list_id=None,
            position=None,
            side="BUY",
            status="FILLED",
            price=D("0.000005933"),
            quantity=D("1685487.9"),
            executed=D("1685487.9"),
            executed_quote=D("9.9865158"),
            created_ms=1779368143285,
            updated_ms=1779368143384,
        )
    ]


def test_a_cancelled_order_of_the_history_has_no_times():
    (view,) = orders.read_orders(data_of("rest_order_history_canceled"))
    assert (view.status, view.side, view.created_ms, view.updated_ms) == ("CANCELED", "SELL", None, None)


def test_open_orders():
    assert orders.read_orders(data_of("rest_open_orders_empty")) == []
    (view,) = orders.read_orders(data_of("rest_open_orders_constructed"))
    assert (view.order_id, view.status, view.quantity, view.created_ms) == (
        "2460001",
        "NEW",
        D("1792757.2"),
        1779368500000,
    )


def test_fills_of_an_order():
    fills = orders.read_executions(data_of("rest_user_trades_buy"), symbol="ALPHA_971USDT", order_id="3570338")
    assert fills == (
        Execution(
            fill_id="59232870423",
            trade_id="216930",
            price=D("0.000005665"),
            quantity=D(52938),
            quote=D("0.29989377"),
            commission=D("5.29"),
            commission_asset="ALPHA_971",
            time_ms=1779385878732,
            source="rest",
        ),
    )


# -- the order stream, frames 1 to 6 of one OTO pair (wire § 7.1)

SEQUENCE = [
    "stream_execution_report_1_working_new",
    "stream_execution_report_2_pending_held",
    "stream_execution_report_3_working_filled",
    "stream_execution_report_4_pending_released",
    "stream_execution_report_5_pending_partial",
    "stream_execution_report_6_pending_filled",
]


def test_the_captured_pair_tells_its_story():
    reports = [message(name) for name in SEQUENCE]
    story = [
        (one.position, one.kind, one.status, one.quantity, one.cumulative, one.cumulative_quote) for one in reports
    ]
    assert story == [
        ("working", "NEW", "NEW", D("869.56"), 0, 0),
        ("pending", "NEW", "PENDING", 0, 0, 0),
        ("working", "TRADE", "FILLED", D("869.56"), D("869.56"), D("197.30724223")),
        ("pending", "NEW", "NEW", D("869.47"), 0, 0),
        ("pending", "TRADE", "PARTIALLY_FILLED", D("869.47"), D(200), D("45.38093600")),
        ("pending", "TRADE", "FILLED", D("869.47"), D("869.47"), D("197.28681211")),
    ]
    assert {one.list_id for one in reports} == {"89863105"}
    assert [one.order_id for one in reports] == ["51481849", "51481850"] * 2 + ["51481850"] * 2
    assert {one.created_ms for one in reports} == {1759043608334}
    assert [one.time_ms % 1_000_000 for one in reports] == [608334, 608334, 609181, 609181, 610496, 610496]
    assert [one.sent_ms - one.time_ms for one in reports] == [12, 12, 159, 160, 182, 182]


def test_only_trades_have_an_execution_and_each_its_own_fill_id():
    fills = [message(name).execution for name in SEQUENCE]
    assert [fill is not None for fill in fills] == [False, False, True, False, True, True]
    bought, first, second = fills[2], fills[4], fills[5]
    assert (bought.price, bought.quantity, bought.quote) == (D("0.22690469"), D("869.56"), D("197.30724223"))
    assert (bought.commission, bought.commission_asset) == (D("0.08695600"), "ALPHA_373")
    assert (first.trade_id, second.trade_id) == ("798492", "798492"), "one match"
    assert (first.fill_id, second.fill_id) == ("12501205152", "12501205154"), "two fills"
    assert first.quote + second.quote == D("197.28681211")
    assert (first.commission + second.commission, second.commission_asset) == (D("0.01972868"), "USDT")


def test_a_cancel_as_it_may_look():
    report = message("stream_constructed_canceled")
    assert (report.kind, report.status, report.list_id, report.position) == ("CANCELED", "CANCELED", None, None)


def test_a_lapsed_listen_key_is_news_without_the_key():
    assert message("stream_listen_key_expired_constructed") == news.KeyLapsed("listenKeyExpired")


# -- public streams


def test_both_forms_of_an_acknowledgement():
    assert message("stream_ack") == news.Ack(2)
    assert message("stream_ack_short") == news.Ack(1)


def test_captured_subscriptions_are_reproduced():
    for name, request_id in (("stream_subscribe_public", 1), ("stream_subscribe_user", 2)):
        captured = msgspec.json.decode(sample(name).frame)
        assert msgspec.json.decode(subscribing.subscribe(captured["params"], request_id=request_id)) == captured
    assert subscribing.full_depth_stream("ALPHA_971USDT", pace_ms=500) in captured_params("stream_subscribe_public")
    assert subscribing.agg_trade_stream("ALPHA_971USDT") in captured_params("stream_subscribe_public")
    assert subscribing.ALL_TOKENS in captured_params("stream_subscribe_public")
    assert captured_params("stream_subscribe_user") == [subscribing.user_stream("00112233445566778899aabbccddeeff")]


def captured_params(name: str) -> list[str]:
    return msgspec.json.decode(sample(name).frame)["params"]


def test_trades_of_the_stream():
    trade = Trade(
        agg_id=798462, price=D("0.22690468"), quantity=D("26959.29"), time_ms=1759043579983, buyer_maker=False
    )
    assert message("stream_agg_trade") == news.AggTrade("ALPHA_373USDT", 1759043580233, trade)
    single = message("stream_trade")
    assert (single.symbol, single.trade_id, single.price) == ("ALPHA_116USDT", 19911650, D("8.4"))


def test_best_prices_of_the_stream():
    assert message("stream_book_ticker").ticker == BookTicker(
        bid=D("8.3"),
        bid_quantity=D("0.910769"),
        ask=D("9.3"),
        ask_quantity=D("2.003532"),
        update_id=6663207693,
        time_ms=1773108379054,
    )


def test_day_figures_of_the_stream():
    mini, full = message("stream_mini_ticker"), message("stream_ticker")
    assert (mini.last, mini.high, mini.quote_volume, mini.average) == (D("8.4"), D("8.5"), D("543810.3600509"), None)
    assert (full.last, full.average, full.change_percent, full.trades) == (D("8.4"), D("8.40003127"), 0, 217505)


def test_bars_of_a_symbol_and_of_a_contract_share_a_word():
    symbol, contract = message("stream_kline_symbol"), message("stream_kline_contract_numbers")
    assert isinstance(symbol, news.Kline)
    assert (symbol.closed, symbol.trades, symbol.volume) == (False, 218, D("63.648763"))
    assert isinstance(contract, news.ContractKline)
    assert contract.close == D("0.07156472358283535693430646555729"), "a JSON number, exactly"
    assert contract.contract.endswith("@56")


def test_depth_of_the_stream():
    changes, top = message("stream_full_depth"), message("stream_partial_depth")
    assert (changes.previous_id, changes.first_id, changes.last_id) == (42648947321, 42648947917, 42648948229)
    assert changes.bids == ((D("0.16479999"), D(0)), (D("0.1648"), D("18.68")))
    assert (changes.top, top.top) == (False, True)


def test_the_list_of_all_tokens():
    (token,) = message("stream_ticker_list").tokens
    assert token.price == D("0.072849536538593663")


# -- public calls


def test_agg_trades():
    for name, agg_id, price in (
        ("rest_agg_trades", 161336, "0.000005854"),
        ("rest_agg_trades_doc", 58470, "1"),
    ):
        (trade,) = market.read_agg_trades(data_of(name))
        assert (trade.agg_id, trade.price) == (agg_id, D(price))


def test_a_snapshot_of_the_book():
    depth = market.read_depth(data_of("rest_full_depth"))
    assert (depth.last_update_id, depth.time_ms) == (47534656223, 1775027836072)
    assert depth.bids[0] == (D("0.00040161"), D("365980.85"))
    assert depth.asks == ((D("0.00046996"), D("61994.7")),)


def test_bars_and_day_figures():
    (bar,) = market.read_klines(data_of("rest_klines"))
    assert (bar.open_ms, bar.close_ms, bar.trades) == (1752642000000, 1752645599999, 2)
    assert bar.quote_volume == D("3.05093481")
    (aggregated,) = market.read_agg_klines(data_of("rest_agg_klines"))
    assert aggregated.low == D("0.000005867974520167907")
    ticker = market.read_ticker(data_of("rest_ticker"))
    assert (ticker.last, ticker.change_percent, ticker.trades) == (D("0.00073954"), D("-8.841"), 38)


def test_the_fee_rate_counts_in_millionths():
    assert listing.read_fee_rate(data_of("rest_fee_rate")) == (D("0.0001"), D("0.0001"))
    assert listing.read_assets(data_of("rest_from_asset")) == ("USDT", "USDC", "U")


def test_a_token_row():
    found = listing.read_tokens(data_of("rest_token_list"))
    assert found.unreadable == ()
    assert found.tokens == (
        Token(
            alpha_id="ALPHA_175",
            name="gorilla",
            chain_id="56",
            contract="0xcf640fdf9b3d9e45cbd69fda91d7e22579c14444",
            mul_point=1,
            listing_cex=False,
            offline=False,
            offsell=False,
            halted=False,
            fully_delisted=None,
            listed_ms=1746686700000,
            online_tge=False,
            online_airdrop=False,
        ),
    )
    light, aixbt = listing.read_tokens(data_of("rest_agg_ticker24")).tokens
    assert (light.mul_point, aixbt.offline, aixbt.offsell, aixbt.listing_cex) == (4, True, True, True)
    nexus = listing.read_token_info(data_of("rest_token_full_info"))
    assert (nexus.alpha_id, nexus.mul_point, nexus.online_airdrop) == ("ALPHA_971", None, True)


def test_filters_with_and_without_null_keys():
    (a971,) = listing.read_instruments(data_of("rest_exchange_info_a971")).instruments
    assert (a971.price_precision, a971.quantity_precision, a971.base_precision) == (9, 2, 2)
    assert (a971.filters.tick_size, a971.filters.step_size) == (D("0.000000001"), D("0.1"))
    assert (a971.filters.min_notional, a971.filters.max_notional, a971.filters.max_open_orders) == (
        D("0.1"),
        None,
        None,
    )
    first, *_ = listing.read_instruments(data_of("rest_exchange_info")).instruments
    assert first.symbol == "ALPHA_373USDT"
    assert (first.filters.bid_multiplier_down, first.filters.ask_multiplier_up) == (D("0.2"), D(5))
    assert (first.filters.max_quantity, first.filters.max_open_orders) == (D(4180602), 200)


# -- the account


def test_wallets():
    assert account.read_wallets(data_of("rest_wallet_asset")) == (
        Balance(asset="USDT", wallet="funding", free=D(100), frozen=D(0)),
        Balance(asset="USDT", wallet="earn", free=D(900), frozen=D(0)),
        Balance(asset="DOGE", wallet="earn", free=D("0.9"), frozen=D(0)),
    )
    assert account.read_alpha_wallet(data_of("rest_wallet_alpha")) == (
        Balance(asset="ALPHA_118", wallet="alpha", free=D("0.006657"), frozen=D(0)),
        Balance(asset="ALPHA_391", wallet="alpha", free=D(250), frozen=D(0)),
    )


def test_volume_and_average_cost():
    assert account.read_user_volume(data_of("rest_user_volume")) == D("197.43566840519998")
    assert account.read_average_cost(data_of("rest_avg_cost")) == {"ALPHA_971": D("0.00000591")}
    assert account.read_terms(data_of("rest_terms_agreement")) is True


def test_points_add_up_as_the_sheet_says():
    score = account.read_user_score(data_of("rest_user_score"))
    assert (score.score, len(score.days), score.start_ms, score.end_ms) == (D(182), 15, 1751414400000, 1752624000000)
    assert score.days[0].date == "2025-07-16"
    for day in score.days:
        assert 2**day.volume_points <= day.volume < 2 ** (day.volume_points + 1)
        assert day.points == day.volume_points + day.balance_points
    assert sum(day.points for day in score.days) - sum(points for _, points in score.spent) == score.score


def test_all_shapes_of_a_listen_key():
    key = "00112233445566778899aabbccddeeff"
    assert account.read_listen_key(data_of("rest_listen_key_string")) == key
    assert account.read_listen_key(data_of("rest_listen_key_object")) == key


# -- errors


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("rest_error_illegal_param", "000002"),
        ("rest_error_insufficient_balance", "481020"),
        ("rest_error_min_notional", "481013"),
        ("rest_error_login_expired", "session"),
        ("rest_error_system", "system"),
    ],
)
def test_error_bodies(name, verdict):
    found = classify(200, {}, bytes(sample(name).response), "placement")
    assert (found.code if isinstance(found, Refused) else found.trouble) == verdict


def test_error_replies():
    for name, trouble, wait_s in (
        ("rest_error_risk_challenge", "human", None),
        ("rest_error_http_429", "throttled", 30.0),
    ):
        reply = sample(name).reply
        verdict = classify(reply["status"], reply["headers"], reply["body_text"].encode(), "placement")
        assert isinstance(verdict, NoAnswer)
        assert (verdict.trouble, verdict.retry_after_s) == (trouble, wait_s)


# -- the whole market of 2025-10-10


def market_data(name: str) -> Raw:
    verdict = classify(200, {}, market_file(name), "read")
    assert isinstance(verdict, Success)
    return verdict.data


def test_all_735_symbols_have_their_filters():
    found = listing.read_instruments(market_data("alpha-exchange-info.json.gz"))
    assert found.unreadable == ()
    assert len(found.instruments) == 735
    assert sum(one.status == "TRADING" for one in found.instruments) == 619
    assert sum(one.quote_asset == "USDT" for one in found.instruments) == 363
    for one in found.instruments:
        filters = one.filters
        assert one.symbol == one.base_asset + one.quote_asset
        assert filters.tick_size == D(1).scaleb(-one.price_precision)
        assert filters.min_price == filters.tick_size
        assert filters.min_quantity == filters.step_size
        assert (filters.min_notional, filters.max_notional) == (D("0.1"), D(1000000))
        assert filters.max_open_orders == 200
        assert filters.max_price in (1, 1000, 10000, 100000)
        tight = one.base_asset in ("ALPHA_373", "ALPHA_382")
        assert filters.bid_multiplier_down == filters.ask_multiplier_down == (D("0.2") if tight else D("0.00001"))
        assert filters.bid_multiplier_up == filters.ask_multiplier_up == (5 if tight else 100000)


def test_all_404_tokens_are_read_and_merge_to_one_per_alpha_id():
    found = listing.read_tokens(market_data("alpha-tokens.json.gz"))
    assert found.unreadable == ()
    assert len(found.tokens) == 404
    (incomplete,) = [token for token in found.tokens if token.chain_id is None]
    assert incomplete == Token(alpha_id="ALPHA_123", name="")
    assert sum(token.mul_point == 4 for token in found.tokens) == 30
    merged, warnings = listing.merge_tokens(found.tokens)
    assert len(merged) == len({token.alpha_id for token in found.tokens}) == 402
    assert {warning.split()[0] for warning in warnings} == {"ALPHA_382", "ALPHA_123"}
    whole = next(token for token in merged if token.alpha_id == "ALPHA_123")
    assert whole.name != ""
    assert whole.mul_point is not None
