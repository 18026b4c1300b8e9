"""What snapshots and rows look like on the outside: the objects of contract § 3. Pure.

Keys are the contract's; a key more is allowed there, a key less or another shape is not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

from actors.domain.quotes import Quote
from actors.domain.trading import Pause
from actors.messages import FeedSnapshot, Progress, TraderSnapshot, UserRecord
from actors.rows import AuditRow, FillRow, OrderRow, PairRow, StateChangeRow
from actors.statistics import points
from supervisor.control.protocol import amount, plain, rfc3339, rounded
from supervisor.lifecycle import Node
from supervisor.users import can_trade

BPS = Decimal(10_000)


# -- a user


def trading(snapshot: TraderSnapshot) -> dict[str, Any]:
    """The answer of every trading command."""
    return {
        "wanted": snapshot.wanted,
        "phase": snapshot.phase,
        "waiting": _waiting(snapshot),
        "pauses": [pause(each) for each in snapshot.pauses],
        "since": rfc3339(snapshot.since_ms),
        "pair": _pair_glance(snapshot),
        "progress": None if snapshot.progress is None else _progress_glance(snapshot.progress),
    }


def trading_before_start(record: UserRecord, *, since_ms: int) -> dict[str, Any]:
    """The same for a trader that has published nothing yet: only what the store knows."""
    return {
        "wanted": record.user.wanted,
        "phase": "reconciling",
        "waiting": {"for": "actor_restart", "since": rfc3339(since_ms)},
        "pauses": [
            {"reason": row.reason, "since": rfc3339(row.since_at), "detail": row.detail, "hint": row.hint}
            for row in record.pauses
        ],
        "since": rfc3339(since_ms),
        "pair": None,
        "progress": None,
    }


def trading_unconfigured(record: UserRecord) -> dict[str, Any]:
    """The same for a user that has no trader, because there is nothing to trade."""
    return {
        "wanted": record.user.wanted,
        "phase": "idle",
        "waiting": None,
        "pauses": [],
        "since": rfc3339(record.user.updated_at),
        "pair": None,
        "progress": None,
    }


def pause(each: Pause) -> dict[str, Any]:
    return {"reason": each.reason, "since": rfc3339(each.since_ms), "detail": each.detail, "hint": each.hint}


def _waiting(snapshot: TraderSnapshot) -> dict[str, Any] | None:
    waiting = snapshot.waiting
    if waiting is None:
        return None
    shown = {"for": waiting.wait, "since": rfc3339(waiting.since_ms)}
    return shown | {"detail": waiting.detail} if waiting.detail else shown


def _pair_glance(snapshot: TraderSnapshot) -> dict[str, Any] | None:
    pair = snapshot.pair
    if pair is None:
        return None
    return {
        "pair_id": pair.pair_id,
        "buy_price": amount(pair.buy_price),
        "sell_price": amount(pair.sell_price),
        "quantity": amount(pair.quantity),
        "filled": amount(pair.filled),
    }


def _progress_glance(progress: Progress) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "volume": amount(progress.volume),
        "target": amount(progress.target),
        "percent": rounded(progress.percent, 2),
        "pairs": progress.pairs,
        "pairs_to_go": progress.pairs_to_go,
    }
    if progress.target_points is not None:
        shown["target_points"] = progress.target_points
    return shown


def progress_today(progress: Progress) -> dict[str, Any]:
    shown = {
        "day": progress.day,
        "volume": amount(progress.volume),
        "counted_volume": amount(progress.counted_volume),
        "target": amount(progress.target),
        "percent": rounded(progress.percent, 2),
        "pairs": progress.pairs,
        "pairs_to_go": progress.pairs_to_go,
        "points": points(progress.counted_volume),
        "wear": amount(progress.wear),
        "wear_bps": wear_bps(progress),
    }
    if progress.target_points is not None:
        shown["target_points"] = progress.target_points
    return shown


def wear_bps(progress: Progress) -> str | None:
    """Wear is known of closed pairs, so it is set against their volume where the trader tells it."""
    closed = progress.closed_volume
    return bps(progress.wear, progress.volume if closed is None else closed)


def bps(wear: Decimal, volume: Decimal) -> str | None:
    return rounded(wear / volume * BPS, 1) if volume else None


def user(record: UserRecord, snapshot: TraderSnapshot | None) -> dict[str, Any]:
    token = record.config.token if record.config else None
    return {
        "user": record.user.user,
        "display_name": record.user.display_name,
        "email": record.user.email,
        "token": token,
        "wanted": snapshot.wanted if snapshot else record.user.wanted,
        "phase": snapshot.phase if snapshot else "reconciling" if can_trade(record) else "idle",
        "credentials": record.credentials,
        "revision": record.revision,
    }


# -- rows and prices


def page(total: int, number: int, limit: int, items: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {"total": total, "page": number, "limit": limit, "items": list(items)}


def order(row: OrderRow) -> dict[str, Any]:
    return {
        "order_id": row.order_id,
        "pair_id": row.pair_id,
        "token": row.token,
        "leg": row.leg,
        "side": row.side,
        "price": amount(row.price),
        "quantity": amount(row.quantity),
        "executed_quantity": amount(row.executed_quantity),
        "executed_quote": amount(row.executed_quote),
        "status": row.status,
        "created_at": rfc3339(row.created_at),
        "updated_at": rfc3339(row.updated_at),
    }


_PAIR_FIELDS = (
    "pair_id", "number", "token", "symbol", "status", "outcome", "reference_price", "buy_price", "sell_price",
    "quantity", "buy_quote", "sell_quote", "wear", "wear_bps", "counted_volume", "working_order_id",
    "pending_order_id", "intent_at", "placed_at", "closed_at",
)  # fmt: skip


def pair(row: PairRow) -> dict[str, Any]:
    shown: dict[str, Any] = plain({name: getattr(row, name) for name in _PAIR_FIELDS})
    if row.wear_bps is not None:
        shown["wear_bps"] = rounded(row.wear_bps, 2)
    return shown


def fill(row: FillRow) -> dict[str, Any]:
    return {
        "fill_id": row.fill_id,
        "order_id": row.order_id,
        "leg": row.leg,
        "side": row.side,
        "price": amount(row.price),
        "quantity": amount(row.quantity),
        "quote_quantity": amount(row.quote_quantity),
        "commission": amount(row.commission),
        "commission_asset": row.commission_asset,
        "mul_point": amount(row.mul_point),
        "source": row.source,
        "exchange_time": rfc3339(row.exchange_time),
    }


def change(row: StateChangeRow) -> dict[str, Any]:
    return {
        "happened_at": rfc3339(row.happened_at),
        "from": row.from_phase,
        "event": row.event,
        "to": row.to_phase,
        "detail": row.detail,
    }


def audit(row: AuditRow) -> dict[str, Any]:
    """before and after as they were written: JSON, or a word."""
    return {
        "happened_at": rfc3339(row.happened_at),
        "who": row.who,
        "user": row.user,
        "action": row.action,
        "before": row.before,
        "after": row.after,
    }


def price(feed: FeedSnapshot, quote: Quote, *, now_ms: int) -> dict[str, Any]:
    return {
        "token": feed.market.token.name,
        "symbol": quote.symbol,
        "price": amount(quote.price),
        "at": rfc3339(quote.trade_ms),
        "age_s": max(now_ms - quote.trade_ms, 0) / 1000,
        "range_60s_percent": rounded(quote.range_percent, 2),
        "connected": quote.connected,
        "bid": None if quote.bid is None else amount(quote.bid),
        "ask": None if quote.ask is None else amount(quote.ask),
    }


# -- the tree


def tree(node: Node) -> dict[str, Any]:
    """kind is told of what is no actor: group, family. restarts: deaths in the window of the restart budget."""
    children = [tree(child) for child in node.children]
    if not node.path:
        return {"path": "", "state": node.state, "children": children}
    mailbox, crash = node.mailbox, node.last_crash
    shown: dict[str, Any] = {
        "path": node.path,
        "state": node.state,
        "incarnation": node.incarnation,
        "restarts": node.restarts,
        "uptime_s": None if node.uptime_s is None else round(node.uptime_s, 1),
        "mailbox": mailbox and {"depth": mailbox.depth, "high": mailbox.high, "capacity": mailbox.capacity},
        "last_crash": crash
        and {"at": rfc3339(crash.at_ms), "type": crash.type, "message": crash.message, "place": crash.place},
        "children": children,
    }
    if node.kind != "actor":
        shown["kind"] = node.kind
    if node.waiting_for:
        shown["waiting_for"] = node.waiting_for
    return shown


def walk(node: Node) -> Iterator[Node]:
    """All nodes below the root, parents first; the root itself is left out."""
    for child in node.children:
        yield child
        yield from walk(child)
