"""One symbol's order book: price first, then time.

Prices live on the tick grid, so a level is found by an integer. Per side there is a dict of levels and a heap of their
prices; an emptied level leaves the dict at once and the heap when it comes to the top, so every operation is O(log n)
or better in the number of levels. A level's queue is an OrderedDict: first in line, and any order by handle, in O(1).

The book knows nothing of accounts, money or events: it says who was hit and for how much, and which levels changed.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from decimal import Decimal
from typing import Any

from msgspec import Struct

from actors.domain.orders import Side
from actors.paper.numbers import ZERO

REBUILD_SLACK = 64  # a heap is rebuilt when it has so many more entries than four times the levels: stale far prices


class Resting(Struct, eq=False):
    """An order in the book. owner: the account's order it belongs to, None for the external flow."""

    handle: int
    side: Side
    ticks: int
    price: Decimal
    quantity: Decimal  # what remains
    owner: Any = None


class Level(Struct, eq=False):
    ticks: int
    price: Decimal
    quantity: Decimal
    queue: OrderedDict[int, Resting]


class BookSide:
    def __init__(self, side: Side) -> None:
        self.side: Side = side
        self.sign = -1 if side == "BUY" else 1  # the heap's smallest is the best price
        self.levels: dict[int, Level] = {}
        self._heap: list[int] = []
        self._in_heap: set[int] = set()

    def best(self) -> Level | None:
        heap = self._heap
        while heap:
            level = self.levels.get(self.sign * heap[0])
            if level is not None:
                return level
            self._in_heap.discard(heapq.heappop(heap))
        return None

    def top(self, count: int) -> list[Level]:
        """The best `count` levels, best first."""
        keys = heapq.nsmallest(count, self.levels, key=self.sign.__mul__)
        return [self.levels[ticks] for ticks in keys]

    def add(self, order: Resting) -> None:
        level = self.levels.get(order.ticks)
        if level is None:
            level = self.levels[order.ticks] = Level(order.ticks, order.price, ZERO, OrderedDict())
            key = self.sign * order.ticks
            if key not in self._in_heap:
                heapq.heappush(self._heap, key)
                self._in_heap.add(key)
                if len(self._heap) > 4 * len(self.levels) + REBUILD_SLACK:
                    self._rebuild()
        level.queue[order.handle] = order
        level.quantity += order.quantity

    def reduce(self, order: Resting, quantity: Decimal) -> None:
        """Takes quantity off a resting order; at nothing left it leaves the book."""
        level = self.levels[order.ticks]
        level.quantity -= quantity
        order.quantity -= quantity
        assert order.quantity >= 0, order
        if not order.quantity:
            del level.queue[order.handle]
            if not level.queue:
                assert not level.quantity, level
                del self.levels[order.ticks]

    def _rebuild(self) -> None:
        self._heap = [self.sign * ticks for ticks in self.levels]
        heapq.heapify(self._heap)
        self._in_heap = set(self._heap)


class Book:
    def __init__(self, symbol: str, price_decimals: int) -> None:
        self.symbol = symbol
        self.update_id = 0  # of the last change, from the exchange's one counter of events
        self.touched: set[tuple[Side, int]] = set()  # levels changed since the last look of the streams
        self.decimals = price_decimals
        self._last_handle = 0
        self._orders: dict[int, Resting] = {}
        self.bids = BookSide("BUY")
        self.asks = BookSide("SELL")

    def __len__(self) -> int:
        return len(self._orders)

    def ticks(self, price: Decimal) -> int:
        """price in ticks; asserts that it is on the grid."""
        ticks = int(scaled := price.scaleb(self.decimals))
        assert ticks == scaled, price
        return ticks

    def side(self, side: Side) -> BookSide:
        return self.bids if side == "BUY" else self.asks

    def best(self) -> tuple[Decimal | None, Decimal | None]:
        bid, ask = self.bids.best(), self.asks.best()
        return (bid.price if bid else None, ask.price if ask else None)

    def crosses(self, side: Side, ticks: int) -> bool:
        """Would an order of this side and price trade at once?"""
        best = self.asks.best() if side == "BUY" else self.bids.best()
        return best is not None and (best.ticks <= ticks if side == "BUY" else best.ticks >= ticks)

    def rest(self, side: Side, price: Decimal, quantity: Decimal, owner: Any = None) -> Resting:
        """Puts an order last in the queue of its price. It must not cross: trade first."""
        assert quantity > 0, quantity
        ticks = self.ticks(price)
        assert not self.crosses(side, ticks), (self.symbol, side, price)
        self._last_handle += 1
        order = Resting(self._last_handle, side, ticks, price, quantity, owner)
        self._orders[order.handle] = order
        self.side(side).add(order)
        self.touched.add((side, ticks))
        return order

    def cross(self, side: Side, limit: Decimal, quantity: Decimal) -> list[tuple[Resting, Decimal]]:
        """Hits what an order of this side may trade with, best price first, oldest first, up to quantity.

        Returns: (resting order, quantity taken off it) in order of execution; each at the resting order's price.
        """
        ticks, other = self.ticks(limit), self.asks if side == "BUY" else self.bids
        hits: list[tuple[Resting, Decimal]] = []
        while quantity > 0 and self.crosses(side, ticks):
            level = other.best()
            assert level is not None
            maker = next(iter(level.queue.values()))
            hit = min(quantity, maker.quantity)
            quantity -= hit
            other.reduce(maker, hit)
            if not maker.quantity:
                del self._orders[maker.handle]
            self.touched.add((other.side, maker.ticks))
            hits.append((maker, hit))
        return hits

    def cancel(self, handle: int) -> bool:
        """Takes an order out; False if it is gone already."""
        order = self._orders.pop(handle, None)
        if order is None:
            return False
        self.touched.add((order.side, order.ticks))
        self.side(order.side).reduce(order, order.quantity)
        return True

    def depth(self, count: int) -> tuple[list[Level], list[Level]]:
        """(bids, asks), best first."""
        return self.bids.top(count), self.asks.top(count)
