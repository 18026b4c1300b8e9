"""Commands about users: each is done for one user at a time, and each user's failure is its own.

Only the acting ones wait for a trader, with a deadline; what looks reads snapshots, so a stuck actor can still be seen.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import trio
from msgspec.structs import replace

from actors.errors import ActorCrashed, AskTimeout, Refusal
from actors.messages import (
    CancelPair,
    JudgeTwins,
    PauseTrading,
    ResumeTrading,
    StartTrading,
    StopTrading,
    TraderSnapshot,
)
from supervisor.control import accounts, users, views
from supervisor.control.office import Call
from supervisor.control.why import reasons

TRADER_ANSWERS_S_MAX = 5.0  # a trader that steps at all answers in milliseconds; less than any client waits
NOW_ANSWERS_S_MAX = 2.0  # `stop now` of a trader that does not answer this soon goes to the supervisor instead


# -- trading


async def _start(call: Call, user: str) -> dict[str, Any]:
    async with call.office.people.holding([user]):  # the trader writes the user's row with its wish
        _not_given_up(call, user)
        return await _ask_trader(call, user, StartTrading(call.who))


async def _pause(call: Call, user: str) -> dict[str, Any]:
    _not_given_up(call, user)
    return await _ask_trader(call, user, PauseTrading(call.who, call.args["detail"]))


async def _resume(call: Call, user: str) -> dict[str, Any]:
    if call.office.given_up(user):
        async with call.office.people.holding([user]):  # its pause is being written, or it is brought back already
            await call.office.bring_back(user)
    return await _ask_trader(call, user, ResumeTrading(call.who))


async def _cancel_pair(call: Call, user: str) -> dict[str, Any]:
    _not_given_up(call, user)
    return await _ask_trader(call, user, CancelPair(call.args["pair_id"], call.who))


async def _adopt(call: Call, user: str) -> dict[str, Any]:
    return await _ask_trader(call, user, JudgeTwins(call.args["pair_id"], call.args["order_id"], call.who))


async def _disown(call: Call, user: str) -> dict[str, Any]:
    return await _ask_trader(call, user, JudgeTwins(call.args["pair_id"], None, call.who))


async def _stop(call: Call, user: str) -> dict[str, Any]:
    if call.lacks(user):
        return await _status(call, user)  # nothing to stop: it is not trading
    async with call.office.people.holding([user]):
        return await _stop_held(call, user)


async def _stop_held(call: Call, user: str) -> dict[str, Any]:
    if call.office.given_up(user):  # it comes back with its pause: what lives is followed to its end, or cancelled now
        return _told(call, await call.office.force_stop(user, call.who, now=call.args["now"]))
    if not call.args["now"]:
        return await _ask_trader(call, user, StopTrading(call.who))
    address = call.office.trader(user)
    if address is not None:
        question = StopTrading(call.who, now=True)
        try:
            return _told(call, await address.ask(question, within_s=NOW_ANSWERS_S_MAX * call.rate))
        except (AskTimeout, ActorCrashed):
            pass  # it is wedged or just died: what follows does not need it
    return _told(call, await call.office.force_stop(user, call.who))


def _not_given_up(call: Call, user: str) -> None:
    if call.office.given_up(user):
        do = f"otoctl why {user}; then otoctl trading resume {user} brings it back"
        raise Refusal("paused: CRASHED, its trader died too often", code="PAUSED", where=user, do=do)


def _told(call: Call, snapshot: TraderSnapshot) -> dict[str, Any]:
    return views.trading(_visible(call, snapshot))


def _visible(call: Call, snapshot: TraderSnapshot) -> TraderSnapshot:
    """Without the order of somebody else that this one waits for, where the caller may not look at everybody."""
    waiting = snapshot.waiting
    if call.rights.sees_all or waiting is None or waiting.wait != "self_trade":
        return snapshot
    return replace(snapshot, waiting=replace(waiting, detail=""))


async def _ask_trader(call: Call, user: str, question: Any) -> dict[str, Any]:
    path = f"traders/{user}"
    address = call.office.trader(user)
    if lacks := call.lacks(user):
        what, _, do = lacks.partition(": ")
        raise Refusal(f"it has {what}", where=user, do=do)
    if address is None:
        raise Refusal(
            "the trader is not running", where=path, do=f"see its last crash in system.tree, then actor.restart {path}"
        )
    try:
        snapshot = await address.ask(question, within_s=TRADER_ANSWERS_S_MAX * call.rate)
    except AskTimeout as error:
        node = call.nodes().get(path)
        stuck = node is not None and node.state == "stuck"
        raise Refusal(
            f"no answer within {TRADER_ANSWERS_S_MAX:g} s; it may still come into effect",
            code="STUCK" if stuck else "TIMEOUT",
            where=path,
            do="look with trading.status; trading.stop with now works on a stuck trader, actor.restart ends it",
        ) from error
    return _told(call, snapshot)


async def _status(call: Call, user: str) -> dict[str, Any]:
    snapshot = call.office.snapshot(user)
    if snapshot is None:
        record = await call.office.user_record(user)
        if call.lacks(user):
            return views.trading_unconfigured(record)
        return views.trading_before_start(record, since_ms=call.office.started_ms)
    await trio.lowlevel.checkpoint()
    return _told(call, snapshot)


async def _why(call: Call, user: str) -> dict[str, Any]:
    snapshot = call.office.snapshot(user)
    if snapshot is not None:
        snapshot = _visible(call, snapshot)
    quote = call.office.feed(snapshot.token)[1] if snapshot and snapshot.token else None
    told = await _status(call, user)
    if lacks := call.lacks(user):
        told["because"] = [f"it has {lacks}"]
        told["decision"] = ""
        return told
    told["because"] = reasons(
        user, snapshot, quote, call.nodes().get(f"traders/{user}"), now_ms=call.office.wall.now_ms()
    )
    told["decision"] = snapshot.decision if snapshot else ""
    return told


ON_USERS: dict[str, Callable[[Call, str], Awaitable[dict[str, Any]]]] = {
    "trading.start": _start,
    "trading.pause": _pause,
    "trading.resume": _resume,
    "trading.stop": _stop,
    "trading.status": _status,
    "trading.why": _why,
    "pair.cancel": _cancel_pair,
    "pair.adopt": _adopt,
    "pair.disown": _disown,
    **users.ON_USERS,
    **accounts.ON_USERS,
}
