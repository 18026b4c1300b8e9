"""Events in words, for people who watch: what was bought and sold, what closed, what paused, what crashed. Pure.

Most events are steps on the way to one of these and have no headline; `otoctl events` shows them all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from supervisor.screen import event_text, money

Payload = Mapping[str, Any]


def headline(topic: str, kind: str, at: str, payload: Payload) -> str | None:
    """One line, "10:00:03 alice bought 1.0407 at 48.0443"; None for what people need not see.

    at: RFC 3339. payload: as it is on the wire, amounts as text.
    """
    area, _, user = topic.partition(".")
    try:
        text = _SAY[area](user, kind, payload)
    except (LookupError, TypeError, ArithmeticError):  # not as we know it: show it as it is, a picture must not fail
        return event_text(topic, kind, at, payload)
    return f"{at[11:19]} {text}" if text else None


def _fill(user: str, kind: str, it: Payload) -> str:
    did = "bought" if it.get("side") == "BUY" else "sold"
    price = f"{Decimal(it['price']):.8g}"
    return f"{user} {did} {it['quantity']} at {price} for {money(Decimal(it['quote']), 2)} USDT"


def _pair(user: str, kind: str, it: Payload) -> str | None:
    if it.get("outcome") is None:
        return None
    wear = "" if it.get("wear") is None else f", wear {money(Decimal(it['wear']), 4)} USDT"
    return f"{it['pair_id']} {it['outcome']}{wear}"


def _pause(user: str, kind: str, it: Payload) -> str:
    if kind == "resumed":
        return f"{user} resumed from {it['reason']} ({it['who']})"
    return f"{user} PAUSED {it['reason']}: {it['detail']}"


def _progress(user: str, kind: str, it: Payload) -> str | None:
    return f"{user} reached the day's target" if kind == "target_reached" else None


def _actor(user: str, kind: str, it: Payload) -> str | None:
    path = it["path"] or "the root"
    match kind:
        case "crashed":
            return f"{path} crashed: {'; '.join(it['errors'])}"
        case "ready" if it["incarnation"] > 1:
            return f"{path} runs again, incarnation {it['incarnation']}"
        case "parked" | "stuck":
            return f"{path} is {kind}: {it['why']}"
        case _:
            return None


def _stream(user: str, kind: str, it: Payload) -> str:
    told = ", ".join(str(value) for value in it.values() if value)
    return f"{kind.replace('_', ' ')}: {told}"


_SAY: dict[str, Callable[[str, str, Payload], str | None]] = {
    "fill": _fill,
    "pair": _pair,
    "pause": _pause,
    "progress": _progress,
    "actor": _actor,
    "stream": _stream,
    "system": _stream,
    "order": lambda user, kind, it: None,
}
