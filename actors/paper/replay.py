"""A market made of real trades: every print of a tape happens again, around it stands a synthetic book.

Times are counted from start_ms, prices from each symbol's own start price, quantities so that the money of each print
stays the same (its quote asset is taken for USDT). A print says where the real market was, and so what must have
happened to orders of ours that stand in its way:
    through our price   somebody would have taken us: filled, whatever the quantity of the print
    at our price        the queue ahead is served first, we get what exceeds it
Whoever takes pays the synthetic book's spread and depth. The print is then completed from outside, so that its price
and quantity appear on the public streams as on the tape. At the end the tape is run backwards, with sides exchanged,
then forwards again, and so on; with `once` it stops, and the last book stays.

Spread and depth of the book are those of market.py: the median spread, multiples of the mean trade, here the tape's.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

from actors.domain.orders import Side
from actors.paper.api import Venue
from actors.paper.ladder import Ladder, Level
from actors.paper.market import LEVEL_BP, LEVEL_SHARE, TOUCH_TRADES, Traded
from actors.paper.recording import NOTIONAL_UNIT, RATIO_UNIT, Recording

SPREAD_BP = 2
EVERYTHING = 10**15  # steps: more than any account can offer


class TapeMarket:
    """One tape for one or more symbols, which then move alike."""

    def __init__(
        self,
        recording: Recording,
        traded: Sequence[Traded],
        start_ms: int,
        *,
        once: bool = False,
        from_ms: int | None = None,
    ) -> None:
        """start_ms: when the first print happens. once: stop at the end of the tape.

        from_ms: where to enter, >= start_ms: after a restart with the old start_ms and prices the market is where it
        would have been, its last print comes at once.
        """
        self._recording = recording
        self._once = once
        self._symbols = [_Symbol(item, recording) for item in traded]
        self._lap_ms = start_ms  # of this run forwards and backwards
        self._index = 0
        self._forwards = True
        self._over = False
        self._not_before_ms = start_ms
        if from_ms is not None:
            assert from_ms >= start_ms, (from_ms, start_ms)
            self._enter(from_ms)

    def due_ms(self) -> int | None:
        if self._over:
            return None
        at_ms = self._recording.at_ms[self._index]
        return max(
            self._not_before_ms, self._lap_ms + (at_ms if self._forwards else 2 * self._recording.span_ms - at_ms)
        )

    def fire(self, venue: Venue) -> None:
        now_ms = self.due_ms()
        assert now_ms is not None, "fired after its end"
        recording, index = self._recording, self._index
        aggressor: Side = "SELL" if bool(recording.sold[index]) == self._forwards else "BUY"
        for symbol in self._symbols:
            symbol.print(venue, recording.ratio[index], recording.notional[index], aggressor, now_ms)
        self._turn_on()

    def _turn_on(self) -> None:
        if self._forwards:
            self._index += 1
            if self._index == len(self._recording.at_ms):  # the last print is not repeated, the one before it follows
                self._index -= 2
                self._forwards = False
                self._over = self._once
        elif self._index:
            self._index -= 1
        else:
            self._lap_ms += 2 * self._recording.span_ms
            self._index = 1
            self._forwards = True

    def _enter(self, from_ms: int) -> None:
        span_ms, at_ms = self._recording.span_ms, self._recording.at_ms
        laps, gone_ms = divmod(from_ms - self._lap_ms, 2 * span_ms)
        self._not_before_ms = from_ms
        if self._once and (laps or gone_ms >= span_ms):
            self._index = len(at_ms) - 1  # the end, whose print leaves its book
            return
        self._lap_ms += laps * 2 * span_ms
        self._forwards = gone_ms < span_ms
        if self._forwards:
            self._index = bisect_right(at_ms, gone_ms) - 1
        else:
            self._index = bisect_right(at_ms, 2 * span_ms - gone_ms - 1)
            self._forwards = self._index == len(at_ms) - 1  # nothing but the turning point is behind us


class _Symbol:
    """One symbol's book, and what a print does to it."""

    def __init__(self, item: Traded, recording: Recording) -> None:
        filters = item.instrument.filters
        assert item.price > 0, item
        self._ladder = Ladder(item.instrument.symbol, filters.tick_size, filters.step_size, len(LEVEL_BP))
        # Ticks of a ratio, and steps of a notional at one tick, as fractions of integers: exact, and quick.
        start = Fraction(item.price) / Fraction(filters.tick_size) / RATIO_UNIT
        self._ticks_of = (start.numerator, start.denominator)
        unit = 1 / (NOTIONAL_UNIT * Fraction(filters.tick_size) * Fraction(filters.step_size))
        self._steps_of = (unit.numerator, unit.denominator)
        self._most = int(filters.max_price / filters.tick_size)
        # At least that of market.py: a tape in another currency than USDT would leave a book of pennies.
        mean = max(sum(recording.notional) / len(recording.notional), float(item.trade_usdt) * NOTIONAL_UNIT)
        self._depths = [int(mean * TOUCH_TRADES * share) for share in LEVEL_SHARE]
        self._ticks = 0
        self._turn = 0

    def print(self, venue: Venue, ratio: int, notional: int, aggressor: Side, now_ms: int) -> None:
        """ratio, notional: as in Recording."""
        numerator, denominator = self._ticks_of
        ticks = (ratio * numerator + denominator // 2) // denominator
        self._ticks = min(max(ticks, 2), self._most - 1)  # room for the other side of the book
        passive: Side = "BUY" if aggressor == "SELL" else "SELL"
        self._clear_the_way(venue, now_ms, passive)
        self._complete(venue, self._ladder.quantity(self._steps(notional)), aggressor, passive, now_ms)
        self._requote(venue, passive, now_ms)

    def _clear_the_way(self, venue: Venue, now_ms: int, passive: Side) -> None:
        """After this nothing stands beyond the print, and no order of the book stands against it."""
        ladder, ticks = self._ladder, self._ticks
        ladder.withdraw(venue, "BUY", ticks + (passive == "BUY"), now_ms)
        ladder.withdraw(venue, "SELL", ticks - (passive == "SELL"), now_ms)
        price, everything = ladder.price(ticks), ladder.quantity(EVERYTHING)
        bid, ask = venue.best(ladder.symbol)
        if bid is not None and bid > price:
            venue.take(ladder.symbol, "SELL", everything, ladder.price(ticks + 1), now_ms)
        if ask is not None and ask < price:
            venue.take(ladder.symbol, "BUY", everything, ladder.price(ticks - 1), now_ms)

    def _complete(self, venue: Venue, quantity: Decimal, aggressor: Side, passive: Side, now_ms: int) -> None:
        """Trades the print's quantity at its price: first with who stands there already, the rest from outside."""
        symbol, price = self._ladder.symbol, self._ladder.price(self._ticks)
        outside = venue.limit(symbol, passive, price, quantity, now_ms)
        venue.take(symbol, aggressor, quantity, price, now_ms)
        if outside is not None:
            venue.cancel(symbol, outside, now_ms)

    def _requote(self, venue: Venue, passive: Side, now_ms: int) -> None:
        ladder, ticks = self._ladder, self._ticks
        spread = max(1, round(ticks * SPREAD_BP / 10_000))
        if passive == "BUY":
            bid, ask = ticks, min(ticks + spread, self._most)
        else:
            bid, ask = max(ticks - spread, 1), ticks
        best_bid, best_ask = venue.best(ladder.symbol)
        keep: list[Side] = []  # whoever joined our price waits behind us, as long as it does not move
        if ladder.at("BUY", 0) == bid and best_bid is not None and best_bid >= ladder.price(bid):
            keep.append("BUY")
        if ladder.at("SELL", 0) == ask and best_ask is not None and best_ask <= ladder.price(ask):
            keep.append("SELL")
        self._turn = self._turn % (len(LEVEL_BP) - 1) + 1
        touch: dict[Side, Level] = {"BUY": (bid, self._depth(0)), "SELL": (ask, self._depth(0))}
        best: dict[Side, int] = {"BUY": bid, "SELL": ask}

        def outer(side: Side, level: int) -> Level:
            away = max(level, int(best[side] * LEVEL_BP[level] / 10_000))
            if side == "BUY":
                return max(1, best[side] - away), self._depth(level)
            return min(self._most, best[side] + away), self._depth(level)

        ladder.requote(venue, touch, outer, now_ms, refresh=self._turn, keep=keep)

    def _depth(self, level: int) -> int:
        return self._steps(self._depths[level])

    def _steps(self, notional: int) -> int:
        numerator, denominator = self._steps_of
        return max(1, notional * numerator // (denominator * self._ticks))
