"""Whose order is it? A trader's own order ids, and the orders of others that were told already."""

from __future__ import annotations

from collections.abc import Iterable

from actors.domain.orders import TERMINAL, OrderReport, OrderView
from actors.domain.pair import Pair

KNOWN_MAX = 10_000
"""Own order ids that are remembered: more than half a day of the busiest trader."""

LOADED_MS = 48 * 3_600_000
"""Own orders are loaded that were created so long before a start (messages.TraderRecord)."""

FOREIGN_MAX = 10_000
"""Orders of others of which is remembered what was told: a look shows those of the last ten minutes."""


class Known:
    """since_ms: own orders that were created after this are all known."""

    def __init__(self, own_orders: Iterable[tuple[str, str, str]], born_ms: int) -> None:
        self._owners = {(symbol, order_id): (pair_id, born_ms) for symbol, order_id, pair_id in own_orders}
        self._told: dict[tuple[str, str, str], None] = {}
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

    def foreign(self, views: Iterable[OrderView]) -> list[OrderView]:
        """Of a look: orders that are certainly not ours and not written yet with this status.

        One that is older than all that is known here, and over, may be an own one that is forgotten: it is nobody's.
        """
        found = []
        for view in views:
            ours = self.pair_of(view.symbol, view.order_id) is not None
            forgotten = view.status in TERMINAL and (view.created_ms or 0) < self.since_ms
            if not ours and not forgotten and self.is_news(view):
                found.append(view)
        return found

    def is_news(self, order: OrderView | OrderReport) -> bool:
        """Whether this status of an order that is not ours is told for the first time; noted."""
        key = (order.symbol, order.order_id, order.status)
        new = key not in self._told
        self._told[key] = None
        while len(self._told) > FOREIGN_MAX:
            del self._told[next(iter(self._told))]
        return new
