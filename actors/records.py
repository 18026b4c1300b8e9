"""What a trader writes down: rows out of pairs and back. Pure; the tables are in actors/rows.py.

`changes` compares a pair before and after a turn and names every row that differs, so that no transition can forget to
record itself; rows are keyed, so writing one twice is harmless. `restored` rebuilds the pair of an earlier life.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from actors.domain import oto
from actors.domain.absorb import leftover_sellable
from actors.domain.day import Day
from actors.domain.legs import Fill, Leg
from actors.domain.money import EXACT, ZERO, total
from actors.domain.orders import Execution, LegName, OrderReport, OrderView
from actors.domain.pair import Pair, Plan, Rules, Sale, SaleState, accounts, new_pair, wear
from actors.domain.trading import PairOutcome
from actors.messages import DayRecord
from actors.rows import FillRow, OrderRow, PairRow, RetractFill, Row, StateChangeRow

QUOTE_ASSET = "USDT"
"""All pairs of this daemon are quoted in it (requirements, "Trading configuration"); symbols end with it."""


class Owner(Struct, frozen=True, kw_only=True):
    """Whose rows these are. mul_point: as read now; a fill keeps the one it was booked with.

    token: as configured now, for orders that are not ours; a pair keeps the one it was planned with.
    """

    user: str
    token: str
    mul_point: Decimal


class SaleNote(Struct, frozen=True, kw_only=True):
    """One sale inside PairRow.sales (JSON)."""

    number: int
    intent_ms: int
    state: SaleState
    price: Decimal
    quantity: Decimal
    order_id: str | None = None


def changes(
    owner: Owner,
    before: oto.State | None,
    after: oto.State,
    event: str,
    *,
    now_ms: int,
    seq: int,
) -> tuple[Row, ...]:
    """All rows in which two states of one pair differ, the pair itself last but for its state change.

    before None: the pair is new. event: the name of what moved it. seq: of the state change (rows.StateChangeRow).
    """
    pair = oto.pair_of(after)
    old = None if before is None else oto.pair_of(before)
    rows: list[Row] = []
    for leg in pair.legs():
        earlier = None if old is None or leg.order_id is None else old.leg_of(leg.order_id)
        rows.extend(_leg_rows(owner, pair, earlier, leg, now_ms))
    row = pair_row(owner, after)
    if before is None or row != pair_row(owner, before):
        rows.append(row)
    was, now = _word(before), _word(after)
    if was != now:
        rows.append(
            StateChangeRow(
                user=owner.user,
                pair_id=pair.plan.pair_id,
                happened_at=now_ms,
                seq=seq,
                from_phase=was,
                event=event,
                to_phase=now,
                detail="" if pair.cancel_cause is None else f"cancel: {pair.cancel_cause}",
            )
        )
    return tuple(rows)


def _word(state: oto.State | None) -> str:
    if state is None:
        return "idle"
    return f"closed {state.outcome}" if isinstance(state, oto.Closed) else oto.phase_of(state)


def pair_row(owner: Owner, state: oto.State) -> PairRow:
    pair = oto.pair_of(state)
    plan, sums = pair.plan, accounts(pair)
    outcome: PairOutcome | None = None
    row = PairRow(
        user=owner.user,
        token=pair.plan.token or owner.token,
        symbol=plan.symbol,
        pair_id=plan.pair_id,
        number=plan.number,
        reference_price=plan.reference,
        buy_price=plan.buy_price,
        sell_price=plan.sell_price,
        quantity=plan.quantity,
        status="closed",
        buy_quote=sums.buy_quote,
        sell_quote=sums.sell_quote,
        counted_volume=EXACT.multiply(sums.buy_quote, owner.mul_point),
        intent_at=plan.intent_ms,
        placed_at=pair.placed_ms,
        closed_at=pair.closed_ms,
        working_order_id=pair.working.order_id,
        pending_order_id=pair.pending.order_id,
        list_id=pair.working.list_id,
        bid_at_intent=plan.bid,
        ask_at_intent=plan.ask,
        cancel_cause=pair.cancel_cause,
        sales=msgspec.json.encode([_note(sale) for sale in pair.sales]).decode(),
    )
    if not isinstance(state, oto.Closed):
        return replace(row, status=oto.phase_of(state))
    outcome = state.outcome
    cost = wear(pair, still_sellable(pair, outcome))
    return replace(
        row,
        outcome=outcome,
        wear=cost.total,
        wear_bps=cost.bps,
        wear_fee=cost.fee,
        wear_spread=cost.spread,
        wear_slippage=cost.slippage,
        wear_unwind=cost.unwind,
        wear_dust=cost.dust,
        dust_quantity=cost.dust_quantity,
    )


def still_sellable(pair: Pair, outcome: PairOutcome) -> Decimal:
    """Inventory of a closed pair that an order could still sell: shown, not yet wear."""
    if outcome not in ("inventory_left", "external"):
        return ZERO
    return leftover_sellable(pair, pair.sales[-1].leg.price if pair.sales else pair.plan.reference)


def cost_of(closed: oto.Closed) -> tuple[Decimal, Decimal]:
    """(wear, BUY quote) of a closed pair."""
    pair = closed.pair
    return wear(pair, still_sellable(pair, closed.outcome)).total, accounts(pair).buy_quote


def fill_row(owner: Owner, pair: Pair, leg: Leg, fill: Fill, now_ms: int) -> FillRow:
    execution = fill.execution
    assert leg.order_id is not None, leg
    return FillRow(
        user=owner.user,
        token=pair.plan.token or owner.token,
        symbol=pair.plan.symbol,
        pair_id=pair.plan.pair_id,
        order_id=leg.order_id,
        leg=leg.name,
        side=leg.side,
        price=execution.price,
        quantity=execution.quantity,
        quote_quantity=execution.quote,
        commission=execution.commission,
        commission_asset=execution.commission_asset,
        mul_point=owner.mul_point,
        fill_id=execution.fill_id,
        trade_id=execution.trade_id,
        source=execution.source,
        exchange_time=execution.time_ms,
        recorded_at=now_ms,
    )


def foreign_row(owner: Owner, order: OrderView | OrderReport, now_ms: int) -> OrderRow:
    """An order that is not ours: recorded, never counted, never touched."""
    if isinstance(order, OrderReport):
        executed, quote, created, updated = order.cumulative, order.cumulative_quote, order.created_ms, order.time_ms
    else:
        executed, quote = order.executed, order.executed_quote or ZERO
        created = order.created_ms if order.created_ms is not None else now_ms
        updated = order.updated_ms if order.updated_ms is not None else created
    return OrderRow(
        user=owner.user,
        token=owner.token,
        symbol=order.symbol,
        pair_id=None,
        order_id=order.order_id,
        leg=None,
        side=order.side,
        price=order.price,
        quantity=order.quantity,
        executed_quantity=executed,
        executed_quote=quote,
        status=order.status,
        created_at=created,
        updated_at=updated,
    )


def _leg_rows(owner: Owner, pair: Pair, before: Leg | None, leg: Leg, now_ms: int) -> list[Row]:
    if leg.order_id is None:
        return []
    rows: list[Row] = []
    row = _order_row(owner, pair, leg, now_ms)
    if before is None or _order_row(owner, pair, before, now_ms) != row:
        rows.append(row)
    had = {fill.execution.fill_id: fill for fill in (before.fills if before is not None else ())}
    have = {fill.execution.fill_id for fill in leg.fills}
    for fill_id in sorted(had.keys() - have):  # in one order, so that one history writes one sequence of rows
        rows.append(RetractFill(user=owner.user, symbol=pair.plan.symbol, fill_id=fill_id))
    rows.extend(fill_row(owner, pair, leg, f, now_ms) for f in leg.fills if f.execution.fill_id not in had)
    return rows


def _order_row(owner: Owner, pair: Pair, leg: Leg, now_ms: int) -> OrderRow:
    assert leg.order_id is not None, leg
    created = leg.created_ms if leg.created_ms is not None else (pair.placed_ms or pair.plan.intent_ms)
    return OrderRow(
        user=owner.user,
        token=pair.plan.token or owner.token,
        symbol=pair.plan.symbol,
        pair_id=pair.plan.pair_id,
        order_id=leg.order_id,
        leg=leg.name,
        side=leg.side,
        price=leg.price,
        quantity=leg.quantity,
        executed_quantity=leg.told,
        executed_quote=leg.told_quote if leg.told_quote is not None else leg.booked_quote,
        status=leg.status or ("PENDING" if leg.name == "pending" else "NEW"),
        created_at=created,
        updated_at=leg.updated_ms if leg.updated_ms is not None else created,
    )


def _note(sale: Sale) -> SaleNote:
    return SaleNote(
        number=sale.number,
        intent_ms=sale.intent_ms,
        state=sale.state,
        price=sale.leg.price,
        quantity=sale.leg.quantity,
        order_id=sale.leg.order_id,
    )


# -- back from rows


def restored(row: PairRow, orders: Sequence[OrderRow], fills: Sequence[FillRow], rules: Rules) -> Pair:
    """The pair as its rows tell it. orders, fills: those of this pair (others are ignored)."""
    plan = Plan(
        pair_id=row.pair_id,
        symbol=row.symbol,
        day=row.pair_id.removeprefix(f"{row.user}-").rsplit("-", 1)[0],
        number=row.number,
        reference=row.reference_price,
        buy_price=row.buy_price,
        sell_price=row.sell_price,
        quantity=row.quantity,
        intent_ms=row.intent_at,
        bid=row.bid_at_intent,
        ask=row.ask_at_intent,
        token=row.token,
    )
    mine = {order.order_id: order for order in orders if order.pair_id == row.pair_id}
    booked: dict[str, list[FillRow]] = {}
    for fill in fills:
        if fill.pair_id == row.pair_id:
            booked.setdefault(fill.order_id, []).append(fill)
    pair = new_pair(plan, rules)
    notes = msgspec.json.decode(row.sales, type=list[SaleNote])
    return replace(
        pair,
        working=_leg(pair.working, row.working_order_id, mine, booked, row.list_id),
        pending=_leg(pair.pending, row.pending_order_id, mine, booked, row.list_id),
        sales=tuple(_sale(note, mine, booked) for note in notes),
        placed_ms=row.placed_at,
        closed_ms=row.closed_at,
        cancel_cause=row.cancel_cause,
    )


def _sale(note: SaleNote, orders: dict[str, OrderRow], fills: dict[str, list[FillRow]]) -> Sale:
    name: LegName = "unwind"
    leg = Leg(name=name, side="SELL", price=note.price, quantity=note.quantity)
    return Sale(
        number=note.number,
        intent_ms=note.intent_ms,
        state=note.state,
        leg=_leg(leg, note.order_id, orders, fills, None),
    )


def _leg(
    leg: Leg, order_id: str | None, orders: dict[str, OrderRow], fills: dict[str, list[FillRow]], list_id: str | None
) -> Leg:
    if order_id is None:
        return leg
    order = orders.get(order_id)
    booked: list[Fill] = []
    upto = ZERO  # a guess: fills may be missing in between, and ids of two sources need not be in one order
    for row in sorted(fills.get(order_id, ()), key=lambda f: (f.exchange_time, len(f.fill_id), f.fill_id)):
        upto = total(upto, row.quantity)
        booked.append(Fill(execution=_execution(row), upto=upto))
    seated = not booked or (len(booked) == 1 and order is not None and order.executed_quantity == upto)
    leg = replace(leg, order_id=order_id, list_id=list_id, fills=tuple(booked), seated=seated)
    if order is None:
        return replace(leg, told=upto, streamed=upto)
    return replace(
        leg,
        quantity=order.quantity,
        status=order.status,
        told=max(order.executed_quantity, upto),
        told_quote=_told_quote(order, upto, total(*(f.execution.quote for f in booked))),
        streamed=order.executed_quantity,
        created_ms=order.created_at,
        updated_ms=order.updated_at,
    )


def _told_quote(order: OrderRow, booked: Decimal, booked_quote: Decimal) -> Decimal | None:
    """What the exchange said, if the row can have it from there: where it had not said, the row repeats our sum."""
    if order.executed_quantity > booked and order.executed_quote <= booked_quote:
        return None
    return order.executed_quote if order.executed_quantity >= booked else None


def _execution(row: FillRow) -> Execution:
    return Execution(
        fill_id=row.fill_id,
        trade_id=row.trade_id,
        price=row.price,
        quantity=row.quantity,
        quote=row.quote_quantity,
        commission=row.commission,
        commission_asset=row.commission_asset,
        time_ms=row.exchange_time,
        source=row.source,
    )


def day_of(record: DayRecord) -> Day:
    return Day(
        date=record.day,
        volume=record.volume,
        counted=record.counted_volume,
        pairs=record.pairs,
        wear=record.wear,
        closed_volume=record.closed_volume,
        fees=record.fees,
        last_number=record.last_number,
        done_ms=record.done_at,
    )


def base_of(row: PairRow) -> str:
    """The alphaId of a pair's symbol: "ALPHA_22USDT" → "ALPHA_22"."""
    return row.symbol.removesuffix(QUOTE_ASSET)
