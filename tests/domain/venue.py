"""A small pure exchange: the truth of one account, what each source says of it and when. world.py plays with it."""

from __future__ import annotations

import itertools
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal
from random import Random

from msgspec import Struct
from msgspec.structs import replace

from actors.domain.orders import TERMINAL, Accepted, Execution, OrderReport, OrderView, Refused
from tests.domain.pairkit import BASE, SYMBOL, WALL_MS

D = Decimal
STEP, ATOM = D("0.01"), D("1e-8")


class Order(Struct, kw_only=True):
    order_id: int
    list_id: int | None
    position: str | None
    side: str
    price: Decimal
    quantity: Decimal
    status: str
    created_ms: int
    updated_ms: int
    fills: tuple[Execution, ...] = ()
    listed: bool = True

    @property
    def cumulative(self):
        return sum((f.quantity for f in self.fills), D(0))

    @property
    def quote(self):
        return sum((f.quote for f in self.fills), D(0))

    @property
    def live(self):
        return self.status not in TERMINAL


class Rules(Struct, frozen=True, kw_only=True):
    """What nobody captured (wire § 7.3), and how much goes wrong. Probabilities 0..1, times in ms."""

    release_on: str = "full"  # or "partial"
    partial_cancel: str = "end"  # or "release": what becomes of a held leg whose working leg is cancelled part-filled
    held_end: str = (
        "CANCELED"  # or "EXPIRED", "silent", "gone": the end of a held leg: frame and row, row only, neither
    )
    held_listed: bool = True
    refuse_release: bool = False
    rest_ids_differ: bool = False
    third_asset: bool = False
    drop: float = 0.0
    repeat: float = 0.0
    delay: float = 0.0
    delay_ms: int = 3_000
    lag_ms: int = 0
    look_fails: float = 0.0
    read_fails: float = 0.0
    read_short: float = 0.0
    no_answer: float = 0.0
    late_ms: int = 0
    refused: float = 0.0
    store_ms: int = 20
    cancels: int = 0  # by the operator
    crashes: int = 0
    fills_fast: float = 0.5  # how eager the market is
    sells: bool = True  # the market buys what we offer


class Venue:
    """Truth. `frames`: what the stream would say, in order; `log`: every version of every order with its time."""

    def __init__(self, how: Rules, rng: Random):
        self.how = how
        self.rng = rng
        self.orders: dict[int, Order] = {}
        self.frames: list[OrderReport] = []
        self.log: list[tuple[int, Order]] = []
        self.ids = itertools.count(51_481_849)
        self.events = itertools.count(12_501_197_286)
        self.page_ids: dict[str, str] = {}
        self.releases: list[tuple[int, int]] = []  # (due ms, working id)

    # -- what is asked of it

    def place_oto(self, now, price, sell_price, quantity):
        list_id = next(self.events)
        working = self._new(now, list_id, "working", "BUY", price, quantity, "NEW")
        pending = self._new(now, list_id, "pending", "SELL", sell_price, D(0), "PENDING")
        pending.listed = self.how.held_listed
        self._tell(working, now, "NEW")
        self._tell(pending, now, "PENDING", kind="NEW")
        return str(working.order_id), str(pending.order_id)

    def place_limit(self, now, price, quantity):
        order = self._new(now, None, None, "SELL", price, quantity, "NEW")
        self._tell(order, now, "NEW")
        return str(order.order_id)

    def cancel(self, now, order_id):
        order = self.orders[int(order_id)]
        if not order.live:
            return Refused("481099", "no such order")
        held = order.status == "PENDING"
        self._end(order, now, "CANCELED")
        partner = self.partner(order)
        if partner is not None and order.position == "working" and partner.status == "PENDING":
            if order.cumulative and self.how.partial_cancel == "release":
                self.releases.append((now + self.rng.randint(0, 1500), order.order_id))
            else:
                self._end_held(partner, now)
        if held and partner is not None and partner.live:
            self._end(partner, now, "CANCELED")
        return Accepted()

    def partner(self, order):
        return next(
            (o for o in self.orders.values() if o.list_id == order.list_id is not None and o is not order), None
        )

    # -- what the market does

    def trade(self, now):
        """Maybe something is filled."""
        for working_due, working_id in tuple(self.releases):
            if working_due <= now:
                self.releases.remove((working_due, working_id))
                self._release(self.orders[working_id], now)
        for order in tuple(self.orders.values()):
            left = order.quantity - order.cumulative
            open_now = order.status in ("NEW", "PARTIALLY_FILLED")
            if not open_now or left <= 0 or self.rng.random() > self.how.fills_fast:
                continue
            if order.side == "SELL" and not self.how.sells:
                continue
            parts = self._parts(left)
            for number, part in enumerate(parts):
                self._fill(order, now, part, same_trade=number > 0)

    def _parts(self, left):
        """One trade, perhaps of several fills."""
        amount = (
            left if self.rng.random() < 0.5 else max(STEP, (left * D(self.rng.randint(1, 99)) / 100) // STEP * STEP)
        )
        if self.rng.random() < 0.3 and amount >= 3 * STEP:
            third = amount / 3 // STEP * STEP
            return [third, third, amount - 2 * third]
        return [amount]

    def _fill(self, order, now, quantity, *, same_trade):
        buy = order.side == "BUY"
        price = order.price * (D(1) if not buy or self.rng.random() < 0.5 else D("0.99"))
        price = price.quantize(ATOM, ROUND_DOWN)
        quote = (price * quantity).quantize(ATOM, ROUND_DOWN)
        received = quantity if buy else quote
        asset = "BNB" if self.how.third_asset else (BASE if buy else "USDT")
        event = next(self.events)
        trade = order.fills[-1].trade_id if same_trade else str(event % 100_000)
        fill = Execution(
            fill_id=str(event),
            trade_id=trade,
            price=price,
            quantity=quantity,
            quote=quote,
            commission=(received * D("0.0001")).quantize(ATOM, ROUND_HALF_UP),
            commission_asset=asset,
            time_ms=WALL_MS + now,
            source="stream",
        )
        order.fills = (*order.fills, fill)
        order.status = "FILLED" if order.cumulative == order.quantity else "PARTIALLY_FILLED"
        partner = self.partner(order)
        if order.position == "pending" and self.how.release_on == "partial" and partner.live:
            order.status = "PARTIALLY_FILLED"  # it may still grow
        self._tell(order, now, order.status, fill=fill)
        if order.position == "working" and (order.status == "FILLED" or self.how.release_on == "partial"):
            self.releases.append((now + self.rng.choice((0, 1, 400, 1500)), order.order_id))

    def _release(self, working, now):
        pending = self.partner(working)
        if not pending.live:
            return
        paid = sum((f.commission for f in working.fills if f.commission_asset == BASE), D(0))
        quantity = (working.cumulative - paid) // STEP * STEP
        if quantity <= pending.quantity:
            if not working.live and pending.quantity and pending.cumulative == pending.quantity:
                self._end(pending, now, "FILLED")
            return
        pending.quantity = quantity
        pending.listed = True
        if self.how.refuse_release:
            self._end(pending, now, "REJECTED")
            return
        pending.status = "PARTIALLY_FILLED" if pending.cumulative else "NEW"
        self._tell(pending, now, pending.status, kind="NEW")

    # -- what it says

    def views(self, now):
        """Open orders and history as of `now`, which may lie in the past."""
        newest: dict[int, Order] = {}
        for at, order in self.log:
            if at <= now:
                newest[order.order_id] = order
        return tuple(self._view(o) for o in newest.values() if o.listed)

    def executions(self, order_id, now):
        newest = ()
        for at, order in self.log:
            if at <= now and order.order_id == int(order_id):
                newest = order.fills
        return tuple(replace(f, source="rest", fill_id=self._page_id(f.fill_id)) for f in newest)

    def _page_id(self, event_id):
        """Of REST: the stream's id, or of a counter of its own that gives the same numbers to other fills."""
        if not self.how.rest_ids_differ:
            return event_id
        return self.page_ids.setdefault(event_id, str(12_501_197_290 + len(self.page_ids)))

    # -- inside

    def _new(self, now, list_id, position, side, price, quantity, status):
        order = Order(
            order_id=next(self.ids),
            list_id=list_id,
            position=position,
            side=side,
            price=price,
            quantity=quantity,
            status=status,
            created_ms=WALL_MS + now,
            updated_ms=WALL_MS + now,
        )
        self.orders[order.order_id] = order
        return order

    def _end(self, order, now, status, *, silent=False):
        order.status = status
        order.updated_ms = WALL_MS + now
        if silent:
            self.log.append((now, replace(order)))
        else:
            self._tell(order, now, status)

    def _end_held(self, order, now):
        how = self.how.held_end
        order.listed = how != "gone"
        self._end(order, now, "CANCELED" if how in ("silent", "gone") else how, silent=how in ("silent", "gone"))

    def _tell(self, order, now, status, *, kind=None, fill=None):
        order.updated_ms = WALL_MS + now
        self.log.append((now, replace(order)))
        self.frames.append(
            OrderReport(
                symbol=SYMBOL,
                order_id=str(order.order_id),
                list_id=None if order.list_id is None else str(order.list_id),
                position=order.position,
                side=order.side,
                price=order.price,
                quantity=order.quantity,
                cumulative=order.cumulative,
                cumulative_quote=order.quote,
                kind="TRADE" if fill is not None else (kind or status),
                status=status,
                created_ms=order.created_ms,
                time_ms=WALL_MS + now,
                sent_ms=WALL_MS + now,
                event_id=fill.fill_id if fill is not None else str(next(self.events)),
                execution=fill,
            )
        )

    def _view(self, order):
        return OrderView(
            symbol=SYMBOL,
            order_id=str(order.order_id),
            list_id=None if order.list_id is None else str(order.list_id),
            position=order.position,
            side=order.side,
            status=order.status,
            price=order.price,
            quantity=order.quantity,
            executed=order.cumulative,
            executed_quote=order.quote,
            created_ms=order.created_ms,
            updated_ms=order.updated_ms,
        )
