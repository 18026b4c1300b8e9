"""One order of ours as far as it is known: what the exchange said of it, and the fills that we have booked.

Theory of operation. Two sources tell of the same fills: the order stream (each frame carries the quantity of its fill
and the order's cumulative quantity after it) and REST (a list of fills, oldest first). Neither is complete at every
moment, both may repeat themselves, their ids may differ (wire § 8.2). What both agree on is where a fill lies on the
order's cumulative axis: the interval (upto - quantity, upto]. So a fill is known by its id, else by its interval and
value; what overlaps otherwise is a contradiction and reported, never repaired in silence. Ids of REST are kept apart
from those of the stream (PAGE): where they are two counters, one number may name two fills.

`told` is the largest cumulative quantity that any source has named. A leg is complete when it is terminal and its
booked fills add up to `told`: a terminal word alone ends nothing, because frames and reads may still lag (design § 3).
A list of REST that adds up to `told` is the whole truth: it replaces invented fills and says where each fill lies. A
shorter one is a prefix that still lags; it only adds what fits between the fills that are booked.
Everything here is monotone: cumulative quantities grow, terminal words stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal

from msgspec import Struct
from msgspec.structs import replace

from actors.domain.money import EXACT, ZERO, nearest, ratio, total
from actors.domain.orders import TERMINAL, Execution, LegName, OrderReport, OrderView, Side, supersedes

PRICE_PLACES = 18
"""What the database keeps of a quotient: DECIMAL(38,18)."""

PAGE = "page-"
"""Before the pageId of a fill that was booked from REST. Whether it equals the stream's id is unproven (wire § 8.2)."""

WORDS = TERMINAL | {"", "NEW", "PENDING", "PENDING_NEW", "PARTIALLY_FILLED", "PENDING_CANCEL"}
"""Status words with a known meaning (wire § 8.1). Any other counts as not final, and a human should know."""

COMMISSION_PLACES = 8
"""Commissions have at most so many decimals (wire § 12.3)."""


class Fill(Struct, frozen=True, kw_only=True):
    """One booked fill. upto: the leg's cumulative base quantity after it."""

    execution: Execution
    upto: Decimal

    @property
    def start(self) -> Decimal:
        return EXACT.subtract(self.upto, self.execution.quantity)


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
    seated: bool = True  # False after a restart: rows do not hold the places of fills, so they are guessed
    created_ms: int | None = None
    updated_ms: int | None = None

    @property
    def booked(self) -> Decimal:
        return total(*(fill.execution.quantity for fill in self.fills))

    @property
    def booked_quote(self) -> Decimal:
        return total(*(fill.execution.quote for fill in self.fills))

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
        return self.status != "FILLED" or self.told >= self.quantity  # above: a contradiction, told as such

    @property
    def filled(self) -> bool:
        return self.complete and self.status == "FILLED"

    @property
    def released(self) -> bool:
        """The order is or was in the book with a quantity (of interest for the pending leg)."""
        return self.quantity > 0 and self.status not in ("", "PENDING", "PENDING_NEW")


QUOTE_TOLERANCE = 1_000
"""A frame's fill whose quote is further from price times quantity than one in so many contradicts itself: it is not
booked but read (F40). Quotes are cut to 8 decimals (wire § 12.3), far closer than that."""


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
    wrong = _mismatches(leg, report, report.cumulative, report.cumulative_quote)
    if report.side != leg.side:
        return Absorbed(leg, contradictions=wrong)
    old_news = not leg.seated and report.cumulative <= leg.told  # booked already, or read with what is missing
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
    if report.execution is None or old_news:
        return _checked(Absorbed(leg, contradictions=wrong))
    booked = _with_fill(leg, report.execution, report.cumulative)
    return _checked(replace(booked, contradictions=(*wrong, *booked.contradictions)))


def with_view(leg: Leg, view: OrderView) -> Absorbed:
    """The leg after a row of open orders or history. Rows tell totals only: fills are read separately."""
    wrong = _mismatches(leg, view, view.executed, view.executed_quote)
    if view.side != leg.side:
        return Absorbed(leg, contradictions=wrong)
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
    return _checked(Absorbed(replace(leg, order_id=leg.order_id or view.order_id), contradictions=wrong))


def with_executions(leg: Leg, executions: Iterable[Execution]) -> Absorbed:
    """The leg after a read of its fills, oldest first. A read may lag: it is a prefix of the truth.

    A fill of the read is one we have if the id is known, or if a fill of equal value stands at the same place of the
    cumulative axis, or (where our places are not theirs) if an unmatched one of equal value exists.
    """
    rows: list[Fill] = []
    wrong: list[Contradiction] = []
    upto = quote = ZERO
    for row in executions:
        if row.quantity <= 0 or row.price <= 0:
            wrong.append(Contradiction(f"fill {row.fill_id} of order {leg.order_id} has no price or quantity"))
            continue
        upto, quote = total(upto, row.quantity), total(quote, row.quote)
        rows.append(Fill(execution=replace(row, fill_id=f"{PAGE}{row.fill_id}"), upto=upto))
    if upto > leg.told:
        leg = replace(leg, told=upto, told_quote=quote)
    if rows:
        leg = replace(leg, updated_ms=max(leg.updated_ms or 0, *(row.execution.time_ms for row in rows)))
    real = [fill for fill in leg.fills if fill.execution.source != "synthetic"]
    invented = tuple(fill for fill in leg.fills if fill.execution.source == "synthetic")
    known, unmatched = _matched(rows, real)
    for index, fill in known.items():
        if not _equal(fill, rows[index]):
            what = f"fill {fill.execution.fill_id} of order {leg.order_id} was told with two contents"
            wrong.append(Contradiction(what))
    new = [row for index, row in enumerate(rows) if index not in known]
    if upto < leg.told:
        taken = (*real, *invented)
        covered = max((fill.upto for fill in invented), default=ZERO)  # up to here the total is booked already
        fresh = tuple(row for row in new if row.upto > covered and not any(_overlap(row, fill) for fill in taken))
        leg = replace(leg, fills=_by_place((*taken, *fresh)))
        return _checked(Absorbed(leg, fresh, (), tuple(wrong)))
    if unmatched:  # never both: which of the two lists is true is for a human to say
        ids = ", ".join(fill.execution.fill_id for fill in unmatched)
        wrong.append(Contradiction(f"fills {ids} of order {leg.order_id} are not in the exchange's complete list"))
        return _checked(Absorbed(leg, contradictions=tuple(wrong)))
    seated = [replace(known[index], upto=row.upto) if index in known else row for index, row in enumerate(rows)]
    leg = replace(leg, fills=_by_place(seated), seated=True)
    return _checked(Absorbed(leg, tuple(new), invented, tuple(wrong)))


def synthesised(leg: Leg, time_ms: int, commission_rate: Decimal, commission_asset: str) -> Absorbed:
    """Books what the exchange's totals say beyond the known fills as one invented fill.

    Its id is a function of (order, from, to), so that a second life invents the same; real fills replace it later.
    Needs told_quote; without it nothing is booked.
    """
    start = leg.booked
    missing = EXACT.subtract(leg.told, start)
    if missing <= 0 or leg.told_quote is None:
        return Absorbed(leg)
    quote = EXACT.subtract(leg.told_quote, leg.booked_quote)
    if quote <= 0:
        what = f"order {leg.order_id}: {leg.told} for {leg.told_quote}, but {start} for {leg.booked_quote} are booked"
        return Absorbed(leg, contradictions=(Contradiction(what),))
    paid = missing if leg.side == "BUY" else quote
    execution = Execution(
        fill_id=f"synthetic-{leg.order_id}-{start.normalize():f}-{leg.told.normalize():f}",
        trade_id="0",
        price=ratio(quote, missing, PRICE_PLACES),
        quantity=missing,
        quote=quote,
        commission=nearest(EXACT.multiply(paid, commission_rate), COMMISSION_PLACES),
        commission_asset=commission_asset,
        time_ms=time_ms,
        source="synthetic",
    )
    fill = Fill(execution=execution, upto=leg.told)
    return Absorbed(replace(leg, fills=_by_place((*leg.fills, fill))), (fill,))


def _mismatches(
    leg: Leg, news: OrderReport | OrderView, told: Decimal, quote: Decimal | None
) -> tuple[Contradiction, ...]:
    """Where news of our order speaks of something that we did not ask for, or against what was told before."""
    found = []
    if news.side != leg.side or news.price != leg.price:
        found.append(f"is {news.side} at {news.price}, asked for {leg.side} at {leg.price}")
    elif leg.name != "pending" and news.quantity != leg.quantity:
        found.append(f"is for {news.quantity}, asked for {leg.quantity}")
    if told > 0 and told == leg.told and None not in (quote, leg.told_quote) and quote != leg.told_quote:
        found.append(f"traded {told} for {leg.told_quote}, and now for {quote}")
    return tuple(Contradiction(f"order {news.order_id} {what}") for what in found)


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
        status=status if supersedes(status, leg.status) else leg.status,
        # 0 while held, then the released quantity; it never shrinks. The others are for what we asked for.
        quantity=max(leg.quantity, quantity) if leg.name == "pending" else leg.quantity,
        told=told if grown else leg.told,
        told_quote=told_quote if grown or (told == leg.told and leg.told_quote is None) else leg.told_quote,
        list_id=leg.list_id or list_id,
        created_ms=leg.created_ms if leg.created_ms is not None else created_ms,
        updated_ms=max(leg.updated_ms or 0, updated_ms or 0) or None,
    )


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
    worth = EXACT.multiply(execution.price, execution.quantity)
    if abs(EXACT.subtract(worth, execution.quote)) * QUOTE_TOLERANCE > worth:
        what = f"fill {execution.fill_id} of order {leg.order_id} is worth {worth:f} and says {execution.quote:f}"
        return Absorbed(leg, contradictions=(Contradiction(what),))
    for fill in leg.fills:
        if fill.execution.source == "synthetic" and upto <= fill.upto:
            return Absorbed(leg)  # in its total already; the read of all fills brings it in the invented one's place
        if _overlap(fill, new):
            if fill.upto == upto and _equal_value(fill.execution, execution):
                return Absorbed(leg)  # the same fill under the other source's id
            what = f"fills {fill.execution.fill_id} and {execution.fill_id} of order {leg.order_id} overlap"
            return Absorbed(leg, contradictions=(Contradiction(what),))
    return Absorbed(replace(leg, fills=_by_place((*leg.fills, new))), (new,))


def _matched(rows: list[Fill], booked: list[Fill]) -> tuple[dict[int, Fill], list[Fill]]:
    """(row's index → the booked fill that it is, booked fills that no row is): the surest likeness first.

    Equal trade ids prove nothing (wire § 8.2), but between fills of equal value they tell which is more like which.
    """
    likenesses: tuple[Callable[[Fill, Fill], bool], ...] = (
        lambda row, fill: row.execution.fill_id == fill.execution.fill_id,
        lambda row, fill: _equal(row, fill) and row.execution.fill_id == f"{PAGE}{fill.execution.fill_id}",
        lambda row, fill: _equal(row, fill) and row.upto == fill.upto and _one_trade(row, fill),
        lambda row, fill: _equal(row, fill) and _one_trade(row, fill),
        lambda row, fill: _equal(row, fill) and row.upto == fill.upto,
        _equal,
    )
    known: dict[int, Fill] = {}
    unmatched = list(booked)
    for alike in likenesses:
        for index, row in enumerate(rows):
            if index in known:
                continue
            found = next((fill for fill in unmatched if alike(row, fill)), None)
            if found is not None:
                known[index] = found
                unmatched.remove(found)
    return known, unmatched


def _equal(one: Fill, other: Fill) -> bool:
    return _equal_value(one.execution, other.execution)


def _one_trade(one: Fill, other: Fill) -> bool:
    return (one.execution.trade_id, one.execution.time_ms) == (other.execution.trade_id, other.execution.time_ms)


def _overlap(one: Fill, other: Fill) -> bool:
    return one.start < other.upto and other.start < one.upto


def _by_place(fills: Iterable[Fill]) -> tuple[Fill, ...]:
    return tuple(sorted(fills, key=lambda fill: fill.upto))


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
    growing = leg.name == "pending" and not leg.terminal  # perhaps released again on each partial fill (wire § 7.3)
    over = leg.booked > leg.told or (0 < leg.quantity < leg.told and not growing)
    if not over:
        return absorbed
    what = f"order {leg.order_id}: booked {leg.booked}, told {leg.told}, ordered {leg.quantity}: overfilled"
    return replace(absorbed, contradictions=(*absorbed.contradictions, Contradiction(what)))
