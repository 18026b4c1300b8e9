"""What a feed knows of its symbol: last trade, best prices, 60 s range, 1 s bars. Pure; the feed actor keeps one.

Trades come from two sources, the stream and REST, and are put in order by their aggregate id: an id that is not above
all before is dropped. Best prices come from the stream only and are put in order by their update id.
"""

from __future__ import annotations

from decimal import Decimal

from actors.domain.quotes import BookTicker, Quote, Trade
from actors.domain.range import BarBuilder, RangeWindow
from actors.rows import PriceRow


class Tape:
    """Mutable, synchronous: one symbol's market as far as it was heard. All times ms since 1970 UTC."""

    def __init__(self, symbol: str, token: str) -> None:
        """symbol: "ALPHA_22USDT"; token: the short name that the bars carry."""
        self.trades_seen = 0
        self.confirmed_ms = 0  # wall time up to which nothing newer than the last trade is known to exist
        self._symbol = symbol
        self._window = RangeWindow()
        self._builder = BarBuilder(token)
        self._bars: list[PriceRow] = []
        self._last: Trade | None = None
        self._book: BookTicker | None = None

    @property
    def last(self) -> Trade | None:
        """The newest trade by id."""
        return self._last

    def hear(self, trade: Trade, at_ms: int) -> bool:
        """A trade, heard at wall time at_ms; False if it is not newer than all before."""
        if not self.recall(trade):
            return False
        self.confirm(at_ms)
        self.trades_seen += 1
        if (bar := self._builder.add(trade)) is not None:
            self._bars.append(bar)
        return True

    def recall(self, trade: Trade) -> bool:
        """A trade of before our time: it counts for price and range, not for the bars (its second is incomplete)."""
        if not self._window.add(trade):
            return False
        self._last = trade
        return True

    def see(self, book: BookTicker) -> bool:
        """Best prices; True if one of them changed. Quantities are nobody's business here."""
        before = self._book
        if before is not None and book.update_id <= before.update_id:
            return False
        self._book = book
        return before is None or (before.bid, before.ask) != (book.bid, book.ask)

    def forget_book(self) -> None:
        """The stream broke: best prices are void until the next bookTicker, which may count from anywhere."""
        self._book = None

    def confirm(self, at_ms: int) -> None:
        """At wall time at_ms nothing newer than the last trade was known to exist."""
        self.confirmed_ms = max(self.confirmed_ms, at_ms)

    def range_percent(self, now_ms: int) -> Decimal:
        return self._window.range_percent(now_ms)

    def take_bars(self, now_ms: int) -> list[PriceRow]:
        """The bars that are complete and were not taken yet, oldest first."""
        if (bar := self._builder.flush(now_ms)) is not None:
            self._bars.append(bar)
        taken, self._bars = self._bars, []
        return taken

    def quote(self, now_ms: int, *, connected: bool, disconnected_since_ms: int | None) -> Quote | None:
        """The whole picture at now_ms; None before the first trade. Crossed best prices are left out (wire § 3.2)."""
        if self._last is None:
            return None
        book = self._book
        sane = book is not None and 0 < book.bid <= book.ask  # an empty side may print as 0
        return Quote(
            symbol=self._symbol,
            price=self._last.price,
            agg_id=self._last.agg_id,
            trade_ms=self._last.time_ms,
            confirmed_ms=self.confirmed_ms,
            bid=book.bid if book is not None and sane else None,
            ask=book.ask if book is not None and sane else None,
            range_percent=self._window.range_percent(now_ms),
            connected=connected,
            disconnected_since_ms=disconnected_since_ms,
        )
