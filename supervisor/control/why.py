"""Why does a user trade, or not? The answer in sentences, from snapshots. Pure."""

from __future__ import annotations

from actors.domain.quotes import Quote
from actors.domain.trading import Phase, WaitingFor
from actors.messages import TraderSnapshot
from supervisor.control.protocol import amount, rfc3339, rounded
from supervisor.lifecycle import Node

_WAITING: dict[WaitingFor, str] = {
    "self_trade": "an order of another user of this daemon stands in the way; first come, first served",
    "price_stale": "the last trade is too old, and the exchange has not yet confirmed that nothing newer exists",
    "volatility": "the range of the last 60 s is above the user's threshold",
    "credit_lag": "the wallet does not show the last sale's proceeds yet",
    "interval": "the rest between two pairs",
    "actor_restart": "one of our own actors is starting again",
    "rate": "the exchange's request limit",
}
_PHASES: dict[Phase, str] = {
    "idle": "no pair is live",
    "done": "the day's target is reached; it goes on at 00:00 UTC",
    "placing": "a pair is being placed",
    "unresolved": "the outcome of a placement is unknown: proofs are being gathered, nothing is placed until then",
    "working": "the buy rests on the book without a fill",
    "partially_filled": "the buy is partly filled",
    "selling": "the buy is filled, the sale is under way",
    "timed_out": "the pair ran out of time; its cancel is being recorded",
    "cancelling": "the pair is being cancelled",
    "unwinding": "what a cancelled pair left is being sold",
    "reconciling": "our records are being compared with the exchange",
}


def reasons(
    user: str, snapshot: TraderSnapshot | None, quote: Quote | None, node: Node | None, *, now_ms: int
) -> list[str]:
    """The most decisive first."""
    told: list[str] = []
    if node is None:
        told.append("it has no trader in the tree")
    elif node.state != "running":
        told.append(f"its trader is {node.state}" + (f", waiting for {node.waiting_for}" if node.waiting_for else ""))
    if snapshot is None:
        return [*told, "its trader has not told anything yet"]
    if snapshot.wanted == "stopped":
        told.append(f"nobody wants it to trade: trading.start {user}")
    for pause in snapshot.pauses:
        hint = f"; {pause.hint}" if pause.hint else ""
        told.append(f"paused {pause.reason} since {rfc3339(pause.since_ms)}: {pause.detail or 'no detail'}{hint}")
    told.append(f"{snapshot.phase} for {max(now_ms - snapshot.since_ms, 0) / 1000:.1f} s: {_PHASES[snapshot.phase]}")
    if snapshot.waiting is not None:
        detail = f" ({snapshot.waiting.detail})" if snapshot.waiting.detail else ""
        told.append(f"waiting for {snapshot.waiting.wait}: {_WAITING[snapshot.waiting.wait]}{detail}")
    if not snapshot.stream_connected:
        told.append("its order stream is not connected")
    if quote is not None:
        told.append(_price(quote, now_ms))
    return told


def _price(quote: Quote, now_ms: int) -> str:
    age_s = max(now_ms - quote.trade_ms, 0) / 1000
    connected = "" if quote.connected else ", stream down"
    spread = "" if quote.bid is None or quote.ask is None else f", bid {amount(quote.bid)} ask {amount(quote.ask)}"
    return (
        f"{quote.symbol} last {amount(quote.price)}, {age_s:.1f} s old{spread},"
        f" 60 s range {rounded(quote.range_percent, 2)} %{connected}"
    )
