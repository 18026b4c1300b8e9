"""From a cancel that is decided to two legs that are over: who is cancelled, when, and who won the race (design § 4).

Cancelling is safe to repeat and proves nothing: legs end by the exchange's word. Cancelling the working leg ends the
list (wire § 7.3); a fill that was faster wins, and after a time-out the pair then lives on. A pending leg that was
never released need not be reported when its list ends (nobody captured that): it is over when its working leg is, and
`looks` looks over settle_ms show it nowhere.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

from msgspec.structs import replace

from actors.domain import oto, unwind
from actors.domain.absorb import Turn, leftover_sellable, wanted_pair
from actors.domain.legs import Leg
from actors.domain.orders import Accepted
from actors.domain.pair import Pair
from actors.domain.proof import Absence, Look, proven, with_clean_look, with_sighting
from actors.domain.trading import PairOutcome

GIVE_UP_MS = 5_000
"""A decided cancel waits this long for its row; then it is sent all the same, because cancelling twice harms nobody
while an order that stays in the book may fill."""

RETRY_MS = 2_000
"""Before a cancel whose leg is still open is tried again; doubled with each try, up to poll_ms."""

TRIES_QUIET = 6
"""After so many, a minute has passed: whether the order cannot be cancelled or cannot be found, a human should know."""

AFTER_CANCEL_MS = 1_000
"""Nobody captured a cancel's report (wire § 18.4): if the stream is silent, a look tells, this long after the reply."""


def time_out(turn: Turn) -> None:
    """The cancel is decided: its row first."""
    turn.state = oto.TimedOut(live=turn.live, give_up=turn.at.mono_ms + GIVE_UP_MS)
    turn.wish(oto.Persist("cancel"))


def start(turn: Turn) -> None:
    target: Literal["working", "pending"] = "pending" if turn.pair.working.status == "FILLED" else "working"
    now = turn.at.mono_ms
    turn.state = oto.Cancelling(live=turn.live, target=target, began=now, retry_due=now)
    send(turn, turn.state)


def send(turn: Turn, state: oto.Cancelling) -> None:
    """Cancels what is still open; where there is nothing to cancel, a look says how it stands."""
    now, rules = turn.at.mono_ms, turn.pair.rules
    again = now + min(RETRY_MS << min(state.tries, 10), max(RETRY_MS, rules.poll_ms))
    state = replace(state, tries=state.tries + 1, retry_due=again)
    leg = _to_cancel(turn.pair, state, now)
    if leg is None or leg.order_id is None:
        turn.state = state
        turn.look()
        return
    if leg.name != state.target and leg.name == "pending":  # the working leg's fill is taken as it is: both are to end
        state = replace(state, target="pending", absence=None)
    turn.state = replace(state, in_air=state.in_air | {leg.order_id})
    turn.wish(oto.CancelOrder(leg.order_id))
    if state.tries > TRIES_QUIET:
        what = f"order {leg.order_id} is not over after {state.tries - 1} tries to cancel it: look for it on the site"
        turn.wish(oto.AskPause("ORDER_UNRESOLVED", what))


def cancel_ended(turn: Turn, state: oto.Cancelling, event: oto.CancelEnded) -> None:
    """Refused may mean that the order is over already, no answer that it may be: in each case the state is read."""
    now = turn.at.mono_ms
    again = max(state.retry_due, now + RETRY_MS)
    turn.state = replace(state, in_air=state.in_air - {event.order_id}, retry_due=again)
    if isinstance(event.outcome, Accepted):
        turn.live = replace(turn.live, look_due=min(turn.live.look_due, now + AFTER_CANCEL_MS))
    else:
        turn.look()


def looked(turn: Turn, state: oto.Cancelling, look: Look) -> None:
    if state.absence is None:
        return
    if any(turn.is_open(view) for view in look.orders):
        turn.state = replace(state, absence=with_sighting(state.absence))
    else:
        turn.state = replace(state, absence=with_clean_look(state.absence, look, wanted_pair(turn.pair).intent_ms))


def settle_timed_out(turn: Turn) -> None:
    pair = turn.pair
    if _both_filled(pair):
        turn.close("completed")
    elif turn.released_now() and pair.cancel_cause == "timeout":
        _fill_won(turn)


def settle(turn: Turn, state: oto.Cancelling) -> None:
    pair = turn.pair
    working, pending = pair.working, pair.pending
    if _both_filled(pair):
        turn.close("completed")
    elif _is_beaten(pair, state) and pending.released and not pending.terminal:
        _fill_won(turn)
    elif not working.complete or (pending.released and not pending.terminal):
        return
    elif pending.terminal and not pending.filled:
        if pending.complete:
            _over(turn)
    elif pending.order_id not in state.in_air:
        _settle_unseen(turn, state)


def hope(pair: Pair) -> Decimal:
    """The best price at which a leftover may count as sellable: what is not even then is dust."""
    return max(pair.plan.sell_price, pair.plan.reference)


def _settle_unseen(turn: Turn, state: oto.Cancelling) -> None:
    """Nothing of the pending leg is known to live; but it may be hidden, or grow by another release (wire § 7.3)."""
    now, rules = turn.at.mono_ms, turn.pair.rules
    if state.absence is None:
        turn.live = replace(turn.live, look_due=min(turn.live.look_due, now + rules.look_gap_ms))
        turn.state = replace(state, absence=Absence(doubt_ms=now))
    elif not proven(state.absence, looks=rules.looks, settle_ms=rules.settle_ms):
        return
    elif _is_beaten(turn.pair, state) and turn.pair.pending.order_id is not None and not turn.pair.pending.terminal:
        send(turn, state)  # bought, and never released: it is cancelled before anything is sold in its place
    else:
        _over(turn)


def _to_cancel(pair: Pair, state: oto.Cancelling, now: int) -> Leg | None:
    working, pending = pair.working, pair.pending
    if not working.terminal:
        return working
    if pending.terminal:
        return None
    if pending.released:
        return pending
    if working.status != "FILLED":
        return None  # the list has ended
    waited = now - state.began >= pair.rules.settle_ms
    return pending if waited or not _is_beaten(pair, state) else None


def _is_beaten(pair: Pair, state: oto.Cancelling) -> bool:
    """A fill was faster than the cancel that a time-out had sent: the release is still to come."""
    return pair.working.status == "FILLED" and state.target == "working" and pair.cancel_cause == "timeout"


def _both_filled(pair: Pair) -> bool:
    """Completely, with nothing left that an order could sell."""
    return pair.working.filled and pair.pending.filled and leftover_sellable(pair, hope(pair)) == 0


def _fill_won(turn: Turn) -> None:
    """The pair lives on, and the released leg has its own time (requirements, "The OTO cycle", time-out)."""
    turn.pair = replace(turn.pair, cancel_cause=None)
    turn.state = oto.Open(live=turn.live, deadline=turn.at.mono_ms + turn.pair.rules.timeout_ms)


def _over(turn: Turn) -> None:
    """Both legs are over: sell what is left, or close."""
    if leftover_sellable(turn.pair, hope(turn.pair)) > 0:
        turn.state = unwind.start(turn)
    else:
        turn.close(_outcome(turn.pair))


def _outcome(pair: Pair) -> PairOutcome:
    if pair.cancel_cause == "external":
        return "external"
    return "unwound" if pair.working.booked > 0 else "cancelled"
