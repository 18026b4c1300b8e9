"""One turn of the pair machine: `begin`, `recover`, `step`, `next_due`. Vocabulary and theory are in oto.py.

A Turn collects the effects of one event while it absorbs facts and settles the state; it lives for one call of `step`.
The unwinding of what a cancelled pair left is in unwind.py.
"""

from __future__ import annotations

from typing import Literal, assert_never

from msgspec.structs import replace

from actors.domain import oto, unwind
from actors.domain.absorb import Turn, fresh_live, wanted_pair
from actors.domain.legs import Leg
from actors.domain.orders import Accepted, NoAnswer, Refused
from actors.domain.pair import Pair, Plan, Rules, accounts, new_pair
from actors.domain.pricing import sellable
from actors.domain.proof import Absence, Instant, candidates, proven, with_clean_look
from actors.domain.trading import PairOutcome
from actors.errors import IllegalEvent

GIVE_UP_MS = 5_000
"""A decided cancel waits this long for its row; then it is sent all the same, because cancelling twice harms nobody
while an order that stays in the book may fill."""

RETRY_MS = 2_000
"""Between two tries of a cancel whose leg is still open."""

AFTER_CANCEL_MS = 1_000
"""Nobody captured a cancel's report (wire § 18.4): if the stream is silent, a look tells, this long after the reply."""

LOOK_AGAIN_MS = 3_000
"""After a failed look."""


def begin(plan: Plan, rules: Rules, at: Instant) -> tuple[oto.Placing, tuple[oto.Effect, ...]]:
    """A new pair: first its intent becomes durable, then the request leaves (design § 4)."""
    live = fresh_live(new_pair(plan, rules), at)
    return oto.Placing(live=live), (oto.Persist("intent"),)


def recover(pair: Pair, at: Instant) -> tuple[oto.Reconciling, tuple[oto.Effect, ...]]:
    """A pair that an earlier life left open, as its rows tell it."""
    live = replace(fresh_live(pair, at), looking=True)
    return oto.Reconciling(live=live), (oto.TakeLook(since_of(pair)),)


def since_of(pair: Pair) -> int:
    """Looks page back to here (wall ms): well before the intent, so that a history page cannot end too early."""
    return pair.plan.intent_ms - 60_000


def step(state: oto.State, event: oto.Event, at: Instant) -> tuple[oto.State, tuple[oto.Effect, ...]]:
    """The next state and what to do. Raises: IllegalEvent, for what only we could have sent at the wrong moment."""
    if isinstance(state, oto.Closed):
        return _after_closing(state, event, at)
    turn = Turn(state, at)
    turn.absorb(event)
    _react(turn, event)
    turn.read_what_is_missing()
    _settle(turn)
    return turn.state, tuple(turn.effects)


def next_due(state: oto.State) -> int | None:
    """mono_ms of the next Tick this state wants; None: only news can move it."""
    if isinstance(state, oto.Closed):
        return None
    live = state.live
    due = [live.read_due] if live.missing_ms is not None and not live.reading else []
    if live.unheard_ms is not None:
        due.append(live.unheard_ms + Turn.SILENT_MS)
    if not live.looking and not isinstance(state, oto.Placing):
        due.append(live.look_due)
    match state:
        case oto.Open():
            if not live.pair.working.missing:  # until its fills are read, the deadline decides nothing
                due.append(state.deadline)
        case oto.TimedOut():
            due.append(state.give_up)
        case oto.Cancelling():
            if not state.in_air:
                due.append(state.retry_due)
        case oto.Unwinding():
            due.extend(unwind.dues(state))
        case oto.Placing() | oto.Unresolved() | oto.Reconciling():
            pass
        case _:
            assert_never(state)
    return min(due, default=None)


# -- reactions: what an event means beyond the facts that it brought


def _react(turn: Turn, event: oto.Event) -> None:
    state = turn.state
    match event:
        case oto.Durable():
            _durable(turn, event.what)
        case oto.Cancel():
            _cancel(turn, event.cause)
        case oto.PlaceEnded():
            _place_ended(turn, event)
        case oto.SaleEnded() | oto.Priced():
            if isinstance(state, oto.Unwinding):
                unwind.react(turn, state, event)
            elif isinstance(event, oto.SaleEnded):
                raise IllegalEvent("a sale ended outside unwinding", where=turn.where, do="report this bug")
        case oto.CancelEnded():
            _cancel_ended(turn, event)
        case oto.Looked():
            _looked(turn, event)
        case oto.LookFailed():
            turn.live = replace(turn.live, looking=False, look_due=turn.at.mono_ms + LOOK_AGAIN_MS)
        case oto.Tick():
            _tick(turn)
        case oto.Reported() | oto.ExecutionsRead() | oto.ExecutionsFailed():
            pass  # facts only
        case _:
            assert_never(event)


def _durable(turn: Turn, what: str) -> None:
    state = turn.state
    match state:
        case oto.Placing(durable=False) if what == "intent":
            if turn.pair.cancel_cause is None:
                turn.state = replace(state, durable=True)
                turn.wish(oto.Place())
            else:
                turn.close("cancelled")  # nothing was ever sent
        case oto.TimedOut() if what == "cancel":
            _start_cancelling(turn)
        case oto.Unwinding() if what.startswith("sale:"):
            unwind.durable(turn, state, int(what.removeprefix("sale:")))
        case _:
            if what == "intent":
                raise IllegalEvent("an intent became durable twice", where=turn.where, do="report this bug")
            # A cancel's or sale's row may be acknowledged after the world has moved on: nothing is left to do.


def _cancel(turn: Turn, cause: oto.CancelCause) -> None:
    state = turn.state
    if turn.pair.cancel_cause is not None and turn.pair.cancel_cause != "timeout":
        return
    match state:
        case oto.Open():
            turn.pair = replace(turn.pair, cancel_cause=cause)
            _time_out(turn)
        case oto.Unwinding():
            pass  # it is being ended already
        case _:
            turn.pair = replace(turn.pair, cancel_cause=cause)


def _place_ended(turn: Turn, event: oto.PlaceEnded) -> None:
    state = turn.state
    outcome = event.outcome
    if not isinstance(state, oto.Placing) or not state.durable:
        raise IllegalEvent(f"a placement ended in {type(state).__name__}", where=turn.where, do="report this bug")
    match outcome:
        case Accepted(order_ids=(working_id, pending_id)):
            turn.adopt(working_id, pending_id)
            _open(turn)
        case Accepted():
            turn.wish(oto.Alarm(f"placement reply names {len(outcome.order_ids)} orders instead of 2"))
            _doubt(turn)
        case Refused():
            if candidates(wanted_pair(turn.pair), turn.live.early, ()):
                turn.wish(oto.Alarm(f"refused with {outcome.code}, but an order like ours was reported"))
                _doubt(turn)
            else:
                turn.refused(outcome)
                turn.close("refused")
        case NoAnswer():
            turn.trouble(outcome.trouble, outcome.text)
            _doubt(turn)
        case _:
            assert_never(outcome)


def _doubt(turn: Turn) -> None:
    turn.state = oto.Unresolved(live=turn.live, absence=Absence(doubt_ms=turn.at.mono_ms))
    found = candidates(wanted_pair(turn.pair), turn.live.early, ())
    if len(found) == 1:
        turn.adopt(found[0], None)
        _open(turn)
    else:
        turn.look()


def _open(turn: Turn) -> None:
    """The working order is known: from now on its fills decide."""
    turn.pair = replace(turn.pair, placed_ms=turn.pair.placed_ms or turn.at.wall_ms)
    due = turn.at.mono_ms + turn.pair.rules.poll_ms
    turn.live = replace(turn.live, look_due=max(turn.live.look_due, due))
    turn.state = oto.Open(live=turn.live, deadline=turn.at.mono_ms + turn.pair.rules.timeout_ms)
    turn.claim_early()
    if turn.pair.pending.order_id is None:
        turn.look()  # adopted by its working leg alone: the list tells the other


def _looked(turn: Turn, event: oto.Looked) -> None:
    state, look, rules = turn.state, event.look, turn.pair.rules
    gap = rules.poll_ms
    match state:
        case oto.Unresolved():
            gap = rules.look_gap_ms
            _look_for_pair(turn, state, event)
        case oto.Cancelling() if state.absence is not None:
            gap = rules.look_gap_ms
            if not any(turn.is_open(view) for view in look.orders):
                turn.state = replace(state, absence=with_clean_look(state.absence, look))
        case oto.Unwinding():
            gap = rules.look_gap_ms if state.absence is not None else gap
            unwind.looked(turn, state, look)
        case oto.Reconciling():
            _resume(turn, event)
            return
        case _:
            pass
    turn.live = replace(turn.live, looking=False, look_due=turn.at.mono_ms + gap)


def _look_for_pair(turn: Turn, state: oto.Unresolved, event: oto.Looked) -> None:
    found = candidates(wanted_pair(turn.pair), turn.live.early, event.look.orders)
    if len(found) == 1:
        turn.adopt(found[0], None)
        turn.absorb(event)  # now that we know whose rows these are
        _open(turn)
    elif len(found) > 1:
        if found != state.twins:
            ids = ", ".join(found)
            turn.wish(oto.AskPause("ORDER_UNRESOLVED", f"orders {ids} could all be pair {turn.pair.plan.pair_id}"))
        turn.state = replace(state, twins=found)
    else:
        rules = turn.pair.rules
        absence = with_clean_look(state.absence, event.look)
        turn.state = replace(state, absence=absence)
        if proven(absence, looks=rules.looks, settle_ms=rules.settle_ms):
            turn.close("absent")


def _resume(turn: Turn, event: oto.Looked) -> None:
    """The first look after a restart: where the pair stands by the exchange's word."""
    pair, now = turn.pair, turn.at.mono_ms
    turn.live = replace(turn.live, looking=False, look_due=now + pair.rules.poll_ms)
    if pair.working.order_id is None:
        turn.state = oto.Unresolved(live=turn.live, absence=Absence(doubt_ms=now))
        _looked(turn, event)
    elif pair.sales:
        turn.state = unwind.resumed(turn)
    elif pair.cancel_cause is not None:
        _start_cancelling(turn)
    else:
        since = pair.placed_ms if pair.placed_ms is not None else turn.at.wall_ms
        elapsed = min(max(0, turn.at.wall_ms - since), pair.rules.timeout_ms)
        turn.state = oto.Open(live=turn.live, deadline=now + pair.rules.timeout_ms - elapsed)


def _cancel_ended(turn: Turn, event: oto.CancelEnded) -> None:
    state = turn.state
    if isinstance(event.outcome, NoAnswer):
        turn.trouble(event.outcome.trouble, event.outcome.text)
    if isinstance(state, oto.Unwinding):
        unwind.cancel_ended(turn, state, event.order_id)
    elif isinstance(state, oto.Cancelling):
        # Refused may mean that the order is over already, no answer that it may be: in each case the state is read.
        turn.state = replace(state, in_air=state.in_air - {event.order_id}, retry_due=turn.at.mono_ms + RETRY_MS)
        wait = AFTER_CANCEL_MS if isinstance(event.outcome, Accepted) else 0
        turn.live = replace(turn.live, look_due=min(turn.live.look_due, turn.at.mono_ms + wait))
        if wait == 0:
            turn.look()


def _tick(turn: Turn) -> None:
    state = turn.state
    now = turn.at.mono_ms
    turn.notice_silence()
    if not isinstance(state, oto.Placing) and now >= turn.live.look_due:
        turn.look()
    match turn.state:
        case oto.TimedOut(give_up=give_up) if now >= give_up:
            _start_cancelling(turn)
        case oto.Cancelling() as cancelling if now >= cancelling.retry_due and not cancelling.in_air:
            _send_cancel(turn, cancelling)
        case oto.Unwinding() as unwinding:
            unwind.tick(turn, unwinding)
        case _:
            pass


# -- settling: what the facts make of the state


def _settle(turn: Turn) -> None:
    pair = turn.pair
    match turn.state:
        case oto.Open() as state:
            _settle_open(turn, state)
        case oto.TimedOut():
            if pair.working.filled and pair.pending.filled:
                turn.close("completed")
            elif turn.released_now() and pair.cancel_cause == "timeout":
                _fill_won(turn)
        case oto.Cancelling() as state:
            _settle_cancelling(turn, state)
        case oto.Unwinding() as state:
            unwind.settle(turn, state)
        case oto.Unresolved():
            found = candidates(wanted_pair(pair), turn.live.early, ())
            if len(found) == 1 and not turn.state.twins:
                turn.adopt(found[0], None)
                _open(turn)
                _settle(turn)
        case oto.Placing() | oto.Reconciling() | oto.Closed():
            pass


def _settle_open(turn: Turn, state: oto.Open) -> None:
    working, pending = turn.pair.working, turn.pair.pending
    if working.filled and pending.filled:
        turn.close("completed")
    elif working.terminal and working.status != "FILLED":
        _ended_by_others(turn, f"working leg {working.order_id} was {working.status} by somebody else")
    elif pending.terminal and pending.status != "FILLED":
        if pending.status == "REJECTED" or (working.status == "FILLED" and not pending.released):
            turn.wish(oto.AskPause("INVENTORY_LEFT", f"pending leg {pending.order_id} was {pending.status}"))
            turn.pair = replace(turn.pair, cancel_cause="external")
            _start_cancelling(turn)
        else:
            _ended_by_others(turn, f"pending leg {pending.order_id} was {pending.status} by somebody else")
    elif turn.released_now():
        turn.state = replace(state, deadline=turn.at.mono_ms + turn.pair.rules.timeout_ms)
    elif turn.pair.cancel_cause is not None:
        _time_out(turn)
    elif turn.at.mono_ms >= state.deadline and not working.missing:
        turn.pair = replace(turn.pair, cancel_cause="timeout")
        _time_out(turn)


def _ended_by_others(turn: Turn, what: str) -> None:
    turn.wish(oto.AskPause("EXTERNAL_ORDER", what))
    turn.pair = replace(turn.pair, cancel_cause="external")
    _start_cancelling(turn)


def _time_out(turn: Turn) -> None:
    turn.state = oto.TimedOut(live=turn.live, give_up=turn.at.mono_ms + GIVE_UP_MS)
    turn.wish(oto.Persist("cancel"))


def _start_cancelling(turn: Turn) -> None:
    target: Literal["working", "pending"] = "pending" if turn.pair.working.status == "FILLED" else "working"
    state = oto.Cancelling(live=turn.live, target=target, retry_due=turn.at.mono_ms + RETRY_MS)
    turn.state = state
    _send_cancel(turn, state)
    _settle(turn)


def _send_cancel(turn: Turn, state: oto.Cancelling) -> None:
    """Cancels what is still open; cancelling the working leg ends the whole list (wire § 7.3)."""
    working, pending = turn.pair.working, turn.pair.pending
    leg = working if not working.terminal else pending
    if leg.terminal or leg.order_id is None or (leg is pending and not leg.released and working.status != "FILLED"):
        turn.state = replace(state, retry_due=turn.at.mono_ms + RETRY_MS)
        turn.look()
        return
    turn.state = replace(state, in_air=state.in_air | {leg.order_id}, retry_due=turn.at.mono_ms + RETRY_MS)
    turn.wish(oto.CancelOrder(leg.order_id))


def _settle_cancelling(turn: Turn, state: oto.Cancelling) -> None:
    working, pending = turn.pair.working, turn.pair.pending
    now = turn.at.mono_ms
    if working.filled and pending.filled:
        turn.close("completed")
        return
    beaten = working.status == "FILLED" and state.target == "working" and turn.pair.cancel_cause == "timeout"
    if beaten and pending.released and not pending.terminal:
        _fill_won(turn)
        return
    over = pending.complete
    if not over and working.complete and not pending.released and not pending.terminal:
        if state.absence is None:
            due = now + turn.pair.rules.look_gap_ms
            turn.live = replace(turn.live, look_due=min(turn.live.look_due, due))
            turn.state = replace(state, absence=Absence(doubt_ms=now))
            return
        rules = turn.pair.rules
        over = proven(state.absence, looks=rules.looks, settle_ms=rules.settle_ms)
    if working.complete and over:
        after_cancel(turn)
    elif working.complete and pending.released and not pending.terminal and not state.in_air and now >= state.retry_due:
        _send_cancel(turn, state)


def _fill_won(turn: Turn) -> None:
    """The pair lives on, and the released leg has its own time (requirements, "The OTO cycle", time-out)."""
    turn.pair = replace(turn.pair, cancel_cause=None)
    turn.state = oto.Open(live=turn.live, deadline=turn.at.mono_ms + turn.pair.rules.timeout_ms)


def after_cancel(turn: Turn) -> None:
    """Both legs are over: sell what is left, or close."""
    pair = turn.pair
    sums = accounts(pair)
    price = max(pair.plan.sell_price, pair.plan.reference)
    if sums.leftover > 0 and sellable(sums.leftover, price, pair.rules.instrument) > 0:
        turn.state = unwind.start(turn)
    else:
        turn.close(_outcome(turn))


def _outcome(turn: Turn) -> PairOutcome:
    if turn.pair.cancel_cause == "external":
        return "external"
    return "unwound" if turn.pair.working.booked > 0 else "cancelled"


# -- after the end


def _after_closing(state: oto.Closed, event: oto.Event, at: Instant) -> tuple[oto.State, tuple[oto.Effect, ...]]:
    """A closed pair listens for ghosts: an order of it that lives after all opens it again and pauses its user."""
    if isinstance(event, oto.Looked):
        event = oto.Looked(replace(event.look, baseline=False))
    pair = state.pair
    turn = Turn(oto.Reconciling(live=fresh_live(pair, at)), at)
    if isinstance(event, oto.Reported | oto.Looked) and pair.working.order_id is None:
        reports = (event.report,) if isinstance(event, oto.Reported) else ()
        views = event.look.orders if isinstance(event, oto.Looked) else ()
        found = candidates(wanted_pair(pair), reports, views)
        if len(found) == 1:
            turn.adopt(found[0], None)
    turn.absorb(event)
    if all(_gist(leg) == _gist(before) for leg, before in zip(turn.pair.legs(), pair.legs(), strict=True)):
        return state, ()
    turn.read_what_is_missing()
    what = f"pair {pair.plan.pair_id} was closed as {state.outcome}, and there is news of its orders"
    if all(leg.complete or leg.order_id is None for leg in turn.pair.legs()) and turn.pair.working.order_id is not None:
        turn.wish(oto.AskPause("LEDGER_MISMATCH", what))
        turn.wish(oto.Finished(state.outcome))
        return oto.Closed(pair=turn.pair, outcome=state.outcome), tuple(turn.effects)
    turn.wish(oto.AskPause("ORDER_UNRESOLVED", what))
    turn.pair = replace(turn.pair, closed_ms=None, placed_ms=turn.pair.placed_ms or at.wall_ms)
    turn.state = oto.Open(live=turn.live, deadline=at.mono_ms + pair.rules.timeout_ms)
    turn.look()
    _settle(turn)
    return turn.state, tuple(turn.effects)


def _gist(leg: Leg) -> tuple[object, ...]:
    return leg.order_id, leg.status, leg.told, leg.fills
