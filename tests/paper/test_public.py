"""Public calls and streams: shapes as captured, a book that can be kept, no work for nobody (wire § 3, § 6)."""

from __future__ import annotations

import random

import msgspec
import pytest

from actors.paper.faults import Fault
from actors.paper.listing import Listing
from actors.paper.public import P, W
from tests.paper.kit import KOGE, T0, TOKENS, D, Kit
from tests.shared import needs_shared, wire

LOW = "alpha_22usdt"


def get(kit: Kit, name: str, **query):
    return kit.data("GET", f"{P}/{name}", user=None, **query)


def traded(count: int = 5, gap_ms: int = 1_000) -> Kit:
    """Trades `gap_ms` apart from T0 on, at 48.00, 48.01, …, bought and sold in turn."""
    kit = Kit()
    for i in range(count):
        price = str(D(48) + D(i) / 100)
        kit.quote("SELL" if i % 2 == 0 else "BUY", price, "1")
        kit.quote("BUY" if i % 2 == 0 else "SELL", price, "1")
        kit.pass_ms(gap_ms)
    return kit


class TestAggTrades:
    def test_newest_by_default_ascending(self):
        rows = get(traded(), "agg-trades", symbol=KOGE, limit=2)
        assert [row["p"] for row in rows] == ["48.03000000", "48.04000000"]
        assert [row["m"] for row in rows] == [True, False]
        assert rows[1]["a"] == rows[0]["a"] + 1

    def test_from_an_id_or_a_time_on_the_first_ones(self):
        kit = traded()
        first = get(kit, "agg-trades", symbol=KOGE)[0]
        rows = get(kit, "agg-trades", symbol=KOGE, fromId=first["a"] + 1, limit=2)
        assert [row["p"] for row in rows] == ["48.01000000", "48.02000000"]
        rows = get(kit, "agg-trades", symbol=KOGE, startTime=T0 + 1_000, endTime=T0 + 2_000)
        assert [row["T"] for row in rows] == [T0 + 1_000, T0 + 2_000]
        rows = get(kit, "agg-trades", symbol=KOGE, endTime=T0 + 1_000, limit=1)
        assert [row["T"] for row in rows] == [T0 + 1_000]

    @needs_shared
    def test_row_has_the_captured_keys(self):
        captured = wire("rest_agg_trades")["response"]["data"][0]
        (row,) = get(traded(1), "agg-trades", symbol=KOGE)
        assert {name: type(value) for name, value in row.items()} == {n: type(v) for n, v in captured.items()}
        assert row["a"] != row["f"], "different counters"

    def test_one_taker_over_two_levels_makes_two(self):
        kit = Kit()
        for price in ("48", "48", "48.01"):
            kit.quote("SELL", price, "1")
        kit.exchange.take(KOGE, "BUY", D("2.5"), D(49), kit.now)
        rows = get(kit, "agg-trades", symbol=KOGE)
        assert [(row["p"], row["q"]) for row in rows] == [("48.00000000", "2.00000000"), ("48.01000000", "0.50000000")]

    @pytest.mark.parametrize(
        "query", [{}, {"symbol": "NO"}, {"symbol": KOGE, "limit": "x"}, {"symbol": KOGE, "fromId": "-1"}]
    )
    def test_nonsense_is_refused(self, query):
        assert Kit().code("GET", f"{P}/agg-trades", user=None, **query) == "000002"

    def test_an_old_tape_is_cut(self, monkeypatch):
        monkeypatch.setattr("actors.paper.tape.PRINTS_KEPT", 3)
        assert len(get(traded(7, 1), "agg-trades", symbol=KOGE)) == 4


class TestDepth:
    def test_best_first_with_all_decimals(self):
        kit = Kit()
        for side, price in [("BUY", "47"), ("BUY", "47.5"), ("SELL", "49"), ("SELL", "48.5")]:
            kit.quote(side, price, "500")
        data = get(kit, "fullDepth", symbol=KOGE, limit=5)
        assert data["bids"] == [["47.50000000", "500.00000000"], ["47.00000000", "500.00000000"]]
        assert [price for price, _ in data["asks"]] == ["48.50000000", "49.00000000"]
        assert kit.code("GET", f"{P}/fullDepth", user=None, symbol=KOGE, limit=7) == "000002"

    @needs_shared
    def test_keys(self):
        assert set(get(traded(1), "fullDepth", symbol=KOGE)) == set(wire("rest_full_depth")["response"]["data"])

    def test_may_be_crossed(self):
        kit = Kit(Fault(kind="crossed_depth", times=1))
        kit.quote("SELL", "48", "1")
        data = get(kit, "fullDepth", symbol=KOGE)
        assert D(data["bids"][0][0]) > D(data["asks"][0][0])
        assert get(kit, "fullDepth", symbol=KOGE)["bids"] == []


class TestBars:
    @needs_shared
    def test_klines_have_twelve_columns_eleven_of_them_text(self):
        kit = traded(5)
        rows = get(kit, "klines", symbol=KOGE, interval="1s")
        assert len(rows) == 5
        captured = wire("rest_klines")["response"]["data"][0]
        assert [type(value) for value in rows[0]] == [type(value) for value in captured]
        (row,) = get(kit, "klines", symbol=KOGE, interval="1m", limit=5)
        assert row[1:5] == ["48.00000000", "48.04000000", "48.00000000", "48.04000000"]
        assert int(row[6]) == int(row[0]) + 59_999
        assert (row[5], row[8], row[9]) == ("5.00000000", "5", "3.00000000")

    def test_bounds(self):
        kit = traded(5)
        rows = get(kit, "klines", symbol=KOGE, interval="1s", startTime=T0 + 1_000, endTime=T0 + 3_000, limit=2)
        assert [row[0] for row in rows] == [str(T0 + 1_000), str(T0 + 2_000)]
        assert kit.code("GET", f"{P}/klines", user=None, symbol=KOGE, interval="7m") == "000002"

    @needs_shared
    def test_ticker(self):
        data = get(traded(5), "ticker", symbol=KOGE)
        captured = wire("rest_ticker")["response"]["data"]
        assert {name: type(value) for name, value in data.items()} == {n: type(v) for n, v in captured.items()}
        assert (data["priceChange"], data["lastPrice"], data["count"]) == ("0.04000000", "48.04000000", 5)
        assert Kit().code("GET", f"{P}/ticker", user=None, symbol=KOGE) == "000002", "no trades yet"

    @needs_shared
    def test_agg_klines(self):
        kit = traded(2)
        contract = kit.listing.token("ALPHA_22").contract
        rows = get(kit, "agg-klines", chainId="56", tokenAddress=contract, interval="1s", dataType="aggregate")
        captured = wire("rest_agg_klines")["response"]["data"][0]
        assert [type(value) for value in rows[0]] == [type(value) for value in captured]
        assert kit.code("GET", f"{P}/agg-klines", user=None, tokenAddress="0x", interval="1s") == "000002"


class TestListing:
    @needs_shared
    def test_exchange_info_rows_have_every_filter_with_every_key(self):
        captured = wire("rest_exchange_info")["response"]["data"]
        data = get(Kit(), "get-exchange-info")
        assert list(data) == ["timezone", "assets", "symbols", "orderTypes"]
        mine = {row["symbol"]: row for row in data["symbols"]}["ALPHA_901USDT"]
        theirs = {row["symbol"]: row for row in captured["symbols"]}["ALPHA_373USDT"]
        assert list(mine) == list(theirs)
        assert [list(f) for f in mine["filters"]] == [list(f) for f in theirs["filters"]]
        same = {"filterType", "minPrice", "tickSize", "stepSize", "minQty", "limit", "minNotional", "maxNotional"}
        same |= {name for name in mine["filters"][0] if "ultiplier" in name}
        for a, b in zip(mine["filters"], theirs["filters"], strict=True):
            assert {name: plain(a[name]) for name in same} == {name: plain(b[name]) for name in same}

    def test_steps_print_as_captured(self):
        rows = {row["symbol"]: row for row in get(Kit(), "get-exchange-info")["symbols"]}
        steps = [rows[f"ALPHA_{n}USDT"]["filters"][1]["stepSize"] for n in (22, 901, 902, 903)]
        assert steps == ["0.00010000", "0.01000000", "0.10", "1"]

    def test_statuses(self):
        kit = Kit(Fault(kind="halt", symbol="ALPHA_904USDT"))
        statuses = {row["symbol"]: row["status"] for row in get(kit, "get-exchange-info")["symbols"]}
        assert statuses["ALPHA_906USDT"] == "DELISTED"
        assert statuses["ALPHA_904USDT"] == "HALT"
        assert statuses[KOGE] == "TRADING"

    @needs_shared
    def test_token_rows(self):
        rows = kit_rows(Kit())
        captured = wire("rest_token_list")["response"]["data"][0]
        assert {n: type(v) for n, v in rows["ALPHA_22"].items()} == {n: type(v) for n, v in captured.items()}

    def test_edges_of_the_demo_listing(self):
        rows = kit_rows(Kit())
        assert set(rows["ALPHA_910"]) == {"alphaId", "price"}, "one captured row had no more"
        assert "mulPoint" not in rows["ALPHA_909"]
        assert rows["ALPHA_901"]["mulPoint"] == 4
        assert [row["alphaId"] for row in rows.values() if row.get("symbol") == "TWIN"] == ["ALPHA_904", "ALPHA_905"]
        assert (rows["ALPHA_906"]["offline"], rows["ALPHA_908"]["offsell"], rows["ALPHA_907"]["listingCex"]) == (
            True,
        ) * 3

    def test_prices_follow_the_tape(self):
        assert kit_rows(traded(1))["ALPHA_22"]["price"] == "48"
        assert kit_rows(Kit())["ALPHA_901"]["price"] == "0.2269"

    def test_other_public_calls(self):
        kit = Kit()
        assert get(kit, "get-from-asset") == ["USDT", "USDC", "U"]
        assert get(kit, "get-fee-rate", symbol=KOGE) == {"buyerCommission": 100, "sellerCommission": 100}
        assert len(get(kit, "aggTicker24", dataType="aggregate")) == len(kit.listing.tokens)
        assert {"chainId": "56", "chainName": "BSC"} in kit.data("GET", f"{W}/chain/list")
        assert kit.data("GET", f"{W}/token/pair/cfg/list") == {"stockAssetList": ["USDT"], "tokenAssetList": []}

    @needs_shared
    def test_token_info(self):
        kit = Kit()
        contract = kit.listing.token("ALPHA_901").contract
        data = kit.data("GET", f"{W}/token/full/info", chainId="56", contractAddress=contract.upper())
        captured = wire("rest_token_full_info")["response"]["data"]
        assert {part: set(row) for part, row in data.items()} == {part: set(row) for part, row in captured.items()}
        assert kit.code("GET", f"{W}/token/full/info", contractAddress="0x") == "000002"

    def test_a_listing_may_change(self):
        """F42: status, filters and flags overnight."""
        kit = Kit()
        koge = kit.listing.by_symbol[KOGE]
        kit.listing.relist(msgspec.structs.replace(koge, status="DELISTED"))
        kit.listing.retoken(msgspec.structs.replace(kit.listing.token("ALPHA_22"), offline=True, mul_point=2))
        assert get(kit, "get-exchange-info")["symbols"][0]["status"] == "DELISTED"
        assert kit_rows(kit)["ALPHA_22"]["offline"] is True
        with pytest.raises(KeyError):
            kit.listing.price("NO")
        with pytest.raises(KeyError):
            Listing((), kit.listing.instruments).token_of(KOGE)
        with pytest.raises(AssertionError):
            kit.listing.relist(msgspec.structs.replace(koge, price_precision=9))


def plain(value):
    """Text that is a number as one: formatting is not canonical (wire § 1.3)."""
    try:
        return D(value)
    except (TypeError, ArithmeticError):
        return value


def kit_rows(kit: Kit) -> dict[str, dict]:
    return {row["alphaId"]: row for row in kit.data("GET", TOKENS, user=None)}


class TestStreams:
    def hear(self, kit: Kit, *names: str) -> None:
        for name in names:
            assert kit.exchange.subscribe(f"{LOW}@{name}", public=True, now_ms=kit.now)

    @needs_shared
    @pytest.mark.parametrize(
        ("name", "sample", "event"),
        [
            ("aggTrade", "stream_agg_trade", "aggTrade"),
            ("trade", "stream_trade", "trade"),
            ("bookTicker", "stream_book_ticker", "bookTicker"),
            ("miniTicker", "stream_mini_ticker", "24hrMiniTicker"),
            ("ticker", "stream_ticker", "24hrTicker"),
            ("fulldepth@100ms", "stream_full_depth", "depthUpdate"),
            ("depth5@100ms", "stream_partial_depth", "depthUpdate"),
        ],
    )
    def test_frames_have_the_keys_and_types_of_the_samples(self, name, sample, event):
        kit = Kit()
        self.hear(kit, name)
        kit.quote("SELL", "48", "2")
        kit.quote("BUY", "47", "2")
        kit.quote("BUY", "48", "1")
        kit.pass_ms(1_500)
        frame = kit.frames(f"{LOW}@{name}")[-1]
        expected = wire(sample)["frame"]["data"]
        assert frame["stream"] == f"{LOW}@{name}"
        assert frame["data"]["e"] == event
        assert frame["due"] == frame["data"]["E"]
        assert {n: type(v) for n, v in frame["data"].items()} == {n: type(v) for n, v in expected.items()}

    def test_nobody_listens_nothing_is_made(self):
        kit = traded(5)
        assert kit.exchange.take_frames() == []
        self.hear(kit, "aggTrade", "fulldepth@100ms", "ticker")
        for name in ("aggTrade", "fulldepth@100ms", "ticker"):
            kit.exchange.unsubscribe(f"{LOW}@{name}", public=True)
        kit.pass_ms(10)
        kit.exchange.take_frames()
        kit.quote("SELL", "48", "2")
        kit.pass_ms(10_000)
        assert kit.exchange.take_frames() == []
        assert kit.exchange.next_due_ms() > kit.now + 60_000, "no timer runs on"

    def test_every_listener_counts(self):
        kit = Kit()
        self.hear(kit, "fulldepth@100ms", "fulldepth@100ms")
        kit.exchange.unsubscribe(f"{LOW}@fulldepth@100ms", public=True)
        kit.quote("SELL", "48", "2")
        kit.pass_ms(200)
        assert len(kit.frames()) == 1

    def test_a_stream_that_is_left_and_joined_again_starts_anew(self):
        kit = Kit()
        self.hear(kit, "fulldepth@100ms")
        kit.quote("SELL", "48", "2")
        kit.exchange.unsubscribe(f"{LOW}@fulldepth@100ms", public=True)
        self.hear(kit, "fulldepth@100ms")
        last = get(kit, "fullDepth", symbol=KOGE)["lastUpdateId"]
        kit.quote("SELL", "49", "2")
        kit.pass_ms(200)
        (frame,) = kit.frames()
        assert frame["data"]["pu"] == last
        assert frame["data"]["a"] == [["49.00000000", "2.00000000"]]

    @pytest.mark.parametrize(
        ("stream", "known"),
        [
            ("came@allTokens@ticker24", True),
            ("!bookTicker", True),
            ("alpha_22usdt@kline_1m", True),
            ("alpha_1usdt@aggTrade", False),
            ("ALPHA_22USDT@aggTrade", False),
            ("alpha_22usdt@depth7@100ms", False),
            ("alpha_22usdt@fulldepth@50ms", False),
            ("nonsense", False),
        ],
    )
    def test_unknown_streams_are_silent(self, stream, known):
        kit = Kit()
        assert kit.exchange.subscribe(stream, public=True, now_ms=kit.now) is known
        kit.exchange.unsubscribe(stream, public=True)

    def test_book_ticker_only_when_the_best_changes(self):
        kit = Kit()
        self.hear(kit, "bookTicker")
        kit.quote("SELL", "48", "2")
        kit.quote("SELL", "49", "2")
        order_id = kit.quote("BUY", "47", "1")
        kit.exchange.cancel(KOGE, order_id, kit.now)
        kit.exchange.cancel(KOGE, order_id, kit.now)
        seen = [(f["data"]["b"], f["data"]["a"], f["data"]["A"]) for f in kit.frames()]
        assert seen == [
            ("0", "48.00000000", "2.00000000"),
            ("47.00000000", "48.00000000", "2.00000000"),
            ("0", "48.00000000", "2.00000000"),
        ]

    def test_trade_ids_of_the_streams_are_those_of_the_fills(self):
        kit = Kit(trade_ids="fill")
        self.hear(kit, "trade", "aggTrade")
        kit.quote("SELL", "48", "1")
        kit.quote("SELL", "48", "1")
        order_id = kit.place("BUY", "48", "2")
        kit.pass_ms(1_000)
        frames = kit.frames()
        trades = [f["data"]["t"] for f in frames if f["data"]["e"] == "trade"]
        (agg,) = [f["data"] for f in frames if f["data"]["e"] == "aggTrade"]
        assert [int(row["tradeId"]) for row in reversed(kit.trades(order_id))] == trades == [agg["f"], agg["l"]]

    def test_agg_trade_arrives_as_late_as_captured(self):
        kit = Kit()
        self.hear(kit, "aggTrade")
        kit.quote("SELL", "48", "1")
        kit.quote("BUY", "48", "1")
        (frame,) = kit.frames()
        assert 160 <= frame["data"]["E"] - frame["data"]["T"] <= 250

    def test_partial_depth_is_the_best_levels(self):
        kit = Kit()
        self.hear(kit, "depth5@500ms", "depth10@0ms")
        for i in range(8):
            kit.quote("SELL", str(50 + i), "1")
        kit.pass_ms(500)
        (frame,) = kit.frames(f"{LOW}@depth5")
        assert [price for price, _ in frame["data"]["a"]] == [f"{50 + i}.00000000" for i in range(5)]
        assert len(kit.frames(f"{LOW}@depth10")) == 8

    @pytest.mark.parametrize("pace", ["0ms", "100ms", "500ms"])
    @pytest.mark.parametrize("seed", range(4))
    def test_a_client_that_follows_the_rule_always_has_the_book(self, pace, seed):
        """Wire § 6.4: buffer, snapshot, drop, chain by pu; levels that changed back are listed too."""
        kit, rng, orders = Kit(), random.Random(seed), []

        def stir() -> None:
            for _ in range(rng.randint(1, 6)):
                if orders and rng.random() < 0.4:
                    kit.exchange.cancel(KOGE, orders.pop(rng.randrange(len(orders))), kit.now)
                else:
                    price = str(D(rng.randint(4_700, 4_900)) / 100)
                    orders.append(kit.quote(rng.choice(["BUY", "SELL"]), price, str(rng.randint(1, 9))) or 0)
                kit.quote("BUY" if rng.random() < 0.5 else "SELL", "48", "0.0001")
            kit.pass_ms(rng.randint(1, 150))

        stir()
        self.hear(kit, f"fulldepth@{pace}")
        stir()
        snapshot = get(kit, "fullDepth", symbol=KOGE, limit=1000)
        book = {side: dict(snapshot[name]) for side, name in (("b", "bids"), ("a", "asks"))}
        last, chained = snapshot["lastUpdateId"], False
        for _ in range(40):
            stir()
        kit.pass_ms(1_000)
        for frame in kit.frames():
            data = frame["data"]
            assert data["U"] <= data["u"]
            if data["u"] <= last and not chained:
                continue
            assert data["pu"] == last if chained else data["pu"] <= last < data["u"]
            last, chained = data["u"], True
            for side in "ba":
                for price, quantity in data[side]:
                    if D(quantity):
                        book[side][price] = quantity
                    else:
                        assert quantity == "0"
                        book[side].pop(price, None)
        now = get(kit, "fullDepth", symbol=KOGE, limit=1000)
        assert chained
        assert book == {"b": dict(now["bids"]), "a": dict(now["asks"])}
