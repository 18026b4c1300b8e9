"""Public market data by REST: trades, book, bars, 24 h figures (wire § 3.1 to § 3.5)."""

from __future__ import annotations

from decimal import Decimal

from msgspec import Raw, Struct

from actors.domain.quotes import Trade
from actors.exchange.numbers import Amount, Figure, Signed
from actors.exchange.shapes import Counter, Millis, Shape, Word, changed

Level = tuple[Decimal, Decimal]  # price, quantity

# -- trades


class _AggTrade(Struct):
    a: Counter
    p: Amount
    q: Amount
    T: Millis
    m: bool = False  # documented as deprecated in REST, still sent


_agg_trades: Shape[list[_AggTrade]] = Shape(list[_AggTrade], of="agg-trades (wire § 3.1)")


def read_agg_trades(data: Raw) -> tuple[Trade, ...]:
    """Ascending by id, each id once. Raises: ProtocolChanged, also for a trade without price."""
    trades: dict[int, Trade] = {}
    for row in _agg_trades.read(data):
        if row.p <= 0:
            raise changed(_agg_trades.of, f"trade {row.a} has no price")
        trades[row.a] = Trade(agg_id=row.a, price=row.p, quantity=row.q, time_ms=row.T, buyer_maker=row.m)
    return tuple(trades[agg_id] for agg_id in sorted(trades))


# -- book


class Depth(Struct, frozen=True, kw_only=True):
    """A snapshot of the book. Best first; it may be crossed (wire § 3.2)."""

    symbol: str
    last_update_id: int
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    time_ms: int


class _Depth(Struct):
    lastUpdateId: Counter
    symbol: Word
    bids: list[tuple[Amount, Amount]]
    asks: list[tuple[Amount, Amount]]
    T: Millis


_depth: Shape[_Depth] = Shape(_Depth, of="fullDepth (wire § 3.2)")


def read_depth(data: Raw) -> Depth:
    """Sorted here, since the order is only inferred. Raises: ProtocolChanged."""
    wire = _depth.read(data)
    return Depth(
        symbol=wire.symbol,
        last_update_id=wire.lastUpdateId,
        bids=tuple(sorted(wire.bids, reverse=True)),
        asks=tuple(sorted(wire.asks)),
        time_ms=wire.T,
    )


# -- bars


class Bar(Struct, frozen=True, kw_only=True):
    """One kline. close_ms: the last ms of the bar (REST), or its end (contract streams)."""

    open_ms: int
    close_ms: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    quote_volume: Decimal | None = None
    trades: int | None = None


class _Kline(Struct, array_like=True):
    open_time: Figure  # times and counts are text in these rows
    open: Figure
    high: Figure
    low: Figure
    close: Figure
    volume: Figure
    close_time: Figure
    quote_volume: Figure
    trades: Figure


class _AggKline(Struct, array_like=True):
    open_time: Figure
    open: Figure
    high: Figure
    low: Figure
    close: Figure
    volume: Figure
    close_time: Figure


_klines: Shape[list[_Kline]] = Shape(list[_Kline], of="klines (wire § 3.3)")
_agg_klines: Shape[list[_AggKline]] = Shape(list[_AggKline], of="agg-klines (wire § 3.4)")


def read_klines(data: Raw) -> tuple[Bar, ...]:
    """Bars of a symbol's own trades. Raises: ProtocolChanged."""
    return tuple(
        Bar(
            open_ms=_millis(row.open_time),
            close_ms=_millis(row.close_time),
            open=row.open,
            high=row.high,
            low=row.low,
            close=row.close,
            volume=row.volume,
            quote_volume=row.quote_volume,
            trades=_millis(row.trades),
        )
        for row in _klines.read(data)
    )


def read_agg_klines(data: Raw) -> tuple[Bar, ...]:
    """Bars of the aggregated on-chain price: not the order book, no base for order prices. Raises: ProtocolChanged."""
    return tuple(
        Bar(
            open_ms=_millis(row.open_time),
            close_ms=_millis(row.close_time),
            open=row.open,
            high=row.high,
            low=row.low,
            close=row.close,
            volume=row.volume,
        )
        for row in _agg_klines.read(data)
    )


def _millis(value: Decimal) -> int:
    if value != value.to_integral_value() or value >= 2**63:
        raise changed(_klines.of, "a time or count is no whole number")
    return int(value)


# -- 24 h figures


class Ticker(Struct, frozen=True, kw_only=True):
    """Rolling 24 h of one symbol. change_percent: -8.841 is -8.841 %."""

    symbol: str
    last: Decimal
    open: Decimal
    high: Decimal
    low: Decimal
    volume: Decimal
    quote_volume: Decimal
    change_percent: Decimal
    close_ms: int
    trades: int


class _Ticker(Struct):
    symbol: Word
    lastPrice: Figure
    openPrice: Figure
    highPrice: Figure
    lowPrice: Figure
    volume: Figure
    quoteVolume: Figure
    priceChangePercent: Signed
    closeTime: Millis
    count: Counter


_ticker: Shape[_Ticker] = Shape(_Ticker, of="ticker (wire § 3.5)")


def read_ticker(data: Raw) -> Ticker:
    """Raises: ProtocolChanged."""
    wire = _ticker.read(data)
    return Ticker(
        symbol=wire.symbol,
        last=wire.lastPrice,
        open=wire.openPrice,
        high=wire.highPrice,
        low=wire.lowPrice,
        volume=wire.volume,
        quote_volume=wire.quoteVolume,
        change_percent=wire.priceChangePercent,
        close_ms=wire.closeTime,
        trades=wire.count,
    )
