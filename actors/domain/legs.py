"""One order of ours as far as it is known: what the exchange said of it, and the fills that we have booked.

Theory of operation. Two sources tell of the same fills: the order stream (each frame carries the quantity of its fill
and the order's cumulative quantity after it) and REST (a list of fills, oldest first). Neither is complete at every
moment, both may repeat themselves, their ids may differ (wire § 8.2). What both agree on is where a fill lies on the
order's cumulative axis: the interval (upto - quantity, upto]. So a fill is known by its id, else by its interval and
value; what overlaps otherwise is a contradiction and reported, never repaired in silence.

`told` is the largest cumulative quantity that any source has named. A leg is complete when it is terminal and its
booked fills add up to `told`: a terminal word alone ends nothing, because frames and reads may still lag (design § 3).
Everything here is monotone: cumulative quantities grow, terminal words stay.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from msgspec import Struct
from msgspec.structs import replace

from actors.domain.orders import TERMINAL, Execution, LegName, OrderReport, OrderView, Side

ZERO = Decimal(0)


class Fill(Struct, frozen=True, kw_only=True):
    """One booked fill. upto: the leg's cumulative base quantity after it."""

    execution: Execution
    upto: Decimal

    @property
    def start(self) -> Decimal:
        return self.upto - self.execution.quantity


class Leg(Struct, frozen=True, kw_only=True):
    """One order. quantity: base, as asked for; of a pending leg as released (0 while held). Times in ms."""

    name: LegName
    side: Side
    price: Decimal
    quantity: Decimal
    order_id: str | None = None
    list_id: str | None = None
    status: str = ""  # the exchange's word, "" before it said any
    told: Decimal = ZERO
    told_quote: Decimal | None = None  # cumulative quote that goes with `told`; None where the row did not say
    streamed: Decimal = ZERO  # what the order stream alone has told
    fills: tuple[Fill, ...] = ()  # by upto
    created_ms: int | None = None
    updated_ms: int | None = None

    @property
    def booked(self) -> Decimal:
        return sum((fill.execution.quantity for fill in self.fills), ZERO)

    @property
    def booked_quote(self) -> Decimal:
        return sum((fill.execution.quote for fill in self.fills), ZERO)

    @property
    def terminal(self) -> bool:
        return self.status in TERMINAL

    @property
    def missing(self) -> bool:
        """The exchange has told of more than is booked: its fills have to be read."""
        return self.booked < self.told or self.synthetic

    @property
    def synthetic(self) -> bool:
        return any(fill.execution.source == "synthetic" for fill in self.fills)

    @property
    def complete(self) -> bool:
        """Over, and every fill of it is booked."""
        if not self.terminal or self.booked != self.told:
            return False
        return self.status != "FILLED" or self.told == self.quantity

    @property
    def filled(self) -> bool:
        return self.complete and self.status == "FILLED"

    @property
    def released(self) -> bool:
        """The order is or was in the book with a quantity (of interest for the pending leg)."""
        return self.quantity > 0 and self.status not in ("", "PENDING", "PENDING_NEW")


class Contradiction(Struct, frozen=True):
    """Two statements about one order that cannot both be true. what: for people; it names the order."""

    what: str


class Absorbed(Struct, frozen=True):
    """A leg after news of it; fresh: newly booked fills; retracted: synthetic fills that real ones replaced."""

    leg: Leg
    fresh: tuple[Fill, ...] = ()
    retracted: tuple[Fill, ...] = ()
    contradictions: tuple[Contradiction, ...] = ()


def with_report(leg: Leg, report: OrderReport) -> Absorbed:
    """The leg after one execution report of its order. Repeated, reordered and late reports are harmless."""
    leg = _with_words(
        leg,
        status=report.status,
        quantity=report.quantity,
        told=report.cumulative,
        told_quote=report.cumulative_quote,
        list_id=report.list_id,
        created_ms=report.created_ms,
        updated_ms=report.time_ms,
    )
    leg = replace(leg, order_id=leg.order_id or report.order_id, streamed=max(leg.streamed, report.cumulative))
    if report.execution is None:
        return _checked(Absorbed(leg))
    return _checked(_with_fill(leg, report.execution, report.cumulative))


def with_view(leg: Leg, view: OrderView) -> Absorbed:
    """The leg after a row of open orders or history. Rows tell totals only: fills are read separately."""
    leg = _with_words(
        leg,
        status=view.status,
        quantity=view.quantity,
        told=view.executed,
        told_quote=view.executed_quote,
        list_id=view.list_id,
        created_ms=view.created_ms,
        updated_ms=view.updated_ms,
    )
    return _checked(Absorbed(replace(leg, order_id=leg.order_id or view.order_id)))


def with_executions(leg: Leg, executions: Iterable[Execution]) -> Absorbed:
    """The leg after a read of its fills, oldest first. A read may lag: it is a prefix of the truth.

    A fill of the read is one we have if the id is known, or if a fill of equal value stands at the same place of the
    cumulative axis, or (where our places are not theirs) if an unmatched one of equal value exists.
    """
    rows = tuple(executions)
    total = sum((row.quantity for row in rows), ZERO)
    quote = sum((row.quote for row in rows), ZERO)
    if total > leg.told:
        leg = replace(leg, told=total, told_quote=quote)
    real = [fill for fill in leg.fills if fill.execution.source != "synthetic"]
    invented = tuple(fill for fill in leg.fills if fill.execution.source == "synthetic")
    unmatched = list(real)
    fresh: list[Fill] = []
    wrong: list[Contradiction] = []
    upto = ZERO
    for row in rows:
        upto += row.quantity
        if row.quantity <= 0 or row.price <= 0:
            wrong.append(Contradiction(f"fill {row.fill_id} of order {leg.order_id} has no price or quantity"))
            continue
        known = _match(unmatched, row, upto)
        if known is None:
            fresh.append(Fill(execution=row, upto=upto))
        else:
            unmatched.remove(known)
            if known.execution.fill_id == row.fill_id and not _equal_value(known.execution, row):
                wrong.append(Contradiction(f"fill {row.fill_id} of order {leg.order_id} was told with two contents"))
    if unmatched and total >= leg.told:
        ids = ", ".join(fill.execution.fill_id for fill in unmatched)
        wrong.append(Contradiction(f"fills {ids} of order {leg.order_id} are not in the exchange's complete list"))
        fresh = []  # never both: which of the two lists is true is for a human to say
    retracted: tuple[Fill, ...] = ()
    if invented and (total >= leg.told or fresh):
        retracted, invented = invented, ()
    fills = tuple(sorted((*real, *invented, *fresh), key=lambda fill: fill.upto))
    return _checked(Absorbed(replace(leg, fills=fills), tuple(fresh), retracted, tuple(wrong)))


def synthesised(leg: Leg, time_ms: int, commission_rate: Decimal, commission_asset: str) -> Absorbed:
    """Books what the exchange's totals say beyond the known fills as one invented fill.

    Its id is a function of (order, from, to), so that a second life invents the same; real fills replace it later.
    Needs told_quote; without it nothing is booked.
    """
    start, missing = leg.booked, leg.told - leg.booked
    if missing <= 0 or leg.told_quote is None:
        return Absorbed(leg)
    quote = leg.told_quote - leg.booked_quote
    paid = missing if leg.side == "BUY" else quote
    execution = Execution(
        fill_id=f"synthetic-{leg.order_id}-{start.normalize():f}-{leg.told.normalize():f}",
        trade_id="0",
        price=(quote / missing).quantize(Decimal("1e-18")),
        quantity=missing,
        quote=quote,
        commission=(paid * commission_rate).quantize(Decimal("1e-8")),
        commission_asset=commission_asset,
        time_ms=time_ms,
        source="synthetic",
    )
    fill = Fill(execution=execution, upto=leg.told)
    return Absorbed(replace(leg, fills=(*leg.fills, fill)), (fill,))


def _with_words(
    leg: Leg,
    *,
    status: str,
    quantity: Decimal,
    told: Decimal,
    told_quote: Decimal | None,
    list_id: str | None,
    created_ms: int | None,
    updated_ms: int | None,
) -> Leg:
    grown = told > leg.told
    return replace(
        leg,
        status=status if _later(status, leg.status) else leg.status,
        quantity=max(leg.quantity, quantity),  # 0 while held, then the released quantity; it never shrinks
        told=told if grown else leg.told,
        told_quote=told_quote if grown or (told == leg.told and leg.told_quote is None) else leg.told_quote,
        list_id=leg.list_id or list_id,
        created_ms=leg.created_ms if leg.created_ms is not None else created_ms,
        updated_ms=max(leg.updated_ms or 0, updated_ms or 0) or None,
    )


def _later(new: str, old: str) -> bool:
    """Whether status `new` supersedes `old`: late frames never take a leg back; FILLED beats a cancel's word."""
    if old in TERMINAL:
        return new == "FILLED"
    return _rank(new) >= _rank(old)


def _rank(status: str) -> int:
    if status in TERMINAL:
        return 4
    return {"": 0, "PENDING": 1, "PENDING_NEW": 1, "PARTIALLY_FILLED": 3}.get(status, 2)


def _with_fill(leg: Leg, execution: Execution, upto: Decimal) -> Absorbed:
    if execution.quantity <= 0 or execution.price <= 0 or upto < execution.quantity:
        what = f"fill {execution.fill_id} of order {leg.order_id} has no price or quantity"
        return Absorbed(leg, contradictions=(Contradiction(what),))
    new = Fill(execution=execution, upto=upto)
    for fill in leg.fills:
        if fill.execution.fill_id == execution.fill_id:
            if _equal_value(fill.execution, execution):
                return Absorbed(leg)
            what = f"fill {execution.fill_id} of order {leg.order_id} was told with two contents"
            return Absorbed(leg, contradictions=(Contradiction(what),))
        if fill.start < upto and new.start < fill.upto:
            if fill.execution.source == "synthetic":
                return Absorbed(leg)  # the read of all fills replaces the invented one by this and its neighbours
            if fill.upto == upto and _equal_value(fill.execution, execution):
                return Absorbed(leg)  # the same fill under the other source's id
            what = f"fills {fill.execution.fill_id} and {execution.fill_id} of order {leg.order_id} overlap"
            return Absorbed(leg, contradictions=(Contradiction(what),))
    fills = tuple(sorted((*leg.fills, new), key=lambda fill: fill.upto))
    return Absorbed(replace(leg, fills=fills), (new,))


def _match(unmatched: list[Fill], row: Execution, upto: Decimal) -> Fill | None:
    by_id = [fill for fill in unmatched if fill.execution.fill_id == row.fill_id]
    if by_id:
        return by_id[0]
    equal = [fill for fill in unmatched if _equal_value(fill.execution, row)]
    return next((fill for fill in equal if fill.upto == upto), equal[0] if equal else None)


def _equal_value(one: Execution, other: Execution) -> bool:
    return (one.price, one.quantity, one.quote, one.commission, one.commission_asset) == (
        other.price,
        other.quantity,
        other.quote,
        other.commission,
        other.commission_asset,
    )


def _checked(absorbed: Absorbed) -> Absorbed:
    leg = absorbed.leg
    over = leg.booked > leg.told or (leg.quantity > 0 and leg.told > leg.quantity)
    if not over:
        return absorbed
    what = f"order {leg.order_id}: booked {leg.booked}, told {leg.told}, ordered {leg.quantity}: overfilled"
    return replace(absorbed, contradictions=(*absorbed.contradictions, Contradiction(what)))
