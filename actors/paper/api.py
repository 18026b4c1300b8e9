"""What the rooms of the paper exchange say to each other.

machine.py   Exchange: accounts, wallets, orders, OTO, keys, faults; pure, driven by `handle` and `advance`
book.py      one symbol's price-time priority book
market.py    the seeded synthetic market     replay.py   a market from a tape of real trades
adapters/paper.py serves an Exchange over byte streams and tells it the time.

Time is handed in, in ms since 1970 UTC; calls come with non-decreasing times. Nothing here waits, logs or is random but
by the generator it was given.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Protocol

from msgspec import Struct

from actors.domain.orders import Side


class Request(Struct, frozen=True, kw_only=True):
    """One HTTP request. path without query; headers with names in lower case; cookies parsed."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    cookies: Mapping[str, str]
    body: bytes


class Response(Struct, frozen=True, kw_only=True):
    """delay_ms: the reply leaves so much later than now. lost: the connection is closed instead of replying."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    delay_ms: int = 0
    lost: bool = False


class Frame(Struct, frozen=True, kw_only=True):
    """One frame for whoever subscribed to `stream`; it leaves at due_ms (>= the time of the call that made it).

    public: of the public socket; else of the user socket, where the stream is "alpha@<listenKey>".
    close: after this frame (payload may be empty) the sockets subscribed to the stream are closed.
    """

    public: bool
    stream: str
    payload: bytes
    due_ms: int
    close: bool = False


class Venue(Protocol):
    """The book as a market drives it: external orders, of no account. Prices on the tick, quantities on the step."""

    def best(self, symbol: str) -> tuple[Decimal | None, Decimal | None]:
        """(bid, ask), accounts' orders included."""
        ...

    def limit(self, symbol: str, side: Side, price: Decimal, quantity: Decimal, now_ms: int) -> int | None:
        """An external limit order: trades what crosses, rests the remainder. Returns its id, None if none rests."""
        ...

    def take(self, symbol: str, side: Side, quantity: Decimal, limit: Decimal, now_ms: int) -> Decimal:
        """Immediate-or-cancel up to the limit price. Returns the quantity done."""
        ...

    def cancel(self, symbol: str, order_id: int, now_ms: int) -> None:
        """Forgets an external order; one that is gone already is nothing."""
        ...


class Market(Protocol):
    """External order flow as a function of market time; the same seed or tape gives the same flow."""

    def due_ms(self) -> int | None:
        """When the next event of the market happens; None: never."""
        ...

    def fire(self, venue: Venue) -> None:
        """Performs the event that is due and moves on to the next."""
        ...
