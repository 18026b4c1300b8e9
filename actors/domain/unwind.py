"""Unwinding: selling what a cancelled pair bought, by plain limit orders that follow the market downwards.

Each sale goes the way of a placement: its intent is durable before it leaves, and one without an answer is left by a
proof only, because a second sale would sell the user's own holdings. Rung n of the ladder is n steps below the market
(domain/pricing.py); a sale rests unwind_step_seconds on its rung, then it is cancelled and the next rung is tried. One
that rested at the floor is the last: what it left is shown and the user pauses INVENTORY_LEFT.
"""

from __future__ import annotations

from decimal import Decimal

from msgspec.structs import replace

from actors.domain import oto
from actors.domain.absorb import Turn, leftover_sellable
from actors.domain.legs import Leg
from actors.domain.orders import Accepted, NoAnswer, Refused
from actors.domain.pair import Pair, Sale, accounts
from actors.domain.pricing import sale_price
from actors.domain.proof import Absence, Look, Wanted, candidates, proven, with_clean_look
from actors.errors import IllegalEvent

TRY_AGAIN_MS = 2_000
REFUSALS_MAX = 5
"""The tokens of a fill are credited late (wire § 4.3): a refused sale is tried again so often, then a human decides."""

ENDED = frozenset({"over", "absent", "refused"})


def start(turn: Turn) -> oto.Unwinding:
    due = turn.at.mono_ms + turn.pair.rules.poll_ms
    turn.live = replace(turn.live, look_due=due)
    return oto.Unwinding(live=turn.live, rung=0, due=turn.at.mono_ms)


def resumed(turn: Turn) -> oto.Unwinding:
    """After a restart: a sale whose request may have left is unresolved, whatever its row says."""
    now = turn.at.mono_ms
    pair = turn.pair
    sales = tuple(
        replace(sale, state="unresolved") if sale.leg.order_id is None and sale.state not in ENDED else sale
        for sale in pair.sales
    )
    turn.pair = replace(pair, sales=sales)
    doubt = current(turn.pair) is not None and sales[-1].state == "unresolved"
    return oto.Unwinding(
        live=turn.live,
        rung=len(sales),
        due=now,
        absence=Absence(doubt_ms=now) if doubt else None,
    )


def current(pair: Pair) -> Sale | None:
    """The sale that is not over."""
    sale = pair.sales[-1] if pair.sales else None
    return sale if sale is not None and sale.state not in ENDED else None


def wants_price(state: oto.State, mono_ms: int) -> bool:
    """Whether the pair waits for a fresh market price: the shell then sends Priced."""
    return isinstance(state, oto.Unwinding) and current(state.live.pair) is None and mono_ms >= state.due


def dues(state: oto.Unwinding) -> list[int]:
    """When the resting sale is to leave its rung. Without a sale the shell waits for a price: wants_price."""
    sale = current(state.live.pair)
    resting = sale is not None and sale.state in ("open", "cancelling") and not state.cancel_in_air
    return [state.due] if resting else []


def react(turn: Turn, state: oto.Unwinding, event: oto.SaleEnded | oto.Priced) -> None:
    if isinstance(event, oto.SaleEnded):
        _sale_ended(turn, state, event)
    elif current(turn.pair) is None and turn.at.mono_ms >= state.due:
        _next_sale(turn, state, event.price)


def durable(turn: Turn, state: oto.Unwinding, number: int) -> None:
    sale = current(turn.pair)
    if sale is None or sale.number != number or sale.state != "intent":
        raise IllegalEvent(f"sale {number} became durable twice", where=turn.where, do="report this bug")
    _put(turn, replace(sale, state="air"))
    turn.wish(oto.PlaceSale(number))


def looked(turn: Turn, state: oto.Unwinding, look: Look) -> None:
    sale = current(turn.pair)
    if sale is None or sale.state != "unresolved":
        return
    found = candidates(_wanted(turn.pair, sale), turn.live.early, look.orders)
    if len(found) == 1:
        _adopt(turn, sale, found[0])
        turn.absorb(oto.Looked(look))
    elif len(found) > 1:
        turn.wish(oto.AskPause("ORDER_UNRESOLVED", f"orders {', '.join(found)} could all be sale {sale.number}"))
    else:
        assert state.absence is not None, state
        rules = turn.pair.rules
        absence = with_clean_look(state.absence, look)
        if proven(absence, looks=rules.looks, settle_ms=rules.settle_ms):
            _put(turn, replace(sale, state="absent"))
            turn.state = replace(_state(turn), absence=None, due=turn.at.mono_ms)
        else:
            turn.state = replace(_state(turn), absence=absence)


def tick(turn: Turn, state: oto.Unwinding) -> None:
    sale = current(turn.pair)
    if sale is None or turn.at.mono_ms < state.due:
        return
    if sale.state in ("open", "cancelling") and not state.cancel_in_air and not sale.leg.terminal:
        _put(turn, replace(sale, state="cancelling"))
        turn.state = replace(_state(turn), cancel_in_air=True, due=turn.at.mono_ms + TRY_AGAIN_MS)
        assert sale.leg.order_id is not None, sale
        turn.wish(oto.CancelOrder(sale.leg.order_id))


def cancel_ended(turn: Turn, state: oto.Unwinding, order_id: str) -> None:
    sale = current(turn.pair)
    if sale is not None and sale.leg.order_id == order_id:
        turn.state = replace(state, cancel_in_air=False, due=turn.at.mono_ms + TRY_AGAIN_MS)
        turn.look()


def settle(turn: Turn, state: oto.Unwinding) -> None:
    sale = current(turn.pair)
    if sale is not None and sale.state == "unresolved":
        found = candidates(_wanted(turn.pair, sale), turn.live.early, ())
        if len(found) == 1:
            _adopt(turn, sale, found[0])
            sale = current(turn.pair)
    if sale is None or not sale.leg.complete:
        return
    filled = sale.leg.filled
    rules = turn.pair.rules
    _put(turn, replace(sale, state="over"))
    state = _state(turn)
    at_floor = sale.leg.price <= _floor(turn.pair)
    turn.state = replace(
        state,
        rung=state.rung if filled else state.rung + 1,
        due=turn.at.mono_ms,
        floor_rested=state.floor_rested or (at_floor and not filled),
        cancel_in_air=False,
        refusals=0,
    )
    turn.live = replace(turn.live, look_due=turn.at.mono_ms + rules.poll_ms)
    if leftover_sellable(turn.pair, sale.leg.price) == 0:
        turn.close("external" if turn.pair.cancel_cause == "external" else "unwound")


def _next_sale(turn: Turn, state: oto.Unwinding, market: Decimal) -> None:
    pair = turn.pair
    rules = pair.rules
    sums = accounts(pair)
    price, at_floor = sale_price(market, state.rung, rules.config, sums.average_buy, rules.instrument.filters)
    quantity = leftover_sellable(pair, price)
    if quantity == 0:
        turn.close("external" if pair.cancel_cause == "external" else "unwound")
        return
    if at_floor and state.floor_rested:
        _give_up(turn, quantity, f"no buyer at the floor {price}, {rules.config.unwind_floor_percent} % below the buy")
        return
    number = len(pair.sales) + 1
    leg = Leg(name="unwind", side="SELL", price=price, quantity=quantity)
    sale = Sale(number=number, intent_ms=turn.at.wall_ms, state="intent", leg=leg)
    turn.pair = replace(pair, sales=(*pair.sales, sale))
    turn.wish(oto.Persist(f"sale:{number}"))


def _sale_ended(turn: Turn, state: oto.Unwinding, event: oto.SaleEnded) -> None:
    sale = current(turn.pair)
    if sale is None or sale.number != event.number or sale.state != "air":
        raise IllegalEvent(f"sale {event.number} ended twice", where=turn.where, do="report this bug")
    now = turn.at.mono_ms
    match event.outcome:
        case Accepted(order_ids=(order_id,)):
            _adopt(turn, sale, order_id)
        case NoAnswer() | Accepted():
            if isinstance(event.outcome, NoAnswer):
                turn.trouble(event.outcome.trouble, event.outcome.text)
            _put(turn, replace(sale, state="unresolved"))
            turn.state = replace(_state(turn), absence=Absence(doubt_ms=now))
            turn.look()
        case Refused():
            _put(turn, replace(sale, state="refused"))
            refusals = state.refusals + 1
            turn.state = replace(_state(turn), refusals=refusals, due=now + TRY_AGAIN_MS)
            if refusals >= REFUSALS_MAX and event.outcome.trouble != "not_sent":
                what = f"its sale was refused {refusals} times, last with {event.outcome.code}: {event.outcome.text}"
                _give_up(turn, sale.leg.quantity, what)


def _give_up(turn: Turn, quantity: Decimal, why: str) -> None:
    asset = turn.pair.rules.instrument.base_asset
    turn.wish(oto.AskPause("INVENTORY_LEFT", f"{quantity} {asset} of pair {turn.where} are not sold: {why}"))
    turn.close("inventory_left")


def _adopt(turn: Turn, sale: Sale, order_id: str) -> None:
    """The sale's order is known: it rests on its rung from now on."""
    _put(turn, replace(sale, state="open", leg=replace(sale.leg, order_id=order_id)))
    step_ms = int(turn.pair.rules.config.unwind_step_seconds * 1000)
    turn.state = replace(_state(turn), absence=None, refusals=0, due=turn.at.mono_ms + step_ms)
    turn.claim_early()


def _put(turn: Turn, sale: Sale) -> None:
    pair = turn.pair
    turn.pair = replace(pair, sales=(*pair.sales[:-1], sale))


def _state(turn: Turn) -> oto.Unwinding:
    assert isinstance(turn.state, oto.Unwinding), turn.state
    return turn.state


def _floor(pair: Pair) -> Decimal:
    rules = pair.rules
    price, _ = sale_price(
        rules.instrument.filters.tick_size, 0, rules.config, accounts(pair).average_buy, rules.instrument.filters
    )
    return price


def _wanted(pair: Pair, sale: Sale) -> Wanted:
    return Wanted(
        symbol=pair.plan.symbol,
        side="SELL",
        price=sale.leg.price,
        quantity=sale.leg.quantity,
        intent_ms=sale.intent_ms,
        oto=False,
    )
