"""What a trader keeps of its user: wish, configuration, pauses, days, pairs; and what it writes and tells of them.

Every change goes through here, so that row, event and snapshot of it cannot part. Pairs that are closed stay known for
an hour: late news of their orders is booked to them, and an order that appears after its absence was proven is theirs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

from msgspec.structs import replace

from actors.desk import Settings, World
from actors.domain import day as days
from actors.domain import gate, ghosts, oto
from actors.domain.day import Day
from actors.domain.instrument import Market
from actors.domain.legs import Fill
from actors.domain.orders import TERMINAL, OrderReport, OrderView
from actors.domain.pair import Pair, Rules
from actors.domain.trading import Pause, PauseReason, TradingConfig, Wanted
from actors.domain.turn import since_of
from actors.known import Known, Tidings
from actors.messages import TraderRecord
from actors.records import QUOTE_ASSET, Owner, base_of, changes, cost_of, day_of, pair_row, restored
from actors.rows import AuditRow, FillRow, OrderRow, PairRow, PauseRow, RetractFill, Row, StateChangeRow, UserDayRow
from actors.snapshots import HINTS, snapshot
from actors.telling import tell

if TYPE_CHECKING:
    from actors.trader import Trader

PAST_MAX = 50
"""Closed pairs that stay fillable: nearly an hour of a trader that opens one a minute; late news comes in seconds."""

REFRESH_MS = 300_000
"""The catalogue refreshes itself hourly and answers from memory: a trader asks it this often."""

Write = Callable[[Sequence[Row], tuple[object, ...]], None]


class Book:
    """One user, in one incarnation of its trader."""

    write: Write

    def __init__(self, world: World, record: TraderRecord) -> None:
        config = record.record.config
        assert config is not None, f"{world.user} has no configuration: the wiring starts no trader without one"
        self._world = world
        self.log = world.log.bind(user=world.user)
        self.user_row = record.record.user
        self.wanted: Wanted = self.user_row.wanted
        self.config: TradingConfig = config
        self.revision = record.record.revision
        self.pauses: dict[PauseReason, Pause] = {
            row.reason: Pause(reason=row.reason, since_ms=row.since_at, detail=row.detail, hint=row.hint)
            for row in record.record.pauses
        }
        self.today = record.day.day
        self._days: dict[str, Day] = {found.day: day_of(found) for found in (*record.near, record.day)}
        self.live: dict[str, oto.LiveState] = {}
        self._past: dict[str, oto.Closed] = {}
        self._markets: dict[str, Market] = {}
        self._resolved_mono: dict[str, int] = {}
        self._unrecovered = list(record.open_pairs)
        self._closed_rows = list(record.recent_pairs)
        self._orders, self._fills = record.orders, record.fills
        self._invented = {fill.fill_id: fill.mul_point for fill in record.fills if fill.source == "synthetic"}
        self.asks: Counter[PauseReason] = Counter()  # how often each pause was asked for
        self.closed_mono: int | None = None
        self.last_fill: FillRow | None = None
        self._born_ms = world.wall.now_ms()
        self.known = Known(record.own_orders, self._born_ms)
        self._seq = max(self._born_ms, (record.last_seq >> 20) + 1) << 20  # also after a clock that was set back
        self._day_written = ""

    # -- who and when

    @property
    def owner(self) -> Owner:
        return Owner(user=self._world.user, token=self.config.token, mul_point=gate.mul_point(self.market))

    def _owner_of(self, pair: Pair) -> Owner:
        """Counted as its own market counts, which need not be that of the token configured by now."""
        markets = [found for found in self._markets.values() if found.instrument.symbol == pair.plan.symbol]
        return replace(self.owner, mul_point=gate.mul_point(markets[-1])) if markets else self.owner

    @property
    def market(self) -> Market | None:
        return self._markets.get(self.config.token)

    def live_symbols(self) -> list[str]:
        """Of the oldest live pair first."""
        return [oto.pair_of(state).plan.symbol for state in self.live.values()]

    def market_of_live(self) -> Market | None:
        """Of the oldest live pair; not the one of the user's token if that was changed meanwhile."""
        symbols = self.live_symbols()[:1]
        return next((found for found in self._markets.values() if found.instrument.symbol in symbols), None)

    @property
    def symbol(self) -> str | None:
        return self.market.instrument.symbol if self.market is not None else None

    @property
    def quote_asset(self) -> str:
        return self.market.instrument.quote_asset if self.market is not None else QUOTE_ASSET

    @property
    def day(self) -> Day:
        return self._days[self.today]

    @property
    def born_ms(self) -> int:
        return self._born_ms

    def next_seq(self) -> int:
        self._seq += 1
        return self._seq

    def roll_over(self, now_ms: int) -> None:
        """Another UTC day: its target is open; fills that the exchange dated ahead are in its day already.

        Back to the day before only after a clock that ran ahead over midnight was set right; that day is still known.
        """
        today = days.date_of(now_ms)
        if today > self.today or (today < self.today and today in self._days):
            self.log.info("day_rolled_over", day=today, volume=self.day.volume)
            self.today = today
            self._days.setdefault(today, Day(date=today))
            for old in [date for date in self._days if date < days.beside(today)[0]]:
                del self._days[old]
        if self._day_written != self.today:
            self._day_written = self.today
            self.write([self._day_row()], ())

    def done(self, now_ms: int) -> None:
        """The day's target is reached: noted once."""
        if self.day.done_ms is None:
            self._days[self.today] = replace(self.day, done_ms=now_ms)
            self.write([self._day_row()], ())
            self.log.info("target_reached", day=self.today, volume=self.day.volume, wear=self.day.wear)
            self._world.events.emit(f"progress.{self._world.user}", "target_reached", day=self.today)

    def number_taken(self, date: str, number: int) -> None:
        self._days[date] = replace(self._days[date], last_number=number)

    def _day_row(self) -> UserDayRow:
        return UserDayRow(
            user=self._world.user,
            day=self.today,
            target_volume=self.config.target_volume,
            target_points=self.config.target_points,
            done_at=self.day.done_ms,
        )

    # -- markets

    def rules(self, settings: Settings, market: Market | None = None) -> Rules:
        market = market if market is not None else self.market
        assert market is not None, "rules without a market"
        return Rules(
            config=self.config,
            instrument=market.instrument,
            settle_ms=int(settings.settle_s * 1000),
            looks=settings.looks,
            poll_ms=int(settings.poll_s * 1000),
            credit_lag_ms=int(settings.credit_lag_s * 1000),
        )

    def unresolved(self, now_mono: int) -> Iterator[tuple[str, bool]]:
        """(name, must be tradable) of the markets to look up now."""
        asked = self._resolved_mono.get(self.config.token)
        if asked is None or now_mono - asked >= REFRESH_MS:
            yield self.config.token, True
        for row in (*self._unrecovered, *self._closed_rows):
            if base_of(row) not in self._markets:
                yield base_of(row), False

    def resolved(self, asked: str, market: Market, now_mono: int) -> None:
        self._markets[asked] = market
        self._resolved_mono[asked] = now_mono

    @property
    def found(self) -> tuple[PairRow, ...]:
        """Open pairs of the earlier life that are not taken up yet, oldest first."""
        return tuple(self._unrecovered)

    @property
    def recovered(self) -> bool:
        """The pairs of the earlier life have been taken up."""
        return not self._unrecovered

    def to_recover(self, settings: Settings) -> list[tuple[PairRow, Sequence[OrderRow], Sequence[FillRow], Rules]]:
        """Open pairs whose market is known by now; closed ones are taken back into memory on the way."""
        ready = [row for row in self._unrecovered if base_of(row) in self._markets]
        self._unrecovered = [row for row in self._unrecovered if row not in ready]
        for row in [row for row in self._closed_rows if base_of(row) in self._markets]:
            self._closed_rows.remove(row)
            pair = restored(row, self._orders, self._fills, self.rules(settings, self._markets[base_of(row)]))
            assert row.outcome is not None, row
            self._past[row.pair_id] = oto.Closed(pair=pair, outcome=row.outcome)
        return [(row, self._orders, self._fills, self.rules(settings, self._markets[base_of(row)])) for row in ready]

    # -- pairs

    def state_of(self, pair_id: str) -> oto.State:
        return self.live[pair_id] if pair_id in self.live else self._past[pair_id]

    def taken_up(self, state: oto.Reconciling, was: str) -> None:
        """A pair of an earlier life: its fills are in the day's sums already, its rows in the store."""
        pair = state.live.pair
        self.live[pair.plan.pair_id] = state
        self.known.remember(pair, self._world.wall.now_ms())
        self.write(
            [
                pair_row(self._owner_of(pair), state),
                StateChangeRow(
                    user=self._world.user,
                    pair_id=pair.plan.pair_id,
                    happened_at=self._world.wall.now_ms(),
                    seq=self.next_seq(),
                    from_phase=was,
                    event="Recover",
                    to_phase=oto.phase_of(state),
                ),
            ],
            (),
        )

    def moved(self, before: oto.State | None, after: oto.State, event: str, then: tuple[object, ...]) -> None:
        """One pair went from `before` to `after`: remembered, counted, written, told."""
        pair = oto.pair_of(after)
        pair_id, now_ms = pair.plan.pair_id, self._world.wall.now_ms()
        if isinstance(after, oto.Closed):
            self._closed(before, after)
        else:
            if isinstance(before, oto.Closed):
                self._reopened(before)
            self._past.pop(pair_id, None)
            self.live[pair_id] = after
        self.known.remember(pair, now_ms)
        rows = changes(self._owner_of(pair), before, after, event, now_ms=now_ms, seq=self.next_seq())
        for row in rows:
            self._count(row, before)
        self.write(rows, then)

    def _reopened(self, before: oto.Closed) -> None:
        """A closed pair lives after all: closing it again counts it anew."""
        date = before.pair.plan.day
        if date in self._days:
            day, (cost, bought) = self._days[date], cost_of(before)
            self._days[date] = replace(
                day, pairs=day.pairs - 1, wear=day.wear - cost, closed_volume=day.closed_volume - bought
            )

    def _closed(self, before: oto.State | None, after: oto.Closed) -> None:
        pair = after.pair
        pair_id, date = pair.plan.pair_id, pair.plan.day
        self._world.tally.pairs[after.outcome] += not isinstance(before, oto.Closed)
        if date in self._days:
            day, (cost, bought) = self._days[date], cost_of(after)
            again = isinstance(before, oto.Closed)  # closed anew by late news: only the difference counts
            if isinstance(before, oto.Closed):
                earlier, before_bought = cost_of(before)
                cost, bought = cost - earlier, bought - before_bought
            self._days[date] = replace(
                day,
                pairs=day.pairs + (not again),
                wear=day.wear + cost,
                closed_volume=day.closed_volume + bought,
            )
        self.live.pop(pair_id, None)
        self._past[pair_id] = after
        while len(self._past) > PAST_MAX:
            del self._past[next(iter(self._past))]

    def _count(self, row: Row, before: oto.State | None) -> None:
        if isinstance(row, FillRow):
            self._book_fill(row.exchange_time, row, 1)
            self.last_fill = row
            if row.source == "synthetic":
                self._invented[row.fill_id] = row.mul_point
        elif isinstance(row, RetractFill):
            assert before is not None, row
            for leg in oto.pair_of(before).legs():
                for fill in leg.fills:
                    if fill.execution.fill_id == row.fill_id:
                        self._retract(leg.side, fill, self._invented.pop(row.fill_id, Decimal(1)))
        tell(row, self.day, user=self._world.user, events=self._world.events, log=self.log, tally=self._world.tally)

    def _book_fill(self, at_ms: int, row: FillRow, sign: int) -> None:
        date = days.date_of(at_ms)
        if date not in self._days and date > self.today:
            self._days[date] = Day(date=date)
        if date in self._days:
            self._days[date] = days.with_fill(
                self._days[date], row.side, row.quote_quantity, row.commission, row.commission_asset, row.mul_point,
                sign=sign,
            )  # fmt: skip

    def _retract(self, side: str, fill: Fill, mul_point: Decimal) -> None:
        execution = fill.execution
        date = days.date_of(execution.time_ms)
        if date in self._days:
            self._days[date] = days.with_fill(
                self._days[date], side, execution.quote, execution.commission, execution.commission_asset,
                mul_point, sign=-1,
            )  # fmt: skip

    # -- orders: whose is it?

    def owner_of(self, symbol: str, order_id: str) -> str | None:
        """The pair, in memory, that this order belongs to."""
        pair_id = self.known.pair_of(symbol, order_id)
        return pair_id if pair_id is not None and self.remembers(pair_id) else None

    def claimant(self, report: OrderReport) -> str | None:
        """The pair that an unknown order may belong to."""
        for pair_id, state in self.live.items():
            if oto.wants_unknown(state) and oto.pair_of(state).plan.symbol == report.symbol:
                return pair_id
        for pair_id, closed in self._past.items():
            if ghosts.may_claim(closed, report):
                return pair_id
        return None

    def remembers(self, pair_id: str) -> bool:
        return pair_id in self.live or pair_id in self._past

    def twins(self, pair_id: str) -> tuple[str, ...]:
        """Orders that could all be this pair's, or its sale's: a human has to say."""
        state = self.state_of(pair_id) if self.remembers(pair_id) else None
        return state.twins if isinstance(state, oto.Unresolved | oto.Unwinding | oto.Closed) else ()

    def listeners(self) -> list[str]:
        """Pairs that a look may concern."""
        return [*self.live, *self._past]

    def orders_for(self, pair_id: str, views: Iterable[OrderView]) -> tuple[OrderView, ...]:
        """Of a look: the pair's own orders and those that nobody owns; a live pair's claim to these goes first."""
        contested = pair_id not in self.live and any(oto.wants_unknown(state) for state in self.live.values())
        unowned = None if contested else pair_id
        return tuple(v for v in views if (self.known.pair_of(v.symbol, v.order_id) or unowned) == pair_id)

    def foreign(self, views: Iterable[OrderView]) -> list[tuple[OrderView, Tidings]]:
        """Of a look: orders that are certainly not ours, and of which it tells more than is written."""
        return self.known.foreign(v for v in views if not any(oto.may_be_of(state, v) for state in self.live.values()))

    def alive(self, view: OrderView) -> bool:
        """Whether a foreign order concerns us: it is open, or it came while this incarnation watched."""
        return view.status not in TERMINAL or (view.created_ms or 0) >= self._born_ms

    def look_since(self) -> Iterator[int]:
        for state in self.live.values():
            yield since_of(oto.pair_of(state))

    def in_doubt(self) -> bool:
        """A pair needs proofs: a look must be thorough."""
        return any(not isinstance(state, oto.Open) for state in self.live.values())

    # -- pauses

    def pause(self, reason: PauseReason, detail: str) -> None:
        """Adds a pause; one that is in force already stays as it is."""
        self.asks[reason] += 1
        if reason in self.pauses:
            return
        now_ms, hint = self._world.wall.now_ms(), HINTS.get(reason, "")
        pause = self.pauses[reason] = Pause(reason=reason, since_ms=now_ms, detail=detail, hint=hint)
        self._world.tally.pauses[reason] += 1
        self.write([self._pause_row(pause), self.audit(f"traders/{self._world.user}", "pause", None, reason)], ())
        self.log.warning("paused", reason=reason, detail=detail)
        self._world.events.emit(f"pause.{self._world.user}", "paused", reason=reason, detail=detail, since_ms=now_ms)

    def lift(self, reasons: Iterable[PauseReason], who: str, then: tuple[object, ...] = ()) -> None:
        """Ends pauses; for the operator or, opted in, for the trader itself."""
        rows: list[Row] = []
        for reason in tuple(reasons):
            pause = self.pauses.pop(reason)
            row = self._pause_row(pause)
            rows.append(replace(row, ended_at=self._world.wall.now_ms(), ended_by=who))
            rows.append(self.audit(who, "resume", reason, None))
            self.log.info("resumed", reason=reason, who=who)
            what = {"reason": reason, "who": who, "since_ms": row.since_at}
            self._world.events.emit(f"pause.{self._world.user}", "resumed", **what)
        self.write(rows, then)

    def _pause_row(self, pause: Pause) -> PauseRow:
        return PauseRow(
            user=self._world.user, reason=pause.reason, since_at=pause.since_ms, detail=pause.detail, hint=pause.hint
        )

    # -- wishes

    def want(self, wanted: Wanted, who: str, then: tuple[object, ...]) -> None:
        before, self.wanted = self.wanted, wanted
        self.user_row = replace(self.user_row, wanted=wanted, updated_at=self._world.wall.now_ms())
        self.log.info("wanted", wanted=wanted, who=who)
        self.write([self.user_row, self.audit(who, "start" if wanted == "running" else "stop", before, wanted)], then)

    def configure(self, config: TradingConfig, revision: int) -> None:
        self.config, self.revision = config, revision
        if days.remaining_quote(self.day, config, gate.mul_point(self.market)) > 0:
            self._days[self.today] = replace(self.day, done_ms=None)  # the target was raised: not reached any more
        self._day_written = ""

    def audit(self, who: str, action: str, before: str | None, after: str | None) -> AuditRow:
        return AuditRow(
            audit_id=f"traders/{self._world.user}-{self.next_seq()}",
            happened_at=self._world.wall.now_ms(),
            who=who,
            user=self._world.user,
            action=action,
            before=before,
            after=after,
        )

    # -- what everybody may see

    def publish(self, trader: Trader, decision: gate.Decision | None) -> None:
        new = snapshot(trader, decision, self._world.snapshot.value)
        if new != self._world.snapshot.value:
            self._world.snapshot.publish(new)
