"""What an operator wants of one user: configuration, wish, pauses. Words of contract § 3 and § 4."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal, get_args

from msgspec import Struct

Wanted = Literal["stopped", "running"]
Phase = Literal[
    "idle", "done", "placing", "unresolved", "working", "partially_filled", "selling", "timed_out", "cancelling",
    "unwinding", "reconciling",
]  # fmt: skip
PauseReason = Literal[
    "INSUFFICIENT_BALANCE", "PRICE_VOLATILITY", "FEED_DISCONNECTED", "ORDERS_DISCONNECTED", "EXCHANGE_UNREACHABLE",
    "AUTH_FAILED", "VERIFICATION_REQUIRED", "RATE_LIMITED", "TOKEN_UNAVAILABLE", "ORDER_UNRESOLVED", "ORDER_REJECTED",
    "EXTERNAL_ORDER", "INVENTORY_LEFT", "LEDGER_MISMATCH", "PROTOCOL_CHANGED", "CLOCK_SKEW", "WEAR_LIMIT",
    "STORE_UNAVAILABLE", "CRASHED", "OPERATOR",
]  # fmt: skip
PAUSE_REASONS: tuple[PauseReason, ...] = get_args(PauseReason)
AUTO_RESUMABLE: frozenset[PauseReason] = frozenset(
    {
        "PRICE_VOLATILITY",
        "RATE_LIMITED",
        "STORE_UNAVAILABLE",
        "FEED_DISCONNECTED",
        "ORDERS_DISCONNECTED",
        "EXCHANGE_UNREACHABLE",
    }
)
WaitingFor = Literal["self_trade", "price_stale", "volatility", "credit_lag", "interval", "actor_restart", "rate"]
PairOutcome = Literal["completed", "cancelled", "unwound", "inventory_left", "refused", "absent", "external"]


class TradingConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The trading configuration of one user; keys, units and defaults of requirements.md. Amounts in USDT."""

    token: str  # short name, "KOGE"
    target_volume: Decimal | None = None  # USDT bought per UTC day; exactly one of the two targets
    target_points: int | None = None
    order_amount: Decimal | None = None  # USDT per pair; exactly one of amount and quantity
    order_quantity: Decimal | None = None  # base asset
    offset_mode: Literal["percentage", "fixed"] = "percentage"
    buy_offset: Decimal  # percent (0.05 is 0.05 %) or USDT, signed
    sell_offset: Decimal
    reference: Literal["last"] = "last"
    timeout_seconds: Decimal = Decimal(300)
    volatility_threshold: Decimal = Decimal(2)  # percent
    interval_seconds: Decimal = Decimal(1)
    unwind_step_percent: Decimal = Decimal("0.1")
    unwind_step_seconds: Decimal = Decimal(5)
    unwind_floor_percent: Decimal = Decimal(2)
    max_wear_usdt: Decimal | None = None
    max_wear_bps: Decimal | None = None
    auto_resume: tuple[PauseReason, ...] = ()


class Pause(Struct, frozen=True, kw_only=True):
    """One reason why a user does not trade. Ended only by resume, or by opted-in auto_resume."""

    reason: PauseReason
    since_ms: int
    detail: str
    hint: str = ""
