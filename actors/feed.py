"""The feed of one token: hears the market, publishes quotes, guards against self-trades, records 1 s bars.

Tasks of one incarnation, all in one nursery, so that they die together:

    serve      the mailbox: permits and their ends, answered in one synchronous step; never waits for the network
    lines      keeps one subscribed socket (actors/lines.py)
    gap        after each connect: reads the last 60 s by REST, then lets the stream's trades through
    tick       once a second: closes bars, lets the range fall as trades grow old, confirms a quiet market by REST
    record     hands bars to the store; a slow store makes bars wait, then fall away (counted), never quotes

Trades are ordered by id, so what two lines or two sources tell twice falls away. Disconnected is: no line is
subscribed, or the gap behind a new one is not read yet; the quote says so at once. With `disconnected_since_ms` None
this very actor restarts: that withholds placing, but is no reason to pause for RESTART_GRACE_S.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import inf
from random import Random

import trio
from msgspec.structs import replace

from actors.domain.crossing import Register
from actors.domain.instrument import Market
from actors.domain.money import ZERO
from actors.domain.quotes import Quote, Trade
from actors.domain.range import BAR_MS, RANGE_SPAN_MS
from actors.domain.tape import Tape
from actors.errors import ExchangeError, ProtocolChanged, Refusal, StoreRefused, StreamLost
from actors.exchange.news import Ack, AggTrade, Book, ServerShutdown, StreamRefused
from actors.exchange.stream import read_frame
from actors.exchange.subscribing import agg_trade_stream, book_ticker_stream, subscribe
from actors.lines import Lines
from actors.messages import Blocked, FeedSnapshot, Granted, Over, OwnOrder, Permit, Resting, RestingPair
from actors.ports import Asked, Events, Inbox, Latest, Log, PublicExchange, Rows, Sockets, Started, Stop, Wall
from actors.rows import PriceRow
from actors.tally import Tally

ROTATE_S = 22.5 * 3600  # a socket lives at most 24 h (wire § 10.2); ours is replaced before 23 h
TICK_S = 1.0
PAGE = 1000  # most trades of one agg-trades call (wire § 3)
PAGES_MAX = 40  # the busiest token had 332 trades/s: a minute of it is 20 pages; twice that, then the stream must do
HELD_MAX = 50_000  # trades that wait for the gap behind them: two minutes of the busiest token
MERGE_CHUNK = 500  # trades between two checkpoints while a gap is merged: about 5 ms
GAP_S_MAX = RANGE_SPAN_MS / 1000  # after that the stream alone has filled the window
RETRY_S = 2.0  # between two reads of a gap that failed: the public rate of one address (wire § 10.1)
CONFIRM_LEAD_S = 10.0  # a quiet market is confirmed this much before its price counts as old
CONFIRM_PACE_S = 10.0  # at most one confirming request per token in this time
CONFIRM_TRADES = 20
MUTE_S = 10.0  # a trade this old that the stream has not told will not come any more
RESTART_GRACE_S = 10.0  # an own actor that is back within this time causes no pause (requirements, Pauses)
BARS_WAITING_MAX = 600  # ten minutes of bars: longer than any fault of the store that ends well
BARS_AT_ONCE = 60

Refill = Callable[[], Iterable[tuple[str, str, Sequence[OwnOrder]]]]
"""(user, pair id, orders) of every live pair of this symbol, from the traders' snapshots."""


async def run(
    inbox: Inbox,
    *,
    market: Market,
    quotes: Latest[Quote],
    snapshot: Latest[FeedSnapshot],
    sockets: Sockets,
    url: str,
    public: PublicExchange,
    rows: Rows,
    refill: Refill,
    wall: Wall,
    rng: Random,
    log: Log,
    events: Events,
    stale_s: float = 30.0,
    price_age_s: float = 60.0,
    rotate_s: float = ROTATE_S,
    tally: Tally | None = None,
    task_status: Started,
) -> None:
    """One incarnation. Ready once the register is filled and the mailbox is served; the network may take longer.

    Args:
        quotes, snapshot: this feed is their only writer.
        url: of the public socket. public, sockets: rationed and paced by themselves.
        stale_s: no frame and no pong for so long is a disconnect. price_age_s: a last trade older than this withholds
            placing until REST confirms that nothing newer exists. rotate_s: longest life of a socket.
    Raises: MailboxFull.
    """
    feed = Feed(market, quotes, snapshot, public, rows, wall, log, events, price_age_s=price_age_s, tally=tally)
    feed.lines = Lines(
        sockets,
        url,
        subscribe=feed.subscription,
        hear=feed.hear,
        up=feed.line_up,
        down=feed.line_down,
        failed=feed.line_failed,
        stale_s=stale_s,
        rotate_s=rotate_s,
        rng=rng,
    )
    for user, pair_id, orders in refill():
        feed.register.note(user, pair_id, orders)
    try:
        async with trio.open_nursery() as nursery:
            feed.nursery = nursery
            feed.enter()
            nursery.start_soon(feed.lines.run)
            nursery.start_soon(feed.tick)
            nursery.start_soon(feed.record)
            task_status.started()
            await feed.serve(inbox)
            nursery.cancel_scope.cancel()
    finally:
        feed.leave()


class Feed:
    """State of one incarnation. Everything but the tasks is synchronous."""

    lines: Lines
    nursery: trio.Nursery

    def __init__(
        self,
        market: Market,
        quotes: Latest[Quote],
        snapshot: Latest[FeedSnapshot],
        public: PublicExchange,
        rows: Rows,
        wall: Wall,
        log: Log,
        events: Events,
        *,
        price_age_s: float,
        tally: Tally | None = None,
    ) -> None:
        symbol = market.instrument.symbol
        self.subscription = subscribe([agg_trade_stream(symbol), book_ticker_stream(symbol)], request_id=1)
        self.register = Register()
        self._market, self._symbol, self._token = market, symbol, market.token.name
        self._quotes, self._snapshot = quotes, snapshot
        self._public, self._rows = public, rows
        self._wall, self._log, self._events = wall, log, events
        self._price_age_s = price_age_s
        self._tally = tally or Tally()
        self._tape = Tape(symbol, market.token.name)
        self._inherited = quotes.value  # the previous incarnation's, until this one knows a price
        self._connected_ms: int | None = None
        self._lost_ms: int | None = None
        self._held: list[tuple[Trade, int]] | None = None  # trades that wait for the gap behind them
        self._gap_scope = trio.CancelScope()
        self._range_shown = ZERO
        self._confirming = False
        self._confirm_after_s = -inf
        self._bars_in, self._bars_out = trio.open_memory_channel[PriceRow](BARS_WAITING_MAX)
        self._entered_s = trio.current_time()
        self._ignored = self._bars_dropped = self._confirmations = 0

    async def serve(self, inbox: Inbox) -> None:
        """Answers permits in the order in which they were asked. Returns on Stop. Raises: MailboxFull."""
        while True:
            message = await inbox.take()
            match message:
                case Asked(Permit() as permit, reply):
                    reply.answer(self.permit(permit))
                case Asked(question, reply):
                    reply.refuse(Refusal(f"a feed does not answer {type(question).__name__}", where=self._symbol))
                case Over(user, pair_id):
                    self.over(user, pair_id)
                case Resting(user, pairs):
                    self.resting(user, pairs)
                case Stop():
                    return
                case _:
                    self._log.warning("message_ignored", kind=type(message).__name__)
            inbox.finish()

    def permit(self, permit: Permit) -> Granted | Blocked:
        crossing = self.register.ask(permit.user, permit.pair_id, permit.orders, self._wall.now_ms())
        self._show()
        if crossing is None:
            return Granted()
        self._log.debug("permit_blocked", user=permit.user, by=crossing.by, pair_id=crossing.pair_id)
        return Blocked(by=crossing.by, pair_id=crossing.pair_id, price=crossing.price)

    def over(self, user: str, pair_id: str) -> None:
        self.register.over(user, pair_id)
        self._freed()

    def _freed(self) -> None:
        self._show()
        if self.register.waiting:
            self._publish()  # the same quote again: who was blocked looks again at once, not at the next trade

    def resting(self, user: str, pairs: Iterable[RestingPair]) -> None:
        self.register.keep(user, {pair.pair_id: pair.orders for pair in pairs if pair.symbol == self._symbol})
        self._freed()

    # -- the lines

    def hear(self, frame: bytes) -> bool:
        """One frame of the public socket; True if it proves the subscription.

        Raises: ProtocolChanged or StreamLost, which end the line.
        """
        match read_frame(frame):
            case AggTrade(symbol, sent_ms, trade) if symbol == self._symbol:
                self._hear_trade(trade)
                self._tally.market_s.observe((self._wall.now_ms() - sent_ms) / 1000)
            case Book(symbol, _, ticker) if symbol == self._symbol:
                if self._tape.see(ticker) and self._connected_ms is not None:
                    self._publish()
            case Ack():
                pass
            case StreamRefused(_, code, text):
                raise StreamLost(f"subscription refused: {code} {text}", where=self._symbol, do="see token.show")
            case ServerShutdown():
                self.lines.renew()
                return False
            case _:
                self._ignored += 1
                return False
        return True

    def line_up(self) -> None:
        self._held = []
        self._gap_scope = trio.CancelScope()
        self.nursery.start_soon(self._fill_gap, self._gap_scope)

    def line_failed(self, why: str) -> None:
        self._log.warning("feed_connect_failed", token=self._token, why=why)

    def line_down(self, why: str) -> None:
        """No line is left: traders have to see it at once."""
        was_connected = self._connected_ms is not None
        self._gap_scope.cancel()
        self._held = None
        self._connected_ms = None
        self._tape.forget_book()
        if was_connected or self._lost_ms is None:
            self._lost_ms = self._wall.now_ms()
        self._publish()
        self._show()
        self._log.warning("feed_disconnected", token=self._token, why=why)
        self._events.emit("stream", "feed_disconnected", token=self._token, symbol=self._symbol, why=why)

    def _hear_trade(self, trade: Trade) -> None:
        now_ms = self._wall.now_ms()
        if self._connected_ms is not None:
            if self._tape.hear(trade, now_ms):
                self._publish()
        elif self._held is None:
            return  # it came before the acknowledgement: reading the gap will tell it again
        elif len(self._held) < HELD_MAX:
            self._held.append((trade, now_ms))
        else:
            self.lines.drop(f"{HELD_MAX} trades came before the last minute could be read")

    # -- the gap behind a new line

    async def _fill_gap(self, scope: trio.CancelScope) -> None:
        """Reads by REST what the stream cannot tell, then lets its trades through.

        If REST does not answer for a minute, the stream has filled the window of the range by itself.
        """
        with scope:
            give_up_s = trio.current_time() + GAP_S_MAX
            while True:
                asked_ms = self._wall.now_ms()
                try:
                    trades, confirmed = await self._recent(asked_ms), True
                    break
                except (ExchangeError, ProtocolChanged) as error:
                    self._log.warning("gap_unread", token=self._token, why=str(error))
                    if trio.current_time() + RETRY_S >= give_up_s:
                        trades, confirmed = [], False
                        await trio.sleep_until(give_up_s)
                        break
                    await trio.sleep(RETRY_S)
            await self._merge(trades, asked_ms)
            if confirmed:
                self._tape.confirm(asked_ms)
            self._go_live()

    async def _recent(self, now_ms: int) -> list[Trade]:
        """Trades of the last minute, or since the last one known, and at least the newest. Raises: ExchangeError."""
        last = self._tape.last
        start_ms = _window_start(now_ms)
        if last is not None:
            start_ms = max(start_ms, last.time_ms)
        newest = await self._public.trades(self._symbol, limit=PAGE)
        known_id = last.agg_id if last is not None else -1
        if len(newest) < PAGE or newest[0].time_ms < start_ms or newest[0].agg_id <= known_id + 1:
            return list(newest)
        older: list[Trade] = []
        for _ in range(PAGES_MAX):
            page = await self._public.trades(self._symbol, start_ms=start_ms, limit=PAGE)
            fresh = [trade for trade in page if trade.agg_id > known_id]
            older += fresh
            if not fresh or fresh[-1].agg_id + 1 >= newest[0].agg_id:
                break
            known_id, start_ms = fresh[-1].agg_id, fresh[-1].time_ms
        return [*older, *newest]

    async def _merge(self, trades: list[Trade], asked_ms: int) -> None:
        start_ms = _window_start(asked_ms)
        trades.sort(key=_agg_id)
        for number, trade in enumerate(trades):
            if trade.time_ms < start_ms:
                self._tape.recall(trade)
            else:
                self._tape.hear(trade, asked_ms)
            if number % MERGE_CHUNK == 0:
                await trio.lowlevel.checkpoint()

    def _go_live(self) -> None:
        held, self._held = self._held or [], None
        for trade, at_ms in held:
            self._tape.hear(trade, at_ms)
        self._connected_ms, self._lost_ms = self._wall.now_ms(), None
        self._publish()
        self._show()
        self._log.info("feed_connected", token=self._token, trades=self._tape.trades_seen)
        self._events.emit("stream", "feed_connected", token=self._token, symbol=self._symbol)

    # -- once a second

    async def tick(self) -> None:
        while True:
            await trio.sleep(TICK_S)
            now_ms = self._wall.now_ms()
            for bar in self._tape.take_bars(now_ms):
                try:
                    self._bars_in.send_nowait(bar)
                except trio.WouldBlock:
                    self._bars_dropped += 1
            if self._grace_is_over():
                self._lost_ms = now_ms
                self._publish()
            elif self._connected_ms is not None and self._range_shown != self._tape.range_percent(now_ms):
                self._publish()
            self._show()
            if self._confirmation_due(now_ms):
                self._confirming = True
                self.nursery.start_soon(self._confirm)

    def _grace_is_over(self) -> bool:
        """This actor has not connected once although a restart should have been over by now."""
        waited_s = trio.current_time() - self._entered_s
        return self._connected_ms is None and self._lost_ms is None and waited_s >= RESTART_GRACE_S

    def _confirmation_due(self, now_ms: int) -> bool:
        age_s = (now_ms - self._tape.confirmed_ms) / 1000
        return (
            self._connected_ms is not None
            and self._tape.last is not None
            and not self._confirming
            and age_s >= self._price_age_s - CONFIRM_LEAD_S
            and trio.current_time() >= self._confirm_after_s
        )

    async def _confirm(self) -> None:
        """Asks REST whether there is a newer trade than the last one heard: a quiet market is no fault."""
        asked_ms = self._wall.now_ms()
        self._confirm_after_s = trio.current_time() + CONFIRM_PACE_S
        try:
            newest = await self._public.trades(self._symbol, limit=CONFIRM_TRADES)
        except (ExchangeError, ProtocolChanged) as error:
            self._log.warning("price_unconfirmed", token=self._token, why=str(error))
            return
        finally:
            self._confirming = False
        self._confirmations += 1
        if self._connected_ms is None:
            return  # the line broke meanwhile: the gap will be read anew
        last = self._tape.last
        missed = [trade for trade in newest if last is None or trade.agg_id > last.agg_id]
        if missed and asked_ms - missed[0].time_ms > MUTE_S * 1000:
            self.lines.drop(f"trade {missed[0].agg_id} was not told by the stream")
            return
        for trade in missed:
            self._tape.hear(trade, asked_ms)
        self._tape.confirm(asked_ms)
        self._publish()

    # -- bars

    async def record(self) -> None:
        """Hands bars to the store, several at once when it is slow; refused ones are only counted."""
        while True:
            bars = [await self._bars_out.receive()]
            while len(bars) < BARS_AT_ONCE and self._bars_out.statistics().current_buffer_used:
                bars.append(self._bars_out.receive_nowait())
            try:
                await self._rows.write(bars)
            except StoreRefused as error:
                self._bars_dropped += len(bars)
                self._log.error("bars_refused", token=self._token, bars=len(bars), why=str(error))

    # -- what others see

    def enter(self) -> None:
        """This incarnation knows nothing yet: a quote of the previous one is no longer connected."""
        self._publish()
        self._show()

    def leave(self) -> None:
        """The incarnation ends: until the next one is connected, nobody places on this feed's last quote."""
        self._connected_ms = self._lost_ms = None
        self._publish()
        self._show()

    def _publish(self) -> None:
        connected, lost_ms = self._connected_ms is not None, self._lost_ms
        quote = self._tape.quote(self._wall.now_ms(), connected=connected, disconnected_since_ms=lost_ms)
        if quote is None and self._inherited is not None:
            quote = replace(self._inherited, connected=connected, disconnected_since_ms=lost_ms, bid=None, ask=None)
        if quote is not None:
            self._range_shown = quote.range_percent
            self._quotes.publish(quote)

    def _show(self) -> None:
        lines = self.lines.statistics()
        now = FeedSnapshot(
            market=self._market,
            connected=self._connected_ms is not None,
            connected_since_ms=self._connected_ms,
            trades_seen=self._tape.trades_seen,
            register=self.register.rows(),
            waiting=self.register.waiting,
            losses=lines.losses,
            failures=lines.failures,
            frames_ignored=self._ignored,
            bars_dropped=self._bars_dropped,
            confirmations=self._confirmations,
        )
        if now != self._snapshot.value:
            self._snapshot.publish(now)


def _window_start(now_ms: int) -> int:
    """The first whole second of the window: the bars from there on are complete."""
    return -(-(now_ms - RANGE_SPAN_MS) // BAR_MS) * BAR_MS


def _agg_id(trade: Trade) -> int:
    return trade.agg_id
