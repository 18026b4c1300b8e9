"""Orders as the exchange tells them, from the stream and from REST, in one vocabulary.

The codecs in actors/exchange make these; the OTO machine and the ledger read them. Amounts are exact decimals:
price in quote per base, quantity in base, quote in the quote asset; times in ms since 1970 UTC, exchange clock.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

from msgspec import Struct

from actors.errors import Trouble

Side = Literal["BUY", "SELL"]
LegName = Literal["working", "pending", "unwind"]
FillSource = Literal["stream", "rest", "synthetic"]

TERMINAL = frozenset({"FILLED", "CANCELED", "EXPIRED", "REJECTED", "EXPIRED_IN_MATCH"})
"""Final status words (wire § 8.1). Anything else, unknown words too, counts as not final."""


def supersedes(new: str, old: str) -> bool:
    """Whether status `new` is as late as `old`, or later: late frames never take an order back; FILLED beats a cancel's
    word."""
    if old in TERMINAL:
        return new == "FILLED"
    return _rank(new) >= _rank(old)


def _rank(status: str) -> int:
    if status in TERMINAL:
        return 4
    return {"": 0, "PENDING": 1, "PENDING_NEW": 1, "PARTIALLY_FILLED": 3}.get(status, 2)


class Execution(Struct, frozen=True, kw_only=True):
    """One fill of one order. fill_id: stream `id` / REST `pageId`, unique per symbol; trade_id repeats (wire § 8.2)."""

    fill_id: str
    trade_id: str
    price: Decimal
    quantity: Decimal
    quote: Decimal
    commission: Decimal
    commission_asset: str
    time_ms: int
    source: FillSource = "stream"


class OrderReport(Struct, frozen=True, kw_only=True):
    """One executionReport of the order stream (wire § 6.5)."""

    symbol: str
    order_id: str
    list_id: str | None  # `il`; None on plain orders
    position: Literal["working", "pending"] | None  # `cp`; None on plain orders and unknown words
    side: Side
    price: Decimal
    quantity: Decimal  # `q`: 0 for a held pending leg
    cumulative: Decimal  # `z`
    cumulative_quote: Decimal  # `Z`
    kind: str  # `x`: NEW, TRADE, CANCELED … unknown words kept
    status: str  # `X`
    created_ms: int  # `O`
    time_ms: int  # `T`
    sent_ms: int  # `E`
    event_id: str  # `id`, unique per event of a symbol
    execution: Execution | None  # only with kind TRADE


class OrderView(Struct, frozen=True, kw_only=True):
    """A row of open orders or of history (wire § 4.1)."""

    symbol: str
    order_id: str
    list_id: str | None  # None for "-1"
    position: Literal["working", "pending"] | None
    side: Side
    status: str
    price: Decimal
    quantity: Decimal  # origQty
    executed: Decimal
    executed_quote: Decimal | None  # absent in 2025
    created_ms: int | None  # `time`; else `workingTime` when > 0; a held leg has neither
    updated_ms: int | None


class Accepted(Struct, frozen=True, tag=True):
    """The exchange took the order. order_ids: (working, pending) of an OTO, (order,) of a plain one, () of a cancel."""

    order_ids: tuple[str, ...] = ()


class Refused(Struct, frozen=True, tag=True):
    """A definite word that nothing exists: a known refusal code, or certainly not sent (code NOT_SENT)."""

    code: str
    text: str
    trouble: Trouble | None = None  # when it never left: why ("not_sent", "throttled")


class NoAnswer(Struct, frozen=True, tag=True):
    """Everything else: the order may or may not exist."""

    trouble: Trouble
    text: str
    retry_after_s: float | None = None


Outcome = Accepted | Refused | NoAnswer


class Balance(Struct, frozen=True, kw_only=True):
    """One asset in one wallet (wire § 4.3)."""

    asset: str  # "USDT", or alphaId
    wallet: Literal["funding", "spot", "earn", "alpha"]
    free: Decimal
    frozen: Decimal  # locked + freeze + withdrawing

    @property
    def total(self) -> Decimal:
        return self.free + self.frozen
