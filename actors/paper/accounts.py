"""Accounts and their four wallets.

An amount is free or locked; a lock belongs to an open order (wire § 7.5). `funding` is what the web calls CARD, `spot`
MAIN, `earn` SAVING (wire § 4.3); the Alpha wallet holds tokens by alphaId, the others hold quote assets.
"""

from __future__ import annotations

import re
from collections import deque
from decimal import Decimal
from typing import Literal

from msgspec import Struct

from actors.paper.numbers import ZERO
from actors.paper.orders import Fill, Order

WalletName = Literal["funding", "spot", "earn", "alpha"]
PAYMENT_WALLETS: dict[str, WalletName] = {"CARD": "funding", "MAIN": "spot", "SAVING": "earn", "ALPHA": "alpha"}
"""paymentWalletType of a request → wallet (wire § 4.3, § 5.1)."""

NAME = re.compile(r"[a-z0-9_-]{1,32}")
"""What a paper account may be called: the user names of contract § 3."""


class Bucket(Struct):
    """One asset in one wallet."""

    free: Decimal = ZERO
    locked: Decimal = ZERO


class AccountRow(Struct, frozen=True, kw_only=True):
    """An account in the journal: all of it but its orders and fills. wallets: name → asset → (free, locked)."""

    name: str
    created_ms: int
    wallets: dict[str, dict[str, tuple[Decimal, Decimal]]]
    live_most: int = 0
    snapshots: dict[str, Decimal] = {}


class Credit(Struct, frozen=True, kw_only=True):
    """Proceeds of a sale that have not arrived yet (Rules.credit_lag_ms)."""

    number: int
    account: str
    wallet: WalletName
    asset: str
    amount: Decimal
    due_ms: int


class Account:
    """One account. orders: all of them, by creation; open: those not terminal; fills: oldest first."""

    def __init__(self, name: str, created_ms: int) -> None:
        self.name = name
        self.created_ms = created_ms
        self.wallets: dict[WalletName, dict[str, Bucket]] = {"funding": {}, "spot": {}, "earn": {}, "alpha": {}}
        self.orders: list[Order] = []
        self.open: dict[tuple[str, int], Order] = {}
        self.fills: list[Fill] = []
        self.fills_of: dict[tuple[str, int], list[Fill]] = {}
        self.undo: deque[tuple[int, Order, Order | None]] = deque()  # (at_ms, order, it before): for lagging reads
        self.live: set[int] = set()  # lists of which a leg is not terminal
        self.live_most = 0
        self.snapshots: dict[str, Decimal] = {}  # UTC day → USD value at its end (wire § 14.1)

    def bucket(self, wallet: WalletName, asset: str) -> Bucket:
        return self.wallets[wallet].setdefault(asset, Bucket())

    def free(self, wallet: WalletName, asset: str) -> Decimal:
        bucket = self.wallets[wallet].get(asset)
        return bucket.free if bucket else ZERO

    def credit(self, wallet: WalletName, asset: str, amount: Decimal) -> None:
        assert amount >= 0, amount
        self.bucket(wallet, asset).free += amount

    def lock(self, wallet: WalletName, asset: str, amount: Decimal) -> None:
        bucket = self.bucket(wallet, asset)
        assert 0 <= amount <= bucket.free, (self.name, wallet, asset, amount, bucket)
        bucket.free -= amount
        bucket.locked += amount

    def unlock(self, wallet: WalletName, asset: str, amount: Decimal) -> None:
        bucket = self.bucket(wallet, asset)
        assert 0 <= amount <= bucket.locked, (self.name, wallet, asset, amount, bucket)
        bucket.locked -= amount
        bucket.free += amount

    def spend_locked(self, wallet: WalletName, asset: str, amount: Decimal) -> None:
        bucket = self.bucket(wallet, asset)
        assert 0 <= amount <= bucket.locked, (self.name, wallet, asset, amount, bucket)
        bucket.locked -= amount

    def totals(self) -> dict[str, Decimal]:
        """asset → free + locked over all wallets."""
        sums: dict[str, Decimal] = {}
        for assets in self.wallets.values():
            for asset, bucket in assets.items():
                sums[asset] = sums.get(asset, ZERO) + bucket.free + bucket.locked
        return sums

    def row(self) -> AccountRow:
        wallets = {
            str(name): {asset: (bucket.free, bucket.locked) for asset, bucket in assets.items()}
            for name, assets in self.wallets.items()
            if assets
        }
        return AccountRow(
            name=self.name,
            created_ms=self.created_ms,
            wallets=wallets,
            live_most=self.live_most,
            snapshots=dict(self.snapshots),
        )

    def load(self, row: AccountRow) -> None:
        for name, assets in row.wallets.items():
            for asset, (free, locked) in assets.items():
                self.wallets[name][asset] = Bucket(free, locked)  # type: ignore[index]
        self.live_most = row.live_most
        self.snapshots = dict(row.snapshots)
