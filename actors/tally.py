"""What actors count of themselves while they work: a few integers each, read by whoever renders figures.

One tally belongs to the supervisor and outlives all incarnations, so that a crash takes nothing back. Counting costs an
addition; nothing here waits, allocates per event, or decides anything. Labels come from closed sets of words (outcomes,
reasons, names of calls), never from what a peer sends. One thread only: the trio loop.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from typing import Final, Literal

LATENCY_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Upper bounds, seconds: our aims lie at 2, 10 and 60 ms (design § 11), what is owed at 2 and 10 s (NFR-001)."""

COMMIT_S: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0)
"""A group commit takes 0.7 ms and a good disk; seconds are a disk in trouble."""

Difference = Literal["fill", "synthetic_fill", "foreign_order", "silent_stream"]
"""What looking at the exchange has found that our streams had not told: a fill known by REST alone, one known by totals
alone, an order that is not ours, a stream that kept silent about a fill."""


class Histogram:
    """How often a duration fell between which bounds. counts: one more than bounds, the last for all beyond."""

    __slots__ = ("bounds", "counts", "sum_s")

    def __init__(self, bounds: tuple[float, ...] = LATENCY_S) -> None:
        assert bounds == tuple(sorted(set(bounds))), bounds
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum_s = 0.0

    def observe(self, seconds: float) -> None:
        """A clock that runs ahead of ours makes negative ones: they count as nothing."""
        seconds = max(seconds, 0.0)
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.sum_s += seconds

    @property
    def total(self) -> int:
        return sum(self.counts)

    def cumulative(self) -> list[int]:
        """As many as counts: how often it took no longer than each bound, at last how often it happened at all."""
        sums, so_far = [], 0
        for count in self.counts:
            so_far += count
            sums.append(so_far)
        return sums


class Tally:
    """All counts of one daemon."""

    def __init__(self) -> None:
        self.calls: Counter[tuple[str, str]] = Counter()  # (call, outcome)
        self.call_s: dict[str, Histogram] = {}  # by call; from the first byte out to the last one in
        self.orders: Counter[tuple[str, str]] = Counter()  # (pair | sale | cancel, accepted | refused | no_answer)
        self.pairs: Counter[str] = Counter()  # closed, by outcome
        self.fills: Counter[tuple[str, str]] = Counter()  # (leg, source)
        self.pauses: Counter[str] = Counter()  # by reason
        self.looks: Counter[str] = Counter()  # at the account: clean, failed
        self.differences: Counter[Difference] = Counter()
        self.market_s = Histogram()  # exchange's event time of a trade to the quote that it makes
        self.orders_s = Histogram()  # exchange's event time of a report to the machine having stepped
        self.quote_to_order_s = Histogram()  # a quote hearing its trader decide to the request leaving, intent durable
        self.commit_s = Histogram(COMMIT_S)

    def called(self, call: str, outcome: str, seconds: float | None = None) -> None:
        """One request to the exchange is over. seconds None: no whole reply came."""
        self.calls[call, outcome] += 1
        if seconds is not None:
            histogram = self.call_s.get(call)
            if histogram is None:
                histogram = self.call_s[call] = Histogram()
            histogram.observe(seconds)
