"""One OTO pair: what was planned, its two legs, the sales that unwind it; and its accounts.

Wear (requirements, "The OTO cycle") = BUY quote - (SELL quote - quote commission) over the closed quantity. Base
commission is in it because it was not sold; dust that no order can sell counts as lost at the average buy price;
leftovers that an order could still sell are inventory, not yet wear. Fees in a third asset stand apart.
Parts (contract § 5) add up to the last digit: slippage is what the others leave.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal, localcontext
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from actors.domain.instrument import Instrument
from actors.domain.legs import Fill, Leg
from actors.domain.money import EXACT, ZERO, nearest, ratio, total
from actors.domain.trading import TradingConfig

ATOM_PLACES = 18
"""What the database keeps: DECIMAL(38,18). Quotients are rounded to it once, here."""

BPS_PLACES = 6

SaleState = Literal["intent", "air", "unresolved", "open", "cancelling", "over", "absent", "refused"]


class Rules(Struct, frozen=True, kw_only=True):
    """How a pair is led: the user's configuration at its start and the daemon's patience. Times in ms."""

    config: TradingConfig
    instrument: Instrument
    buyer_fee: Decimal = Decimal("0.0001")
    settle_ms: int = 20_000
    looks: int = 4
    poll_ms: int = 15_000
    credit_lag_ms: int = 10_000

    @property
    def timeout_ms(self) -> int:
        return int(self.config.timeout_seconds * 1000)

    @property
    def look_gap_ms(self) -> int:
        """Looks are spread so that the last of them is not before settle_ms."""
        return max(1, -(-self.settle_ms // max(1, self.looks - 1)))


class Plan(Struct, frozen=True, kw_only=True):
    """What the exchange is asked for: prices on the tick, quantity on the step. intent_ms: wall time of deciding.

    token: the short name it was configured by; a configuration that names another one later does not change it.
    """

    pair_id: str  # "alice-2026-11-20-7": a function of (user, day, number)
    symbol: str
    day: str
    number: int
    reference: Decimal
    buy_price: Decimal
    sell_price: Decimal
    quantity: Decimal
    intent_ms: int
    bid: Decimal | None = None
    ask: Decimal | None = None
    token: str = ""

    def asks_as(self, other: Plan) -> bool:
        """Whether both ask the exchange for the same, as the same pair."""
        return (self.pair_id, self.symbol, self.buy_price, self.sell_price, self.quantity) == (
            other.pair_id, other.symbol, other.buy_price, other.sell_price, other.quantity,
        )  # fmt: skip


class Sale(Struct, frozen=True, kw_only=True):
    """One plain SELL that unwinds; placed by the same protocol of intent and proof as the pair itself."""

    number: int
    intent_ms: int
    state: SaleState
    leg: Leg


class Pair(Struct, frozen=True, kw_only=True):
    """A pair as far as it is known. cancel_cause: a cancel was decided, and why.

    ahead_ms: how far our clock was ahead of the exchange's, as far as replies have shown it. disowned: orders like ours
    of which a human has said that they are not; a restart forgets it, and then he is asked again.
    """

    plan: Plan
    rules: Rules
    working: Leg
    pending: Leg
    sales: tuple[Sale, ...] = ()
    placed_ms: int | None = None
    closed_ms: int | None = None
    cancel_cause: str | None = None
    ahead_ms: int = 0
    disowned: frozenset[str] = frozenset()

    def exchange_ms(self, wall_ms: int) -> int:
        """Not later than `wall_ms` by the exchange's clock."""
        return wall_ms - self.ahead_ms

    def legs(self) -> Iterator[Leg]:
        yield self.working
        yield self.pending
        for sale in self.sales:
            yield sale.leg

    def leg_of(self, order_id: str) -> Leg | None:
        return next((leg for leg in self.legs() if leg.order_id == order_id), None)

    def with_leg(self, leg: Leg) -> Pair:
        """The pair with the leg of the same order (or of the same name, before it had an order id) replaced."""
        if leg.name == "working":
            return replace(self, working=leg)
        if leg.name == "pending":
            return replace(self, pending=leg)
        assert leg.order_id is not None, leg
        return replace(
            self,
            sales=tuple(replace(s, leg=leg) if s.leg.order_id == leg.order_id else s for s in self.sales),
        )


def new_pair(plan: Plan, rules: Rules) -> Pair:
    return Pair(
        plan=plan,
        rules=rules,
        working=Leg(name="working", side="BUY", price=plan.buy_price, quantity=plan.quantity),
        pending=Leg(name="pending", side="SELL", price=plan.sell_price, quantity=ZERO),
    )


class Accounts(Struct, frozen=True, kw_only=True):
    """Sums over the booked fills of a pair; base in the base asset, quote in the quote asset."""

    bought: Decimal
    buy_quote: Decimal
    base_commission: Decimal
    sold: Decimal
    sell_quote: Decimal
    quote_commission: Decimal
    other_fees: tuple[tuple[str, Decimal], ...]

    @property
    def leftover(self) -> Decimal:
        """Base that the pair bought and neither paid as commission nor sold: never the user's other holdings."""
        return EXACT.subtract(EXACT.subtract(self.bought, self.base_commission), self.sold)

    @property
    def average_buy(self) -> Decimal:
        return ratio(self.buy_quote, self.bought, ATOM_PLACES) if self.bought else ZERO


class Wear(Struct, frozen=True, kw_only=True):
    """Cost of a pair in the quote asset, and its parts, which add up to it exactly."""

    total: Decimal
    bps: Decimal  # of the BUY quote
    fee: Decimal
    spread: Decimal
    slippage: Decimal
    unwind: Decimal
    dust: Decimal
    dust_quantity: Decimal


def accounts(pair: Pair) -> Accounts:
    bought, buy_quote, sold, sell_quote = ZERO, ZERO, ZERO, ZERO
    fees: dict[str, Decimal] = {}
    for leg in pair.legs():
        if leg.side == "BUY":
            bought, buy_quote = total(bought, leg.booked), total(buy_quote, leg.booked_quote)
        else:
            sold, sell_quote = total(sold, leg.booked), total(sell_quote, leg.booked_quote)
        for fill in leg.fills:
            asset = fill.execution.commission_asset
            fees[asset] = total(fees.get(asset, ZERO), fill.execution.commission)
    instrument = pair.rules.instrument
    base, quote = instrument.base_asset, instrument.quote_asset
    return Accounts(
        bought=bought,
        buy_quote=buy_quote,
        base_commission=fees.pop(base, ZERO),
        sold=sold,
        sell_quote=sell_quote,
        quote_commission=fees.pop(quote, ZERO),
        other_fees=tuple(sorted((asset, fee) for asset, fee in fees.items() if fee)),
    )


def wear(pair: Pair, sellable: Decimal = ZERO) -> Wear:
    """The cost of the pair as booked so far. sellable: leftover that an order could still sell, not yet lost.

    Everything but the average and its products is exact; each part is rounded once, and slippage takes up the rest.
    """
    sums = accounts(pair)
    average = sums.average_buy
    plan = pair.plan
    gap = ZERO if plan.ask is None or plan.bid is None else plan.ask - plan.bid
    with localcontext(EXACT):
        dust = sums.leftover - sellable
        cost = _atom(sums.buy_quote - sellable * average - (sums.sell_quote - sums.quote_commission))
        fee = _atom(sums.base_commission * average + sums.quote_commission)
        lost = _atom(dust * average)
        unwound = _atom(total(*(_unwind_loss(pair, fill) for sale in pair.sales for fill in sale.leg.fills)))
        spread = _atom(sums.sold * gap)
        return Wear(
            total=cost,
            bps=ratio(cost * 10_000, sums.buy_quote, BPS_PLACES) if sums.buy_quote else ZERO,
            fee=fee,
            spread=spread,
            slippage=cost - fee - lost - unwound - spread,
            unwind=unwound,
            dust=lost,
            dust_quantity=dust,
        )


def _unwind_loss(pair: Pair, fill: Fill) -> Decimal:
    return EXACT.multiply(fill.execution.quantity, EXACT.subtract(pair.plan.sell_price, fill.execution.price))


def _atom(amount: Decimal) -> Decimal:
    return nearest(amount, ATOM_PLACES)
