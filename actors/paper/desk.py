"""The life of accounts' orders: accepted, matched, filled, released, ended, and what that does to the wallets.

Every change goes the same way: note it (state.before), change the order and the money, file it (state.changed), tell
the account's streams (_report). Matching happens some time after acceptance (rules.entry_ms): a marketable order is NEW
first and trades 0.1 to 0.9 s later, a released leg later again (wire § 7.1).
"""

from __future__ import annotations

import random
from collections import deque
from decimal import Decimal
from typing import Any

from actors.domain.orders import Side
from actors.paper import oto
from actors.paper.accounts import Account, WalletName
from actors.paper.faults import Faults
from actors.paper.floor import Floor
from actors.paper.keys import Keys
from actors.paper.listing import Listing
from actors.paper.numbers import ZERO, cut, grid_floor, product
from actors.paper.orders import Fill, Order, Position
from actors.paper.outbox import Outbox
from actors.paper.reports import execution_report
from actors.paper.rules import Range, Rules
from actors.paper.state import State
from actors.paper.till import Payments, Till
from actors.paper.timetable import Timetable

HALT_LOOK_MS = 1_000
"""An order that is to be matched while its symbol is halted looks again so much later."""


class Desk:
    def __init__(
        self,
        state: State,
        listing: Listing,
        rules: Rules,
        faults: Faults,
        rng: random.Random,
        timetable: Timetable,
        floor: Floor,
        keys: Keys,
        outbox: Outbox,
    ) -> None:
        self._state = state
        self._listing = listing
        self._rules = rules
        self._faults = faults
        self._rng = rng
        self._timetable = timetable
        self._floor = floor
        self._keys = keys
        self._outbox = outbox
        self._till = Till(state, listing, rules, rng, timetable)
        self.recent: dict[str, deque[dict[str, Any]]] = {}  # last reports per account, for rules.replay_frames
        self._fill_frame = (0, "", 0)  # T, account, E of the last fill: fills of one instant leave together
        floor.settle = self._settle

    # -- placing and cancelling; the request was checked by then

    def place(
        self,
        account: Account,
        symbol: str,
        side: Side,
        price: Decimal,
        quantity: Decimal,
        payments: Payments,
        now_ms: int,
    ) -> Order:
        order = self._new(account, symbol, side, price, quantity, now_ms)
        self._till.lock(order, payments)
        self._accept([order], now_ms)
        return order

    def place_oto(
        self,
        account: Account,
        symbol: str,
        side: Side,
        price: Decimal,
        quantity: Decimal,
        payments: Payments,
        pending_price: Decimal,
        now_ms: int,
    ) -> tuple[Order, Order]:
        list_id = self._state.ids.take("list")
        other: Side = "SELL" if side == "BUY" else "BUY"
        working = self._new(account, symbol, side, price, quantity, now_ms, list_id, "OTO_WORKING")
        pending = self._new(account, symbol, other, pending_price, ZERO, now_ms, list_id, "OTO_PENDING")
        self._till.lock(working, payments)
        self._accept([working, pending], now_ms)
        return working, pending

    def cancel(self, order: Order, now_ms: int) -> None:
        """Takes effect after rules.cancel_ms; a fill that comes first wins."""
        delay_ms = self._rng.randint(*self._rules.cancel_ms)
        if delay_ms:
            self._state.before(order)
            self._cancel_at(order, now_ms + delay_ms)
        else:
            self.cancel_now(order, now_ms)

    def cancel_now(self, order: Order, now_ms: int, status: str = "CANCELED") -> None:
        """Ends an open order and, by the rules, its other leg. status: EXPIRED when the exchange does it by itself."""
        if order.over:
            return
        was_held = order.status == "PENDING"
        self._end(order, status, now_ms)
        if partner := self._partner(order):
            match oto.after_cancel(order, partner, was_held, self._rules):
                case "release_partner":
                    self._release(partner, order, now_ms)
                case "end_partner" if partner.status == "PENDING":
                    silent = self._rules.held_end == "silent"
                    self._end(partner, "CANCELED" if silent else self._rules.held_end, now_ms, silent=silent)
                case "end_partner":
                    self._end(partner, status, now_ms)
                case "nothing":
                    self._grown_up(partner, now_ms)

    def restore(self) -> None:
        """After a restart: orders go back into the books in their old order of time, what waited waits again."""
        standing = [order for account in self._state.accounts.values() for order in account.open.values()]
        for order in sorted(standing, key=lambda order: order.priority):
            if order.enters_ms is not None:
                self._wait(order, order.enters_ms)
            elif order.releases_ms is not None:
                self._release_at(order, order.releases_ms)
            elif order.status in ("NEW", "PARTIALLY_FILLED") and order.remaining:
                self._floor.rest(order)
            if order.cancels_ms is not None:
                self._cancel_at(order, order.cancels_ms)
        self._till.restore()

    # -- steps of an order's life

    def _cancel_at(self, order: Order, due_ms: int) -> None:
        order.cancels_ms = due_ms
        self._timetable.at(due_ms, lambda now_ms: self.cancel_now(order, now_ms))

    def _new(
        self,
        account: Account,
        symbol: str,
        side: Side,
        price: Decimal,
        quantity: Decimal,
        now_ms: int,
        list_id: int = 0,
        position: Position = "",
    ) -> Order:
        held = position == "OTO_PENDING"
        order = Order(
            account=account.name,
            symbol=symbol,
            order_id=self._state.ids.take(f"order:{symbol}"),
            client_id=f"web_{self._rng.getrandbits(128):032x}",
            side=side,
            price=price,
            quantity=quantity,
            status="PENDING" if held else "NEW",
            created_ms=now_ms,
            updated_ms=now_ms,
            list_id=list_id,
            position=position,
            working_ms=0 if held else now_ms,
        )
        self._state.add_order(order)
        return order

    def _accept(self, legs: list[Order], now_ms: int) -> None:
        for order in legs:
            self._report(order, "NEW", now_ms, self._rules.accept_frame_ms)
        self._wait(legs[0], now_ms + self._rng.randint(*self._rules.entry_ms))

    def _wait(self, order: Order, due_ms: int) -> None:
        order.enters_ms = due_ms
        self._timetable.at(due_ms, lambda now_ms: self._enter(order, due_ms, now_ms))

    def _enter(self, order: Order, due_ms: int, now_ms: int) -> None:
        """The order meets the book: trades what crosses, rests the remainder."""
        if order.over or order.enters_ms != due_ms:
            return
        self._state.before(order)
        if self._floor.closed(order.symbol):
            self._wait(order, now_ms + HALT_LOOK_MS)
            return
        order.enters_ms = None
        quantity, fault = order.remaining, None
        if self._floor.crosses(order):
            fault = self._faults.strike("partial_fill", account=order.account, symbol=order.symbol)
            if fault:
                step = self._listing.by_symbol[order.symbol].filters.step_size
                quantity = grid_floor(product(quantity, fault.part), step)
        self._floor.enter(order, quantity, now_ms)
        if not order.remaining or order.enters_ms is not None:
            return  # done; or it hit its own working leg, grew by that (release_on "partial") and waits again
        if fault and self._floor.crosses(order):
            self._wait(order, now_ms + max(1, fault.ms))
        else:
            order.priority = self._state.ids.take("event")
            self._floor.rest(order)

    def _settle(
        self, order: Order, price: Decimal, quantity: Decimal, *, trade_id: int, event_id: int, maker: bool, now_ms: int
    ) -> None:
        """One fill: money, order, record, frame; then what follows for the other leg."""
        state, instrument = self._state, self._listing.by_symbol[order.symbol]
        quote = cut(product(price, quantity), instrument.quote_precision)
        state.before(order)
        commission, asset = self._till.pay(order, instrument, quantity, quote, now_ms)
        order.cumulative += quantity
        order.cumulative_quote += quote
        order.commission += commission
        order.updated_ms = now_ms
        order.status = "PARTIALLY_FILLED" if order.remaining or self._may_grow(order) else "FILLED"
        self._till.unlock_surplus(order)
        fill = Fill(
            account=order.account,
            symbol=order.symbol,
            order_id=order.order_id,
            event_id=event_id,
            page_id=event_id if self._rules.page_ids == "event" else state.ids.take("page"),
            trade_id=trade_id,
            side=order.side,
            price=price,
            quantity=quantity,
            quote=quote,
            commission=commission,
            commission_asset=asset,
            time_ms=now_ms,
            maker=maker,
            mul_point=self._listing.token_of(order.symbol).mul_point or 1,
        )
        state.add_fill(fill)
        state.changed(order)
        sent_ms = self._report_fill(order, fill, event_id, now_ms)
        if order.position == "OTO_WORKING" and oto.after_fill(order, self._rules) == "release_partner":
            pending = self._partner(order)
            assert pending is not None, order
            if not pending.over:
                self._release_soon(pending, order, now_ms, sent_ms)

    def _release_soon(self, pending: Order, working: Order, now_ms: int, sent_ms: int) -> None:
        delay_ms = self._rng.randint(*self._rules.release_ms)
        if delay_ms:
            self._state.before(pending)
            self._release_at(pending, now_ms + delay_ms)
        else:
            self._release(pending, working, now_ms, sent_ms + self._rules.release_frame_ms)

    def _release_at(self, pending: Order, due_ms: int) -> None:
        pending.releases_ms = due_ms

        def release(now_ms: int) -> None:
            working = self._partner(pending)
            assert working is not None, pending
            if not pending.over and pending.releases_ms == due_ms:
                self._release(pending, working, now_ms)

        self._timetable.at(due_ms, release)

    def _release(self, pending: Order, working: Order, now_ms: int, sent_ms: int | None = None) -> None:
        """The pending leg gets its quantity and becomes NEW, or is refused; called again when it grows."""
        state, instrument = self._state, self._listing.by_symbol[pending.symbol]
        account = state.accounts[pending.account]
        free_base = account.free("alpha", instrument.base_asset)
        grown = pending.quantity if pending.side == "SELL" else ZERO  # what it has of the account's tokens already
        quantity = oto.released_quantity(working, pending, instrument, self._rules, free_base + grown)
        state.before(pending)
        pending.releases_ms = None
        if pending.released and quantity <= pending.quantity:
            self._grown_up(pending, now_ms)
            return
        wallet: WalletName = "alpha" if pending.side == "SELL" else self._rules.proceeds_wallet
        more = quantity - pending.quantity
        needed = more if pending.side == "SELL" else cut(product(pending.price, more), instrument.quote_precision)
        asset = instrument.base_asset if pending.side == "SELL" else instrument.quote_asset
        filters = instrument.filters
        refused = self._faults.strike("refuse_release", account=pending.account, symbol=pending.symbol)
        if (
            refused
            or not filters.min_quantity <= quantity <= filters.max_quantity
            or account.free(wallet, asset) < needed
        ):
            if not pending.released:
                pending.quantity = quantity
                self._end(pending, self._rules.release_refused, now_ms)
            self._grown_up(pending, now_ms)
            return
        pending.quantity = quantity
        if not pending.released:
            pending.released, pending.working_ms, pending.status = True, now_ms, "NEW"
        pending.updated_ms = now_ms
        self._till.lock(pending, [(wallet, needed)])
        self._floor.leave(pending)
        self._report(pending, "NEW", now_ms, self._rules.fill_frame_ms, sent_ms)
        self._wait(pending, now_ms + self._rng.randint(*self._rules.released_entry_ms))

    def _may_grow(self, order: Order) -> bool:
        """A leg released on a partial fill is not FILLED while its working leg may still bring more."""
        if order.position != "OTO_PENDING":
            return False
        working = self._partner(order)
        assert working is not None, order
        return not working.over or order.releases_ms is not None

    def _grown_up(self, order: Order, now_ms: int) -> None:
        """A pending leg that had sold all it got is FILLED once its working leg is over."""
        sold_out = order.position == "OTO_PENDING" and order.released and not order.remaining
        if sold_out and not order.over and not self._may_grow(order):
            self._state.before(order)
            order.status, order.updated_ms = "FILLED", now_ms
            self._state.changed(order)
            self._report(order, "NEW", now_ms, self._rules.accept_frame_ms)

    def _end(self, order: Order, status: str, now_ms: int, *, silent: bool = False) -> None:
        """An order ends without a trade; what it had locked is free again."""
        self._floor.leave(order)
        self._state.before(order)
        self._till.unlock_all(order)
        order.status, order.updated_ms = status, now_ms
        order.enters_ms = order.releases_ms = order.cancels_ms = None
        self._state.changed(order)
        if not silent:
            self._report(order, status, now_ms, self._rules.accept_frame_ms)

    def _partner(self, order: Order) -> Order | None:
        if not order.list_id:
            return None
        working, pending = self._state.lists[order.list_id]
        return pending if order is working else working

    # -- telling the account

    def _report_fill(self, order: Order, fill: Fill, event_id: int, now_ms: int) -> int:
        """Returns: E of the frame. Fills of one account and instant share it, as frames 5 and 6 did (wire § 7.1)."""
        last_ms, account, sent_ms = self._fill_frame
        if (last_ms, account) != (now_ms, order.account):
            sent_ms = now_ms + self._rng.randint(*self._rules.fill_frame_ms)
            self._fill_frame = (now_ms, order.account, sent_ms)
        self._tell(order, "TRADE", event_id, now_ms, sent_ms, fill)
        return sent_ms

    def _report(self, order: Order, kind: str, now_ms: int, delay: Range, sent_ms: int | None = None) -> None:
        event_id = self._state.ids.take("event")
        self._tell(order, kind, event_id, now_ms, sent_ms or now_ms + self._rng.randint(*delay), None)

    def _tell(self, order: Order, kind: str, event_id: int, now_ms: int, sent_ms: int, fill: Fill | None) -> None:
        streams, kept = self._keys.streams(order.account), self._rules.replay_frames
        if not streams and not kept:
            return
        for stream in streams:
            sent_ms = self._outbox.in_turn(stream, sent_ms, public=False)
        instrument = self._listing.by_symbol[order.symbol]
        data = execution_report(order, instrument, kind, event_id, time_ms=now_ms, sent_ms=sent_ms, fill=fill)
        if kept:
            self.recent.setdefault(order.account, deque(maxlen=kept)).append(data)
        for stream in streams:
            self._outbox.send(stream, data, sent_ms, public=False, account=order.account, symbol=order.symbol)
