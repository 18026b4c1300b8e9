"""What the records say of one user over a period: the question to the store, its answer, and what follows from it.

Volume is bought quote, by the exchange's time of each fill. Pairs and their wear belong to the moment of their intent,
and only closed pairs have a wear; orders belong to their creation.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import ROUND_DOWN, Decimal
from typing import Final

from msgspec import Struct

from actors.domain.money import total
from actors.messages import Traded

ZERO: Final = Decimal(0)
BPS: Final = Decimal(10_000)
POINTS_DAYS: Final = 15  # the exchange adds up the points of so many days
PARTS: Final = ("fee", "spread", "slippage", "unwind", "dust")


class Statistics(Struct, frozen=True, kw_only=True):
    """Asked of the store → StatisticsRecord. since_ms is included, until_ms is not; None: no bound."""

    user: str
    since_ms: int | None = None
    until_ms: int | None = None


class Wear(Struct, frozen=True, kw_only=True):
    """What closed pairs lost, and its parts, which add up to the total (contract § 5). volume: their bought quote."""

    volume: Decimal = ZERO
    total: Decimal = ZERO
    fee: Decimal = ZERO
    spread: Decimal = ZERO
    slippage: Decimal = ZERO
    unwind: Decimal = ZERO
    dust: Decimal = ZERO

    @property
    def bps(self) -> Decimal | None:
        return self.total / self.volume * BPS if self.volume else None


class DayFigures(Struct, frozen=True, kw_only=True):
    """One UTC day. target None: none was noted (nothing was traded by this daemon that day)."""

    day: str
    volume: Decimal = ZERO
    counted_volume: Decimal = ZERO
    target_volume: Decimal | None = None
    target_points: int | None = None
    done_ms: int | None = None
    pairs: int = 0  # closed
    wear: Wear = Wear()

    @property
    def points(self) -> int:
        return points(self.counted_volume)

    @property
    def target(self) -> Decimal | None:
        """In USDT: 2^points with target_points."""
        return self.target_volume if self.target_points is None else Decimal(1 << self.target_points)

    @property
    def percent(self) -> Decimal | None:
        """Of the target, two decimals, rounded down as a trader does: 100 means done, and more is beyond the target.

        With target_points it is the counted volume that counts.
        """
        done = self.volume if self.target_points is None else self.counted_volume
        if not self.target:
            return None
        return (done / self.target * 100).quantize(Decimal("0.01"), rounding=ROUND_DOWN)


class OfToken(Struct, frozen=True, kw_only=True):
    """Fills of one token."""

    token: str
    bought: Traded
    sold: Traded


class StatisticsRecord(Struct, frozen=True, kw_only=True):
    """outcomes: pairs by outcome, "live" for those that are not closed. statuses: orders of pairs, by status.

    fees: (asset, amount) as paid. pair_ms_*: from intent to close of pairs that completed. days: those with anything
    to tell, oldest first. points_sum: of the POINTS_DAYS days that end with the period's last day (or today).
    by_token: by name; the quantities of bought and sold say something only where it is one.
    """

    bought: Traded
    sold: Traded
    counted_volume: Decimal
    wear: Wear
    outcomes: tuple[tuple[str, int], ...]
    statuses: tuple[tuple[str, int], ...]
    fees: tuple[tuple[str, Decimal], ...]
    pair_ms_mean: int | None
    pair_ms_median: int | None
    pair_ms_max: int | None
    first_ms: int | None
    last_ms: int | None
    days: tuple[DayFigures, ...]
    points_today: int
    points_sum: int
    by_token: tuple[OfToken, ...] = ()

    @property
    def mean_buy_price(self) -> Decimal | None:
        """None, too, where several tokens were traded: their prices have no common mean."""
        return mean_price(self.bought) if len(self.by_token) < 2 else None

    @property
    def mean_sell_price(self) -> Decimal | None:
        return mean_price(self.sold) if len(self.by_token) < 2 else None


def points(counted_volume: Decimal) -> int:
    """Volume points of a day: the largest n with 2^n <= counted volume; 0 below 2 USDT."""
    return max(int(counted_volume).bit_length() - 1, 0)


def mean_price(traded: Traded) -> Decimal | None:
    """Quote per base over all fills of a side."""
    return traded.quote / traded.quantity if traded.quantity else None


def together(days: Iterable[Wear]) -> Wear:
    """The sum of several."""
    names = Wear.__struct_fields__
    each = list(days)
    return Wear(**{name: total(*(getattr(wear, name) for wear in each)) for name in names})
