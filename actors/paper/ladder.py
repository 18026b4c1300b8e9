"""The external orders that make up a synthetic book: a few price levels on each side of one symbol.

Both markets quote through it. It remembers what it asked for, never what became of it: an order may have been eaten by
anybody in the meantime, and cancelling one that is gone is nothing. So what it does depends on the calls alone, and
the same seed or tape gives the same orders whatever the users of the exchange do.

Levels are numbered from the touch outwards. A new order is placed before the old one is cancelled, and the side that
gives way moves first: an onlooker sees one change per side, never a hole, and the ladder never trades with itself.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from decimal import Decimal
from typing import TypeAlias

from actors.domain.orders import Side
from actors.paper.api import Venue

Level: TypeAlias = tuple[int, int]
"""(price in ticks, quantity in steps): integers, because the grid is what book prices live on."""

Outer: TypeAlias = Callable[[Side, int], Level]

EMPTY = -1  # ticks of a level that holds no order


class Ladder:
    """One symbol's levels. Prices in ticks of tick_size, quantities in steps of step_size."""

    def __init__(self, symbol: str, tick_size: Decimal, step_size: Decimal, depth: int) -> None:
        """depth: levels on each side, > 0."""
        assert depth > 0, depth
        self.symbol = symbol
        self._tick = tick_size
        self._step = step_size
        self._ticks: dict[Side, list[int]] = {"BUY": [EMPTY] * depth, "SELL": [EMPTY] * depth}
        self._ids: dict[Side, list[int | None]] = {"BUY": [None] * depth, "SELL": [None] * depth}

    def price(self, ticks: int) -> Decimal:
        return self._tick * ticks

    def quantity(self, steps: int) -> Decimal:
        return self._step * steps

    def at(self, side: Side, level: int) -> int | None:
        """Ticks of the price that was asked for at this level, None if it was dropped or never filled."""
        ticks = self._ticks[side][level]
        return None if ticks == EMPTY else ticks

    def put(self, venue: Venue, side: Side, level: int, order: Level, now_ms: int) -> None:
        """Replaces one level; the new order goes to the end of its price's queue."""
        ticks, steps = order
        assert ticks > 0, (self.symbol, side, order)
        assert steps > 0, (self.symbol, side, order)
        old = self._ids[side][level]
        self._ids[side][level] = venue.limit(self.symbol, side, self._tick * ticks, self._step * steps, now_ms)
        self._ticks[side][level] = ticks
        if old is not None:
            venue.cancel(self.symbol, old, now_ms)

    def requote(
        self,
        venue: Venue,
        touch: Mapping[Side, Level],
        outer: Outer,
        now_ms: int,
        *,
        refresh: int | None = None,
        keep: Collection[Side] = (),
    ) -> None:
        """Moves the touch, and whatever of the outer levels that leaves empty, crossed or inside it.

        touch: level 0 of both sides, the SELL price above the BUY price. outer: called with (side, level) for each
        outer level that is placed anew. refresh: one outer level that is placed anew in any case. keep: sides whose
        touch stays where it is, with its place in the queue.
        """
        bid, ask = touch["BUY"][0], touch["SELL"][0]
        assert bid < ask, (self.symbol, touch)
        rising = bid + ask >= self._ticks["BUY"][0] + self._ticks["SELL"][0]
        order: tuple[Side, Side] = ("SELL", "BUY") if rising else ("BUY", "SELL")
        for side in order:
            best = touch[side][0]
            if side in keep:
                assert self._ticks[side][0] == best, (self.symbol, side, best)
            else:
                self.put(venue, side, 0, touch[side], now_ms)
            for level in range(1, len(self._ticks[side])):
                ticks = self._ticks[side][level]
                misplaced = ticks == EMPTY or (ticks >= best if side == "BUY" else ticks <= best)
                if misplaced or level == refresh:
                    self.put(venue, side, level, outer(side, level), now_ms)

    def withdraw(self, venue: Venue, side: Side, limit_ticks: int, now_ms: int) -> None:
        """Takes away what stands at the limit or better: bids from it upwards, asks from it downwards."""
        for level, ticks in enumerate(self._ticks[side]):
            if ticks != EMPTY and (ticks >= limit_ticks if side == "BUY" else ticks <= limit_ticks):
                self._ticks[side][level] = EMPTY
                order_id = self._ids[side][level]
                self._ids[side][level] = None
                if order_id is not None:
                    venue.cancel(self.symbol, order_id, now_ms)
