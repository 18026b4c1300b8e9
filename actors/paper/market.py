"""A seeded market: external orders that look like those of a busy Alpha token, as a function of market time alone.

Same seed, start and symbols: the same intentions (when, which side, what price, how much), whatever the users
of the exchange do; what becomes of them depends on the book they meet. No draw ever looks at the venue.

How a symbol moves. Its log price is anchor + wander + rush. `wander` is a mean-reverting walk whose volatility itself
wanders (that makes the tails fat and the quiet hours quiet). `rush` is the rare fast move: 2.4 % and more within half
a minute, about once an hour, given back over the next hours. Both are pulled home, so that a run of days stays sane.
A ladder of orders (ladder.py) follows the price; its spread is a log-normal that remembers its last value.
How it trades. Takers come in bursts: a burst has one side, a heavy-tailed number of orders, many of them in the same
millisecond; bursts remember the side of the one before and come at a pace that swells and ebbs.

Where the figures come from (../shared/probes.md § 7, tapes in ../shared/market/):
    spread            median 2 bp, p99 15 bp                          design § 8
    trade size        mean 128 USD: token list of 2025-10-10; the tapes' mean is 20 times their median and more
    depth at touch    14 mean trades: 22.2k USDT against 1.55k USDT a trade on the ETHUSDT tape
    pace              3 orders a second by default: ALPHA_971 made 2.8 in a capture (median token 0.05, busiest 332)
    same millisecond  a third: 0.33 and 0.37 on the tapes        Fano factor of trades per second: 4 (thin) to 79
    aggressor side    autocorrelation .6 to .7 at lag 1, about .3 at lag 10, near 0 at lag 50
    1 s return        standard deviation 1.1 to 1.3 bp, kurtosis 3 to 12
    day               high/low range 7.6 / 13.9 / 37 % (quartiles over 403 tokens); here 11 to 17 %
Measured again over several seeds in tests/paper/test_market.py. Prices drawn here are floats until they are put on the
tick grid: they are drawn at random, nobody's money is computed with them.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Sequence
from decimal import Decimal

from msgspec import Struct

from actors.domain.instrument import Instrument
from actors.domain.orders import Side
from actors.paper.api import Venue
from actors.paper.ladder import Ladder, Level

BP = 1e-4

# Price. A walk of 1.2 bp a second for a day would spread 3.5 %; the pull of a day makes that 2.5 % for good.
WANDER_PER_ROOT_S = 1.1 * BP
WANDER_HOME_S = 86_400.0
HEAT_SPREAD = 0.55  # standard deviation of log volatility: kurtosis 3 exp(4 s²) = 10
HEAT_HOME_S = 45.0

# The fast move. With RUSH_LEAST it clears the default volatility_threshold (2 %), spread and noise included.
RUSH_EVERY_S = 3_600.0
RUSH_NOT_BEFORE_S = 180.0  # a demo's first minutes are calm
RUSH_LEAST = 0.024
RUSH_MORE = 0.008  # mean of what comes on top, exponential
RUSH_MOST = 0.08
RUSH_LASTS_S = (8.0, 30.0)
RUSH_HOME_S = 5_400.0
RUSH_PACE = 3.0  # trading is so much faster meanwhile ...
RUSH_WITH = 0.85  # ... and goes with the move in this share of the bursts

# Spread: median 2 bp, p99 15 bp of a log-normal: ln(15 / 2) / 2.326. A little less, because trades eat into the touch.
SPREAD_MEDIAN = 1.9 * BP
SPREAD_LOG_SD = 0.82
SPREAD_HOME_S = 8.0

# Depth, in mean trade sizes and bp beyond the touch.
TOUCH_TRADES = 14.0
DEPTH_LOG_SD = 0.7
LEVEL_BP = (0.0, 1.5, 4.0, 8.0, 15.0, 30.0)
LEVEL_SHARE = (1.0, 1.3, 1.7, 2.2, 3.0, 5.0)
QUOTES_PER_S = (0.5, 2.5)  # the ladder moves so often, with the symbol's pace between these bounds

# Takers.
SIZE_LOG_SD = 1.7  # mean/median of a log-normal is exp(s²/2): 4.2
SIZE_MOST = 150.0  # mean trade sizes
BURST_TAIL = 1.45  # Pareto exponent of the number of orders in a burst
BURST_MOST = 60
BURST_MEAN = (
    2.35  # what they make of a burst in the long run: fewer than the mean of the draw, for slow hours last longer
)
SAME_MS = 0.53  # share of the orders within a burst that follow in the same millisecond
BURST_GAP_MS = 70.0  # mean of the other gaps
SIDE_STAYS = 0.67  # a burst has the side of the one before
PACE_LOG_SD = 0.65
PACE_HOME_S = 20.0
WAIT_MOST = 8.0  # mean gaps between bursts: 6 s by default, so that an onlooker never thinks that it stopped
SLIP = 12 * BP  # a taker's limit beyond the touch that it saw


class Traded(Struct, frozen=True, kw_only=True):
    """One symbol of the market.

    price: where it starts, quote per base. anchor: where it is pulled to, None for `price`; after a restart the last
    price and the old anchor. orders_per_s: mean pace of takers, orders per second, > 0. trade_usdt: mean size of one.
    """

    instrument: Instrument
    price: Decimal
    anchor: Decimal | None = None
    orders_per_s: float = 3.0
    trade_usdt: Decimal = Decimal(128)


class SyntheticMarket:
    """Markets of several symbols in one timetable; each symbol has a generator of its own, so that one more symbol
    changes nothing for the others."""

    def __init__(self, seed: int, traded: Sequence[Traded], start_ms: int) -> None:
        self._flows = [_Flow(random.Random(f"{seed}/{item.instrument.symbol}"), item, start_ms) for item in traded]
        self._timetable = [(flow.due_ms, index) for index, flow in enumerate(self._flows)]
        heapq.heapify(self._timetable)

    def due_ms(self) -> int | None:
        return self._timetable[0][0] if self._timetable else None

    def fire(self, venue: Venue) -> None:
        _, index = self._timetable[0]
        flow = self._flows[index]
        flow.fire(venue)
        heapq.heapreplace(self._timetable, (flow.due_ms, index))


class _Flow:
    """One symbol's orders: an event is either a quote (the ladder moves) or a taker's order."""

    def __init__(self, rng: random.Random, item: Traded, start_ms: int) -> None:
        filters = item.instrument.filters
        assert item.price > 0, item
        assert item.orders_per_s > 0, item
        self._rng = rng
        self._symbol = item.instrument.symbol
        self._ladder = Ladder(self._symbol, filters.tick_size, filters.step_size, len(LEVEL_BP))
        self._tick = float(filters.tick_size)
        self._step = float(filters.step_size)
        self._ticks_least = max(1, math.ceil(filters.min_price / filters.tick_size))
        self._ticks_most = math.floor(filters.max_price / filters.tick_size)
        self._steps_least = max(1, math.ceil(filters.min_quantity / filters.step_size))
        self._steps_most = math.floor(filters.max_quantity / filters.step_size)
        self._trade = float(item.trade_usdt)
        self._bursts_per_s = item.orders_per_s / BURST_MEAN
        self._quotes_per_s = min(max(item.orders_per_s, QUOTES_PER_S[0]), QUOTES_PER_S[1])

        self._anchor = float(item.anchor or item.price)
        self._wander = math.log(float(item.price) / self._anchor)
        self._heat = 0.0
        self._rush = _Rush(start_ms / 1000 + RUSH_NOT_BEFORE_S + rng.expovariate(1 / RUSH_EVERY_S))
        self._width = 0.0
        self._pace = 0.0
        self._mid = float(item.price)
        self._touch: dict[Side, Level] = {}
        self._turn = 0

        self._side: Side = "BUY"
        self._burst_left = 0
        self._at_s = start_ms / 1000
        self._quote_ms = start_ms  # the book stands and a first trade prints at once: a feed needs a last price
        self._order_ms = start_ms

    @property
    def due_ms(self) -> int:
        return min(self._quote_ms, self._order_ms)

    def fire(self, venue: Venue) -> None:
        if self._quote_ms <= self._order_ms:
            self._quote(venue, self._quote_ms)
            self._quote_ms += 1 + int(self._rng.expovariate(self._quotes_per_s) * 1000)
        else:
            self._take(venue, self._order_ms)
            self._order_ms += self._order_gap_ms()

    # -- the price and its ladder

    def _quote(self, venue: Venue, now_ms: int) -> None:
        now_s = now_ms / 1000
        self._move(now_s, now_s - self._at_s)
        self._at_s = now_s
        half = math.exp(self._width) * SPREAD_MEDIAN / 2
        bid = self._on_grid(self._mid * (1 - half))
        ask = max(bid + 1, self._on_grid(self._mid * (1 + half)))
        self._touch = {"BUY": (bid, self._depth(0)), "SELL": (ask, self._depth(0))}
        self._turn = self._turn % (len(LEVEL_BP) - 1) + 1  # the outer levels are renewed one after the other
        self._ladder.requote(venue, self._touch, self._outer, now_ms, refresh=self._turn)

    def _move(self, now_s: float, passed_s: float) -> None:
        gauss = self._rng.gauss
        self._heat = _recall(self._heat, passed_s, HEAT_HOME_S, HEAT_SPREAD, gauss(0, 1))
        self._width = _recall(self._width, passed_s, SPREAD_HOME_S, SPREAD_LOG_SD, gauss(0, 1))
        self._pace = _recall(self._pace, passed_s, PACE_HOME_S, PACE_LOG_SD, gauss(0, 1))
        # exp(-s²): so that the mean of the squared volatility stays what it is without heat
        volatility = WANDER_PER_ROOT_S * math.exp(self._heat - HEAT_SPREAD**2)
        self._wander += volatility * math.sqrt(passed_s) * gauss(0, 1) - self._wander * passed_s / WANDER_HOME_S
        self._rush.move(now_s, passed_s, self._wander, self._rng)
        self._mid = self._anchor * math.exp(self._wander + self._rush.value)

    def _outer(self, side: Side, level: int) -> Level:
        away = LEVEL_BP[level] * BP * self._rng.uniform(0.8, 1.2)
        best = self._touch[side][0]
        if side == "BUY":
            return max(self._ticks_least, min(best - level, int(best * (1 - away)))), self._depth(level)
        return min(self._ticks_most, max(best + level, int(best * (1 + away)))), self._depth(level)

    def _depth(self, level: int) -> int:
        mean = self._trade * TOUCH_TRADES * LEVEL_SHARE[level]
        return self._steps(mean * self._rng.lognormvariate(-(DEPTH_LOG_SD**2) / 2, DEPTH_LOG_SD))

    # -- the takers

    def _take(self, venue: Venue, now_ms: int) -> None:
        rng = self._rng
        if not self._burst_left:
            self._burst_left = min(int(rng.paretovariate(BURST_TAIL)), BURST_MOST)
            self._side = self._burst_side()
        self._burst_left -= 1
        size = self._trade * min(rng.lognormvariate(-(SIZE_LOG_SD**2) / 2, SIZE_LOG_SD), SIZE_MOST)
        best = self._touch["SELL" if self._side == "BUY" else "BUY"][0]
        slip = max(1, int(best * SLIP))
        limit = best + slip if self._side == "BUY" else max(self._ticks_least, best - slip)
        ladder = self._ladder
        venue.take(self._symbol, self._side, ladder.quantity(self._steps(size)), ladder.price(limit), now_ms)

    def _burst_side(self) -> Side:
        chance = self._rng.random()
        if self._rush.per_s:
            with_it: Side = "BUY" if self._rush.per_s > 0 else "SELL"
            return with_it if chance < RUSH_WITH else _other(with_it)
        return self._side if chance < SIDE_STAYS else _other(self._side)

    def _order_gap_ms(self) -> int:
        rng = self._rng
        if self._burst_left:
            return 0 if rng.random() < SAME_MS else 1 + int(rng.expovariate(1 / BURST_GAP_MS))
        pace = self._bursts_per_s * math.exp(self._pace - PACE_LOG_SD**2 / 2)
        if self._rush.per_s:
            pace *= RUSH_PACE
        return 1 + int(min(rng.expovariate(pace), WAIT_MOST / self._bursts_per_s) * 1000)

    # -- the grid

    def _on_grid(self, price: float) -> int:
        return min(max(round(price / self._tick), self._ticks_least), self._ticks_most - 1)

    def _steps(self, usdt: float) -> int:
        return min(max(int(usdt / self._mid / self._step), self._steps_least), self._steps_most)


class _Rush:
    """The rare fast move. value: what it has added to the log price; per_s: its speed, 0 while there is none."""

    def __init__(self, next_s: float) -> None:
        self.value = 0.0
        self.per_s = 0.0
        self._next_s = next_s
        self._end_s = 0.0

    def move(self, now_s: float, passed_s: float, wander: float, rng: random.Random) -> None:
        if self.per_s:
            self.value += self.per_s * passed_s
            if now_s >= self._end_s:
                self.per_s = 0.0
        else:
            self.value -= self.value * passed_s / RUSH_HOME_S
            if now_s >= self._next_s:
                self._begin(now_s, wander, rng)

    def _begin(self, now_s: float, wander: float, rng: random.Random) -> None:
        lasts_s = rng.uniform(*RUSH_LASTS_S)
        size = min(RUSH_LEAST + rng.expovariate(1 / RUSH_MORE), RUSH_MOST)
        # Rather homewards, the more the further away: rushes alone would walk anywhere.
        upwards = rng.random() < 1 / (1 + math.exp((self.value + wander) / RUSH_LEAST))
        self.per_s = (size if upwards else -size) / lasts_s
        self._end_s = now_s + lasts_s
        self._next_s = self._end_s + rng.expovariate(1 / RUSH_EVERY_S)


def _recall(value: float, passed_s: float, home_s: float, spread: float, noise: float) -> float:
    """One step of a process that forgets within home_s and keeps the standard deviation `spread`."""
    keeps = math.exp(-passed_s / home_s)
    return value * keeps + spread * math.sqrt(1 - keeps * keeps) * noise


def _other(side: Side) -> Side:
    return "SELL" if side == "BUY" else "BUY"
