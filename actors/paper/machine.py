"""The paper exchange as a machine: requests in, replies and frames out, time handed in.

How it works. `advance(now)` does everything that is due, one event after the other in order of time: the exchange's own
(an accepted order meets its book, a key lapses, a depth stream flushes) and the market's, whose orders trade in the
same books. `handle(request)` advances, then answers. What changed is written to the journal before either returns,
so nobody is ever told what a kill could make untrue; `restore()` makes the same exchange of the journal.

    front.py               faults and login            desk.py   the life of an order      state.py   what is remembered
    public.py private.py   the REST calls              oto.py    what a leg does to the other    journal.py  on disk
    placing.py reads.py    orders in, orders out       till.py   money of orders       timetable.py   what is to come
    replies.py reports.py  shapes of rows and frames   floor.py  books and matching    streams.py tape.py   in public
    keys.py outbox.py      the user stream             book.py   price, then time      rules.py faults.py   switches

What the protocol leaves open is a switch in rules.py; what may go wrong is one in faults.py.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from decimal import Decimal

import msgspec
from msgspec import Struct

from actors.domain.orders import Side
from actors.errors import IntegrityError
from actors.paper import journal as journals
from actors.paper.accounts import AccountRow, WalletName
from actors.paper.api import Frame, Market, Request, Response
from actors.paper.desk import Desk
from actors.paper.faults import Faults
from actors.paper.floor import Floor
from actors.paper.front import Front
from actors.paper.keys import Keys
from actors.paper.listing import Listing
from actors.paper.orders import Fill, Order
from actors.paper.outbox import Outbox
from actors.paper.placing import Placing
from actors.paper.private import DAY_MS, SCORE_DAYS, Private, utc_day
from actors.paper.public import Public
from actors.paper.reads import Reads
from actors.paper.rules import Rules
from actors.paper.state import State
from actors.paper.streams import Broadcast
from actors.paper.timetable import Timetable

USER_STREAM = "alpha@"
PRICES_EVERY_MS = 5_000
"""Last prices are journalled so often: a market that is started anew goes on from there."""

# First numbers, of the magnitude of captured ones (wire § 8.2). `a` and `f` of a trade are different counters.
FIRST_EVENT_ID = 10_000_000_000
FIRST_LIST_ID = 80_000_000
FIRST_ORDER_ID = 1_000_000
FIRST_TRADE_ID = 200_000
FIRST_AGG_ID = 199_000


class Audit(Struct, frozen=True, kw_only=True):
    """An account as the exchange itself sees it: the truth that records are compared with."""

    orders: tuple[Order, ...]  # by creation
    fills: tuple[Fill, ...]  # oldest first
    wallets: AccountRow
    incoming: dict[str, Decimal]  # credits under way: asset → amount


class Statistics(Struct, frozen=True, kw_only=True):
    accounts: int
    orders: int
    open_orders: int
    fills: int
    self_matches: int
    faults: dict[str, int]


class Exchange:
    """One paper exchange. market may be set later, also anew; its due time must not lie before now."""

    def __init__(
        self,
        *,
        listing: Listing,
        rules: Rules,
        faults: Faults,
        rng: random.Random,
        market: Market | None = None,
        journal: Callable[[bytes], None] | None = None,
        now_ms: int,
        state: State | None = None,
    ) -> None:
        """journal: takes whole lines, which a kill cannot undo when it returns; None: lines are taken with
        `take_journal` after each call, before anybody is told. state: of `restore`.
        """
        self.listing = listing
        self.rules = rules
        self.faults = faults
        self.market = market
        self.now_ms = now_ms
        if faults.rng is None:
            faults.rng = rng
        self._journal = journal
        self._lines: list[bytes] = []
        self._state = state or State()
        self._state.at_ms = now_ms
        self._first_ids()
        self._timetable = Timetable()
        self._outbox = Outbox(faults, self._timetable)
        self._keys = Keys(self._state, rules, faults, rng, self._outbox, self._timetable)
        self._broadcast = Broadcast(listing, rules, rng, self._outbox, self._timetable)
        self._floor = Floor(self._state, listing, rules, faults, rng, self._broadcast)
        self._desk = Desk(
            self._state, listing, rules, faults, rng, self._timetable, self._floor, self._keys, self._outbox
        )
        self._private = Private(
            listing,
            rules,
            self._floor,
            self._desk,
            self._keys,
            Placing(listing, rules, self._floor, self._desk),
            Reads(self._state, listing, rules, faults),
        )
        public = Public(self._state, listing, rules, faults, self._floor)
        self._front = Front(self._state, rules, faults, rng, self._timetable, public, self._private)
        self._prices_ms = now_ms
        self._desk.restore()
        self._front.restore()
        self._floor.come_to_rest(now_ms)
        self._timetable.at(now_ms - now_ms % DAY_MS + DAY_MS, self._midnight)

    @classmethod
    def restore(
        cls,
        entries: Iterable[bytes],
        *,
        listing: Listing,
        rules: Rules,
        faults: Faults,
        rng: random.Random,
        market: Market | None = None,
        journal: Callable[[bytes], None] | None = None,
        now_ms: int,
    ) -> Exchange:
        """The exchange that wrote these journal lines, with an empty market and nobody subscribed.

        now_ms: not before the last entry, else it starts there. Raises: IntegrityError, a damaged journal or one of
        another listing.
        """
        state = State.load(journals.decode(entries))
        unknown = {order.symbol for order in state.orders.values()} - listing.by_symbol.keys()
        if unknown:
            raise IntegrityError(
                f"the journal has orders of {', '.join(sorted(unknown))}, which are not listed",
                where="paper exchange",
                do="use the listing it was written with, or start afresh with an empty paper directory",
            )
        return cls(
            listing=listing,
            rules=rules,
            faults=faults,
            rng=rng,
            market=market,
            journal=journal,
            now_ms=max(now_ms, state.at_ms),
            state=state,
        )

    # -- time

    def next_due_ms(self) -> int | None:
        """When `advance` should be called at the latest; frames have their own due times."""
        own, market = self._timetable.due_ms(), self.market.due_ms() if self.market else None
        return min(own, market) if own is not None and market is not None else own if market is None else market

    def advance(self, now_ms: int) -> None:
        """Does all that is due up to now, in order of time."""
        while (due_ms := self.next_due_ms()) is not None and due_ms <= now_ms:
            self._at(max(due_ms, self.now_ms))
            if self._timetable.due_ms() == due_ms:
                _, action = self._timetable.pop()
                action(self.now_ms)
            else:
                assert self.market is not None
                self.market.fire(self._floor)
            self._floor.come_to_rest(self.now_ms)
        self._at(max(now_ms, self.now_ms))
        self._commit()

    # -- clients

    def handle(self, request: Request, now_ms: int) -> Response:
        """Answers one REST request. Frames that it caused wait in `take_frames`; they may leave before the reply."""
        self.advance(now_ms)
        response = self._front.answer(request, self.now_ms)
        self._settle()
        return response

    def subscribe(self, stream: str, *, public: bool, now_ms: int) -> bool:
        """One more listener of a stream. False: no such stream, or no live key: it will stay silent (wire § 6.1).

        Once per socket and stream, and `unsubscribe` as often. User streams are "alpha@<listenKey>".
        """
        self.advance(now_ms)
        self._outbox.listen(stream, public=public)
        if public:
            books, tapes = self._floor.books, self._floor.tapes
            return self._broadcast.subscribe(stream, books.__getitem__, tapes.__getitem__, self.now_ms)
        key = stream.removeprefix(USER_STREAM)
        if not stream.startswith(USER_STREAM) or not self._keys.valid(key):
            return False
        account = self._state.keys[key].account
        for data in self._desk.recent.get(account, ()) if self.rules.replay_frames else ():
            self._outbox.send(stream, data, self.now_ms, public=False, account=account)
        return True

    def unsubscribe(self, stream: str, *, public: bool) -> None:
        """One listener less."""
        self._outbox.unlisten(stream, public=public)
        if public:
            self._broadcast.unsubscribed(stream)

    def take_frames(self) -> list[Frame]:
        """Frames made since the last call, in the order in which they were made."""
        return self._outbox.take()

    def take_journal(self) -> bytes:
        """What changed since the last call, as whole lines for the journal; b"" if nothing did.

        To be called after each other call and written before any of its frames or its reply leaves, unless a `journal`
        was given.
        """
        lines, self._lines = self._lines, []
        return b"".join(lines)

    # -- api.Venue, for tests and tools that are the market themselves

    def best(self, symbol: str) -> tuple[Decimal | None, Decimal | None]:
        return self._floor.best(symbol)

    def limit(self, symbol: str, side: Side, price: Decimal, quantity: Decimal, now_ms: int) -> int | None:
        self.advance(now_ms)
        rests = self._floor.limit(symbol, side, price, quantity, self.now_ms)
        self._settle()
        return rests

    def take(self, symbol: str, side: Side, quantity: Decimal, limit: Decimal, now_ms: int) -> Decimal:
        self.advance(now_ms)
        done = self._floor.take(symbol, side, quantity, limit, self.now_ms)
        self._settle()
        return done

    def cancel(self, symbol: str, order_id: int, now_ms: int) -> None:
        self.advance(now_ms)
        self._floor.cancel(symbol, order_id, self.now_ms)
        self._settle()

    # -- what happens to accounts from elsewhere

    def deposit(self, account: str, wallet: WalletName, asset: str, amount: Decimal, now_ms: int) -> None:
        """The owner moves money in (amount > 0) or out of the free part of a wallet (amount < 0)."""
        self.advance(now_ms)
        owner = self._front.account(account, self.now_ms)
        bucket = owner.bucket(wallet, asset)
        assert bucket.free + amount >= 0, (account, asset, amount)
        bucket.free += amount
        self._state.book("deposited", asset, amount)
        self._state.changing(owner)
        self._settle()

    def end_order(self, symbol: str, order_id: int, now_ms: int, status: str = "CANCELED") -> None:
        """An order is cancelled on the web site, or by the exchange itself (EXPIRED); over already: nothing."""
        self.advance(now_ms)
        self._desk.cancel_now(self._state.orders[symbol, order_id], self.now_ms, status)
        self._settle()

    def kill_keys(self, account: str, now_ms: int, *, notice: bool = False) -> None:
        """All listen keys of an account die at once."""
        self.advance(now_ms)
        self._keys.kill(account, self.now_ms, notice=notice)
        self._settle()

    def disconnect(self, stream: str, *, public: bool, now_ms: int) -> None:
        """Closes the sockets that listen to a stream."""
        self.advance(now_ms)
        self._outbox.close(stream, self.now_ms, public=public)

    def skip_ids(self, counter: str, last: int) -> None:
        """A counter jumps ahead, as if others had used numbers up: "event", "list", "order:S", "trade:S", "agg:S"."""
        self._state.ids.start(counter, last)

    # -- looking in from outside

    @property
    def self_matches(self) -> list[tuple[str, int, int]]:
        """Fills between two orders of accounts of this exchange: (symbol, taker's order id, maker's)."""
        return list(self._state.self_matches)

    def audit(self, account: str) -> Audit:
        """Everything of an account, copied. Raises: KeyError, no such account."""
        owner = self._state.accounts[account]
        incoming: dict[str, Decimal] = {}
        for credit in self._state.credits.values():
            if credit.account == account:
                incoming[credit.asset] = incoming.get(credit.asset, Decimal(0)) + credit.amount
        return Audit(
            orders=tuple(msgspec.structs.replace(order) for order in owner.orders),
            fills=tuple(owner.fills),
            wallets=owner.row(),
            incoming=incoming,
        )

    def accounts(self) -> tuple[str, ...]:
        return tuple(self._state.accounts)

    def live_pairs(self, account: str) -> tuple[int, ...]:
        """List ids of the account's OTOs of which a leg is not terminal."""
        owner = self._state.accounts.get(account)
        return tuple(sorted(owner.live)) if owner else ()

    def max_live_pairs(self, account: str) -> int:
        """The most that were ever live at once."""
        owner = self._state.accounts.get(account)
        return owner.live_most if owner else 0

    def most_requests_per_s(self, account: str) -> int:
        """Of this account in any second, since this exchange was made; "": of requests without an account."""
        return self._front.most_per_s(account)

    def last_price(self, symbol: str) -> Decimal | None:
        """Of the last trade, also of before a restart; None before the first."""
        return self._floor.tapes[symbol].last_price

    def ledger(self) -> dict[str, dict[str, Decimal]]:
        """deposited, fees, external (received by the external flow): asset → amount."""
        return {column: dict(sums) for column, sums in self._state.ledger.items()}

    def statistics(self) -> Statistics:
        accounts = self._state.accounts.values()
        return Statistics(
            accounts=len(self._state.accounts),
            orders=len(self._state.orders),
            open_orders=sum(len(account.open) for account in accounts),
            fills=sum(len(account.fills) for account in accounts),
            self_matches=len(self._state.self_matches),
            faults={str(kind): times for kind, times in self.faults.fired.items()},
        )

    def snapshot(self) -> bytes:
        """One journal line that stands for all that were written so far."""
        return journals.encode(self._state.snapshot())

    # -- inside

    def _at(self, now_ms: int) -> None:
        self.now_ms = self._state.at_ms = now_ms

    def _settle(self) -> None:
        """Ends a step that came from outside."""
        self._floor.come_to_rest(self.now_ms)
        self._commit()

    def _commit(self) -> None:
        prices = self.now_ms - self._prices_ms >= PRICES_EVERY_MS
        if prices:
            self._prices_ms = self.now_ms
        entry = self._state.drain(prices=prices)
        if entry is not None:
            self._lines.append(journals.encode(entry))
        if self._journal is not None and self._lines:
            self._journal(b"".join(self._lines))  # when it raises, the lines are owed and go first the next time
            self._lines.clear()

    def _midnight(self, now_ms: int) -> None:
        """The daily balance snapshot of every account, for the points (wire § 14.1)."""
        day = utc_day(now_ms - 1)
        for account in self._state.accounts.values():
            account.snapshots[day] = self._private.value(account)
            while len(account.snapshots) > SCORE_DAYS + 1:
                del account.snapshots[min(account.snapshots)]
            self._state.changing(account)
        self._timetable.at(now_ms - now_ms % DAY_MS + DAY_MS, self._midnight)

    def _first_ids(self) -> None:
        ids = self._state.ids
        for name, first in (("event", FIRST_EVENT_ID), ("page", FIRST_EVENT_ID), ("list", FIRST_LIST_ID)):
            ids.start(name, first)
        for index, symbol in enumerate(self.listing.by_symbol):
            ids.start(f"order:{symbol}", FIRST_ORDER_ID + 100_000 * index)
            ids.start(f"trade:{symbol}", FIRST_TRADE_ID + 10_000 * index)
            ids.start(f"agg:{symbol}", FIRST_AGG_ID + 10_000 * index)
