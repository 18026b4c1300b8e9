"""What a live pair is doing, in a sentence with its inputs: for `otoctl why`. Pure; times are told in UTC."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import assert_never

from actors.domain import oto
from actors.domain.pair import Pair, accounts
from actors.domain.proof import Absence, Instant


def plain(amount: Decimal) -> str:
    """Without zeros that say nothing."""
    return f"{amount.normalize():f}"


def doing(state: oto.LiveState, at: Instant) -> str:
    """E.g. "pair 7: buy 1.04 at 48, sell at 47.9, planned at 48; bought 0.4, sold 0; its time is up at 12:04:10"."""
    pair = state.live.pair
    return f"{_plan(pair)}; {_stage(state, at)}"


def _plan(pair: Pair) -> str:
    plan = pair.plan
    prices = f"buy {plain(plan.quantity)} at {plain(plan.buy_price)}, sell at {plain(plan.sell_price)}"
    return f"pair {plan.number}: {prices}, planned at {plain(plan.reference)}"


def _stage(state: oto.LiveState, at: Instant) -> str:
    match state:
        case oto.Placing(durable=durable):
            return "its request is in the air" if durable else "its intent is being made durable"
        case oto.Unresolved(absence=absence, twins=twins, live=live):
            return _doubt("its request", absence, twins, live.pair, at)
        case oto.Open(deadline=deadline):
            return f"{_progress(state.live.pair)}; its time is up at {_moment(deadline, at)}"
        case oto.TimedOut():
            return f"{_progress(state.live.pair)}; {_cause(state.live.pair)}, the cancel is being made durable"
        case oto.Cancelling():
            return _cancelling(state, at)
        case oto.Unwinding():
            return _unwinding(state, at)
        case oto.Reconciling():
            return "taken up after a restart: the exchange is heard before anything is decided"
        case _:
            assert_never(state)


def _progress(pair: Pair) -> str:
    sums = accounts(pair)
    return f"bought {plain(sums.bought)}, sold {plain(sums.sold)}"


def _cause(pair: Pair) -> str:
    return {
        None: "to be ended",
        "timeout": "out of time",
        "operator": "cancelled by an operator",
        "stop": "stopped",
        "external": "ended by somebody else",
        "rejected": "its sale was refused",
        "given_up": "given up",
    }[pair.cancel_cause]


def _cancelling(state: oto.Cancelling, at: Instant) -> str:
    pair = state.live.pair
    told = f"{_progress(pair)}; {_cause(pair)}, {state.target} leg to be cancelled, {state.tries} tries"
    if state.absence is not None:
        return f"{told}; {_looks(state.absence, pair)} show no other leg of it"
    return f"{told}, the next at {_moment(state.retry_due, at)} unless both legs are over"


def _unwinding(state: oto.Unwinding, at: Instant) -> str:
    pair = state.live.pair
    config = pair.rules.config
    left = f"{_progress(pair)}; {_cause(pair)}, what is left is sold"
    if state.absence is not None:
        return f"{left}: {_doubt('a sale', state.absence, state.twins, pair, at)}"
    ladder = f"{state.rung} steps of {plain(config.unwind_step_percent)} % below the market"
    floor = f"at most {plain(config.unwind_floor_percent)} % below the average buy price"
    refused = f"; last refusal: {state.refusal}" if state.refusal else ""
    return f"{left} {ladder}, {floor}; next step at {_moment(state.due, at)}{refused}"


def _doubt(what: str, absence: Absence, twins: tuple[str, ...], pair: Pair, at: Instant) -> str:
    if twins:
        return f"orders {', '.join(twins)} could all be {what}: a human has to end them on the site"
    soonest = _moment(absence.doubt_ms + pair.rules.settle_ms, at)
    return f"{what} got no answer; {_looks(absence, pair)} show nothing of it, absence is proven at {soonest} at best"


def _looks(absence: Absence, pair: Pair) -> str:
    return f"{absence.clean} of {pair.rules.looks} clean looks"


def _moment(mono_ms: int, at: Instant) -> str:
    wall_ms = at.wall_ms + mono_ms - at.mono_ms
    return datetime.fromtimestamp(wall_ms / 1000, tz=UTC).strftime("%H:%M:%S")
