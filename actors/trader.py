"""The trader of one user: takes a message, steps the pair machine, performs its effects; decides what to do next.

Theory of operation. One task, the loop, owns everything that is known of the user; it never waits for the world.
Whatever takes time runs as a task beside it (trader_tasks.py) and comes back as a message (desk.py). Messages: commands
from the mailbox, reports of the order stream, quotes, endings of requests, acknowledgements of rows, the alarm. After
each message the loop rolls the day over, looks for reasons to pause, decides whether a pair may begin (domain/gate.py),
sets its alarm and publishes its snapshot.

    mailbox ─┐                                        ┌─▶ tasks: place, cancel, look, balance, permit …
    stream ──┼─▶ loop: handle ─▶ turn (domain/turn) ──┼─▶ rows ─▶ outbox ─▶ store
    quotes ──┤         │                              └─▶ snapshot, events, log
    tasks ───┘         └─▶ after: roll over, pause, decide

domain/turn.py is the brain of a pair, domain/gate.py of the user. This file routes, to one room per concern: book.py
(pairs, day, pauses, rows), outlook.py (does the exchange answer, is the account known), markets.py (tokens, feed),
guard.py (self-trades), purse.py (the balance), durable.py (the records), commands.py (operators), order_stream.py. A
new incarnation places nothing before it has heard the exchange.
"""

from __future__ import annotations

import trio

from actors import desk
from actors.book import Book
from actors.commands import Commands
from actors.domain import day as days
from actors.domain import gate, oto, unwind
from actors.domain.orders import OrderReport
from actors.domain.pair import Pair, Plan
from actors.domain.proof import Instant
from actors.domain.turn import begin, next_due, recover, step
from actors.durable import Durability
from actors.errors import MailboxFull
from actors.facts import facts_of
from actors.guard import Guard
from actors.markets import Markets
from actors.messages import Drain, KeyRefused, LoadTrader, SessionRenewed
from actors.order_stream import OrderStream
from actors.outlook import Outlook
from actors.ports import Asked, Inbox, Started, Stop
from actors.purse import Purse
from actors.records import restored
from actors.trader_tasks import Tasks

EVENTS_MAX = 4096
"""Messages that may wait inside one incarnation: an order stream that outruns the loop by so much ends it (F13)."""

EFFECTS_MAX = 64
"""More effects than this in one turn would be a storm of our own making."""

INTENT_DURABLE = oto.Durable("intent")


async def run(
    inbox: Inbox, *, world: desk.World, settings: desk.Settings, reducing: bool = False, task_status: Started
) -> None:
    """One incarnation. Ready once the user's state is loaded; hearing the exchange is a phase, never readiness.

    reducing: follows what lives, opens nothing, and returns once nothing lives: the last resort of a parked trader.
    Raises: MailboxFull, the mailbox or the inner queue overflowed; whatever the store refuses to load with.
    """
    record = await world.store.ask(LoadTrader(world.user, days.date_of(world.wall.now_ms())))
    trader = Trader(world, settings, Book(world, record))
    trader.reducing = reducing
    async with trio.open_nursery() as nursery:
        await trader.live(nursery, inbox, task_status)
        nursery.cancel_scope.cancel()


class Trader:
    """The loop of one incarnation."""

    def __init__(self, world: desk.World, settings: desk.Settings, book: Book) -> None:
        self.world = world
        self.settings = settings
        self.book = book
        self.log = world.log.bind(user=world.user)
        self._send, self._receive = trio.open_memory_channel[object](EVENTS_MAX)
        self.tasks = Tasks(world, self.post, self.now)
        self.book.write = self.tasks.write
        self.commands = Commands(self)
        self.nursery: trio.Nursery
        self.markets = Markets(self)
        self.turn_s = trio.current_time()
        self.started_mono = self.now().mono_ms
        self.outlook = Outlook(self, self.started_mono)
        self.purse = Purse(self)
        self.durable = Durability(self, settings.store_slow_s)
        self.guard = Guard(self)
        self.decision: gate.Decision | None = None  # the newest; None while a pair lives
        self.stopping = False
        self.reducing = False
        self._alarm_scope = trio.CancelScope()
        self._handled = trio.Event()

    def now(self) -> Instant:
        return Instant(self.world.wall.now_ms(), round(trio.current_time() * 1000))

    @property
    def draining(self) -> bool:
        """Nothing new is opened. The daemon's word counts from when it is given, not from when it is heard."""
        return self.reducing or self.stopping or self.world.draining()

    def post(self, message: object) -> None:
        """For tasks and callbacks. Raises: MailboxFull, which ends the incarnation."""
        try:
            self._send.send_nowait(message)
        except trio.WouldBlock:
            raise MailboxFull(
                f"more than {EVENTS_MAX} messages wait", where=f"traders/{self.world.user}", do="see why it is slow"
            ) from None

    # -- life

    async def live(self, nursery: trio.Nursery, inbox: Inbox, task_status: Started) -> None:
        self.nursery = nursery
        nursery.start_soon(self._pump, inbox, name="mailbox")
        nursery.start_soon(self.tasks.outbox, name="outbox")
        nursery.start_soon(self._alarm, name="alarm")
        nursery.start_soon(self._order_stream().run, name="order stream")
        self.after()
        task_status.started()
        while not self._finished():
            message = await self._receive.receive()
            self.turn_s = message.at_s if isinstance(message, desk.Quoted) else trio.current_time()
            self.handle(message)
            self.after()

    def _finished(self) -> bool:
        flat = self.reducing and self.outlook.reconciled and not self.busy()
        return (self.stopping or flat) and self.tasks.written

    async def _pump(self, inbox: Inbox) -> None:
        """Messages stay in hand until the loop has handled them: a crash answers their askers."""
        while True:
            message = await inbox.take()
            self._handled = trio.Event()
            self.post(desk.Command(message) if isinstance(message, Asked) else desk.News(message))
            await self._handled.wait()
            inbox.finish()

    async def _alarm(self) -> None:
        while True:
            with self._alarm_scope:
                await trio.sleep_forever()
            self._alarm_scope = trio.CancelScope()
            self.post(desk.Woke())
            await trio.lowlevel.checkpoint()

    def _order_stream(self) -> OrderStream:
        world = self.world
        return OrderStream(
            world.sockets,
            self.settings.ws_user,
            world.key,
            hear=lambda report: self.post(desk.Heard(report)),
            up=lambda: self.post(desk.StreamUp()),
            down=lambda why: self.post(desk.StreamDown(why)),
            failed=lambda why: self.log.warning("order_stream_failed", why=why),
            lapsed=lambda key: world.keeper.post(KeyRefused(world.user, key)),
            troubled=self._key_trouble,
            broken=lambda text: self.post(desk.Broken("PROTOCOL_CHANGED", text)),
            stale_s=self.settings.stale_s,
            rotate_s=self.settings.rotate_s,
            rng=world.rng,
        )

    def _key_trouble(self, trouble: str) -> None:
        reason = oto.TROUBLE_PAUSES.get(trouble)  # type: ignore[call-overload]
        if reason is not None:
            self.post(desk.Broken(reason, f"no listen key: {trouble}"))

    # -- messages

    def handle(self, message: object) -> None:
        match message:
            case desk.Command(asked=asked):
                self.commands.take(asked)
                self._handled.set()
            case desk.News(message=news):
                self._news(news)
                self._handled.set()
            case desk.PairNews(pair_id=pair_id, event=event):
                self.outlook.note_ending(event)
                self.turn(pair_id, event)
            case desk.Heard(report=report):
                self._heard(report)
                self.outlook.handled(report)
            case desk.Acked(then=then):
                for what in then:
                    self._acked(what)
            case desk.Permitted(plan=plan, answer=answer):
                if self.guard.granted(answer):
                    self._begin(plan)
            case desk.SalePermitted(pair_id=pair_id, event=priced, answer=answer):
                if self.guard.granted(answer):
                    if pair_id in self.book.live:
                        self.turn(pair_id, priced)
                    else:
                        self.guard.withdraw(pair_id)
            case desk.Surveyed():
                self.outlook.surveyed(message)
            case desk.BalanceRead():
                self.outlook.failures = 0
                self.purse.was_read(message)
            case desk.Resolved():
                self.markets.resolved(message)
                self.outlook.market_known()
                self._recover()
            case _:
                self._trouble(message)

    def _trouble(self, message: object) -> None:
        match message:
            case desk.StreamUp():
                self.outlook.stream_up()
            case desk.StreamDown(why=why):
                self.outlook.stream_down(why)
            case desk.Broken(reason=reason, detail=detail):
                self.book.pause(reason, detail)
                self.outlook.want_look()
            case desk.ReadFailed(what=what):
                if what == "balance":
                    self.purse.failed()
                self.outlook.read_failed(message)
            case desk.PermitFailed(text=text, pair_id=pair_id):
                self.guard.failed(pair_id)
                self.outlook.retry_later()
                self.log.warning("permit_failed", why=text)
            case desk.ResolveFailed():
                self.markets.failed(message)
            case desk.RowsRefused(text=text, then=then):
                self.book.pause("STORE_UNAVAILABLE", text)
                for waiting in then:
                    self._never_acked(waiting, text)
            case desk.Woke() | desk.Quoted():
                pass
            case _:
                raise AssertionError(message)

    def _news(self, news: object) -> None:
        match news:
            case Drain():
                pass  # it wakes the loop: `draining` is so already
            case Stop():
                self.stopping = True
            case SessionRenewed():
                self.outlook.unlock()
            case _:
                raise AssertionError(news)

    def _heard(self, report: OrderReport) -> None:
        self.outlook.heard(report)
        pair_id = self.book.owner_of(report.symbol, report.order_id)
        if pair_id is None:
            pair_id = self.book.claimant(report)
        if pair_id is not None:
            self.turn(pair_id, oto.Reported(report))
        elif self.book.recovered and self.book.known.pair_of(report.symbol, report.order_id) is None:
            self.outlook.foreign(report)
        else:  # of a pair that is not taken up yet, or forgotten: the look tells what it meant
            self.log.info("report_left_to_look", order_id=report.order_id, status=report.status)
            self.outlook.want_look()

    # -- rows

    def _acked(self, what: object) -> None:
        if not isinstance(what, desk.PairNews):
            self.commands.acked(what)
            return
        if what.event == INTENT_DURABLE and not self._may_open():
            self.turn(what.pair_id, oto.Cancel("stop"))  # nothing was sent so far, and nothing will be
        self.turn(what.pair_id, what.event)

    def _never_acked(self, what: object, why: str) -> None:
        """The rows that this waited for are not, and will never be, durable: no order may leave on their account."""
        if not isinstance(what, desk.PairNews):
            self.commands.refused(what, why)
        elif what.event == INTENT_DURABLE:
            self.turn(what.pair_id, oto.Cancel("stop"))
            self.turn(what.pair_id, what.event)
        elif isinstance(what.event, oto.Durable) and what.event.what.startswith("sale:"):
            number = int(what.event.what.removeprefix("sale:"))
            self.turn(what.pair_id, oto.SaleEnded(number, oto.NOT_DURABLE))

    def _may_open(self) -> bool:
        """A slow store may have taken so long that the user's trading has ended meanwhile."""
        return self.book.wanted == "running" and not self.book.pauses and not self.draining

    # -- turns

    def turn(self, pair_id: str, event: oto.Event) -> None:
        if not self.book.remembers(pair_id):  # closed, and pushed out by later ones, while this was on its way
            self.log.info("news_of_forgotten_pair", pair_id=pair_id, what=type(event).__name__)
            return
        before = self.book.state_of(pair_id)
        after, effects = step(before, event, self.now())
        self._moved(before, after, type(event).__name__, effects)

    def _begin(self, plan: Plan) -> None:
        """The permit is here: what was true when it was asked for is checked again, for it was a moment ago."""
        decision = gate.decide(self.facts())
        if self.busy() or self.draining or not isinstance(decision, gate.Propose) or not decision.plan.asks_as(plan):
            self.guard.withdraw(plan.pair_id)
            return
        self.book.number_taken(plan.day, plan.number)
        rules = self.book.rules(self.settings)
        state, effects = begin(plan, rules, self.now())
        self._moved(None, state, "Begin", effects)

    def _moved(self, before: oto.State | None, after: oto.State, event: str, effects: tuple[oto.Effect, ...]) -> None:
        assert len(effects) <= EFFECTS_MAX, effects
        pair = oto.pair_of(after)
        durable = tuple(
            desk.PairNews(pair.plan.pair_id, oto.Durable(effect.what))
            for effect in effects
            if isinstance(effect, oto.Persist)
        )
        self.book.moved(before, after, event, durable)
        if isinstance(after, oto.Closed) and not isinstance(before, oto.Closed):
            self.purse.forget()
            self.book.closed_mono = self.now().mono_ms
            self.outlook.closed(pair)
            self.guard.over(pair.plan.pair_id)
        for effect in effects:
            self._perform(pair, effect)

    def _perform(self, pair: Pair, effect: oto.Effect) -> None:
        match effect:
            case oto.Place():
                self.spawn(self.tasks.place, pair)
            case oto.PlaceSale(number=number):
                self.spawn(self.tasks.place_sale, pair, number)
            case oto.CancelOrder(order_id=order_id):
                self.spawn(self.tasks.cancel, pair, order_id)
            case oto.TakeLook():
                self.outlook.want_look()
            case oto.ReadExecutions(order_id=order_id):
                self.spawn(self.tasks.executions, pair, order_id)
            case oto.AskPause(reason=reason, detail=detail):
                self.book.pause(reason, detail)
            case oto.Alarm(what=what):
                self.log.warning("alarm", pair_id=pair.plan.pair_id, what=what)
            case oto.Unclaimed(report=report):
                self.outlook.foreign(report)
            case oto.Persist() | oto.Finished():
                pass  # its rows are on their way already; the book has closed the pair

    def spawn(self, task: object, *args: object) -> None:
        self.nursery.start_soon(task, *args, name=getattr(task, "__name__", "task"))  # type: ignore[arg-type]

    # -- after each message

    def after(self) -> None:
        now = self.now()
        self.book.roll_over(now.wall_ms)
        self.markets.look_up()
        facts = self.facts()
        for alarm in gate.alarms(facts):
            self.book.pause(alarm.reason, alarm.detail)
        self.durable.notice()
        self.outlook.notice_silence()
        self.commands.auto_resume(facts)
        for pair_id, state in tuple(self.book.live.items()):
            due = next_due(state)
            if due is not None and due <= now.mono_ms:
                self.turn(pair_id, oto.Tick())
        self.guard.price_sales()
        self.decision = self._decide()
        self.outlook.look_if_wanted()
        self._set_alarm(self.decision, now)
        self.book.publish(self, self.decision)

    def _decide(self) -> gate.Decision | None:
        if self.busy():
            return None
        decision = gate.decide(self.facts())
        if self.draining:
            return decision if isinstance(decision, gate.Rest) else gate.Rest(False, "draining: opens nothing new")
        match decision:
            case gate.PauseNow(reason=reason, detail=detail):
                self.book.pause(reason, detail)
            case gate.Reconcile() if not self.outlook.looking:
                self.outlook.want_look()
            case gate.ReadBalance():
                self.purse.read()
            case gate.Wait(wait="credit_lag"):
                self.purse.read_again()
            case gate.Propose(plan=plan) if self.outlook.retry_over():
                self.guard.ask_for(plan)
            case gate.Rest(done=True):
                self.book.done(self.now().wall_ms)
            case _:
                pass
        return decision

    def busy(self) -> bool:
        """A pair lives, or may live: nothing new is opened."""
        return bool(self.book.live) or not self.book.recovered

    def _recover(self) -> None:
        """Once the markets of the open pairs are known, they are taken up again."""
        for row, orders, fills, rules in self.book.to_recover(self.settings):
            pair = restored(row, orders, fills, rules)
            state, effects = recover(pair, self.now())
            self.book.taken_up(state, row.status)
            for effect in effects:
                self._perform(pair, effect)
            if self.commands.cancels_found:
                self.turn(row.pair_id, oto.Cancel("stop"))

    def facts(self) -> gate.Facts:
        return facts_of(self)

    # -- the alarm

    def _set_alarm(self, decision: gate.Decision | None, now: Instant) -> None:
        """now: when this turn began; what has fallen due since may have been overlooked by it, and rings at once."""
        dues = [due for due in map(next_due, self.book.live.values()) if due is not None]
        for state in self.book.live.values():
            if isinstance(state, oto.Unwinding) and unwind.current(state.live.pair) is None:
                dues.append(max(state.due, now.mono_ms + 1000))  # quotes come by themselves; confirmations age
        if isinstance(decision, gate.Wait) and decision.until_mono is not None:
            dues.append(decision.until_mono)
        if isinstance(decision, gate.Propose) or self.guard.blocked is not None:
            dues.append(now.mono_ms + 1000)
        dues.extend(due for due in (self.outlook.retry_due, self.outlook.silence_due) if due is not None)
        dues.append(self.started_mono + gate.RESTART_GRACE_MS + 1)
        dues.extend((*self.durable.dues(), *self.commands.dues()))
        dues.append(now.mono_ms + days.next_midnight_ms(now.wall_ms) - now.wall_ms)
        # What was due then was acted on in this very turn: only what came after can ring.
        due = min(due for due in dues if due > now.mono_ms)
        self._alarm_scope.deadline = due / 1000
