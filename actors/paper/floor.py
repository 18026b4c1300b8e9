"""The trading floor: the books, the flow from outside, and what happens when orders meet.

Accounts' orders and external ones stand in the same books. One *match* is one incoming order against one price level:
its fills share the trade id (wire § 7.1, frames 5 and 6), and the public sees it as one trade and one aggregate trade.
Each fill takes two event ids, one for either side: that is why ids of a captured sequence are two apart.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from decimal import Decimal
from itertools import groupby
from typing import Protocol

from actors.domain.orders import Side
from actors.paper.book import Book, Resting
from actors.paper.faults import Faults
from actors.paper.listing import Listing
from actors.paper.numbers import cut, grid_floor, product
from actors.paper.orders import Order
from actors.paper.rules import Rules
from actors.paper.state import State
from actors.paper.streams import Broadcast
from actors.paper.tape import Print, Tape


class Settle(Protocol):
    """What the owner of the orders does with one fill of one of them."""

    def __call__(
        self, order: Order, price: Decimal, quantity: Decimal, *, trade_id: int, event_id: int, maker: bool, now_ms: int
    ) -> None: ...


class Floor:
    """Implements api.Venue for the market; settle is set by the desk."""

    settle: Settle

    def __init__(
        self, state: State, listing: Listing, rules: Rules, faults: Faults, rng: random.Random, broadcast: Broadcast
    ) -> None:
        self._state = state
        self._listing = listing
        self._rules = rules
        self._faults = faults
        self._rng = rng
        self._broadcast = broadcast
        self._resting: dict[tuple[str, int], Resting] = {}  # accounts' orders in the books
        self._moved: dict[str, Book] = {}
        self.books = {i.symbol: Book(i.symbol, i.price_precision) for i in listing.instruments}
        self.tapes = {symbol: Tape(state.prices.get(symbol)) for symbol in self.books}

    # -- api.Venue: the external flow

    def best(self, symbol: str) -> tuple[Decimal | None, Decimal | None]:
        return self.books[symbol].best()

    def limit(self, symbol: str, side: Side, price: Decimal, quantity: Decimal, now_ms: int) -> int | None:
        if self.closed(symbol):
            return None
        now_ms = max(now_ms, self._state.at_ms)  # a market that is late trades now, not in the past
        left = quantity - self._trade(symbol, side, price, quantity, None, now_ms)
        return self._rest(symbol, side, price, left, None).handle if left > 0 else None

    def take(self, symbol: str, side: Side, quantity: Decimal, limit: Decimal, now_ms: int) -> Decimal:
        if self.closed(symbol):
            return Decimal(0)
        return self._trade(symbol, side, limit, quantity, None, max(now_ms, self._state.at_ms))

    def cancel(self, symbol: str, order_id: int, now_ms: int) -> None:
        book = self.books[symbol]
        if book.cancel(order_id):
            self._moved[symbol] = book

    def closed(self, symbol: str) -> bool:
        """Nothing trades and nothing enters the book; what stands in it may leave."""
        return self._faults.halted(symbol) or self._listing.by_symbol[symbol].status != "TRADING"

    # -- accounts' orders

    def enter(self, order: Order, quantity: Decimal, now_ms: int) -> None:
        """An account's order meets the book and trades up to `quantity` of what it crosses."""
        self._trade(order.symbol, order.side, order.price, quantity, order, now_ms)

    def rest(self, order: Order) -> None:
        """What remains of an account's order goes into the book."""
        resting = self._rest(order.symbol, order.side, order.price, order.remaining, order)
        self._resting[order.key] = resting

    def crosses(self, order: Order) -> bool:
        book = self.books[order.symbol]
        return book.crosses(order.side, book.ticks(order.price))

    def leave(self, order: Order) -> None:
        """Takes an account's order out of the book, if it is in it."""
        resting = self._resting.pop(order.key, None)
        if resting is not None and self.books[order.symbol].cancel(resting.handle):
            self._moved[order.symbol] = self.books[order.symbol]

    # -- when an event is over

    def come_to_rest(self, now_ms: int) -> None:
        """The books that changed get a new update id, and whoever listens is told."""
        if not self._moved:
            return
        for book in self._moved.values():
            book.update_id = self._state.ids.take("event")
            self._broadcast.settled(book, now_ms)
        self._moved.clear()

    # -- inside

    def _rest(self, symbol: str, side: Side, price: Decimal, quantity: Decimal, owner: Order | None) -> Resting:
        book = self.books[symbol]
        self._moved[symbol] = book
        return book.rest(side, price, quantity, owner)

    def _trade(
        self, symbol: str, side: Side, limit: Decimal, quantity: Decimal, taker: Order | None, now_ms: int
    ) -> Decimal:
        """Executes an incoming order against the book, level by level. Returns: the base quantity done."""
        hits = self.books[symbol].cross(side, limit, quantity)
        if not hits:
            return Decimal(0)
        self._moved[symbol] = self.books[symbol]
        for price, group in groupby(hits, key=lambda hit: hit[0].price):
            self._match(symbol, side, price, list(group), taker, now_ms)
        return sum((hit for _, hit in hits), Decimal(0))

    def _match(
        self,
        symbol: str,
        side: Side,
        price: Decimal,
        hits: list[tuple[Resting, Decimal]],
        taker: Order | None,
        now_ms: int,
    ) -> None:
        take, trade_counter = self._state.ids.take, f"trade:{symbol}"
        trades: list[tuple[int, Decimal]] = []
        for maker, hit in hits:
            if maker.owner is not None and not maker.quantity:
                self._resting.pop(maker.owner.key, None)
            for part in self._parts(symbol, hit):
                if not trades or self._rules.trade_ids == "fill":
                    trades.append((take(trade_counter), part))
                else:
                    trades[-1] = (trades[-1][0], trades[-1][1] + part)
                self._fill(side, price, part, taker, maker.owner, trades[-1][0], now_ms)
        total = sum((quantity for _, quantity in trades), Decimal(0))
        agg_id = take(f"agg:{symbol}")
        item = Print(agg_id, price, total, trades[0][0], trades[-1][0], now_ms, side == "SELL")
        self.tapes[symbol].add(item)
        self._state.note_price(symbol, price)
        self._broadcast.traded(symbol, item, trades)

    def _fill(
        self,
        side: Side,
        price: Decimal,
        quantity: Decimal,
        taker: Order | None,
        maker: Order | None,
        trade_id: int,
        now_ms: int,
    ) -> None:
        """One fill for either side; the exchange's ledger gets what crosses the border to the external flow."""
        ids = self._state.ids
        event_id, counter_id = ids.take("event"), ids.take("event")
        if taker is not None and maker is not None:
            self._state.add_self_match(taker.symbol, taker.order_id, maker.order_id)
        elif own := taker or maker:
            instrument = self._listing.by_symbol[own.symbol]
            bought = side == ("BUY" if taker is own else "SELL")
            quote = cut(product(price, quantity), instrument.quote_precision)
            self._state.book("external", instrument.quote_asset, quote if bought else -quote)
            self._state.book("external", instrument.base_asset, -quantity if bought else quantity)
        if taker is not None:
            self.settle(taker, price, quantity, trade_id=trade_id, event_id=event_id, maker=False, now_ms=now_ms)
        if maker is not None:
            self.settle(maker, price, quantity, trade_id=trade_id, event_id=counter_id, maker=True, now_ms=now_ms)

    def _parts(self, symbol: str, quantity: Decimal) -> Iterator[Decimal]:
        """A fill, or by the rule split_fill_share the two that it is told as."""
        share = self._rules.split_fill_share
        if share and self._rng.random() < share:
            step = self._listing.by_symbol[symbol].filters.step_size
            first = grid_floor(product(quantity, Decimal(self._rng.randint(1, 9)) / 10), step)
            if 0 < first < quantity:
                yield first
                quantity -= first
        yield quantity
