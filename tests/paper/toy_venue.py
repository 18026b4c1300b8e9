"""A price-time book that notes everything, for tests of markets: what a market asked for, what printed, the touch."""

from __future__ import annotations

from decimal import Decimal

from msgspec import Struct

from actors.domain.orders import Side

MARKET, USER = "market", "user"


class Print(Struct, frozen=True):
    """maker, taker: MARKET or USER."""

    symbol: str
    at_ms: int
    price: Decimal
    quantity: Decimal
    aggressor: Side
    maker: str
    taker: str


class Resting(Struct):
    order_id: int
    owner: str
    price: Decimal
    left: Decimal


class ToyVenue:
    def __init__(self) -> None:
        self.intents: list[tuple] = []  # limit and take as asked, without ids
        self.prints: list[Print] = []
        self.operations = 0
        self._books: dict[tuple[str, Side], list[Resting]] = {}
        self._ids = 0

    # -- api.Venue

    def best(self, symbol: str) -> tuple[Decimal | None, Decimal | None]:
        bids, asks = self.book(symbol, "BUY"), self.book(symbol, "SELL")
        return (bids[0].price if bids else None, asks[0].price if asks else None)

    def limit(self, symbol: str, side: Side, price: Decimal, quantity: Decimal, now_ms: int) -> int | None:
        self.intents.append(("limit", now_ms, symbol, side, price, quantity))
        return self.place(symbol, side, price, quantity, now_ms, owner=MARKET)

    def take(self, symbol: str, side: Side, quantity: Decimal, limit: Decimal, now_ms: int) -> Decimal:
        self.intents.append(("take", now_ms, symbol, side, limit, quantity))
        self.operations += 1
        return quantity - self._match(symbol, side, limit, quantity, now_ms, MARKET)

    def cancel(self, symbol: str, order_id: int, now_ms: int) -> None:
        self.operations += 1
        for side in ("BUY", "SELL"):
            book = self.book(symbol, side)
            for index, order in enumerate(book):
                if order.order_id == order_id:
                    assert order.owner == MARKET
                    del book[index]
                    return

    # -- for tests

    def book(self, symbol: str, side: Side) -> list[Resting]:
        return self._books.setdefault((symbol, side), [])

    def place(self, symbol: str, side: Side, price: Decimal, quantity: Decimal, now_ms: int, *, owner=USER):
        self.operations += 1
        assert price > 0
        assert quantity > 0
        left = self._match(symbol, side, price, quantity, now_ms, owner)
        if not left:
            return None
        self._ids += 1
        book = self.book(symbol, side)
        place = 0
        while place < len(book) and (book[place].price >= price if side == "BUY" else book[place].price <= price):
            place += 1
        book.insert(place, Resting(self._ids, owner, price, left))
        return self._ids

    def _match(self, symbol: str, side: Side, limit: Decimal, left: Decimal, now_ms: int, taker: str) -> Decimal:
        book = self.book(symbol, "SELL" if side == "BUY" else "BUY")
        while left and book and (book[0].price <= limit if side == "BUY" else book[0].price >= limit):
            maker = book[0]
            done = min(left, maker.left)
            self.prints.append(Print(symbol, now_ms, maker.price, done, side, maker.owner, taker))
            left -= done
            maker.left -= done
            if not maker.left:
                del book[0]
        return left


def run(market, venue, until_ms: int) -> None:
    """Fires everything that is due before until_ms."""
    while (due_ms := market.due_ms()) is not None and due_ms < until_ms:
        market.fire(venue)
