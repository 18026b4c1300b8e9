"""What a simulated configuration came to, read off the rows that its daemon wrote: would the target be reached, when,
and what it would have cost, by its parts (contract § 5)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from msgspec import Struct

from actors.adapters.sim_store import Disk
from actors.domain.day import DAY_MS, date_of
from actors.messages import Progress, TraderSnapshot
from actors.rows import FillRow, PairRow, PauseRow

BPS = 10_000
PARTS = ("fee", "spread", "slippage", "unwind", "dust")
ZERO = Decimal(0)


class DayForecast(Struct, frozen=True, kw_only=True):
    """done_at: exchange ms of the fill that reached the day's target, None: none did."""

    day: str
    volume: Decimal
    pairs: int
    wear: Decimal
    done_at: int | None


class Forecast(Struct, frozen=True, kw_only=True):
    """One user. parts: of the wear, by name, USDT; they add up to it. pauses: reasons in force at the end."""

    user: str
    token: str
    target: Decimal | None
    target_points: int | None
    days: tuple[DayForecast, ...]
    volume: Decimal
    pairs: int
    outcomes: dict[str, int]
    wear: Decimal
    wear_bps: Decimal | None
    parts: dict[str, Decimal]
    paused: dict[str, int]
    pauses: tuple[str, ...]
    waiting: str | None

    @property
    def reached(self) -> int:
        """Days on which the target was reached."""
        return sum(day.done_at is not None for day in self.days)


def forecast(shown: TraderSnapshot, disk: Disk, days: Iterable[str]) -> Forecast:
    """One user's share of the rows; days: dates, ascending."""
    user = shown.user
    assert shown.progress is not None, shown
    assert shown.token is not None, shown
    pairs = [pair for pair in disk.of(PairRow, user) if pair.status == "closed"]
    bought = [fill for fill in disk.of(FillRow, user) if fill.side == "BUY"]
    pauses = disk.of(PauseRow, user)
    wear = _sum(pair.wear for pair in pairs)
    closed_volume = _sum(pair.buy_quote for pair in pairs)
    points = shown.progress.target_points
    return Forecast(
        user=user,
        token=shown.token,
        target=None if points is not None else shown.progress.target,
        target_points=points,
        days=tuple(_day(day, pairs, bought, shown.progress) for day in days),
        volume=_sum(fill.quote_quantity for fill in bought),
        pairs=len(pairs),
        outcomes=dict(sorted(Counter(str(pair.outcome) for pair in pairs).items())),
        wear=wear,
        wear_bps=wear / closed_volume * BPS if closed_volume else None,
        parts={part: _sum(getattr(pair, f"wear_{part}") for pair in pairs) for part in PARTS},
        paused=dict(sorted(Counter(row.reason for row in pauses).items())),
        pauses=tuple(row.reason for row in pauses if row.ended_at is None),
        waiting=None if shown.waiting is None else shown.waiting.wait,
    )


def _day(day: str, pairs: list[PairRow], bought: list[FillRow], progress: Progress) -> DayForecast:
    """The target is counted anew from the fills: who is paused at that very moment has reached it all the same."""
    own = [pair for pair in pairs if date_of(pair.intent_at) == day]
    fills = sorted((fill for fill in bought if date_of(fill.exchange_time) == day), key=lambda fill: fill.exchange_time)
    counted, done_at = ZERO, None
    for fill in fills:
        counted += fill.quote_quantity * (1 if progress.target_points is None else fill.mul_point)
        if counted >= progress.target:
            done_at = fill.exchange_time
            break
    return DayForecast(
        day=day,
        volume=_sum(fill.quote_quantity for fill in fills),
        pairs=len(own),
        wear=_sum(pair.wear for pair in own),
        done_at=done_at,
    )


def _sum(amounts: Iterable[Decimal | None]) -> Decimal:
    return sum((amount for amount in amounts if amount is not None), ZERO)


def after_s(day: DayForecast) -> float | None:
    """Seconds from the day's midnight to its target."""
    return None if day.done_at is None else day.done_at % DAY_MS / 1000


def as_json(found: Forecast) -> dict[str, Any]:
    """In the forms of contract § 3: decimals as text, times as text, counts bare."""
    return {
        "token": found.token,
        "target": _text(found.target),
        "target_points": found.target_points,
        "days_reached": found.reached,
        "volume": _text(found.volume),
        "pairs": found.pairs,
        "outcomes": found.outcomes,
        "wear": _text(found.wear),
        "wear_bps": _text(found.wear_bps, "0.01"),
        "parts": {
            name: {"usdt": _text(amount), "bps": _text(bps_of(amount, found), "0.01")}
            for name, amount in found.parts.items()
        },
        "pauses": found.pauses,
        "paused": found.paused,
        "waiting": found.waiting,
        "days": [
            {
                "day": day.day,
                "reached_after_s": after_s(day),
                "volume": _text(day.volume),
                "pairs": day.pairs,
                "wear": _text(day.wear),
            }
            for day in found.days
        ],
    }


def bps_of(amount: Decimal, found: Forecast) -> Decimal | None:
    """A part of the wear against what was bought."""
    return amount / found.volume * BPS if found.volume else None


def _text(amount: Decimal | None, grid: str = "0.000001") -> str | None:
    if amount is None:
        return None
    return f"{amount.quantize(Decimal(grid)):f}"
