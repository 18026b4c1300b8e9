"""One turn of the pair machine: `begin`, `recover`, `step`, `next_due`. Vocabulary and theory are in oto.py.

A Turn collects the effects of one event while it absorbs facts and settles the state; it lives for one call of `step`.
What an event means beyond its facts is decided here or, by the pair's stage, in opening.py, ending.py and unwind.py.
"""

from __future__ import annotations

from typing import assert_never

from msgspec.structs import replace

from actors.domain import absorb, ending, ghosts, opening, oto, unwind
from actors.domain.absorb import Turn, fresh_live
from actors.domain.orders import NoAnswer
from actors.domain.pair import Pair, Plan, Rules, new_pair
from actors.domain.proof import Instant
from actors.errors import IllegalEvent

LOOK_AGAIN_MS = 3_000
"""After a failed look."""


def begin(plan: Plan, rules: Rules, at: Instant) -> tuple[oto.Placing, tuple[oto.Effect, ...]]:
    """A new pair: first its intent becomes durable, then the request leaves (design § 4)."""
    live = fresh_live(new_pair(plan, rules), at)
    return oto.Placing(live=live), (oto.Persist("intent"),)


def recover(pair: Pair, at: Instant) -> tuple[oto.Reconciling, tuple[oto.Effect, ...]]:
    """A pair that an earlier life left open, as its rows tell it."""
    live = replace(fresh_live(unwind.as_found(pair), at), looking=True)
    return oto.Reconciling(live=live), (oto.TakeLook(since_of(pair)),)


def since_of(pair: Pair) -> int:
    """Looks of this pair page back to here (wall ms)."""
    return absorb.since_of(pair)


def step(state: oto.State, event: oto.Event, at: Instant) -> tuple[oto.State, tuple[oto.Effect, ...]]:
    """The next state and what to do. Raises: IllegalEvent, for what only we could have sent at the wrong moment."""
    if isinstance(state, oto.Closed):
        closed, effects, turn = ghosts.heard(state, event, at)
        if turn is None:
            return closed, effects
        opening.resume(turn)
        turn.look()
    else:
        turn = Turn(state, at)
        turn.absorb(event)
        _react(turn, event)
    turn.read_what_is_missing()
    _settle(turn)
    turn.read_what_is_missing()
    return turn.state, tuple(turn.effects)


def next_due(state: oto.State) -> int | None:
    """mono_ms of the next Tick this state wants; None: only news can move it."""
    if isinstance(state, oto.Closed):
        return None
    live = state.live
    due = [live.read_due] if not live.reading and any(leg.missing for leg in live.pair.legs()) else []
    if live.unheard_ms is not None:
        due.append(live.unheard_ms + Turn.SILENT_MS)
    if not live.looking and not isinstance(state, oto.Placing):
        due.append(live.look_due)
    match state:
        case oto.Open():
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
        case oto.Judged(order_id=order_id):
            _judged(turn, order_id)
        case oto.PlaceEnded():
            opening.place_ended(turn, event.outcome)
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
            if isinstance(state, oto.Unresolved):
                opening.tell_long_doubt(turn, state, event.text)
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
            ending.start(turn)
        case oto.Unwinding() if what.startswith("sale:"):
            unwind.durable(turn, int(what.removeprefix("sale:")))
        case _:
            if what != "cancel":
                raise IllegalEvent(f"{what} became durable twice", where=turn.where, do="report this bug")
            # A cancel's row may be acknowledged after the world has moved on: nothing is left to do.


def _cancel(turn: Turn, cause: oto.CancelCause) -> None:
    """Notes that the pair is to end; an open one times out when the state is settled."""
    if turn.pair.cancel_cause in (None, "timeout") and not isinstance(turn.state, oto.Unwinding):
        turn.pair = replace(turn.pair, cancel_cause=cause)
        if isinstance(turn.state, oto.Cancelling):
            turn.state = replace(turn.state, retry_due=turn.at.mono_ms)  # what was waited for counts no more


def _judged(turn: Turn, order_id: str | None) -> None:
    state = turn.state
    match state:
        case oto.Unresolved():
            said = opening.judged(turn, state, order_id)
        case oto.Unwinding():
            said = unwind.judged(turn, state, order_id)
        case _:
            said = False
    if not said:
        raise IllegalEvent("a verdict on no twins", where=turn.where, do="report this bug")


def _cancel_ended(turn: Turn, event: oto.CancelEnded) -> None:
    state = turn.state
    if isinstance(event.outcome, NoAnswer):
        turn.trouble(event.outcome.trouble, event.outcome.text)
    if isinstance(state, oto.Unwinding):
        unwind.cancel_ended(turn, state, event.order_id)
    elif isinstance(state, oto.Cancelling):
        ending.cancel_ended(turn, state, event)


def _looked(turn: Turn, event: oto.Looked) -> None:
    now, rules, look = turn.at.mono_ms, turn.pair.rules, event.look
    turn.live = replace(turn.live, looking=False, look_due=now + rules.poll_ms)
    if isinstance(turn.state, oto.Reconciling):
        opening.resume(turn)  # the first look after a restart: where the pair stands by the exchange's word
    match turn.state:
        case oto.Unresolved() as state:
            opening.looked(turn, state, look)
        case oto.Cancelling() as state:
            ending.looked(turn, state, look)
        case oto.Unwinding() as state:
            unwind.looked(turn, state, look)
        case _:
            pass
    if _in_proof(turn.state):
        turn.live = replace(turn.live, look_due=min(turn.live.look_due, now + rules.look_gap_ms))


def _in_proof(state: oto.State) -> bool:
    """Looks are being counted."""
    match state:
        case oto.Unresolved():
            return not state.twins
        case oto.Cancelling():
            return state.absence is not None
        case oto.Unwinding():
            return state.absence is not None and not state.twins
        case _:
            return False


def _tick(turn: Turn) -> None:
    now = turn.at.mono_ms
    turn.notice_silence()
    if not isinstance(turn.state, oto.Placing) and now >= turn.live.look_due:
        turn.look()
    match turn.state:
        case oto.TimedOut(give_up=give_up) if now >= give_up:
            ending.start(turn)
        case oto.Cancelling() as cancelling if now >= cancelling.retry_due and not cancelling.in_air:
            ending.send(turn, cancelling)
        case oto.Unwinding() as unwinding:
            unwind.tick(turn, unwinding)
        case _:
            pass


def _settle(turn: Turn) -> None:
    """What the facts make of the state, until they make no other one of it."""
    while True:
        state = turn.state
        match state:
            case oto.Unresolved():
                opening.weigh(turn, state)
            case oto.Open():
                opening.settle(turn, state)
            case oto.TimedOut():
                ending.settle_timed_out(turn)
            case oto.Cancelling():
                ending.settle(turn, state)
            case oto.Unwinding():
                unwind.settle(turn)
            case oto.Placing() | oto.Reconciling() | oto.Closed():
                pass
            case _:
                assert_never(state)
        if type(turn.state) is type(state):
            return
