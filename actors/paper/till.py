"""The money of orders: locks, payments, commissions, credits (wire § 7.5, § 12)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from decimal import Decimal

from actors.domain.instrument import Instrument
from actors.paper.accounts import Account, Credit, WalletName
from actors.paper.listing import Listing
from actors.paper.numbers import ZERO, cut, nearest, product
from actors.paper.orders import Order
from actors.paper.rules import Rules
from actors.paper.state import State
from actors.paper.timetable import Timetable

MILLION = Decimal(1_000_000)
Payments = Sequence[tuple[WalletName, Decimal]]


class Till:
    def __init__(self, state: State, listing: Listing, rules: Rules, rng: random.Random, timetable: Timetable) -> None:
        self._state = state
        self._listing = listing
        self._rules = rules
        self._rng = rng
        self._timetable = timetable

    def lock(self, order: Order, payments: Payments) -> None:
        """Locks what an order will spend; whoever calls has checked that it is there."""
        account, asset = self._owner(order)
        locks = dict(order.locks)
        for wallet, amount in payments:
            account.lock(wallet, asset, amount)
            locks[wallet] = locks.get(wallet, ZERO) + amount
        order.locks = locks

    def unlock_all(self, order: Order) -> None:
        """An order ends without a trade: what it had locked is free again."""
        account, asset = self._owner(order)
        for wallet, amount in order.locks.items():
            account.unlock(wallet, asset, amount)  # type: ignore[arg-type]
        order.locks = {}

    def unlock_surplus(self, order: Order) -> None:
        """The price improvement of a BUY is free again at once, and at its end all that is left."""
        if order.side == "SELL":
            return
        account, asset = self._owner(order)
        locks = dict(order.locks)
        places = self._listing.by_symbol[order.symbol].quote_precision
        surplus = sum(locks.values(), ZERO) - cut(product(order.price, order.remaining), places)
        for wallet in reversed(list(locks)):
            part = min(surplus, locks[wallet])
            account.unlock(wallet, asset, part)  # type: ignore[arg-type]
            locks[wallet] -= part
            surplus -= part
        order.locks = {wallet: left for wallet, left in locks.items() if left}

    def pay(
        self, order: Order, instrument: Instrument, quantity: Decimal, quote: Decimal, now_ms: int
    ) -> tuple[Decimal, str]:
        """Moves the money of one fill. Returns: (commission, its asset), base of a BUY, quote of a SELL (§ 12.2)."""
        account, _ = self._owner(order)
        rules = self._rules
        if order.side == "BUY":
            self._spend(order, quote)
            exact = product(quantity, Decimal(rules.buyer_millionths) / MILLION)
            rounded = nearest if rules.base_commission == "nearest" else cut
            commission, asset = rounded(exact, instrument.base_precision), instrument.base_asset
            account.credit("alpha", asset, quantity - commission)
        else:
            self._spend(order, quantity)
            exact = product(quote, Decimal(rules.seller_millionths) / MILLION)
            commission, asset = nearest(exact, instrument.quote_precision), instrument.quote_asset
            self._credit(account, asset, quote - commission, now_ms)
        self._state.book("fees", asset, commission)
        return commission, asset

    def restore(self) -> None:
        """After a restart: credits under way arrive when they were to."""
        for credit in self._state.credits.values():
            self._credit_at(credit)

    # -- inside

    def _owner(self, order: Order) -> tuple[Account, str]:
        """The account, whose wallets are about to change, and the asset that the order spends."""
        account, instrument = self._state.accounts[order.account], self._listing.by_symbol[order.symbol]
        self._state.changing(account)
        return account, instrument.quote_asset if order.side == "BUY" else instrument.base_asset

    def _spend(self, order: Order, amount: Decimal) -> None:
        account, asset = self._owner(order)
        locks = dict(order.locks)
        for wallet in list(locks):
            part = min(amount, locks[wallet])
            account.spend_locked(wallet, asset, part)  # type: ignore[arg-type]
            locks[wallet] -= part
            amount -= part
        assert not amount, (order, amount)
        order.locks = {wallet: left for wallet, left in locks.items() if left}

    def _credit(self, account: Account, asset: str, amount: Decimal, now_ms: int) -> None:
        lag_ms = self._rng.randint(*self._rules.credit_lag_ms)
        wallet = self._rules.proceeds_wallet
        if not lag_ms:
            account.credit(wallet, asset, amount)
            return
        credit = Credit(
            number=self._state.ids.take("deferred"),
            account=account.name,
            wallet=wallet,
            asset=asset,
            amount=amount,
            due_ms=now_ms + lag_ms,
        )
        self._state.add_credit(credit)
        self._credit_at(credit)

    def _credit_at(self, credit: Credit) -> None:
        def arrive(_now_ms: int) -> None:
            account = self._state.accounts[credit.account]
            account.credit(credit.wallet, credit.asset, credit.amount)
            self._state.changing(account)
            self._state.finish(credit.number)

        self._timetable.at(credit.due_ms, arrive)
