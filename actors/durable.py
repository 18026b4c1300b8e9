"""A trader's records: are they on disk? Nothing is begun while the store says that it cannot write; after store_slow_s
of that, or of own rows without an acknowledgement, the user is told (F59, F65)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from actors.trader import Trader


class Durability:
    """down_mono: since when the store has shown that it cannot write, None while it can."""

    def __init__(self, trader: Trader, slow_s: float) -> None:
        self._trader = trader
        self._slow_ms = int(slow_s * 1000)
        self.down_mono: int | None = None

    def notice(self) -> None:
        trader, now = self._trader, self._trader.now().mono_ms
        if not trader.world.store_down():
            self.down_mono = None
        elif self.down_mono is None:
            self.down_mono = now
        if trader.tasks.unwritten_since is not None and now - trader.tasks.unwritten_since >= self._slow_ms:
            trader.book.pause("STORE_UNAVAILABLE", "records are not durable yet")
        elif self.down_mono is not None and now - self.down_mono >= self._slow_ms and trader.book.wanted == "running":
            trader.book.pause("STORE_UNAVAILABLE", "the store cannot write")

    def lacking(self) -> str | None:
        """Why records are not durable at this moment."""
        if not self._trader.tasks.written:
            return "records are waiting for the store"
        return "the store cannot write" if self._trader.world.store_down() else None

    def dues(self) -> list[int]:
        """mono_ms of when to look again."""
        since = (self._trader.tasks.unwritten_since, self.down_mono)
        return [began + self._slow_ms for began in since if began is not None]
