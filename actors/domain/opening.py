"""The first part of a pair: from its request to orders that are known and open (design § 4).

A placement ends accepted, refused, or without answer. Then there is doubt, which ends by a proof: an order like ours is
found, or `looks` looks over settle_ms show none. Two that are like ours are never chosen between: the user pauses, and
the pair waits until a human has ended both.
"""

from __future__ import annotations

from typing import assert_never

from msgspec.structs import replace

from actors.domain import ending, oto, unwind
from actors.domain.absorb import Turn, leftover_sellable, wanted_pair
from actors.domain.legs import Leg
from actors.domain.orders import TERMINAL, Accepted, NoAnswer, Outcome, Refused
from actors.domain.proof import (
    Absence,
    Look,
    by_age,
    candidates,
    proven,
    suspects,
    with_clean_look,
    with_sighting,
)
from actors.errors import IllegalEvent

DOUBT_PATIENCES = 5
"""Times settle_ms: longer than any outage that a restart of a link explains."""


def place_ended(turn: Turn, outcome: Outcome) -> None:
    """The one ending of the one request. Raises: IllegalEvent."""
    state = turn.state
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


def looked(turn: Turn, state: oto.Unresolved, look: Look) -> None:
    """One look of an unresolved pair."""
    if weigh(turn, state, look) or turn.state is not state:
        return
    if state.twins:
        _close_dead_twins(turn, state, look)
        return
    rules, wanted = turn.pair.rules, wanted_pair(turn.pair)
    older = suspects(wanted, turn.live.early, look.orders)
    if older:
        what = f"orders {', '.join(older)} are like pair {turn.where}, but older by our clock: compare the clocks"
        turn.wish(oto.AskPause("ORDER_UNRESOLVED", what))
        turn.state = replace(state, absence=with_sighting(state.absence))
        return
    absence = with_clean_look(state.absence, look, wanted.intent_ms)
    turn.state = replace(state, absence=absence)
    if proven(absence, looks=rules.looks, settle_ms=rules.settle_ms):
        turn.close("absent")


def tell_long_doubt(turn: Turn, state: oto.Unresolved, why: str) -> None:
    """Looks that fail prove nothing either way: after several times the usual patience a human should know."""
    waited_ms = turn.at.mono_ms - state.absence.doubt_ms
    if waited_ms >= DOUBT_PATIENCES * turn.pair.rules.settle_ms:
        what = f"pair {turn.where} is unresolved for {waited_ms // 1000} s, the last look failed: {why}"
        turn.wish(oto.AskPause("ORDER_UNRESOLVED", what))


def weigh(turn: Turn, state: oto.Unresolved, look: Look | None = None) -> bool:
    """Adopts the one order that may be ours. Returns: it did. Two are noted, and remembered for good."""
    found = candidates(wanted_pair(turn.pair), turn.live.early, look.orders if look is not None else ())
    if state.twins or len(found) > 1:
        twins = by_age({*state.twins, *found})
        if twins != state.twins:
            what = f"orders {', '.join(twins)} could all be pair {turn.where}: cancel them on the site"
            turn.wish(oto.AskPause("ORDER_UNRESOLVED", what))
            turn.state = replace(state, twins=twins)
        return False
    if not found:
        return False
    turn.adopt(found[0], None)
    if look is not None:
        turn.absorb(oto.Looked(look))  # now that we know whose rows these are
    _open(turn)
    return True


def judged(turn: Turn, state: oto.Unresolved, order_id: str | None) -> bool:
    """A human says which of the twins is the pair's, or that none is. Returns: there was something to say."""
    if not state.twins or order_id not in (None, *state.twins):
        return False
    turn.pair = replace(turn.pair, disowned=turn.pair.disowned | (frozenset(state.twins) - {order_id}))
    if order_id is None:
        turn.state = oto.Unresolved(live=turn.live, absence=Absence(doubt_ms=turn.at.mono_ms))
        turn.look()
    else:
        turn.adopt(order_id, None)
        _open(turn)
    return True


def resume(turn: Turn) -> None:
    """Where a pair stands of which only rows are known, or one that was over and has news of its orders."""
    pair, now = turn.pair, turn.at.mono_ms
    if pair.working.order_id is None:
        turn.state = oto.Unresolved(live=turn.live, absence=Absence(doubt_ms=now))
        return
    if pair.sales:
        turn.state = unwind.resumed(turn)
    elif pair.cancel_cause is not None:
        ending.start(turn)
    else:
        timeout_ms = pair.rules.timeout_ms
        elapsed = min(max(0, turn.at.wall_ms - _running_since(turn)), timeout_ms)
        turn.state = oto.Open(live=turn.live, deadline=now + timeout_ms - elapsed)
    turn.claim_early()


def settle(turn: Turn, state: oto.Open) -> None:
    """What the facts make of an open pair."""
    working, pending = turn.pair.working, turn.pair.pending
    if working.filled and pending.filled and leftover_sellable(turn.pair, ending.hope(turn.pair)) == 0:
        turn.close("completed")
    elif working.terminal and working.status != "FILLED":
        _ended_by_others(turn, working)
    elif pending.terminal and pending.status != "FILLED":
        if pending.status == "REJECTED" or (working.told > 0 and pending.status.startswith("EXPIRED")):
            turn.wish(oto.AskPause("INVENTORY_LEFT", f"pending leg {pending.order_id} was {pending.status}"))
            turn.pair = replace(turn.pair, cancel_cause="rejected")
            ending.start(turn)
        else:
            _ended_by_others(turn, pending)
    elif turn.pair.cancel_cause is not None:
        ending.time_out(turn)
    elif turn.released_now():
        turn.state = replace(state, deadline=turn.at.mono_ms + turn.pair.rules.timeout_ms)
    elif turn.at.mono_ms >= state.deadline:
        turn.pair = replace(turn.pair, cancel_cause="timeout")
        ending.time_out(turn)


def _doubt(turn: Turn) -> None:
    state = oto.Unresolved(live=turn.live, absence=Absence(doubt_ms=turn.at.mono_ms))
    turn.state = state
    if not weigh(turn, state):
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


def _close_dead_twins(turn: Turn, state: oto.Unresolved, look: Look) -> None:
    """A human has ended both and nothing was bought by either: whichever was ours, the pair is at its end."""
    dead = {view.order_id for view in look.orders if view.status in TERMINAL and view.executed == 0}
    if dead.issuperset(state.twins):
        turn.close("cancelled")


def _running_since(turn: Turn) -> int:
    """wall_ms since when the leg that is to be filled now runs: the release is the instant of the last buy (§ 7.1)."""
    pair = turn.pair
    since = pair.placed_ms if pair.placed_ms is not None else turn.at.wall_ms
    if pair.pending.released and pair.working.updated_ms is not None:
        since = max(since, pair.working.updated_ms)
    return since


def _ended_by_others(turn: Turn, leg: Leg) -> None:
    turn.wish(oto.AskPause("EXTERNAL_ORDER", f"{leg.name} leg {leg.order_id} was {leg.status} by somebody else"))
    turn.pair = replace(turn.pair, cancel_cause="external")
    ending.start(turn)
