"""The book against the plainest possible one, and its order of execution."""

from __future__ import annotations

from decimal import Decimal as D

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.paper.book import REBUILD_SLACK, Book


def book() -> Book:
    return Book("X", 2)


def test_best_price_first_then_oldest_first():
    x = book()
    late = x.rest("SELL", D("10.01"), D(1), "late")
    first = x.rest("SELL", D("10.00"), D(1), "first")
    second = x.rest("SELL", D("10.00"), D(1), "second")
    hits = x.cross("BUY", D("10.01"), D("2.5"))
    assert [(maker, hit) for maker, hit in hits] == [(first, D(1)), (second, D(1)), (late, D("0.5"))]
    assert x.best() == (None, D("10.01"))
    assert late.quantity == D("0.5")


def test_an_order_in_the_middle_of_a_queue_can_leave_it():
    x = book()
    orders = [x.rest("BUY", D(5), D(1), name) for name in "abc"]
    assert x.cancel(orders[1].handle)
    assert not x.cancel(orders[1].handle), "gone already"
    assert [maker.owner for maker, _ in x.cross("SELL", D(5), D(9))] == ["a", "c"]
    assert x.best() == (None, None)
    assert len(x) == 0


def test_a_price_off_the_grid_and_a_crossing_rest_are_bugs():
    x = book()
    x.rest("SELL", D(5), D(1))
    with pytest.raises(AssertionError):
        x.rest("BUY", D("1.005"), D(1))
    with pytest.raises(AssertionError):
        x.rest("BUY", D(5), D(1))
    with pytest.raises(AssertionError):
        x.rest("BUY", D(1), D(0))


def test_a_partly_hit_order_keeps_its_place():
    x = book()
    first, second = x.rest("BUY", D(5), D(2)), x.rest("BUY", D(5), D(2))
    x.cross("SELL", D(5), D(1))
    assert [maker for maker, _ in x.cross("SELL", D(5), D(2))] == [first, second]


def test_depth_is_best_first_on_both_sides():
    x = book()
    for price in ("1.01", "1.03", "1.02"):
        x.rest("BUY", D(price), D(1))
    for price in ("2.03", "2.01", "2.02"):
        x.rest("SELL", D(price), D(1))
    bids, asks = x.depth(2)
    assert [level.price for level in bids] == [D("1.03"), D("1.02")]
    assert [level.price for level in asks] == [D("2.01"), D("2.02")]


def test_heap_stays_small_while_far_prices_come_and_go():
    x = book()
    x.rest("BUY", D(100), D(1))
    for i in range(5_000):
        x.cancel(x.rest("BUY", D(i % 4_000) / 100 + 1, D(1)).handle)
    assert len(x.bids._heap) <= 4 * len(x.bids.levels) + REBUILD_SLACK + 1
    assert x.best() == (D(100), None)


step = st.one_of(
    st.tuples(st.just("limit"), st.sampled_from(["BUY", "SELL"]), st.integers(90, 110), st.integers(1, 5)),
    st.tuples(st.just("cancel"), st.integers(0, 30)),
)


@given(st.lists(step, max_size=80))
def test_book_does_what_a_sorted_list_does(steps):
    x, naive, handles = book(), [], []  # naive: [side, price, age, quantity]
    for age, (kind, *what) in enumerate(steps):
        if kind == "cancel":
            if what[0] < len(handles):
                handle, row = handles[what[0]]
                assert x.cancel(handle) == (row in naive)
                naive = [other for other in naive if other is not row]
            continue
        side, cents, quantity = what
        price = D(cents) / 100
        better = -1 if side == "SELL" else 1  # which resting price is hit first
        rows = [r for r in naive if r[0] != side and (r[1] <= price if side == "BUY" else r[1] >= price)]
        expected, left = [], D(quantity)
        for row in sorted(rows, key=lambda r: (better * r[1], r[2])):
            if left:
                hit = min(left, row[3])
                row[3] -= hit
                left -= hit
                expected.append((row[1], hit))
        naive = [row for row in naive if row[3]]
        assert [(maker.price, hit) for maker, hit in x.cross(side, price, D(quantity))] == expected
        if left:
            row = [side, price, age, left]
            naive.append(row)
            handles.append((x.rest(side, price, left).handle, row))
        bids = [r[1] for r in naive if r[0] == "BUY"]
        asks = [r[1] for r in naive if r[0] == "SELL"]
        assert x.best() == (max(bids, default=None), min(asks, default=None))
        assert sum(level.quantity for s in (x.bids, x.asks) for level in s.levels.values()) == sum(r[3] for r in naive)
