"""The user's UTC day: what is bought, what it cost, what is still to buy.

Progress is a sum over booked fills, each counted for the day of its own exchange time, so a restart changes nothing.
With target_points the target is 2^points of counted volume (nominal × mulPoint, wire § 14); else it is nominal USDT.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from msgspec import Struct
from msgspec.structs import replace

from actors.domain.money import EXACT, ZERO, ceil_quotient, total
from actors.domain.trading import TradingConfig

DAY_MS = 86_400_000

QUOTE_ATOM = Decimal("1e-8")
"""The exchange's own unit of quote amounts (wire § 12.3)."""


class Day(Struct, frozen=True, kw_only=True):
    """date: "2026-11-20". Amounts in USDT. pairs: closed ones. last_number: highest number given out."""

    date: str
    volume: Decimal = ZERO
    counted: Decimal = ZERO
    pairs: int = 0
    wear: Decimal = ZERO
    closed_volume: Decimal = ZERO  # BUY quote of the closed pairs: what their wear is set against
    fees: tuple[tuple[str, Decimal], ...] = ()
    last_number: int = 0
    done_ms: int | None = None


def date_of(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, tz=UTC).strftime("%Y-%m-%d")


def beside(date: str) -> tuple[str, str]:
    """The days before and after."""
    day, step = datetime.fromisoformat(date), timedelta(days=1)
    return (day - step).strftime("%Y-%m-%d"), (day + step).strftime("%Y-%m-%d")


def next_midnight_ms(at_ms: int) -> int:
    return (at_ms // DAY_MS + 1) * DAY_MS


def with_fill(
    day: Day,
    side: str,
    quote: Decimal,
    commission: Decimal,
    commission_asset: str,
    mul_point: Decimal,
    *,
    sign: int = 1,
) -> Day:
    """The day after a fill of it was booked. sign -1: a synthetic one is retracted. Only BUY makes volume."""
    fees = dict(day.fees)
    fees[commission_asset] = total(fees.get(commission_asset, ZERO), sign * commission)
    day = replace(day, fees=tuple(sorted((asset, fee) for asset, fee in fees.items() if fee)))
    if side != "BUY":
        return day
    counted = EXACT.multiply(quote, mul_point)
    return replace(day, volume=total(day.volume, sign * quote), counted=total(day.counted, sign * counted))


def target_of(config: TradingConfig) -> Decimal:
    """USDT of nominal volume, or of counted volume with target_points."""
    if config.target_points is not None:
        return Decimal(2) ** config.target_points
    assert config.target_volume is not None, "check_trading lets exactly one of the two targets through"
    return config.target_volume


def achieved(day: Day, config: TradingConfig) -> Decimal:
    return day.counted if config.target_points is not None else day.volume


def remaining_quote(day: Day, config: TradingConfig, mul_point: Decimal) -> Decimal:
    """Nominal USDT still to buy today, 0 when the target is reached."""
    missing = max(ZERO, EXACT.subtract(target_of(config), achieved(day, config)))
    if config.target_points is None or mul_point <= 0:
        return missing
    return ceil_quotient(missing, mul_point, QUOTE_ATOM)  # rounded up, so that this much is enough


def percent(day: Day, config: TradingConfig) -> Decimal:
    """Progress in percent, two decimals, not above 100."""
    share = achieved(day, config) / target_of(config) * 100
    return min(Decimal(100), share).quantize(Decimal("0.01"), rounding="ROUND_DOWN")


def points_of(counted: Decimal) -> int:
    """Volume points of a day: floor(log2(V)) for V >= 2 (wire § 14.1)."""
    return int(counted).bit_length() - 1 if counted >= 2 else 0
