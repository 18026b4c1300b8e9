"""The synthetic market: its figures are those of real tokens (probes § 7), its flow depends on seed and time."""

from __future__ import annotations

import math
from collections import Counter, deque
from decimal import Decimal
from itertools import pairwise
from statistics import mean, pstdev, pvariance

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.domain.instrument import Filters, Instrument
from actors.paper.market import RUSH_NOT_BEFORE_S, SyntheticMarket, Traded
from tests.paper.toy_venue import MARKET, USER, ToyVenue, run

KOGE = "ALPHA_22USDT"
START_MS = 1_760_000_000_000
SECONDS = 1_800


def instrument(symbol=KOGE, tick="0.00000001", step="0.0001", most="100000", quantity_most="19909"):
    filters = Filters(
        tick_size=Decimal(tick),
        min_price=Decimal(tick),
        max_price=Decimal(most),
        step_size=Decimal(step),
        min_quantity=Decimal(step),
        max_quantity=Decimal(quantity_most),
    )
    return Instrument(
        symbol=symbol,
        base_asset=symbol.removesuffix("USDT"),
        quote_asset="USDT",
        status="TRADING",
        price_precision=8,
        quantity_precision=8,
        base_precision=8,
        quote_precision=8,
        filters=filters,
    )


def koge(seed=0, start_ms=START_MS, **changes):
    return SyntheticMarket(seed, [Traded(instrument=instrument(), price=Decimal("48.03"), **changes)], start_ms)


def quantile(values, share):
    return sorted(values)[int(share * len(values))]


def autocorrelation(values, lag):
    centre, spread = mean(values), pvariance(values)
    return mean((a - centre) * (b - centre) for a, b in zip(values, values[lag:], strict=False)) / spread


class Sample:
    """Half an hour of one seed, sampled ten times a second."""

    def __init__(self, seed):
        self.venue, market = ToyVenue(), koge(seed)
        self.spreads_bp, self.mids = [], []
        for tenth in range(SECONDS * 10):
            run(market, self.venue, START_MS + tenth * 100 + 1)
            bid, ask = self.venue.best(KOGE)
            self.spreads_bp.append(float((ask - bid) / bid) * 1e4)
            if tenth % 10 == 0:
                self.mids.append(float(bid + ask) / 2)
        seconds = Counter((item.at_ms - START_MS) // 1000 for item in self.venue.prints)
        self.per_second = [seconds[second] for second in range(SECONDS)]
        times = [item.at_ms for item in self.venue.prints]
        self.gaps_ms = [later - sooner for sooner, later in pairwise(times)]
        self.signs = [1 if item.aggressor == "BUY" else -1 for item in self.venue.prints]
        # Without the seconds of a fast move: those are counted by themselves below.
        returns = (math.log(b / a) * 1e4 for a, b in pairwise(self.mids))
        self.returns_bp = [value for value in returns if abs(value) < 25]


@pytest.fixture(scope="module")
def samples():
    return [Sample(seed) for seed in (0, 1, 2)]


def test_spread_has_a_median_of_2_bp_and_a_p99_of_15_bp(samples):
    spreads = [value for sample in samples for value in sample.spreads_bp]
    assert 1.5 < quantile(spreads, 0.5) < 2.6
    assert 9 < quantile(spreads, 0.99) < 21
    assert min(spreads) > 0


def test_trades_come_about_three_times_a_second_and_never_pause_for_long(samples):
    assert 2.3 < mean(mean(sample.per_second) for sample in samples) < 4
    assert max(max(sample.gaps_ms) for sample in samples) < 10_000


def test_trades_come_in_bursts(samples):
    for sample in samples:
        assert 4 < pvariance(sample.per_second) / mean(sample.per_second) < 22
        same_ms = mean(gap == 0 for gap in sample.gaps_ms)
        assert 0.25 < same_ms < 0.42


def test_trade_size_has_a_mean_of_128_usdt_and_a_heavy_tail(samples):
    sizes = [float(item.price * item.quantity) for sample in samples for item in sample.venue.prints]
    assert 95 < mean(sizes) < 160
    assert quantile(sizes, 0.5) < 45
    assert quantile(sizes, 0.99) > 8 * mean(sizes)


def test_aggressors_keep_their_side_for_a_while(samples):
    signs = [sample.signs for sample in samples]
    assert 0.55 < mean(autocorrelation(values, 1) for values in signs) < 0.8
    assert 0.1 < mean(autocorrelation(values, 10) for values in signs) < 0.4
    assert abs(mean(autocorrelation(values, 50) for values in signs)) < 0.15
    assert abs(mean(mean(values) for values in signs)) < 0.2


def test_returns_of_a_second_spread_1_2_bp_with_fat_tails(samples):
    for sample in samples:
        spread = pstdev(sample.returns_bp)
        assert 0.8 < spread < 2.2
        assert mean(value**4 for value in sample.returns_bp) / spread**4 > 4


def test_book_has_several_levels_of_real_depth_on_both_sides(samples):
    for sample in samples:
        for side in ("BUY", "SELL"):
            book = sample.venue.book(KOGE, side)
            assert len(book) >= 4
            assert 2_000 < sum(float(order.price * order.left) for order in book) < 100_000


def test_half_a_day_holds_about_one_fast_move_an_hour_and_stays_bounded():
    venue, market = ToyVenue(), koge(seed=5, orders_per_s=0.5)
    run(market, venue, START_MS + 43_200_000)
    prices = [float(item.price) for item in venue.prints]
    assert 0.05 < max(prices) / min(prices) - 1 < 0.4

    highs, lows, moves, inside = deque(), deque(), 0, False  # monotone queues: high and low of the last 60 s
    for item, price in zip(venue.prints, prices, strict=True):
        for queue, worse in ((highs, float.__le__), (lows, float.__ge__)):
            while queue and worse(queue[-1][1], price):
                queue.pop()
            queue.append((item.at_ms, price))
            while queue[0][0] <= item.at_ms - 60_000:
                queue.popleft()
        over = (highs[0][1] - lows[0][1]) / lows[0][1] > 0.02
        moves += over and not inside
        inside = over
    assert 5 < moves < 26


@pytest.mark.parametrize("seed", range(12))
def test_the_first_minutes_are_calm(seed):
    venue, market = ToyVenue(), koge(seed)
    run(market, venue, START_MS + int(RUSH_NOT_BEFORE_S) * 1000)
    prices = [item.price for item in venue.prints]
    assert (max(prices) - min(prices)) / min(prices) < Decimal("0.02")


def test_book_and_a_first_trade_stand_at_once():
    venue, market = ToyVenue(), koge()
    assert market.due_ms() == START_MS
    run(market, venue, START_MS + 1)
    bid, ask = venue.best(KOGE)
    assert bid < ask
    assert abs((bid + ask) / 2 / Decimal("48.03") - 1) < Decimal("0.001")
    assert venue.prints


def test_same_seed_gives_the_same_intentions_whatever_users_do():
    alone, crowded = ToyVenue(), ToyVenue()
    run(koge(seed=7), alone, START_MS + 120_000)
    market = koge(seed=7)
    for second in range(120):
        run(market, crowded, START_MS + second * 1000)
        now_ms = START_MS + second * 1000
        bid, ask = crowded.best(KOGE) if second else (None, None)
        if bid and ask:
            crowded.place(KOGE, "BUY", (bid + ask) / 2, Decimal(3), now_ms)
            crowded.place(KOGE, "SELL", bid, Decimal(200), now_ms)
    run(market, crowded, START_MS + 120_000)
    assert crowded.intents == alone.intents
    assert {item.maker for item in crowded.prints} == {item.taker for item in crowded.prints} == {MARKET, USER}


def test_another_seed_gives_another_flow():
    one, other = ToyVenue(), ToyVenue()
    run(koge(seed=1), one, START_MS + 10_000)
    run(koge(seed=2), other, START_MS + 10_000)
    assert one.intents != other.intents


def test_one_more_symbol_changes_nothing_for_the_others():
    first = Traded(instrument=instrument(), price=Decimal("48.03"))
    second = Traded(instrument=instrument("ALPHA_971USDT", "0.000000001", "0.10"), price=Decimal("0.0003"))
    alone, together = ToyVenue(), ToyVenue()
    run(SyntheticMarket(3, [first], START_MS), alone, START_MS + 30_000)
    run(SyntheticMarket(3, [second, first], START_MS), together, START_MS + 30_000)
    assert [item for item in together.intents if item[2] == KOGE] == alone.intents
    assert {item[2] for item in together.intents} == {KOGE, "ALPHA_971USDT"}


def test_events_never_go_back_in_time_and_a_market_without_symbols_never_fires():
    venue, market, before = ToyVenue(), koge(), START_MS
    for _ in range(3_000):
        due_ms = market.due_ms()
        assert due_ms >= before
        market.fire(venue)
        before = due_ms
    assert [item[1] for item in venue.intents] == sorted(item[1] for item in venue.intents)
    assert SyntheticMarket(0, [], START_MS).due_ms() is None


def test_after_a_restart_the_price_goes_on_and_is_still_pulled_to_its_anchor():
    venue = ToyVenue()
    run(koge_from("40", "48"), venue, START_MS + 1)
    bid, ask = venue.best(KOGE)
    assert Decimal("39.9") < bid < ask < Decimal("40.1")
    run(koge_from("40", "48", orders_per_s=0.05), venue, START_MS + 43_200_000)
    assert venue.best(KOGE)[0] > Decimal(41)


def koge_from(price, anchor, **changes):
    item = Traded(instrument=instrument(), price=Decimal(price), anchor=Decimal(anchor), **changes)
    return SyntheticMarket(0, [item], START_MS)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    tick_exponent=st.integers(-12, -1),
    price_ticks=st.integers(1, 10**9),
    step=st.sampled_from(["1", "0.1", "0.01", "0.0001"]),
    orders_per_s=st.sampled_from([0.01, 1.0, 50.0]),
)
def test_on_any_grid_the_market_stays_on_it_and_never_trades_with_itself_by_quoting(
    seed, tick_exponent, price_ticks, step, orders_per_s
):
    tick = Decimal(1).scaleb(tick_exponent)
    grid = instrument("ALPHA_1USDT", str(tick), step, most=str(tick * 10**9), quantity_most=str(10**7))
    item = Traded(instrument=grid, price=tick * price_ticks, orders_per_s=orders_per_s)
    venue = ToyVenue()
    market = SyntheticMarket(seed, [item], START_MS)
    for _ in range(200):
        seen, asked = len(venue.prints), len(venue.intents)
        market.fire(venue)
        kinds = {intent[0] for intent in venue.intents[asked:]}
        assert kinds == {"take"} or len(venue.prints) == seen
    for _, _, _, _, price, quantity in venue.intents:
        assert tick <= price <= tick * 10**9 * 2
        assert price % tick == 0
        assert quantity > 0
        assert quantity % Decimal(step) == 0
        assert quantity <= 10**7
