"""What a trader knows of its user's money: the spendable balance, read anew for each pair.

Spendable is the free quote asset of the funding wallet (wire § 4.3), which BUY orders are paid from. Credits lag fills:
too little is read again for credit_lag_s before it counts as missing (domain/gate.py).
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from actors import desk
from actors.domain.orders import Balance

if TYPE_CHECKING:
    from actors.trader import Trader

READ_AGAIN_MS = 1_000
"""Between two readings while a credit lags: a private request costs a permit of one a second (wire § 10.1)."""


class Purse:
    """free: None, has to be read. held: all wallets as read. short_since: mono_ms since when free is too little."""

    def __init__(self, trader: Trader) -> None:
        self._trader = trader
        self.free: Decimal | None = None
        self.held: tuple[Balance, ...] = ()
        self.short_since: int | None = None
        self._reading = False
        self._asked_mono = 0

    def forget(self) -> None:
        """A pair has ended, the amount per pair changed, or time has passed: what was read says nothing any more."""
        self.free, self.short_since = None, None

    def read(self) -> None:
        """Reads it, unless a reading is in the air or one has just failed."""
        if not self._reading and self._trader.outlook.retry_over():
            self._reading = True
            self._trader.spawn(self._trader.tasks.balance)

    def read_again(self) -> None:
        """It was too little: the last pair's proceeds may be on their way."""
        now = self._trader.now().mono_ms
        if self.short_since is None:
            self.short_since = now
        if now - self._asked_mono >= READ_AGAIN_MS:
            self.read()

    def was_read(self, read: desk.BalanceRead) -> None:
        self._reading = False
        self._asked_mono = read.asked_mono
        self.held = read.balances
        asset = self._trader.book.quote_asset
        free = [b.free for b in read.balances if b.wallet == "funding" and b.asset == asset]
        self.free = sum(free, Decimal(0))

    def failed(self) -> None:
        self._reading = False
