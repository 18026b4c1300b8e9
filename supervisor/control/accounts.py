"""account.*, stats.*, lists and single pairs: what a user has, had, and did."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from decimal import Decimal
from functools import partial
from typing import Any, TypeVar

import trio

from actors.domain.orders import TERMINAL, Balance
from actors.errors import ExchangeError, NotSent, OtodError, ProtocolChanged, Refusal
from actors.messages import ListOrders, ListPairs, PairDetail, ShowPair
from actors.ports import PrivateExchange
from actors.statistics import PARTS, Statistics, StatisticsRecord, points
from supervisor.control import views
from supervisor.control.office import Call
from supervisor.control.protocol import amount, did_you_mean, plain, rfc3339, rounded
from supervisor.control.records import ask_store, progress, statistics, timeline

EXCHANGE_ANSWERS_S_MAX = 9.0  # less than the request's own deadline, so that our word is the better one
DAY_MS = 86_400_000
HISTORY_DAYS_MAX = 31
ORDER_STATUSES = TERMINAL | {"NEW", "PENDING", "PENDING_NEW", "PARTIALLY_FILLED"}  # of which we know

T = TypeVar("T")


# -- the exchange's word


async def balance(call: Call, user: str) -> dict[str, Any]:
    exchange = _exchange(call, user)
    assets: list[dict[str, Any]] = []
    for what, asking in (("wallets", exchange.wallets), ("alpha_wallet", exchange.alpha_wallet)):
        assets += [_asset(held) for held in await _of_exchange(call, user, what, asking) if held.total]
    totals: dict[str, Decimal] = {}
    for each in assets:
        totals[each["asset"]] = totals.get(each["asset"], Decimal(0)) + Decimal(each["total"])
    spendable = [each["available"] for each in assets if (each["wallet"], each["asset"]) == ("funding", "USDT")]
    return {
        "assets": assets,
        "totals": {asset: amount(total) for asset, total in totals.items()},
        "spendable": spendable[0] if spendable else "0",
        "read_at": rfc3339(call.office.wall.now_ms()),
    }


def _asset(held: Balance) -> dict[str, Any]:
    return {
        "wallet": held.wallet,
        "asset": held.asset,
        "available": amount(held.free),
        "frozen": amount(held.frozen),
        "total": amount(held.total),
    }


def _exchange(call: Call, user: str) -> PrivateExchange:
    """Raises: Refusal, it would not be let in: there is nothing to ask."""
    record = call.office.records().get(user)
    if record is not None and record.credentials == "none":
        do = f"user.set-credentials: otoctl user set-credentials {user}"
        raise Refusal("it has no credentials yet", where=user, do=do)
    return call.office.exchange(user)


async def _of_exchange(call: Call, user: str, what: Hashable, asking: Callable[[], Awaitable[T]]) -> T:
    """The exchange's answer, or a refusal that says what it said: its trouble is no fault of ours.

    what: the question; with other credentials it is another one.
    """
    record = call.office.records().get(user)
    sealed = record.sealed if record is not None else None
    try:
        with trio.fail_after(EXCHANGE_ANSWERS_S_MAX * call.rate):
            return await call.lately.ask(user, (what, sealed and sealed.stored_at), asking)
    except trio.TooSlowError:
        what = f"the exchange gave no answer within {EXCHANGE_ANSWERS_S_MAX:g} s"
        raise Refusal(what, code="TIMEOUT", where=user, do="ask again in a while") from None
    except (ExchangeError, ProtocolChanged) as error:
        raise _in_words(user, error) from error


def _in_words(user: str, error: ExchangeError | ProtocolChanged) -> Refusal:
    if isinstance(error, ProtocolChanged):
        return Refusal(f"the exchange's answer has an unknown shape: {error.what}", where=user, do="upgrade otod")
    hints = {
        "session": f"the login has expired: hand over new credentials, user.set-credentials {user}",
        "human": "pass the verification on the exchange's site, then hand over new credentials",
        "throttled": "wait, the exchange asks for it",
        "blocked": "the exchange's front end blocks us: look at the site with a browser",
    }
    sent = "was not asked" if isinstance(error, NotSent) else "answered"
    return Refusal(
        f"the exchange {sent}: {error.what}", where=error.where or user, do=hints.get(error.trouble, "ask again later")
    )


async def volume(call: Call, user: str) -> dict[str, Any]:
    """Today by the exchange's own figure, earlier days by its history; beside it what our fills say."""
    now_ms = call.office.wall.now_ms()
    today_ms = now_ms - now_ms % DAY_MS
    since_ms = today_ms if call.args["since"] is None else call.args["since"]
    until_ms = call.args["until"]
    if until_ms is not None and until_ms <= since_ms:
        raise Refusal("until is not after since", code="BAD_ARGUMENT", do="since comes first")
    own: StatisticsRecord = await ask_store(call, Statistics(user=user, since_ms=since_ms, until_ms=until_ms))
    if since_ms > now_ms:
        raise Refusal("since is yet to come", code="BAD_ARGUMENT", do="name a time that is over")
    told: dict[str, Any] = {
        "since": rfc3339(since_ms),
        "until": None if until_ms is None else rfc3339(until_ms),
        "own": {
            "volume": amount(own.bought.quote),
            "counted_volume": amount(own.counted_volume),
            "trades": own.bought.fills,
        },
    }
    told["exchange"] = await _volume_there(call, user, since_ms, until_ms, today_ms, now_ms)
    told["points_today"] = None
    if since_ms == today_ms and until_ms is None:
        told["points_today"] = points(own.counted_volume)
        told["score"] = await _score(call, user)
    return told


async def _volume_there(
    call: Call, user: str, since_ms: int, until_ms: int | None, today_ms: int, now_ms: int
) -> dict[str, Any]:
    """An exchange that gives no answer takes nothing away from our own figures."""
    try:
        exchange = _exchange(call, user)
        if since_ms == today_ms and until_ms is None:
            counted = await _of_exchange(call, user, "user_volume", exchange.user_volume)
            return {"volume": None, "counted_volume": rounded(counted, 8), "trades": None, "from": "today's volume"}
        end_ms = min(until_ms or now_ms + DAY_MS, now_ms + DAY_MS)
        if end_ms - since_ms > HISTORY_DAYS_MAX * DAY_MS:
            return {"error": f"history is asked for {HISTORY_DAYS_MAX} days at most; name a shorter period"}
        history = partial(exchange.history, start_ms=since_ms, end_ms=end_ms)
        rows = await _of_exchange(call, user, ("history", since_ms, until_ms), history)
    except Refusal as refusal:
        return {"error": str(refusal)}
    bought = [row for row in rows if row.side == "BUY" and row.executed > 0]
    quotes = [row.executed * row.price if row.executed_quote is None else row.executed_quote for row in bought]
    return {
        "volume": amount(sum(quotes, Decimal(0))),
        "counted_volume": None,
        "trades": len(bought),
        "from": "buy orders of its history",
    }


async def _score(call: Call, user: str) -> dict[str, Any] | None:
    """The exchange's points of the last 15 days, if it tells them."""
    try:
        score = await _of_exchange(call, user, "user_score", _exchange(call, user).user_score)
    except OtodError:
        return None
    days = [{"day": day.date, "points": day.points, "volume": amount(day.volume)} for day in score.days]
    return {"score": amount(score.score), "days": days}


# -- our own records


async def list_orders(call: Call, user: str) -> dict[str, Any]:
    """Any word of the exchange's is looked for; one that nobody knows and no order has is a slip, not an empty list."""
    total, rows = await ask_store(call, ListOrders(user=user, **_list_bounds(call)))
    status = call.args["status"]
    if not total and status is not None and status not in ORDER_STATUSES:
        near = did_you_mean(status, ORDER_STATUSES, say="known are")
        raise Refusal(f"no order has the status '{status}'", code="BAD_ARGUMENT", where=user, do=near)
    return views.page(total, call.args["page"], call.args["limit"], [views.order(row) for row in rows])


async def list_pairs(call: Call, user: str) -> dict[str, Any]:
    total, rows = await ask_store(call, ListPairs(user=user, **_list_bounds(call)))
    return views.page(total, call.args["page"], call.args["limit"], [views.pair(row) for row in rows])


async def show_pair(call: Call, user: str) -> dict[str, Any]:
    pair_id = call.args["pair_id"]
    found: PairDetail | None = await ask_store(call, ShowPair(user, pair_id))
    if found is None:
        raise Refusal(
            f"{user} has no pair '{pair_id}'", code="PAIR_UNKNOWN", do=f"see pairs.list: otoctl pairs list {user}"
        )
    wear = {part: plain(getattr(found.pair, f"wear_{part}")) for part in PARTS}
    return views.pair(found.pair) | {
        "wear_parts": wear,
        "cancel_cause": found.pair.cancel_cause,
        "orders": [views.order(row) for row in found.orders],
        "fills": [views.fill(row) for row in found.fills],
        "changes": [views.change(row) for row in found.changes],
        "timeline": timeline(found),
    }


def _list_bounds(call: Call) -> dict[str, Any]:
    args = call.args
    return {
        "status": args["status"],
        "since_ms": args["since"],
        "until_ms": args["until"],
        "page": args["page"],
        "limit": args["limit"],
    }


ON_USERS = {
    "account.balance": balance,
    "account.volume": volume,
    "stats.show": statistics,
    "stats.progress": progress,
    "orders.list": list_orders,
    "pairs.list": list_pairs,
    "pair.show": show_pair,
}
