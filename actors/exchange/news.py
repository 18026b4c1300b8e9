"""The messages of both web sockets, as `stream.read_frame` makes them (wire § 6).

The name of a user stream contains the listen key, which reads all order events of the account: no message holds one.
An order's report is `actors.domain.orders.OrderReport`.
"""

from __future__ import annotations

from decimal import Decimal

from msgspec import Struct

from actors.domain.orders import OrderReport
from actors.domain.quotes import BookTicker, Trade
from actors.exchange.market import Level


class Ack(Struct, frozen=True):
    """A request of ours was taken. Also unknown stream names may be acknowledged and stay silent."""

    request_id: int | str | None


class StreamRefused(Struct, frozen=True):
    """A request of ours was refused (spot form, not seen on Alpha)."""

    request_id: int | str | None
    code: str
    text: str


class AggTrade(Struct, frozen=True):
    symbol: str
    sent_ms: int
    trade: Trade


class SingleTrade(Struct, frozen=True, kw_only=True):
    symbol: str
    sent_ms: int
    trade_id: int
    price: Decimal
    quantity: Decimal
    time_ms: int
    buyer_maker: bool


class Book(Struct, frozen=True):
    symbol: str
    sent_ms: int
    ticker: BookTicker


class DayFigures(Struct, frozen=True, kw_only=True):
    """24 h of a symbol, from miniTicker or ticker. The last three: of ticker only."""

    symbol: str
    sent_ms: int
    last: Decimal
    open: Decimal
    high: Decimal
    low: Decimal
    volume: Decimal
    quote_volume: Decimal
    change_percent: Decimal | None = None
    average: Decimal | None = None
    trades: int | None = None


class Kline(Struct, frozen=True, kw_only=True):
    """A bar of a symbol's own trades. end_ms: its last ms."""

    symbol: str
    sent_ms: int
    interval: str
    start_ms: int
    end_ms: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    quote_volume: Decimal
    trades: int
    closed: bool


class ContractKline(Struct, frozen=True, kw_only=True):
    """A bar of the aggregated on-chain price; final when one with a later start arrives. contract: "0x…@56"."""

    contract: str
    interval: str
    start_ms: int
    end_ms: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal


class DepthUpdate(Struct, frozen=True, kw_only=True):
    """Changed levels, quantities absolute, zero removes. Chain by previous_id == last_id before (wire § 6.4).

    top: the levels are the best few of the book instead (a `depth5`, `depth10` or `depth20` stream).
    """

    symbol: str
    sent_ms: int
    time_ms: int
    first_id: int
    last_id: int
    previous_id: int
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    top: bool = False


class TokenPrice(Struct, frozen=True, kw_only=True):
    """contract: "0x…@56"; join by chain and contract, not by the row's `s`, which is no key."""

    contract: str
    price: Decimal
    time_ms: int


class TokenPrices(Struct, frozen=True):
    tokens: tuple[TokenPrice, ...]


class KeyLapsed(Struct, frozen=True):
    """The listen key of this socket reads nothing any more. word: "listenKeyExpired" or "eventStreamTerminated"."""

    word: str


class ServerShutdown(Struct, frozen=True):
    """The exchange will close this connection soon: replace it."""


class Unknown(Struct, frozen=True):
    """A frame that nobody here understands: to be counted. stream: without symbol or key; word: data.e, if any."""

    stream: str
    word: str


class Batch(Struct, frozen=True):
    """Several messages in one frame: the `…@arr` streams may send arrays (wire § 6.2)."""

    messages: tuple[Message, ...]


Message = (
    AggTrade | OrderReport | Book | SingleTrade | DayFigures | Kline | ContractKline | DepthUpdate | TokenPrices
    | Ack | StreamRefused | KeyLapsed | ServerShutdown | Unknown | Batch
)  # fmt: skip
