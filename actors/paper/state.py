"""All that the paper exchange remembers, and the note of what changed since the last journal entry."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

import msgspec

from actors.paper.accounts import Account, Credit
from actors.paper.journal import Entry, Key, Late
from actors.paper.numbers import ZERO
from actors.paper.orders import Fill, Order

ID_BLOCK = 5_000
"""Numbers are reserved in the journal so many at a time: the market uses some with every order, which costs no line."""

UNDO_KEEP_MS = 300_000
"""Lagging reads look back at most so far."""


class Ids:
    """Counters that never go back, not even by a kill: after a restart a counter goes on behind its reserved block."""

    def __init__(self) -> None:
        self._last: dict[str, int] = {}
        self._reserved: dict[str, int] = {}
        self._dirty: set[str] = set()

    def take(self, name: str) -> int:
        number = self._last.get(name, 0) + 1
        self._last[name] = number
        if number > self._reserved.get(name, 0):
            self._reserved[name] = number + ID_BLOCK
            self._dirty.add(name)
        return number

    def start(self, name: str, last: int) -> None:
        """The next number is last + 1; never backwards."""
        if last > self._last.get(name, -1):
            self._last[name] = last

    def drain(self) -> dict[str, int]:
        changed = {name: self._reserved[name] for name in sorted(self._dirty)}
        self._dirty.clear()
        return changed

    def reserved(self) -> dict[str, int]:
        return dict(self._reserved)

    def load(self, reserved: dict[str, int]) -> None:
        for name, number in reserved.items():
            self._last[name] = self._reserved[name] = number


class State:
    def __init__(self) -> None:
        self.accounts: dict[str, Account] = {}
        self.orders: dict[tuple[str, int], Order] = {}
        self.lists: dict[int, list[Order]] = {}  # working leg first
        self.keys: dict[str, Key] = {}
        self.credits: dict[int, Credit] = {}
        self.late: dict[int, Late] = {}
        self.ids = Ids()
        self.ledger: dict[str, dict[str, Decimal]] = {"deposited": {}, "external": {}, "fees": {}}
        self.prices: dict[str, Decimal] = {}
        self.self_matches: list[tuple[str, int, int]] = []  # symbol, taker's order id, maker's
        self.at_ms = 0
        self._orders_dirty: dict[tuple[str, int], Order] = {}
        self._accounts_dirty: dict[str, Account] = {}
        self._keys_dirty: dict[str, Key] = {}
        self._new: dict[str, list[object]] = {}
        self._ledger_dirty = False
        self._prices_dirty: dict[str, Decimal] = {}

    # -- changes, each noted for the journal

    def add_account(self, account: Account) -> None:
        self.accounts[account.name] = account
        self._accounts_dirty[account.name] = account

    def changing(self, account: Account) -> None:
        """To be called when wallets, live pairs or snapshots of the account change."""
        self._accounts_dirty[account.name] = account

    def add_order(self, order: Order) -> None:
        self._file(order)
        account = self.accounts[order.account]
        self._remember(account, self.at_ms, order, None)
        self._orders_dirty[order.key] = order

    def before(self, order: Order) -> None:
        """To be called before an order is changed: lagging reads and the journal want to know."""
        account = self.accounts[order.account]
        self._remember(account, self.at_ms, order, msgspec.structs.replace(order))
        self._orders_dirty[order.key] = order

    def changed(self, order: Order) -> None:
        """To be called after a change of status: open orders and live pairs are derived from it."""
        account = self.accounts[order.account]
        if order.over:
            account.open.pop(order.key, None)
        if order.list_id and all(leg.over for leg in self.lists[order.list_id]):
            account.live.discard(order.list_id)
            self._accounts_dirty[account.name] = account

    def add_fill(self, fill: Fill) -> None:
        self._file_fill(fill)
        self._note("fills", fill)

    def add_key(self, key: Key) -> None:
        self.keys[key.key] = key
        self._keys_dirty[key.key] = key

    def changing_key(self, key: Key) -> None:
        self._keys_dirty[key.key] = key

    def add_credit(self, credit: Credit) -> None:
        self.credits[credit.number] = credit
        self._note("credits", credit)

    def add_late(self, late: Late) -> None:
        self.late[late.number] = late
        self._note("late", late)

    def finish(self, number: int) -> None:
        """A credit arrived, a late placement was made."""
        self.credits.pop(number, None)
        self.late.pop(number, None)
        self._note("done", number)

    def book(self, column: str, asset: str, amount: Decimal) -> None:
        """Adds to the exchange's own ledger: deposited, external (what the market has received), fees."""
        sums = self.ledger[column]
        sums[asset] = sums.get(asset, ZERO) + amount
        self._ledger_dirty = True

    def add_self_match(self, symbol: str, taker: int, maker: int) -> None:
        self.self_matches.append((symbol, taker, maker))
        self._note("self_matches", (symbol, taker, maker))

    def note_price(self, symbol: str, price: Decimal) -> None:
        self.prices[symbol] = price
        self._prices_dirty[symbol] = price

    # -- the journal

    def drain(self, *, prices: bool) -> Entry | None:
        """What changed since the last call, None if nothing. prices: last prices may go along (and alone)."""
        ids = self.ids.drain()
        with_prices = self._prices_dirty if prices or self._orders_dirty or self._accounts_dirty else {}
        if not (ids or with_prices or self._orders_dirty or self._accounts_dirty or self._keys_dirty or self._new):
            return None
        new = self._new
        entry = Entry(
            at=self.at_ms,
            accounts=[account.row() for account in self._accounts_dirty.values()],
            orders=list(self._orders_dirty.values()),
            fills=new.get("fills", []),  # type: ignore[arg-type]
            keys=list(self._keys_dirty.values()),
            credits=new.get("credits", []),  # type: ignore[arg-type]
            late=new.get("late", []),  # type: ignore[arg-type]
            done=new.get("done", []),  # type: ignore[arg-type]
            ids=ids,
            ledger=self.ledger if self._ledger_dirty else {},
            prices=dict(with_prices),
            self_matches=new.get("self_matches", []),  # type: ignore[arg-type]
        )
        self._clear(with_prices)
        return entry

    def snapshot(self) -> Entry:
        """All of it in one entry. Nothing counts as changed any more."""
        self._clear(self._prices_dirty)
        self.ids.drain()
        return Entry(
            at=self.at_ms,
            snapshot=True,
            accounts=[account.row() for account in self.accounts.values()],
            orders=list(self.orders.values()),
            fills=[fill for account in self.accounts.values() for fill in account.fills],
            keys=[key for key in self.keys.values() if not key.ended],
            credits=list(self.credits.values()),
            late=list(self.late.values()),
            ids=self.ids.reserved(),
            ledger=self.ledger,
            prices=dict(self.prices),
            self_matches=list(self.self_matches),
        )

    @classmethod
    def load(cls, entries: Iterable[Entry]) -> State:
        """The state after these entries."""
        state = cls()
        for entry in entries:
            if entry.snapshot:
                state = cls()
            state._load(entry)
        state._index()
        return state

    # -- inside

    def _note(self, kind: str, item: object) -> None:
        self._new.setdefault(kind, []).append(item)

    def _clear(self, prices: dict[str, Decimal]) -> None:
        for symbol in list(prices):
            self._prices_dirty.pop(symbol, None)
        self._orders_dirty = {}
        self._accounts_dirty = {}
        self._keys_dirty = {}
        self._new = {}
        self._ledger_dirty = False

    def _load(self, entry: Entry) -> None:
        self.at_ms = max(self.at_ms, entry.at)
        for row in entry.accounts:
            account = self.accounts.setdefault(row.name, Account(row.name, row.created_ms))
            account.load(row)
        for order in entry.orders:
            self.orders[order.key] = order
        for fill in entry.fills:
            self._file_fill(fill)
        self.keys.update((key.key, key) for key in entry.keys)
        self.credits.update((credit.number, credit) for credit in entry.credits)
        self.late.update((late.number, late) for late in entry.late)
        for number in entry.done:
            self.credits.pop(number, None)
            self.late.pop(number, None)
        self.ids.load(entry.ids)
        for column, sums in entry.ledger.items():
            self.ledger[column] = dict(sums)
        self.prices.update(entry.prices)
        self.self_matches.extend(entry.self_matches)

    def _index(self) -> None:
        """Derives what the journal does not hold: each account's orders, the lists, what is live."""
        orders, self.orders = sorted(self.orders.values(), key=lambda order: (order.created_ms, order.key)), {}
        for order in orders:
            self._file(order)

    def _file(self, order: Order) -> None:
        account = self.accounts[order.account]
        self.orders[order.key] = order
        account.orders.append(order)
        if not order.over:
            account.open[order.key] = order
        if order.list_id:
            legs = self.lists.setdefault(order.list_id, [])
            legs.append(order)
            legs.sort(key=lambda leg: leg.position == "OTO_PENDING")
            if not order.over:
                account.live.add(order.list_id)
                account.live_most = max(account.live_most, len(account.live))

    def _file_fill(self, fill: Fill) -> None:
        account = self.accounts[fill.account]
        account.fills.append(fill)
        account.fills_of.setdefault((fill.symbol, fill.order_id), []).append(fill)

    @staticmethod
    def _remember(account: Account, at_ms: int, order: Order, earlier: Order | None) -> None:
        account.undo.append((at_ms, order, earlier))
        while account.undo[0][0] < at_ms - UNDO_KEEP_MS:
            account.undo.popleft()
