"""Orders and fills as the paper exchange keeps them."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

from msgspec import Struct

from actors.domain.orders import TERMINAL, Side
from actors.paper.numbers import ZERO

Position = Literal["", "OTO_WORKING", "OTO_PENDING"]


class Order(Struct, kw_only=True, eq=False, omit_defaults=True):
    """One order. Times ms UTC. The desk changes it in place and notes that first, for the journal and lagging reads.

    quantity: base; 0 for a held pending leg. enters_ms: it waits until then to be matched (engine latency), None when
    it does not wait. releases_ms: a held leg that was triggered waits until then; cancels_ms: so does a cancel.
    locks: wallet → amount still locked, quote of a BUY, base of a SELL. priority: event id of its entry into the book,
    the order of time after a restart.
    """

    account: str
    symbol: str
    order_id: int
    client_id: str
    side: Side
    price: Decimal
    quantity: Decimal
    status: str
    created_ms: int
    updated_ms: int
    list_id: int = 0  # 0: a plain order
    position: Position = ""
    working_ms: int = 0  # NEW since: creation of a plain or working order, release of a pending one
    enters_ms: int | None = None
    releases_ms: int | None = None
    cancels_ms: int | None = None
    cumulative: Decimal = ZERO
    cumulative_quote: Decimal = ZERO
    commission: Decimal = ZERO  # of all fills: base for BUY, quote for SELL
    locks: dict[str, Decimal] = {}
    priority: int = 0
    released: bool = False

    @property
    def key(self) -> tuple[str, int]:
        return (self.symbol, self.order_id)

    @property
    def remaining(self) -> Decimal:
        return self.quantity - self.cumulative

    @property
    def over(self) -> bool:
        return self.status in TERMINAL


class Fill(Struct, frozen=True, kw_only=True):
    """One fill of one order. event_id: stream `id`; page_id: REST `pageId`; trade_id repeats (wire § 8.2)."""

    account: str
    symbol: str
    order_id: int
    event_id: int
    page_id: int
    trade_id: int
    side: Side
    price: Decimal
    quantity: Decimal
    quote: Decimal
    commission: Decimal
    commission_asset: str
    time_ms: int
    maker: bool
    mul_point: int  # of the token when it happened
