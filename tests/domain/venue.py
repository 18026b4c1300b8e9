"""A small pure exchange and a small pure shell, for histories of one pair that no test could list by hand.

`Venue` is the truth: orders, fills, cancels, what each source says of them and when. `World` runs the pair machine
against it in virtual time: it performs the effects, delivers frames and replies with faults (lost, repeated, late, out
of order), takes looks that lag, loses the process and takes the pair up again from the rows that were durable by then.
One seed is one history. After `heal_ms` all faults are over. Invariants are asserted with every step.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal
from random import Random

from msgspec import Struct
from msgspec.structs import replace

from actors.domain import ghosts, oto, unwind
from actors.domain.orders import TERMINAL, Accepted, Execution, NoAnswer, OrderReport, OrderView, Refused
from actors.domain.pair import accounts
from actors.domain.proof import Instant, Look
from actors.domain.turn import begin, next_due, recover, step
from actors.records import Owner, changes, restored
from actors.rows import FillRow, OrderRow, PairRow, RetractFill
from tests.domain.pairkit import BASE, MONO_MS, SYMBOL, WALL_MS, plan, rules

D = Decimal
STEP, ATOM = D("0.01"), D("1e-8")

GRAPH = {
    "Placing": {"Unresolved", "Open", "TimedOut", "Cancelling", "Unwinding", "Closed"},
    "Unresolved": {"Open", "TimedOut", "Cancelling", "Closed", "Unwinding"},
    "Open": {"TimedOut", "Cancelling", "Closed", "Unwinding"},
    "TimedOut": {"Cancelling", "Open", "Closed", "Unwinding"},
    "Cancelling": {"Open", "Unwinding", "Closed"},
    "Unwinding": {"Closed"},
    "Reconciling": {"Unresolved", "Open", "TimedOut", "Cancelling", "Unwinding", "Closed"},
    "Closed": {"Unresolved", "Open", "TimedOut", "Cancelling", "Unwinding"},
}
"""Which kind of state may follow which."""


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


OWNER = Owner(user="alice", token="KOGE", mul_point=D(4))


class World:
    """One history. `run` plays it to its end; what it met is in `pauses`, `outcome`, `phases`."""

    HEAL_MS = 90_000
    END_MS = 1_800_000

    def __init__(self, how: Rules, seed: int):
        self.how = how
        self.rng = Random(seed)
        self.venue = Venue(how, self.rng)
        self.now = 0
        self.queue: list = []
        self.number = itertools.count()
        self.life = 0
        self.down = False
        self.pauses: Counter = Counter()
        self.phases: list[str] = []
        self.placed = 0
        self.in_air = 0  # placing requests that may still be accepted
        self.committed: list = []  # (commit ms, row)
        self.last_commit = 0
        self.delivered = 0
        self.bought_quote = D(0)
        self.the_plan = plan(sell_price=D("0.2269"))
        self.the_rules = rules(config={"timeout_seconds": D(self.rng.choice((5, 20, 60)))})
        self.state: oto.State | None = None
        self.quiet_looks = 0
        self.gap = True  # the stream was not connected all the time since the last look

    # -- running

    def run(self):
        self._adopt(*begin(self.the_plan, self.the_rules, self._at()), event="Begin")
        self._market()
        for _ in range(self.how.cancels):
            self._later(self.rng.randint(0, self.HEAL_MS), self._operator, outside=True)
        for _ in range(self.how.crashes):
            self._later(self.rng.randint(0, self.HEAL_MS), self._crash, outside=True)
        while self.queue:
            due, _, life, action, outside = heapq.heappop(self.queue)
            if due > self.END_MS:
                break
            self.now = max(self.now, due)
            if outside or life == self.life:
                action()
            if self._over():
                return self
        raise AssertionError(f"did not end: {self.state}")

    def _over(self):
        """Closed, everything said and heard, and two looks after that."""
        return self.now > self.HEAL_MS + 60_000 and self.finished

    @property
    def healed(self):
        return self.now >= self.HEAL_MS

    @property
    def finished(self):
        return self.state is None or (isinstance(self.state, oto.Closed) and self.quiet_looks >= 2)

    def _at(self):
        return Instant(WALL_MS + self.now, MONO_MS + self.now)

    def _later(self, ms, action, *, outside=False):
        """outside: not a part of our process, so it survives a crash of it."""
        heapq.heappush(self.queue, (self.now + ms, next(self.number), self.life, action, outside))

    def _strikes(self, probability):
        return not self.healed and self.rng.random() < probability

    # -- the market and the stream

    def _market(self):
        before = len(self.venue.frames)
        self.venue.trade(self.now)
        self._stream(before)
        self._later(self.rng.randint(50, 4_000), self._market, outside=True)

    def _stream(self, since):
        for frame in self.venue.frames[since:]:
            if self._strikes(self.how.drop):
                continue
            delay = self.rng.randint(0, self.how.delay_ms) if self._strikes(self.how.delay) else 160
            self._later(delay, lambda frame=frame: self._hear(frame), outside=True)
            if self._strikes(self.how.repeat):
                self._later(delay + self.rng.randint(0, 5_000), lambda frame=frame: self._hear(frame), outside=True)

    def _hear(self, frame):
        if self.down or self.state is None:
            return
        known = oto.pair_of(self.state).leg_of(frame.order_id) is not None
        if isinstance(self.state, oto.Closed):
            claimed = known or ghosts.may_claim(self.state, frame)
        else:
            claimed = known or oto.wants_unknown(self.state)
        assert claimed, f"a report of our own order would be called foreign: {frame} in {self.state}"
        self._step(oto.Reported(frame))

    def _acting(self, act):
        before = len(self.venue.frames)
        result = act()
        self._stream(before)
        return result

    # -- the operator and the process

    def _operator(self):
        if not self.down and isinstance(self.state, oto.LiveState):
            self._step(oto.Cancel("operator"))

    def _crash(self):
        if self.down or self.state is None:
            return
        self.life += 1
        self.down = True
        self.committed = [(at, row) for at, row in self.committed if at <= self.now]
        self._later(self.rng.choice((10, 2_000, 40_000)), self._restart, outside=True)

    def _restart(self):
        self.down = False
        self.gap = True
        pair_row, orders, fills = self.folded()
        if pair_row is None:
            assert not self.venue.orders, "an order without a durable intent"
            assert not self.in_air
            self.state = None
            return
        pair = restored(pair_row, orders, fills, self.the_rules)
        self.quiet_looks = 0
        if pair_row.status == "closed":
            self.state = oto.Closed(pair=pair, outcome=pair_row.outcome)
            self._later(1_000, self._idle_look)
            return
        self.state = None
        self.bought_quote = D(0)
        self._adopt(*recover(pair, self._at()), event="Recover")

    def folded(self):
        """What the database holds."""
        pair_row, orders, fills = None, {}, {}
        for _, row in self.committed:
            match row:
                case PairRow():
                    pair_row = row
                case OrderRow():
                    orders[row.order_id] = row
                case FillRow():
                    fills.setdefault(row.fill_id, row)
                case RetractFill():
                    fills.pop(row.fill_id, None)
        return pair_row, list(orders.values()), list(fills.values())

    # -- the shell

    def _step(self, event):
        before = self.state
        after, effects = step(before, event, self._at())
        if isinstance(event, oto.Tick):
            due = next_due(after)
            assert due is None or due > MONO_MS + self.now, f"a tick that changes nothing: {after}"
        self._adopt(after, effects, event=type(event).__name__, before=before)

    def _adopt(self, after, effects, *, event, before=None):
        self.state = after
        self._check(before, after)
        rows = changes(OWNER, before, after, event, now_ms=WALL_MS + self.now, seq=next(self.number))
        commit = max(self.last_commit, self.now + self.rng.randint(1, self.how.store_ms if not self.healed else 20))
        self.last_commit = commit
        self.committed += [(commit, row) for row in rows]
        for effect in effects:
            self._perform(effect, commit)
        if isinstance(after, oto.Closed):
            if not isinstance(before, oto.Closed):
                self.quiet_looks = 0
                self._later(1_000, self._idle_look)
            return
        due = next_due(after)
        if due is not None:
            self._later(max(0, due - MONO_MS - self.now), self._tick)
        if unwind.wants_price(after, MONO_MS + self.now):
            self._later(100, self._price)
        elif isinstance(after, oto.Unwinding):
            self._later(max(0, after.due - MONO_MS - self.now), self._price)

    def _check(self, before, after):
        was, name = type(before).__name__, type(after).__name__
        if before is not None and was != name:
            assert name in GRAPH[was], f"{was} → {name}"
        self.phases.append(name)
        sums = accounts(oto.pair_of(after))
        truth = sum((o.quote for o in self.venue.orders.values() if o.side == "BUY"), D(0))
        assert sums.buy_quote <= truth, f"bought {sums.buy_quote}, exchange {truth}"
        assert sums.buy_quote >= self.bought_quote, "volume shrank"
        self.bought_quote = sums.buy_quote
        if isinstance(after, oto.Closed) and not isinstance(before, oto.Closed):
            live = [o for o in self.venue.orders.values() if o.live]
            assert not live, f"closed as {after.outcome}, but {live} live"
            assert not self.in_air, "closed while a request may still be accepted"
            traded = sum((o.cumulative for o in self.venue.orders.values()), D(0))
            assert sums.bought + sums.sold == traded, "closed before its fills were booked"
            assert (
                not self.venue.releases
                or self.how.refuse_release
                or all(not self.venue.partner(self.venue.orders[w]).live for _, w in self.venue.releases)
            )

    def _tick(self):
        due = None if self.state is None else next_due(self.state)
        if due is not None and due <= MONO_MS + self.now and not self.down:
            self._step(oto.Tick())

    def _price(self):
        if not self.down and self.state is not None and unwind.wants_price(self.state, MONO_MS + self.now):
            self._step(oto.Priced(D("0.2265")))

    def _idle_look(self):
        """What a trader does with closed pairs: every look is shown to them."""
        if self.down or not isinstance(self.state, oto.Closed):
            return
        before = self.state
        look = self._look(WALL_MS - 600_000)
        self._step(oto.Looked(look))
        synthetic = any(leg.synthetic for leg in oto.pair_of(self.state).legs())
        if isinstance(self.state, oto.Closed):
            same = self.state == before and not synthetic and self.healed
            self.quiet_looks = self.quiet_looks + 1 if same else 0
            self._later(5_000, self._idle_look)

    def _look(self, since_ms):
        lag = self.rng.randint(0, self.how.lag_ms) if not self.healed else 0
        views = self.venue.views(self.now - lag)
        foreign = [self._foreign()] if self.rng.random() < 0.2 else []
        baseline, self.gap = self.gap, False
        return Look(started=self._at(), since_ms=since_ms, orders=(*views, *foreign), baseline=baseline)

    def _foreign(self):
        """Somebody's own order of the same token."""
        return OrderView(
            symbol=SYMBOL, order_id="99", list_id=None, position=None, side="SELL", status="NEW", price=D("0.3"),
            quantity=D(5), executed=D(0), executed_quote=D(0), created_ms=WALL_MS + 10, updated_ms=WALL_MS + 10,
        )  # fmt: skip

    def _perform(self, effect, commit):
        latency = self.rng.randint(20, 400)
        match effect:
            case oto.Persist(what=what):
                self._later(commit - self.now, lambda: self._step(oto.Durable(what)))
            case oto.Place():
                self.placed += 1
                assert self.placed == 1, "placed twice"
                self._place(latency)
            case oto.PlaceSale(number=number):
                self._place_sale(number, latency)
            case oto.CancelOrder(order_id=order_id):
                self._cancel(order_id, latency)
            case oto.TakeLook(since_ms=since_ms):
                if self._strikes(self.how.look_fails):
                    self._later(latency, lambda: self._step(oto.LookFailed("no_reply", "timed out")))
                else:
                    look = self._look(since_ms)
                    self._later(latency, lambda: self._step(oto.Looked(look)))
            case oto.ReadExecutions(order_id=order_id):
                self._read(order_id, latency)
            case oto.AskPause(reason=reason):
                self.pauses[reason] += 1
            case oto.Unclaimed(report=report):
                raise AssertionError(f"our own report is called foreign: {report}")
            case oto.Alarm() | oto.Finished():
                pass

    def _read(self, order_id, latency):
        if self._strikes(self.how.read_fails):
            self._later(latency, lambda: self._step(oto.ExecutionsFailed(order_id, "timed out")))
            return
        lag = self.rng.randint(0, self.how.lag_ms) if not self.healed else 0
        found = self.venue.executions(order_id, self.now - lag)
        if self._strikes(self.how.read_short):
            found = found[: self.rng.randint(0, len(found))]
        self._later(latency, lambda: self._step(oto.ExecutionsRead(order_id, found)))

    def _place(self, latency):
        the_plan = self.the_plan

        def arrive():
            self.in_air -= 1
            return self._acting(
                lambda: self.venue.place_oto(self.now, the_plan.buy_price, the_plan.sell_price, the_plan.quantity)
            )

        self._request(arrive, lambda outcome: oto.PlaceEnded(outcome), latency, many=True)

    def _place_sale(self, number, latency):
        sale = oto.pair_of(self.state).sales[number - 1]
        free = self._own_leftover()
        assert sale.leg.quantity <= free, f"sale of {sale.leg.quantity}, but only {free} are ours and free"

        def arrive():
            self.in_air -= 1
            return self._acting(lambda: self.venue.place_limit(self.now, sale.leg.price, sale.leg.quantity))

        self._request(arrive, lambda outcome: oto.SaleEnded(number, outcome), latency, many=False)

    def _own_leftover(self):
        """At the exchange: what the pair bought, paid, sold and offers."""
        left = D(0)
        for order in self.venue.orders.values():
            paid = sum((f.commission for f in order.fills if f.commission_asset == BASE), D(0))
            if order.side == "BUY":
                left += order.cumulative - paid
            else:
                left -= order.quantity if order.live else order.cumulative
        return left

    def _request(self, arrive, ended, latency, *, many):
        """A placement: accepted, refused, lost on its way, accepted without an answer, accepted late."""
        if self._strikes(self.how.refused):
            self._later(latency, lambda: self._step(ended(Refused("481020", "balance"))))
            return
        if self._strikes(self.how.no_answer):
            self._later(5_000, lambda: self._step(ended(NoAnswer("no_reply", "timed out"))))
            if self.rng.random() < 0.7:
                self.in_air += 1
                self._later(
                    5_000 * self.rng.randint(0, 1) + self.rng.randint(0, self.how.late_ms), arrive, outside=True
                )
            return
        self.in_air += 1
        life = self.life

        def accept():
            ids = arrive()
            outcome = Accepted(tuple(ids) if many else (ids,))
            self._later(latency, lambda: self._step(ended(outcome)) if life == self.life else None, outside=True)

        self._later(latency, accept, outside=True)

    def _cancel(self, order_id, latency):
        known = int(order_id) in self.venue.orders
        assert known, order_id
        if self._strikes(self.how.no_answer):
            if self.rng.random() < 0.5:
                self._later(latency, lambda: self._acting(lambda: self.venue.cancel(self.now, order_id)), outside=True)
            self._later(5_000, lambda: self._step(oto.CancelEnded(order_id, NoAnswer("no_reply", "timed out"))))
            return
        life = self.life

        def arrive():
            outcome = self._acting(lambda: self.venue.cancel(self.now, order_id))
            self._later(
                latency,
                lambda: self._step(oto.CancelEnded(order_id, outcome)) if life == self.life else None,
                outside=True,
            )

        self._later(latency, arrive, outside=True)

    # -- what must be true at the end

    def verify(self):
        """The ledger is the exchange's, in memory and in the rows."""
        truth = Counter(
            (str(o.order_id), f.price, f.quantity, f.quote, f.commission, f.commission_asset, f.time_ms)
            for o in self.venue.orders.values()
            for f in o.fills
        )
        if self.state is None:
            assert not truth
            return
        pair = oto.pair_of(self.state)
        booked = Counter((leg.order_id, *_value(fill.execution)) for leg in pair.legs() for fill in leg.fills)
        assert booked == truth, f"booked {booked - truth} too much, {truth - booked} too little"
        _, orders, fills = self.folded()
        rows = Counter((row.order_id, *_row_value(row)) for row in fills)
        assert rows == truth, f"rows {rows - truth} too much, {truth - rows} too little"
        known = {leg.order_id for leg in pair.legs() if leg.order_id is not None}
        assert known >= {str(i) for i, o in self.venue.orders.items() if o.listed}, "an accepted order is not known"
        assert {row.order_id for row in orders} == known
        return self


def _value(e):
    return (e.price, e.quantity, e.quote, e.commission, e.commission_asset, e.time_ms)


def _row_value(row):
    return (
        row.price, row.quantity, row.quote_quantity, row.commission, row.commission_asset, row.exchange_time,
    )  # fmt: skip
