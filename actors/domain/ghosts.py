"""A closed pair goes on listening: late fills of its orders are booked to it, and an order that lives after all (a
ghost) opens it again and pauses its user (design § 4).

Old news is no news: a frame that was late, or the word that a leg which nobody heard of has ended, changes a row and
nothing else. Invented fills are still replaced by real ones when these can be read at last.
"""

from __future__ import annotations

from msgspec.structs import replace

from actors.domain import oto, unwind
from actors.domain.absorb import Turn, fresh_live, wanted_pair
from actors.domain.legs import Leg
from actors.domain.orders import NoAnswer, OrderReport
from actors.domain.pair import Pair
from actors.domain.proof import Instant, by_age, candidates, matches_report
from actors.errors import IllegalEvent


def may_claim(closed: oto.Closed, report: OrderReport) -> bool:
    """Whether a report of an order that nobody owns is of this closed pair: of it, of its list, or of a sale of it."""
    if not oto.wants_unknown(closed):
        return closed.pair.leg_of(report.order_id) is not None and report.symbol == closed.pair.plan.symbol
    turn = _listening(closed, Instant(0, 0))
    pair = closed.pair
    if pair.working.order_id is None and matches_report(wanted_pair(pair), report):
        return True
    return turn.knows(report) or unwind.claim_ghosts(turn, (report,), ())


def heard(closed: oto.Closed, event: oto.Event, at: Instant) -> tuple[oto.Closed, tuple[oto.Effect, ...], Turn | None]:
    """What a closed pair makes of an event: its new state and effects, and, if the pair has to be followed again, the
    turn in which it is to be settled.

    Raises: IllegalEvent, for the ending of a request that a closed pair cannot have had in the air.
    """
    match event:
        case oto.Durable(what="cancel"):
            return closed, (), None
        case oto.Judged(order_id=order_id) if closed.twins and order_id in (None, *closed.twins):
            return _judged(closed, order_id, at)
        case oto.Judged() | oto.PlaceEnded() | oto.SaleEnded() | oto.Cancel() | oto.Durable():
            what = f"{type(event).__name__} for a closed pair"
            raise IllegalEvent(what, where=closed.pair.plan.pair_id, do="report this bug")
        case oto.CancelEnded(outcome=NoAnswer(trouble=trouble, text=text)):
            turn = _listening(closed, at)
            turn.trouble(trouble, text)
            return closed, tuple(turn.effects), None
        case oto.Reported() | oto.Looked() | oto.ExecutionsRead():
            return _news(closed, event, at)
        case _:
            return closed, (), None


def _news(
    closed: oto.Closed, event: oto.Reported | oto.Looked | oto.ExecutionsRead, at: Instant
) -> tuple[oto.Closed, tuple[oto.Effect, ...], Turn | None]:
    turn = _listening(closed, at)
    closed = _adopt_ghost(turn, closed, event)
    turn.absorb(event)
    before, after = closed.pair, turn.pair
    if any(_is_ghost(before, leg) or _lives(leg) for leg in after.legs()):
        what = f"pair {turn.where} was closed as {closed.outcome}, and there is an order of it"
        turn.wish(oto.AskPause("ORDER_UNRESOLVED", what))
    elif _sums(before) != _sums(after):
        what = f"pair {turn.where} was closed as {closed.outcome}, and then fills of it were told"
        turn.wish(oto.AskPause("LEDGER_MISMATCH", what))
    else:
        if any(_gist(leg) != _gist(known) for leg, known in zip(after.legs(), before.legs(), strict=True)):
            closed = replace(closed, pair=after)
        return closed, _quietly(turn, event), None
    turn.pair = replace(after, closed_ms=None, placed_ms=after.placed_ms or at.wall_ms)
    return closed, (), turn


def _judged(
    closed: oto.Closed, order_id: str | None, at: Instant
) -> tuple[oto.Closed, tuple[oto.Effect, ...], Turn | None]:
    """A human says which of the twins is the ghost: the pair lives on with it; or that none is."""
    others = frozenset(closed.twins) - {order_id}
    pair = replace(closed.pair, disowned=closed.pair.disowned | others)
    closed = replace(closed, pair=pair, twins=())
    if order_id is None:
        return closed, (), None
    turn = _listening(closed, at)
    turn.adopt(order_id, None)
    turn.pair = replace(turn.pair, closed_ms=None, placed_ms=turn.pair.placed_ms or at.wall_ms)
    return closed, (), turn


def _adopt_ghost(turn: Turn, closed: oto.Closed, event: oto.Event) -> oto.Closed:
    """Two that may both be the ghost are told once, and neither is followed."""
    reports = (event.report,) if isinstance(event, oto.Reported) else ()
    views = event.look.orders if isinstance(event, oto.Looked) else ()
    if not oto.wants_unknown(closed):
        return closed
    if turn.pair.working.order_id is None:
        found = candidates(wanted_pair(turn.pair), reports, views)
        twins = by_age({*closed.twins, *found})
        if len(twins) > 1:
            if twins != closed.twins:
                what = f"orders {', '.join(twins)} could all be pair {turn.where}, which was closed as {closed.outcome}"
                turn.wish(oto.AskPause("ORDER_UNRESOLVED", what))
            return replace(closed, twins=twins)
        if found:
            turn.adopt(found[0], None)
    unwind.claim_ghosts(turn, reports, views)
    return closed


def _quietly(turn: Turn, event: oto.Event) -> tuple[oto.Effect, ...]:
    """Effects of news that changes nothing. A contradiction is told when it comes, not with every later look."""
    if not isinstance(event, oto.Looked):
        return (*turn.effects, *(oto.Unclaimed(report) for report in turn.live.early))
    reads = [oto.ReadExecutions(leg.order_id) for leg in turn.pair.legs() if leg.synthetic and leg.order_id is not None]
    return (*(e for e in turn.effects if isinstance(e, oto.AskPause) and e.reason == "ORDER_UNRESOLVED"), *reads)


def _listening(closed: oto.Closed, at: Instant) -> Turn:
    return Turn(oto.Reconciling(live=fresh_live(closed.pair, at)), at)


def _is_ghost(before: Pair, leg: Leg) -> bool:
    """An order that was taken for absent. (A pending leg that is heard of at last is no surprise.)"""
    return leg.name != "pending" and leg.order_id is not None and before.leg_of(leg.order_id) is None


def _lives(leg: Leg) -> bool:
    """An order in the book, or fills that are owed. A leg that was never released does not live by its word alone."""
    if leg.order_id is None:
        return False
    if leg.booked < leg.told:
        return True
    return not leg.terminal and (leg.name != "pending" or leg.released)


def _gist(leg: Leg) -> tuple[object, ...]:
    """What makes a row worth writing again: not that REST dates the last change of an order otherwise."""
    return leg.order_id, leg.status, leg.quantity, leg.told, leg.told_quote, leg.fills


def _sums(pair: Pair) -> tuple[object, ...]:
    """What was traded, leg by leg: an invented fill and the real ones in its place are the same."""
    return tuple((leg.order_id, leg.booked, leg.booked_quote) for leg in pair.legs() if leg.fills)
