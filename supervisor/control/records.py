"""stats.*: what the store's records say of a user, as the objects outside (contract § 3)."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import trio
from msgspec.structs import asdict

from actors.messages import PairDetail
from actors.statistics import PARTS, DayFigures, OfToken, Statistics, StatisticsRecord, Wear, mean_price
from supervisor.control import views
from supervisor.control.office import Call
from supervisor.control.protocol import amount, mean_price_text, rfc3339, rounded

STORE_ANSWERS_S_MAX = 8.0  # a query behind a checkpoint of a slow disk
DAY_MS = 86_400_000
DAYS_SHOWN_MAX = 400  # a reply frame holds more, a reader does not


async def ask_store(call: Call, question: Any) -> Any:
    return await call.office.store.ask(question, within_s=STORE_ANSWERS_S_MAX * call.rate)


async def statistics(call: Call, user: str) -> dict[str, Any]:
    since_ms, until_ms = call.args["since"], call.args["until"]
    found: StatisticsRecord = await ask_store(call, Statistics(user=user, since_ms=since_ms, until_ms=until_ms))
    snapshot = call.office.snapshot(user)
    now_progress = None if snapshot is None or snapshot.progress is None else snapshot.progress
    return {
        "since": None if since_ms is None else rfc3339(since_ms),
        "until": None if until_ms is None else rfc3339(until_ms),
        **figures(found),
        "today": None if now_progress is None else views.progress_today(now_progress),
    }


async def progress(call: Call, user: str) -> dict[str, Any]:
    snapshot = call.office.snapshot(user)
    since_ms, now_ms = call.args["since"], call.office.wall.now_ms()
    start_ms = (now_ms if since_ms is None else since_ms) // DAY_MS * DAY_MS
    day = rfc3339(start_ms)[:10]
    if snapshot is not None and snapshot.progress is not None and snapshot.progress.day == day:
        await trio.lowlevel.checkpoint()
        return views.progress_today(snapshot.progress)
    asked = Statistics(user=user, since_ms=start_ms, until_ms=start_ms + DAY_MS)
    found: StatisticsRecord = await ask_store(call, asked)
    return progress_of_day(found.days[-1] if found.days else DayFigures(day=day))


def timeline(found: PairDetail) -> list[dict[str, str]]:
    """What happened to a pair in its order, each event in a few words: states, orders, fills."""
    events: list[tuple[int, int, str]] = []
    for order in found.orders:
        told = f"{order.leg} order {order.order_id}: {order.side} {amount(order.quantity)} at {amount(order.price)}"
        events.append((order.created_at, 1, told))
    for fill in found.fills:
        paid = f"{amount(fill.quote_quantity)}, fee {amount(fill.commission)} {fill.commission_asset}"
        traded = f"{fill.side} {amount(fill.quantity)} at {amount(fill.price)} for {paid}"
        events.append((fill.exchange_time, 2, f"{fill.leg} fill {fill.fill_id}: {traded}"))
    for change in found.changes:
        detail = f" ({change.detail})" if change.detail else ""
        events.append((change.happened_at, 3, f"{change.from_phase} -> {change.to_phase} by {change.event}{detail}"))
    kinds = {1: "order", 2: "fill", 3: "state"}
    events.sort(key=lambda event: event[:2])  # of one moment: first what the exchange did, then what it made of us
    return [{"at": rfc3339(at_ms), "kind": kinds[kind], "what": what} for at_ms, kind, what in events]


def figures(found: StatisticsRecord) -> dict[str, Any]:
    """Amounts exact; average prices, bps and percentages rounded."""
    return {
        "volume": amount(found.bought.quote),
        "counted_volume": amount(found.counted_volume),
        "sold": amount(found.sold.quote),
        "trades": found.bought.fills + found.sold.fills,
        "average_buy_price": _price(found.mean_buy_price),
        "average_sell_price": _price(found.mean_sell_price),
        "tokens": {each.token: _of_token(each) for each in found.by_token},
        "orders": dict(found.statuses),
        "pairs": dict(found.outcomes),
        **_wear(found.wear),
        "fees": {asset: amount(fee) for asset, fee in found.fees},
        "pair_s": {
            "mean": _seconds(found.pair_ms_mean),
            "median": _seconds(found.pair_ms_median),
            "most": _seconds(found.pair_ms_max),
        },
        "points_today": found.points_today,
        "points_15_days": found.points_sum,
        "first_trade_at": None if found.first_ms is None else rfc3339(found.first_ms),
        "last_trade_at": None if found.last_ms is None else rfc3339(found.last_ms),
        "days": [progress_of_day(day) for day in found.days[-DAYS_SHOWN_MAX:]],
    }


def progress_of_day(day: DayFigures) -> dict[str, Any]:
    """A day as the records know it: with the target that was in force, if any was noted; nothing is left to go."""
    shown: dict[str, Any] = {
        "day": day.day,
        "volume": amount(day.volume),
        "counted_volume": amount(day.counted_volume),
        "target": None if day.target is None else amount(day.target),
        "percent": None if day.percent is None else rounded(day.percent, 2),
        "pairs": day.pairs,
        "pairs_to_go": None,
        "points": day.points,
        **_wear(day.wear),
        "done_at": None if day.done_ms is None else rfc3339(day.done_ms),
    }
    if day.target_points is not None:
        shown["target_points"] = day.target_points
    return shown


def _wear(wear: Wear) -> dict[str, Any]:
    parts = asdict(wear)
    return {
        "wear": amount(wear.total),
        "wear_bps": None if wear.bps is None else rounded(wear.bps, 1),
        "wear_parts": {part: amount(parts[part]) for part in PARTS},
    }


def _of_token(each: OfToken) -> dict[str, Any]:
    return {
        "volume": amount(each.bought.quote),
        "sold": amount(each.sold.quote),
        "trades": each.bought.fills + each.sold.fills,
        "average_buy_price": _price(mean_price(each.bought)),
        "average_sell_price": _price(mean_price(each.sold)),
    }


def _price(mean: Decimal | None) -> str | None:
    return None if mean is None else mean_price_text(mean)


def _seconds(ms: int | None) -> float | None:
    return None if ms is None else ms / 1000
