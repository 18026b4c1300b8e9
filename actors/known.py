"""Whose order is it? A trader's own order ids, and the orders of others that were told already."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Literal

from actors.domain.orders import TERMINAL, OrderReport, OrderView, supersedes
from actors.domain.pair import Pair

KNOWN_MAX = 10_000
"""Own order ids that are remembered: more than half a day of the busiest trader."""

LOADED_MS = 48 * 3_600_000
"""Own orders are loaded that were created so long before a start (messages.TraderRecord)."""

FOREIGN_MAX = 10_000
"""Orders of others of which is remembered what was told: a look shows those of the last ten minutes."""


Tidings = Literal["another status", "more executed"]


class Known:
    """since_ms: own orders that were created after this are all known."""

    def __init__(self, own_orders: Iterable[tuple[str, str, str]], born_ms: int) -> None:
        self._owners = {(symbol, order_id): (pair_id, born_ms) for symbol, order_id, pair_id in own_orders}
        self._told: dict[tuple[str, str], tuple[str, Decimal]] = {}  # by symbol and id: status, executed
        self.since_ms = born_ms - LOADED_MS

    def remember(self, pair: Pair, now_ms: int) -> None:
        for leg in pair.legs():
            if leg.order_id is not None:
                self._owners.setdefault((pair.plan.symbol, leg.order_id), (pair.plan.pair_id, now_ms))
        while len(self._owners) > KNOWN_MAX:
            _, noted_ms = self._owners.pop(next(iter(self._owners)))
            self.since_ms = max(self.since_ms, noted_ms)

    def pair_of(self, symbol: str, order_id: str) -> str | None:
        """Of this user's pairs, in memory or not."""
        found = self._owners.get((symbol, order_id))
        return None if found is None else found[0]

    def foreign(self, views: Iterable[OrderView]) -> list[tuple[OrderView, Tidings]]:
        """Of a look: orders that are certainly not ours, and of which it tells more than is written.

        One that is older than all that is known here, and over, may be an own one that is forgotten: it is nobody's.
        """
        found = []
        for view in views:
            ours = self.pair_of(view.symbol, view.order_id) is not None
            forgotten = view.status in TERMINAL and (view.created_ms or 0) < self.since_ms
            if not ours and not forgotten and (tidings := self.tidings(view)) is not None:
                found.append((view, tidings))
        return found

    def tidings(self, order: OrderView | OrderReport) -> Tidings | None:
        """What this says of an order that is not ours, noted. None: nothing, or what was so before (F15)."""
        key = (order.symbol, order.order_id)
        executed = order.cumulative if isinstance(order, OrderReport) else order.executed
        told = self._told.get(key)
        if told is not None:
            status, before = told
            if executed < before or not supersedes(order.status, status) or (order.status, executed) == told:
                return None
        self._told[key] = (order.status, executed)
        while len(self._told) > FOREIGN_MAX:
            del self._told[next(iter(self._told))]
        return "more executed" if told is not None and told[0] == order.status else "another status"
