"""Histories of one pair that no test could list by hand: the machine and a small pure shell against a Venue.

World performs the effects in virtual time, delivers frames and replies with faults (lost, repeated, late, out of
order), takes looks that lag, loses the process and takes the pair up again from the rows that were durable by then.
One seed is one history. After HEAL_MS all faults are over. Invariants are asserted with every step.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from decimal import Decimal
from random import Random

from actors.domain import ghosts, oto, unwind
from actors.domain.orders import Accepted, NoAnswer, OrderView, Refused
from actors.domain.pair import accounts
from actors.domain.proof import Instant, Look
from actors.domain.turn import begin, next_due, recover, step
from actors.records import Owner, changes, restored
from actors.rows import FillRow, OrderRow, PairRow, RetractFill
from tests.domain.pairkit import BASE, MONO_MS, SYMBOL, WALL_MS, plan, rules
from tests.domain.venue import Rules, Venue

D = Decimal

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
