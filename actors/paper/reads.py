"""What an account can read of its orders: open orders, history, detail, fills; also what it could read some time ago.

Lag is exact: the account's undo log says what each order was before each change, so a read as of an earlier moment
shows the orders of that moment (faults read_lag and non_atomic, reliability F28 and F29).
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Mapping
from typing import Any

from actors.paper.accounts import Account
from actors.paper.faults import Faults
from actors.paper.listing import Listing
from actors.paper.orders import Order
from actors.paper.replies import ILLEGAL, Page, Refused, fill_row, order_row
from actors.paper.rules import Rules
from actors.paper.state import State

ROWS_DEFAULT = 50
ROWS_MOST = 500  # accepted in 2025-07 (wire § 4)
DIGITS_MOST = 18  # of ids and times
HISTORY_STATUSES = frozenset({"FILLED", "PARTIALLY_FILLED", "EXPIRED", "CANCELED", "REJECTED"})
"""What the web page asks for, and what an empty filter means."""


class Reads:
    def __init__(self, state: State, listing: Listing, rules: Rules, faults: Faults) -> None:
        self._state = state
        self._listing = listing
        self._rules = rules
        self._faults = faults

    def open_orders(self, account: Account, query: Mapping[str, str], now_ms: int) -> list[dict[str, Any]]:
        """side: BUY, SELL, empty for both. Oldest first."""
        fault = self._lag(account, "open")
        side = query.get("side", "")
        if fault:
            earlier = as_of(account, now_ms - fault)
            orders = [order for order in changed_or(account.open.values(), earlier, account) if not order.over]
        else:
            orders = list(account.open.values())
        return [
            order_row(order, self._listing.by_symbol[order.symbol], self._rules)
            for order in orders
            if side in ("", order.side) and (self._rules.open_lists_held or order.status != "PENDING")
        ]

    def history(self, account: Account, query: Mapping[str, str], now_ms: int) -> list[dict[str, Any]] | Page:
        """page from 1, rows, orderStatus (comma list), startTime/endTime on creation, baseAsset, side, kind."""
        page, rows = integer(query, "page", 1), min(integer(query, "rows", ROWS_DEFAULT), ROWS_MOST)
        if page < 1 or rows < 1 or query.get("kind", "LIMIT") not in ("", "LIMIT"):
            raise Refused(ILLEGAL, "ILLEGAL_PARAM: page, rows or kind")
        chosen = self._chosen(account, query, now_ms)
        if self._rules.history_order == "newest":
            chosen.reverse()
        found = chosen[(page - 1) * rows : page * rows]
        if found and (fault := self._faults.strike("short_history", account=account.name)):
            found = found[: -fault.rows]
        data = [order_row(order, self._listing.by_symbol[order.symbol], self._rules) for order in found]
        return Page(data, len(chosen)) if self._rules.history_total else data

    def detail(self, account: Account, query: Mapping[str, str]) -> dict[str, Any]:
        """Parameters and reply were not captured: symbol and orderId, a history row (wire § 4)."""
        order = self.find(account, query.get("symbol", ""), query.get("orderId", ""))
        if order is None:
            raise Refused(self._rules.gone_code, "no such order")
        return order_row(order, self._listing.by_symbol[order.symbol], self._rules)

    def trades(self, account: Account, query: Mapping[str, str], now_ms: int) -> list[dict[str, Any]]:
        """Fills of one order, newest first; an unknown order has none."""
        key = (query.get("symbol", ""), order_number(query.get("orderId", "")))
        until_ms = now_ms - self._lag(account, "history")
        fills = [fill for fill in account.fills_of.get(key, ()) if fill.time_ms <= until_ms]
        fills.sort(key=lambda fill: fill.page_id, reverse=True)
        several = len(fills) > 1  # true on the newest of two, false on an only fill: as captured (wire § 4.2)
        instrument = self._listing.by_symbol.get(key[0])
        if instrument is None:
            return []
        return [fill_row(fill, instrument, newest=several and i == 0) for i, fill in enumerate(fills)]

    def find(self, account: Account, symbol: str, order_id: str) -> Order | None:
        """The account's order of this id, whatever became of it."""
        order = self._state.orders.get((symbol, order_number(order_id)))
        return order if order is not None and order.account == account.name else None

    # -- inside

    def _chosen(self, account: Account, query: Mapping[str, str], now_ms: int) -> list[Order]:
        """History after all filters, oldest first."""
        start_ms, end_ms = integer(query, "startTime", 0), integer(query, "endTime", now_ms)
        words = frozenset(filter(None, query.get("orderStatus", "").split(","))) or HISTORY_STATUSES
        base, side = query.get("baseAsset", ""), query.get("side", "")
        low = bisect.bisect_left(account.orders, start_ms, key=lambda order: order.created_ms)
        high = bisect.bisect_right(account.orders, end_ms, key=lambda order: order.created_ms)
        orders: Iterable[Order] = account.orders[low:high]
        if lag := self._lag(account, "history"):
            orders = changed_or(orders, as_of(account, now_ms - lag), account)
        return [
            order
            for order in orders
            if order.status in words
            and start_ms <= order.created_ms <= end_ms
            and (not base or self._listing.by_symbol[order.symbol].base_asset == base)
            and side in ("", order.side)
            and (order.quantity or self._rules.history_shows_unreleased)
        ]

    def _lag(self, account: Account, which: str) -> int:
        """How far this read looks back, ms."""
        fault = self._faults.strike("read_lag", account=account.name, lists=which)
        if fault is None and which == "history":
            fault = self._faults.strike("non_atomic", account=account.name)
        return fault.ms if fault else 0


def as_of(account: Account, then_ms: int) -> dict[tuple[str, int], Order | None]:
    """Orders that changed after then_ms → what they were then; None: not there yet."""
    earlier: dict[tuple[str, int], Order | None] = {}
    for at_ms, order, before in reversed(account.undo):
        if at_ms <= then_ms:
            break
        earlier[order.key] = before
    return earlier


def changed_or(
    orders: Iterable[Order], earlier: Mapping[tuple[str, int], Order | None], account: Account
) -> list[Order]:
    """orders as they were, by creation; orders that were open then and are not now are added."""
    then = {order.key: order for order in orders}
    for key, before in earlier.items():
        if before is None:
            then.pop(key, None)
        elif key in then or not before.over:
            then[key] = before
    return sorted(then.values(), key=lambda order: (order.created_ms, order.key))


def order_number(text: str) -> int:
    """An order id as a number; -1 for what cannot be one."""
    return int(text) if text.isdecimal() and len(text) <= DIGITS_MOST else -1


def integer(query: Mapping[str, str], name: str, default: int) -> int:
    """A whole number of the query; left out or empty: the default. Raises: Refused."""
    text = query.get(name, "")
    if not text:
        return default
    if not text.isdecimal() or len(text) > DIGITS_MOST:
        raise Refused(ILLEGAL, f"ILLEGAL_PARAM: {name}")
    return int(text)
