"""Unwinding: selling what a cancelled pair bought, by plain limit orders that follow the market downwards.

Each sale goes the way of a placement: its intent is durable before it leaves, and one without an answer is left by a
proof only, because a second sale would sell the user's own holdings. Rung n of the ladder is n steps below the market
(domain/pricing.py); a sale rests unwind_step_seconds on its rung, then it is cancelled and the next rung is tried. One
that rested at the floor is the last: what it left is shown and the user pauses INVENTORY_LEFT.

The next sale waits until all earlier ones are over. A sale whose absence was proven and that appears after all (a
ghost) pauses the user and is cancelled at once; what it sold is booked like any other. What was given up is a human's
to sell: a pair that is opened again after that follows its orders to their end and sells nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal

from msgspec.structs import replace

from actors.domain import oto
from actors.domain.absorb import Turn, leftover_sellable
from actors.domain.legs import Leg
from actors.domain.orders import TERMINAL, Accepted, NoAnswer, OrderReport, OrderView, Refused
from actors.domain.pair import Pair, Sale, accounts
from actors.domain.pricing import sale_price
from actors.domain.proof import (
    Absence,
    Look,
    Wanted,
    by_age,
    candidates,
    proven,
    suspects,
    with_clean_look,
    with_sighting,
)
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
    """After a restart, or when a sale of a closed pair has news."""
    now = turn.at.mono_ms
    turn.pair = as_found(turn.pair)
    doubt = any(sale.state == "unresolved" for sale in turn.pair.sales)
    return oto.Unwinding(
        live=turn.live,
        rung=len(turn.pair.sales),
        due=now,
        absence=Absence(doubt_ms=now) if doubt else None,
    )


def as_found(pair: Pair) -> Pair:
    """A pair as its rows tell it, its sales as they may be by now."""
    return replace(pair, sales=tuple(_as_found(sale) for sale in pair.sales))


def _as_found(sale: Sale) -> Sale:
    """A sale whose request may have left is unresolved, whatever its row says; one that is over may be our doing."""
    if sale.leg.order_id is None:
        return sale if sale.state in ENDED else replace(sale, state="unresolved")
    if not sale.leg.complete:
        return replace(sale, state="cancelling" if sale.leg.terminal else "open")
    return replace(sale, state="cancelling") if sale.state == "open" else sale


def living(pair: Pair) -> Iterator[Sale]:
    """Sales that are not over: one, unless a ghost has appeared."""
    return (sale for sale in pair.sales if sale.state not in ENDED)


def current(pair: Pair) -> Sale | None:
    """The newest sale that is not over."""
    return next(iter(sorted(living(pair), key=lambda sale: -sale.number)), None)


def wants_price(state: oto.State, mono_ms: int) -> bool:
    """Whether the pair waits for a fresh market price: the shell then sends Priced."""
    return isinstance(state, oto.Unwinding) and _flat(state.live.pair) and mono_ms >= state.due


def dues(state: oto.Unwinding) -> list[int]:
    """When the resting sale is to leave its rung. Without a sale the shell waits for a price: wants_price."""
    return [state.due] if any(_resting(state)) else []


def react(turn: Turn, state: oto.Unwinding, event: oto.SaleEnded | oto.Priced) -> None:
    if isinstance(event, oto.SaleEnded):
        _sale_ended(turn, state, event)
    elif _flat(turn.pair) and turn.at.mono_ms >= state.due:
        _next_sale(turn, state, event.price)


def durable(turn: Turn, number: int) -> None:
    sale = current(turn.pair)
    if sale is None or sale.number != number or sale.state != "intent":
        raise IllegalEvent(f"sale {number} became durable twice", where=turn.where, do="report this bug")
    pair = turn.pair
    if accounts(pair).leftover < sale.leg.quantity or _owed(pair):
        _put(turn, replace(sale, state="refused"))  # by us: a late fill has sold a part of it meanwhile
    else:
        _put(turn, replace(sale, state="air"))
        turn.wish(oto.PlaceSale(number))


def looked(turn: Turn, state: oto.Unwinding, look: Look) -> None:
    sale = current(turn.pair)
    if sale is not None and sale.state == "unresolved" and not _weigh(turn, sale, look.orders):
        _doubt_goes_on(turn, sale, look)
    if claim_ghosts(turn, (), look.orders):
        turn.absorb(oto.Looked(look))


def claim_ghosts(turn: Turn, reports: Iterable[OrderReport], views: Iterable[OrderView]) -> bool:
    """Takes orders as ours that are like a sale which was refused or proven absent. Returns: there were some.

    What is like the sale whose outcome is open is left to that one: its request is the likelier cause.
    """
    pair = turn.pair
    unheard = [report for report in reports if pair.leg_of(report.order_id) is None]
    unowned = [view for view in views if pair.leg_of(view.order_id) is None]
    claimed: list[str] = []
    taken: set[str] = set()
    for sale in sorted(pair.sales, key=lambda sale: -sale.number):
        if sale.leg.order_id is not None or sale.state == "intent":
            continue
        found = [order_id for order_id in candidates(_wanted(pair, sale), unheard, unowned) if order_id not in taken]
        if sale.state not in ENDED:
            taken.update(found)
        elif found:
            taken.add(found[0])
            claimed.append(found[0])
            _put(turn, replace(sale, state="open", leg=replace(sale.leg, order_id=found[0])))
    if claimed:
        what = f"orders {', '.join(claimed)} are sales of pair {turn.where} that were taken for absent"
        turn.wish(oto.AskPause("ORDER_UNRESOLVED", what))
        turn.claim_early()
        if isinstance(turn.state, oto.Unwinding):
            turn.state = replace(turn.state, due=turn.at.mono_ms)
    return bool(claimed)


def tick(turn: Turn, state: oto.Unwinding) -> None:
    """Sales leave their rung."""
    if turn.at.mono_ms < state.due:
        return
    for sale in _resting(state):
        assert sale.leg.order_id is not None, sale
        _put(turn, replace(sale, state="cancelling"))
        now = _state(turn)
        turn.state = replace(now, in_air=now.in_air | {sale.leg.order_id}, due=turn.at.mono_ms + TRY_AGAIN_MS)
        turn.wish(oto.CancelOrder(sale.leg.order_id))


def cancel_ended(turn: Turn, state: oto.Unwinding, order_id: str) -> None:
    turn.state = replace(state, in_air=state.in_air - {order_id})
    if any(sale.leg.order_id == order_id for sale in living(turn.pair)):
        turn.state = replace(_state(turn), due=turn.at.mono_ms + TRY_AGAIN_MS)
        turn.look()


def settle(turn: Turn) -> None:
    sale = current(turn.pair)
    if sale is not None and sale.state == "unresolved":
        _weigh(turn, sale, ())
    if any(sale.leg.order_id is None and sale.state in ENDED for sale in turn.pair.sales):
        claim_ghosts(turn, turn.live.early, ())
    for sale in tuple(living(turn.pair)):
        if sale.leg.complete:
            _sale_over(turn, sale)
    if turn.pair.sales and _flat(turn.pair):
        _settle_flat(turn, turn.pair.sales[-1].leg)


def _sale_over(turn: Turn, sale: Sale) -> None:
    state = _state(turn)
    leg = sale.leg
    _put(turn, replace(sale, state="over"))
    if sale.state == "open" and not leg.filled:
        _not_by_us(turn, leg)
    now = turn.at.mono_ms
    rejected = leg.status != "CANCELED" and leg.booked == 0
    at_floor = leg.price <= _floor(turn.pair)
    turn.state = replace(
        _state(turn),
        rung=state.rung if leg.filled or rejected else state.rung + 1,
        due=now + TRY_AGAIN_MS if rejected else now,
        floor_rested=state.floor_rested or (at_floor and not leg.filled and not rejected),
        refusals=state.refusals + 1 if rejected else 0,
        refusal=leg.status if rejected else "",
    )
    turn.live = replace(turn.live, look_due=now + turn.pair.rules.poll_ms)


def _flat(pair: Pair) -> bool:
    """No sale is under way, and what was traded is booked: what is left is known."""
    return current(pair) is None and not _owed(pair)


def _owed(pair: Pair) -> bool:
    return any(leg.booked < leg.told for leg in pair.legs())


def _settle_flat(turn: Turn, last: Leg) -> None:
    """After the newest sale: is that all?"""
    handed_over = turn.pair.cancel_cause == "given_up"
    left = leftover_sellable(turn.pair, last.price)
    if left == 0:
        _close_sold(turn)
    elif handed_over:
        _give_up(turn, left, "they were handed over before")
    elif _state(turn).refusals >= REFUSALS_MAX:
        _give_up(turn, left, f"its sale was refused {REFUSALS_MAX} times, last with {_state(turn).refusal}")


def _not_by_us(turn: Turn, leg: Leg) -> None:
    """A resting sale that we did not cancel is over."""
    if leg.status == "CANCELED":
        turn.wish(oto.AskPause("EXTERNAL_ORDER", f"sale {leg.order_id} was {leg.status} by somebody else"))
    else:
        turn.wish(oto.Alarm(f"sale {leg.order_id} was {leg.status}"))


def _next_sale(turn: Turn, state: oto.Unwinding, market: Decimal) -> None:
    pair = turn.pair
    rules = pair.rules
    sums = accounts(pair)
    if sums.leftover <= 0:
        _close_sold(turn)
        return
    price, at_floor = sale_price(market, state.rung, rules.config, sums.average_buy, rules.instrument.filters)
    quantity = leftover_sellable(pair, price)
    if quantity == 0:
        _close_sold(turn)
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
    unsent = event.outcome == oto.NOT_DURABLE and sale is not None and sale.state == "intent"
    if sale is None or sale.number != event.number or (sale.state != "air" and not unsent):
        raise IllegalEvent(f"sale {event.number} ended twice", where=turn.where, do="report this bug")
    match event.outcome:
        case Accepted(order_ids=(order_id,)):
            _adopt(turn, sale, order_id)
        case NoAnswer(trouble=trouble, text=text):
            turn.trouble(trouble, text)
            _doubt(turn, sale)
        case Accepted():
            turn.wish(oto.Alarm(f"sale reply names {len(event.outcome.order_ids)} orders instead of 1"))
            _doubt(turn, sale)
        case Refused() if not unsent and candidates(_wanted(turn.pair, sale), turn.live.early, ()):
            turn.wish(oto.Alarm(f"sale refused with {event.outcome.code}, but an order like it was reported"))
            _doubt(turn, sale)
        case Refused():
            _put(turn, replace(sale, state="refused"))
            refusals = state.refusals + (event.outcome.trouble is None)  # else it was never sent
            turn.state = replace(
                _state(turn),
                refusals=refusals,
                refusal=f"{event.outcome.code}: {event.outcome.text}",
                due=turn.at.mono_ms + TRY_AGAIN_MS,
            )


def _doubt(turn: Turn, sale: Sale) -> None:
    _put(turn, replace(sale, state="unresolved"))
    turn.state = replace(_state(turn), absence=Absence(doubt_ms=turn.at.mono_ms))
    turn.look()


def _weigh(turn: Turn, sale: Sale, views: Iterable[OrderView]) -> bool:
    """Adopts the one order that may be this sale. Returns: it did. Two are noted, and remembered for good."""
    rows = tuple(views)
    state = _state(turn)
    found = candidates(_wanted(turn.pair, sale), turn.live.early, [v for v in rows if not turn.pair.leg_of(v.order_id)])
    if state.twins or len(found) > 1:
        twins = by_age({*state.twins, *found})
        if twins != state.twins:
            what = f"orders {', '.join(twins)} could all be sale {sale.number} of pair {turn.where}"
            turn.wish(oto.AskPause("ORDER_UNRESOLVED", f"{what}: cancel them on the site"))
            turn.state = replace(state, twins=twins)
        return False
    if not found:
        return False
    _adopt(turn, sale, found[0])
    for view in rows:
        turn.see(view)
    return True


def judged(turn: Turn, state: oto.Unwinding, order_id: str | None) -> bool:
    """A human says which of the twins is the sale, or that none is. Returns: there was something to say."""
    sale = current(turn.pair)
    if sale is None or not state.twins or order_id not in (None, *state.twins):
        return False
    others = frozenset(state.twins) - {order_id}
    turn.pair = replace(turn.pair, disowned=turn.pair.disowned | others)
    turn.state = replace(_state(turn), twins=(), absence=Absence(doubt_ms=turn.at.mono_ms))
    if order_id is not None:
        _adopt(turn, sale, order_id)
    turn.look()
    return True


def _doubt_goes_on(turn: Turn, sale: Sale, look: Look) -> None:
    state, rules = _state(turn), turn.pair.rules
    assert state.absence is not None, state
    if state.twins:
        dead = {view.order_id: view for view in look.orders if view.status in TERMINAL and view.executed == 0}
        if dead.keys() >= set(state.twins):  # a human has ended both, and nothing was sold by either: any may be ours
            _put(turn, replace(sale, state="cancelling", leg=replace(sale.leg, order_id=state.twins[0])))
            turn.see(dead[state.twins[0]])
            turn.state = replace(_state(turn), absence=None, twins=(), due=turn.at.mono_ms)
        return
    wanted = _wanted(turn.pair, sale)
    unowned = [view for view in look.orders if turn.pair.leg_of(view.order_id) is None]
    older = suspects(wanted, turn.live.early, unowned)
    if older:
        what = f"orders {', '.join(older)} are like sale {sale.number} of pair {turn.where}, but older by our clock"
        turn.wish(oto.AskPause("ORDER_UNRESOLVED", f"{what}: compare the clocks"))
        turn.state = replace(state, absence=with_sighting(state.absence))
        return
    absence = with_clean_look(state.absence, look, wanted.intent_ms)
    turn.state = replace(state, absence=absence)
    if proven(absence, looks=rules.looks, settle_ms=rules.settle_ms):
        _put(turn, replace(sale, state="absent"))
        turn.state = replace(_state(turn), absence=None, due=turn.at.mono_ms)


def _close_sold(turn: Turn) -> None:
    turn.close("external" if turn.pair.cancel_cause == "external" else "unwound")


def _give_up(turn: Turn, quantity: Decimal, why: str) -> None:
    asset = turn.pair.rules.instrument.base_asset
    turn.wish(oto.AskPause("INVENTORY_LEFT", f"{quantity} {asset} of pair {turn.where} are not sold: {why}"))
    turn.pair = replace(turn.pair, cancel_cause="given_up")
    turn.close("inventory_left")


def _adopt(turn: Turn, sale: Sale, order_id: str) -> None:
    """The sale's order is known: it rests on its rung from now on."""
    assert turn.pair.leg_of(order_id) is None, order_id
    _put(turn, replace(sale, state="open", leg=replace(sale.leg, order_id=order_id)))
    step_ms = int(turn.pair.rules.config.unwind_step_seconds * 1000)
    turn.state = replace(_state(turn), absence=None, due=turn.at.mono_ms + step_ms)
    turn.claim_early()


def _resting(state: oto.Unwinding) -> Iterator[Sale]:
    """Sales in the book that no cancel is under way for."""
    for sale in living(state.live.pair):
        if sale.state in ("open", "cancelling") and not sale.leg.terminal and sale.leg.order_id not in state.in_air:
            yield sale


def _put(turn: Turn, sale: Sale) -> None:
    pair = turn.pair
    turn.pair = replace(pair, sales=tuple(sale if s.number == sale.number else s for s in pair.sales))


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
        intent_ms=pair.exchange_ms(sale.intent_ms),
        oto=False,
        never=pair.disowned,
    )
