"""What traded: the public aggregate trades of each symbol, and bars made of them.

Kept in memory only and bounded; after a restart a tape is empty until the market trades again, but its ids go on.
"""

from __future__ import annotations

import bisect
from collections import deque
from collections.abc import Iterable
from decimal import Decimal

from msgspec import Struct

from actors.paper.numbers import ZERO, cut, product

PRINTS_KEPT = 20_000
"""Per symbol, half an hour of a busy one; at twice as many the older half is dropped."""

SECONDS_KEPT = 3_600
MINUTES_KEPT = 1_440 * 2  # 24 h for the ticker, and a day before it for klines


class Print(Struct, frozen=True):
    """One aggregate trade: what one taker order traded at one price (wire § 3.1)."""

    agg_id: int
    price: Decimal
    quantity: Decimal
    first_id: int
    last_id: int
    time_ms: int
    buyer_maker: bool  # the aggressor sold


class Bar(Struct):
    """Trades of [start_ms, start_ms + length). volume base, quote in quote asset, taker: bought by aggressors."""

    start_ms: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    first_id: int
    last_id: int
    volume: Decimal = ZERO
    quote: Decimal = ZERO
    trades: int = 0
    taker_volume: Decimal = ZERO
    taker_quote: Decimal = ZERO

    def add(self, item: Print, quote: Decimal) -> None:
        self.high = max(self.high, item.price)
        self.low = min(self.low, item.price)
        self.close = item.price
        self.last_id = item.last_id
        self.volume += item.quantity
        self.quote += quote
        self.trades += 1
        if not item.buyer_maker:
            self.taker_volume += item.quantity
            self.taker_quote += quote


def merge(start_ms: int, bars: Iterable[Bar]) -> Bar | None:
    """One bar of several consecutive ones; None of none."""
    whole: Bar | None = None
    for bar in bars:
        if whole is None:
            whole = Bar(start_ms, bar.open, bar.high, bar.low, bar.close, bar.first_id, bar.last_id)
        whole.high = max(whole.high, bar.high)
        whole.low = min(whole.low, bar.low)
        whole.close = bar.close
        whole.last_id = bar.last_id
        whole.volume += bar.volume
        whole.quote += bar.quote
        whole.trades += bar.trades
        whole.taker_volume += bar.taker_volume
        whole.taker_quote += bar.taker_quote
    return whole


class Tape:
    """One symbol's prints, oldest first."""

    def __init__(self, last_price: Decimal | None = None) -> None:
        self.last_price = last_price
        self.prints: list[Print] = []
        self._seconds: deque[Bar] = deque(maxlen=SECONDS_KEPT)
        self._minutes: deque[Bar] = deque(maxlen=MINUTES_KEPT)

    def add(self, item: Print) -> None:
        self.last_price = item.price
        self.prints.append(item)
        if len(self.prints) > 2 * PRINTS_KEPT:
            del self.prints[:PRINTS_KEPT]
        quote = cut(product(item.price, item.quantity))
        for bars, length_ms in ((self._seconds, 1_000), (self._minutes, 60_000)):
            start_ms = item.time_ms - item.time_ms % length_ms
            if not bars or bars[-1].start_ms != start_ms:
                bars.append(Bar(start_ms, item.price, item.price, item.price, item.price, item.first_id, item.last_id))
            bars[-1].add(item, quote)

    def select(self, *, from_id: int | None, start_ms: int | None, end_ms: int | None, limit: int) -> list[Print]:
        """Ascending by id. With from_id or start_ms the first `limit` from there, else the newest (up to end_ms)."""
        prints = self.prints
        low, high = 0, len(prints)
        if from_id is not None:
            low = bisect.bisect_left(prints, from_id, key=lambda item: item.agg_id)
        if start_ms is not None:
            low = max(low, bisect.bisect_left(prints, start_ms, key=lambda item: item.time_ms))
        if end_ms is not None:
            high = bisect.bisect_right(prints, end_ms, key=lambda item: item.time_ms)
        if from_id is None and start_ms is None:
            low = max(low, high - limit)
        return prints[low : min(high, low + limit)]

    def day(self, now_ms: int) -> Bar | None:
        """The rolling 24 h as one bar; None without trades."""
        since_ms = now_ms - 86_400_000
        return merge(since_ms, (bar for bar in self._minutes if bar.start_ms >= since_ms))

    def bars(self, length_ms: int, *, start_ms: int | None, end_ms: int | None, limit: int) -> list[Bar]:
        """Bars of whole seconds or minutes, oldest first; the newest `limit` unless start_ms is given."""
        source = self._seconds if length_ms < 60_000 else self._minutes
        groups: dict[int, list[Bar]] = {}
        for bar in source:
            groups.setdefault(bar.start_ms - bar.start_ms % length_ms, []).append(bar)
        starts = [
            start for start in groups if (start_ms is None or start >= start_ms) and (end_ms is None or start <= end_ms)
        ]
        chosen = starts[-limit:] if start_ms is None else starts[:limit]
        return [whole for start in chosen if (whole := merge(start, groups[start]))]
