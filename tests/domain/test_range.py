"""The 60 s price range and the 1 s bars."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from actors.domain.quotes import Trade
from actors.domain.range import BarBuilder, RangeWindow

D = Decimal


def trade(agg_id: int, time_ms: int, price="1", quantity="1") -> Trade:
    return Trade(agg_id=agg_id, price=D(price), quantity=D(quantity), time_ms=time_ms, buyer_maker=False)


def test_f45_fewer_than_two_trades_have_no_range():
    window = RangeWindow()
    assert window.range_percent(0) == 0
    window.add(trade(1, 1000, "5"))
    assert window.range_percent(1000) == 0


def test_range_is_high_minus_low_over_low_in_percent():
    window = RangeWindow()
    for i, price in enumerate(["100", "102", "98", "101"]):
        window.add(trade(i, i, price))
    assert window.range_percent(10) == D("4.08163266")  # 4 / 98, rounded up


def test_exactly_the_threshold_is_not_beyond_it():
    window = RangeWindow()
    window.add(trade(1, 0, "50"))
    window.add(trade(2, 1, "51"))
    assert window.range_percent(1) == 2


def test_a_trade_leaves_when_it_is_a_minute_old():
    window = RangeWindow()
    window.add(trade(1, 1_000, "100"))
    window.add(trade(2, 2_000, "110"))
    window.add(trade(3, 3_000, "105"))
    assert window.range_percent(60_999) == 10
    assert window.range_percent(61_000) > D("4.7")  # 105 … 110
    assert window.range_percent(61_000) < D("4.8")
    assert window.range_percent(62_000) == 0  # one trade is left
    assert window.range_percent(99_000) == 0


def test_duplicates_and_older_ids_are_dropped():
    window = RangeWindow()
    assert window.last_id is None
    assert window.add(trade(5, 0, "100"))
    assert not window.add(trade(5, 0, "200"))
    assert not window.add(trade(4, 0, "300"))
    assert window.last_id == 5
    assert window.range_percent(0) == 0


def test_a_newer_trade_with_an_older_time_stays_as_long_as_the_newest():
    window = RangeWindow()
    window.add(trade(1, 50_000, "100"))
    window.add(trade(2, 10_000, "110"))
    assert window.range_percent(109_999) == 10
    assert window.range_percent(110_000) == 0


@given(
    st.lists(st.tuples(st.integers(0, 900), st.decimals(D("0.01"), 100, places=2)), max_size=80), st.integers(0, 3000)
)
def test_the_queues_agree_with_looking_at_all_trades(steps, after_ms):
    window, seen, now_ms = RangeWindow(span_ms=1000), [], 0
    for i, (gap_ms, price) in enumerate(steps):
        now_ms += gap_ms
        seen.append((now_ms, price))
        window.add(trade(i, now_ms, price))
        assert_same(window, seen, now_ms)
    assert_same(window, seen, now_ms + after_ms)


def assert_same(window, seen, now_ms):
    inside = [price for at_ms, price in seen if at_ms > now_ms - 1000]
    if len(inside) < 2:
        assert window.range_percent(now_ms) == 0
        return
    exact = (max(inside) - min(inside)) / min(inside) * 100
    assert 0 <= window.range_percent(now_ms) - exact < D("0.00000001") + D("1e-20")


def test_a_bar_has_open_high_low_close_and_sums():
    bars = BarBuilder("KOGE")
    for i, price in enumerate(["10", "12", "9", "11"]):
        assert bars.add(trade(i, 5_000 + i, price, "0.5")) is None
    bar = bars.add(trade(9, 6_000, "20"))
    assert (bar.token, bar.second, bar.trades) == ("KOGE", 5_000, 4)
    assert (bar.open, bar.high, bar.low, bar.close) == (10, 12, 9, 11)
    assert (bar.quantity, bar.quote_quantity) == (2, 21)


def test_a_bar_is_handed_out_once_its_second_is_over():
    bars = BarBuilder("KOGE")
    assert bars.flush(0) is None
    bars.add(trade(1, 5_400))
    assert bars.flush(5_999) is None
    assert bars.flush(6_000).second == 5_000
    assert bars.flush(7_000) is None
    assert bars.add(trade(2, 7_100)) is None  # the earlier bar is out already


def test_a_late_trade_hands_its_bar_out_again():
    bars = BarBuilder("KOGE")
    bars.add(trade(1, 5_400))
    bars.flush(6_200)
    assert bars.add(trade(2, 5_900, "3")) is None
    again = bars.flush(6_300)
    assert (again.second, again.trades, again.high) == (5_000, 2, 3)


def test_seconds_without_trades_have_no_bar():
    bars = BarBuilder("KOGE")
    bars.add(trade(1, 5_400))
    assert bars.add(trade(2, 9_000)).second == 5_000
    assert bars.flush(10_000).second == 9_000
