"""The 60 s price range and the 1 s bars of one symbol, fed with public trades in the order of their ids.

RangeWindow keeps two monotonic queues: the front of `_highs` is the highest price of the window, behind it stand only
prices that will be the highest once everything before them has left (lows alike). Each trade enters and leaves each
queue once: O(1) amortised, whatever the rate. Time is the exchange's (ms since 1970 UTC) and comes in as an argument.
"""

from __future__ import annotations

from collections import deque
from decimal import Decimal

from actors.domain.money import EXACT, ZERO, cut, notional, ratio_up
from actors.domain.quotes import Trade
from actors.rows import PriceRow

RANGE_SPAN_MS = 60_000  # volatility is judged over the trades of the last 60 s (FR-020)
RANGE_PLACES = 10  # decimals of a fraction, so 8 of a percentage: finer than any threshold somebody sets
BAR_MS = 1000
QUOTE_PLACES = 8  # the exchange cuts the quote amount of a fill there (wire § 12.3)


class RangeWindow:
    """High and low of the trades of the last span_ms. A trade leaves when it is span_ms old."""

    def __init__(self, span_ms: int = RANGE_SPAN_MS) -> None:
        assert span_ms > 0, span_ms
        self.span_ms = span_ms
        self._times: deque[int] = deque()  # of all trades in the window: their number decides whether there is a range
        self._highs: deque[tuple[int, Decimal]] = deque()  # falling prices
        self._lows: deque[tuple[int, Decimal]] = deque()  # rising prices
        self._last_id: int | None = None
        self._last_ms = 0

    @property
    def last_id(self) -> int | None:
        """Highest aggregate trade id seen; None before the first trade."""
        return self._last_id

    def add(self, trade: Trade) -> bool:
        """Takes the trade in; False if its id is not above all seen before (a duplicate, or out of order).

        A newer id with an older time is taken as of the newest time: it stays in the window a little too long rather
        than too short.
        """
        if self._last_id is not None and trade.agg_id <= self._last_id:
            return False
        self._last_id = trade.agg_id
        self._last_ms = at_ms = max(trade.time_ms, self._last_ms)
        self._times.append(at_ms)
        while self._highs and self._highs[-1][1] <= trade.price:
            self._highs.pop()
        self._highs.append((at_ms, trade.price))
        while self._lows and self._lows[-1][1] >= trade.price:
            self._lows.pop()
        self._lows.append((at_ms, trade.price))
        self._forget(at_ms)
        return True

    def range_percent(self, now_ms: int) -> Decimal:
        """(high − low) / low of the window that ends at now_ms, in percent, rounded up; 0 for fewer than two trades.

        now_ms: exchange time; asking with an earlier one than before brings no trade back.
        """
        self._forget(now_ms)
        if len(self._times) < 2:
            return ZERO
        high, low = self._highs[0][1], self._lows[0][1]
        return ratio_up(EXACT.subtract(high, low), low, RANGE_PLACES).scaleb(2)

    def _forget(self, now_ms: int) -> None:
        oldest_ms = now_ms - self.span_ms
        for queue in (self._highs, self._lows):
            while queue and queue[0][0] <= oldest_ms:
                queue.popleft()
        while self._times and self._times[0] <= oldest_ms:
            self._times.popleft()


class BarBuilder:
    """Builds the 1 s bars of one token. A bar is handed out once its second is over, again if a late trade changes it.

    A second without trades has no bar.
    """

    def __init__(self, token: str) -> None:
        self._token = token
        self._bar: PriceRow | None = None
        self._dirty = False  # the bar changed since it was handed out

    def add(self, trade: Trade) -> PriceRow | None:
        """Counts the trade; returns the previous bar if this trade opened a new second.

        Trades come in the order of their ids; one whose time lies before the current bar is counted into it, because
        its own bar may be sealed already.
        """
        second = trade.time_ms - trade.time_ms % BAR_MS
        quote = cut(notional(trade.price, trade.quantity), QUOTE_PLACES)
        bar = self._bar
        if bar is not None and second <= bar.second:
            self._bar = PriceRow(
                token=bar.token,
                second=bar.second,
                open=bar.open,
                high=max(bar.high, trade.price),
                low=min(bar.low, trade.price),
                close=trade.price,
                quantity=EXACT.add(bar.quantity, trade.quantity),
                quote_quantity=EXACT.add(bar.quote_quantity, quote),
                trades=bar.trades + 1,
            )
            self._dirty = True
            return None
        done = self._take()
        price = trade.price
        self._bar = PriceRow(
            token=self._token, second=second, open=price, high=price, low=price, close=price,
            quantity=trade.quantity, quote_quantity=quote, trades=1,
        )  # fmt: skip
        self._dirty = True
        return done

    def flush(self, now_ms: int) -> PriceRow | None:
        """The current bar if its second is over at now_ms (exchange time) and it was not handed out as it is now."""
        if self._bar is None or now_ms < self._bar.second + BAR_MS:
            return None
        return self._take()

    def _take(self) -> PriceRow | None:
        done, self._dirty = (self._bar if self._dirty else None), False
        return done
