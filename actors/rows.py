"""Rows that actors ask the store to make durable. One struct per table of the live database.

Every row has a key, so that writing it twice is harmless: `KEY` names the fields of the key, `MODE` says what a second
row with that key does: "upsert" replaces the earlier one, "once" is ignored. Table names are `TABLE`. Field names are
the column names of contract § 5 (which publishes some of these tables); times end in `_ms`/`_at` and are ms since 1970
UTC here, TIMESTAMPTZ in the database. Amounts are Decimal, DECIMAL(38,18) in the database.
"""

from __future__ import annotations

from decimal import Decimal
from typing import ClassVar, Literal

from msgspec import Struct

from actors.domain.orders import FillSource, LegName, Side
from actors.domain.trading import PairOutcome, PauseReason, Wanted

Mode = Literal["upsert", "once"]


class UserRow(Struct, frozen=True, kw_only=True):
    TABLE: ClassVar[str] = "users"
    KEY: ClassVar[tuple[str, ...]] = ("user",)
    MODE: ClassVar[Mode] = "upsert"
    user: str
    display_name: str = ""
    email: str = ""
    wanted: Wanted = "stopped"
    removed: bool = False
    created_at: int
    updated_at: int


class ConfigRow(Struct, frozen=True, kw_only=True):
    """revision counts up from 1; the newest is in force. document: the TradingConfig as JSON."""

    TABLE: ClassVar[str] = "configs"
    KEY: ClassVar[tuple[str, ...]] = ("user", "revision")
    MODE: ClassVar[Mode] = "once"
    user: str
    revision: int
    document: str
    who: str
    changed_at: int


class CredentialRow(Struct, frozen=True, kw_only=True):
    """ciphertext: MultiFernet token of {"user", "cookies", "headers"}; never a plaintext."""

    TABLE: ClassVar[str] = "credentials"
    KEY: ClassVar[tuple[str, ...]] = ("user",)
    MODE: ClassVar[Mode] = "upsert"
    user: str
    ciphertext: bytes
    key_id: str
    state: Literal["valid", "invalid", "removed"] = "valid"
    stored_at: int
    checked_at: int | None = None


class PauseRow(Struct, frozen=True, kw_only=True):
    """A pause in force has ended_at None. Key holds since, so one reason may come again."""

    TABLE: ClassVar[str] = "pauses"
    KEY: ClassVar[tuple[str, ...]] = ("user", "reason", "since_at")
    MODE: ClassVar[Mode] = "upsert"
    user: str
    reason: PauseReason
    since_at: int
    detail: str
    hint: str = ""
    ended_at: int | None = None
    ended_by: str | None = None


class TokenRow(Struct, frozen=True, kw_only=True):
    """document: domain.instrument.Token as JSON."""

    TABLE: ClassVar[str] = "tokens"
    KEY: ClassVar[tuple[str, ...]] = ("alpha_id",)
    MODE: ClassVar[Mode] = "upsert"
    alpha_id: str
    name: str
    mul_point: int | None
    document: str
    fetched_at: int


class InstrumentRow(Struct, frozen=True, kw_only=True):
    """document: domain.instrument.Instrument as JSON."""

    TABLE: ClassVar[str] = "instruments"
    KEY: ClassVar[tuple[str, ...]] = ("symbol",)
    MODE: ClassVar[Mode] = "upsert"
    symbol: str
    status: str
    document: str
    fetched_at: int


class PairRow(Struct, frozen=True, kw_only=True):
    """One pair; the row `intent` of design § 4 is its first version (status "placing", no order ids)."""

    TABLE: ClassVar[str] = "pairs"
    KEY: ClassVar[tuple[str, ...]] = ("user", "pair_id")
    MODE: ClassVar[Mode] = "upsert"
    user: str
    token: str
    symbol: str
    pair_id: str
    number: int
    reference_price: Decimal
    buy_price: Decimal
    sell_price: Decimal
    quantity: Decimal
    status: str  # a phase, or "closed"
    outcome: PairOutcome | None = None
    buy_quote: Decimal = Decimal(0)
    sell_quote: Decimal = Decimal(0)
    wear: Decimal | None = None
    wear_bps: Decimal | None = None
    wear_fee: Decimal | None = None
    wear_spread: Decimal | None = None
    wear_slippage: Decimal | None = None
    wear_unwind: Decimal | None = None
    wear_dust: Decimal | None = None
    dust_quantity: Decimal | None = None
    counted_volume: Decimal = Decimal(0)
    intent_at: int
    placed_at: int | None = None
    closed_at: int | None = None
    # live database only: what a restart needs
    working_order_id: str | None = None
    pending_order_id: str | None = None
    list_id: str | None = None
    bid_at_intent: Decimal | None = None
    ask_at_intent: Decimal | None = None
    cancel_cause: str | None = None  # why a cancel was decided: "timeout", "operator", …
    sales: str = "[]"  # JSON of the unwinding sales' intents: number, price, quantity, intent_ms, order_id, state


class OrderRow(Struct, frozen=True, kw_only=True):
    """pair_id None and leg None: an order that is not ours (recorded, never counted, never touched)."""

    TABLE: ClassVar[str] = "orders"
    KEY: ClassVar[tuple[str, ...]] = ("user", "symbol", "order_id")
    MODE: ClassVar[Mode] = "upsert"
    user: str
    token: str
    symbol: str
    pair_id: str | None
    order_id: str
    leg: LegName | None
    side: Side
    price: Decimal
    quantity: Decimal
    executed_quantity: Decimal
    executed_quote: Decimal
    status: str
    created_at: int
    updated_at: int


class FillRow(Struct, frozen=True, kw_only=True):
    """One fill. A synthetic one is replaced by retracting it (RetractFill) in the same write as its real ones."""

    TABLE: ClassVar[str] = "fills"
    KEY: ClassVar[tuple[str, ...]] = ("user", "symbol", "fill_id")
    MODE: ClassVar[Mode] = "once"
    user: str
    token: str
    symbol: str
    pair_id: str
    order_id: str
    leg: LegName
    side: Side
    price: Decimal
    quantity: Decimal
    quote_quantity: Decimal
    commission: Decimal
    commission_asset: str
    mul_point: Decimal
    fill_id: str
    trade_id: str
    source: FillSource
    exchange_time: int
    recorded_at: int


class RetractFill(Struct, frozen=True, kw_only=True):
    """Deletes a synthetic fill: the only row that takes something away."""

    TABLE: ClassVar[str] = "fills"
    KEY: ClassVar[tuple[str, ...]] = ("user", "symbol", "fill_id")
    MODE: ClassVar[Mode] = "upsert"
    user: str
    symbol: str
    fill_id: str


class StateChangeRow(Struct, frozen=True, kw_only=True):
    """seq: per user, ever growing (wall ms of the incarnation's start × 2^20 + counter), so that order is total."""

    TABLE: ClassVar[str] = "state_changes"
    KEY: ClassVar[tuple[str, ...]] = ("user", "seq")
    MODE: ClassVar[Mode] = "once"
    user: str
    pair_id: str | None
    happened_at: int
    seq: int
    from_phase: str
    event: str
    to_phase: str
    detail: str = ""


class AuditRow(Struct, frozen=True, kw_only=True):
    """who: "uid:pid", or an actor's path. before/after: JSON text or None."""

    TABLE: ClassVar[str] = "audit"
    KEY: ClassVar[tuple[str, ...]] = ("audit_id",)
    MODE: ClassVar[Mode] = "once"
    audit_id: str  # unique; the writer's choice, e.g. "traders/alice-<seq>"
    happened_at: int
    who: str
    user: str | None
    action: str
    before: str | None = None
    after: str | None = None


class UserDayRow(Struct, frozen=True, kw_only=True):
    """day: "2026-11-20", UTC."""

    TABLE: ClassVar[str] = "user_days"
    KEY: ClassVar[tuple[str, ...]] = ("user", "day")
    MODE: ClassVar[Mode] = "upsert"
    user: str
    day: str
    target_volume: Decimal | None
    target_points: int | None
    done_at: int | None = None


class PriceRow(Struct, frozen=True, kw_only=True):
    """One-second bar; second is its start in ms."""

    TABLE: ClassVar[str] = "price_1s"
    KEY: ClassVar[tuple[str, ...]] = ("token", "second")
    MODE: ClassVar[Mode] = "upsert"
    token: str
    second: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    quantity: Decimal
    quote_quantity: Decimal
    trades: int


class NoticeRow(Struct, frozen=True, kw_only=True):
    """Something that people have to be told. notice_id: a function of what it tells, so that it is told once.

    owed: names of the targets that have not heard it, with spaces between; ended_at: since when nobody is owed it.
    """

    TABLE: ClassVar[str] = "notices"
    KEY: ClassVar[tuple[str, ...]] = ("notice_id",)
    MODE: ClassVar[Mode] = "upsert"
    notice_id: str
    kind: str
    user: str | None
    what: str
    happened_at: int
    owed: str
    ended_at: int | None = None


Row = (
    UserRow | ConfigRow | CredentialRow | PauseRow | TokenRow | InstrumentRow | PairRow | OrderRow | FillRow
    | RetractFill | StateChangeRow | AuditRow | UserDayRow | PriceRow | NoticeRow
)  # fmt: skip
