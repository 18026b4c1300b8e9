"""Joins everything: cells and mailboxes, the tree of children, users and feeds by use; the daemon as control sees it.

Everything that reaches the world is handed in (`Outside`), so the same wiring runs over sockets and, in the simulation,
over memory. Nothing here decides about trading.

    root ── store · control · paper · tokens · keeper · feeds/* · traders/*       (started in this order)
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from random import Random
from typing import Any

import trio
from msgspec import Struct
from msgspec.structs import replace

from actors import desk, feed, keeper, store, tokens, trader
from actors.domain.instrument import Market
from actors.domain.keyschedule import Timing
from actors.domain.quotes import Quote
from actors.domain.trading import Pause
from actors.errors import Refusal
from actors.messages import (
    Drain,
    FeedSnapshot,
    KeepKey,
    ListenKey,
    LoadUsers,
    OwnOrder,
    StopTrading,
    TraderSnapshot,
    UserRecord,
)
from actors.ports import Address, Database, FeedLink, Inbox, Log, Sockets, Started, Wall
from actors.rows import AuditRow, PauseRow
from actors.snapshots import HINTS
from actors.store import StoreRows, StoreStatistics
from supervisor.bus import EventBus
from supervisor.chaos import chaos
from supervisor.lifecycle import Happened, Node, Subscriber, reporter
from supervisor.mailbox import Cell
from supervisor.sessions import Sessions
from supervisor.spec import NAME, ChildSpec, FamilySpec, GroupSpec, Start
from supervisor.tree import END_S_MAX, STOP_S_MAX, Tree

FEED_LINGER_S = 60.0
"""A feed that nobody uses any more is kept so long: a user who changes back and forth costs no reconnect."""

TRADER_CAPACITY = 256
"""Commands and news of one user: people and the keeper send a few a minute."""

FEED_CAPACITY = 8192
"""Permits and ends of all traders of a token: 1,000 users at once and their last pairs' ends, several times."""

STORE_CAPACITY = 4096
"""Senders that may have a write waiting: one per trader, feed and command; beyond it they wait at the door."""

READY_S_MAX = 10.0
"""From start to ready: loading a user's state takes milliseconds, on a busy disk seconds."""

PROGRESS_S_MAX = 30.0
"""An actor whose loop has not come round for so long is stuck: each turn of it takes milliseconds."""

FORCE_S = 10.0
"""For the first answer of an incarnation that replaced a stuck one."""


class Outside(Struct, frozen=True, kw_only=True):
    """The world, through ports. rng: seeds every actor's own generator. rate: trio seconds per real second."""

    wall: Wall
    sockets: Sockets
    sessions: Sessions
    database: Database
    rng: Random
    log: Log
    bus: EventBus
    rate: float = 1.0


class Patience(Struct, frozen=True, kw_only=True):
    """Seconds, from the configuration."""

    publish_s: float = 2.0
    commit_wait_s: float = 0.0
    commit_rows: int = 1000
    renew_s: float = 1500.0


class Daemon:
    """One daemon. `control` and `paper` are bodies of children that the caller may add; None: there is none."""

    def __init__(
        self,
        outside: Outside,
        settings: desk.Settings,
        *,
        ws_public: str,
        mode: str,
        version: str,
        patience: Patience | None = None,
        control: Callable[[Daemon], Start] | None = None,
        paper: Start | None = None,
        kept: Mapping[str, Any] | None = None,
        on_stuck: Callable[[tuple[str, ...]], None] | None = None,
    ) -> None:
        """kept: supervision options of traders and feeds (supervisor/spec.py, Kept)."""
        self.outside = outside
        self.wall = outside.wall
        self.mode, self.version = mode, version
        self.started_ms = outside.wall.now_ms()
        self.patience = patience or Patience()
        self.store_shown: Cell[StoreStatistics] = Cell()
        self.draining = False
        self._settings = settings
        self._ws_public = ws_public
        # Our own actors' deadlines are about work done in real time: --speed scales the world's, not these.
        self._kept = {"ready_s_max": READY_S_MAX, **(kept or {})}
        self._kept["ready_s_max"] *= outside.rate
        self._seed = outside.rng.getrandbits(64)
        self._keys: dict[str, Cell[ListenKey]] = {}
        self._snapshots: dict[str, Cell[TraderSnapshot]] = {}
        self._quotes: dict[str, Cell[Quote]] = {}
        self._feeds: dict[str, Cell[FeedSnapshot]] = {}
        self._feed_names: dict[str, str] = {}  # symbol → name of its feed
        self._uses: dict[str, str] = {}  # user → symbol
        self._users: list[str] = []
        self._nursery: trio.Nursery
        rate = outside.rate
        children: list[ChildSpec | FamilySpec] = [
            ChildSpec(
                name="store",
                start=self._store,
                capacity=STORE_CAPACITY,
                redeliver=True,
                exhausted="escalate",
                ready_s_max=60.0 * rate,  # a long write-ahead log is replayed first
                stop_s_max=20.0 * rate,
            )
        ]
        if control is not None:
            children.append(
                ChildSpec(name="control", start=control(self), stop_s_max=2.0 * rate, ready_s_max=READY_S_MAX * rate)
            )
        if paper is not None:
            children.append(ChildSpec(name="paper", start=paper, ready_s_max=READY_S_MAX * rate))
        children += [
            ChildSpec(name="tokens", start=self._tokens, stop_s_max=2.0 * rate, ready_s_max=READY_S_MAX * rate),
            ChildSpec(name="keeper", start=self._keeper, stop_s_max=2.0 * rate, ready_s_max=READY_S_MAX * rate),
            FamilySpec(name="feeds"),
            FamilySpec(name="traders"),
        ]
        root = GroupSpec(name="root", children=tuple(children))
        self._tree = Tree(
            root,
            wall=outside.wall,
            rng=self._own_rng("tree"),
            on_stuck=on_stuck,
            stop_s_max=STOP_S_MAX * rate,
            end_s_max=END_S_MAX * rate,
        )
        self._tree.subscribe(reporter(outside.log, outside.bus))
        self._tree.subscribe(self._happened)
        self.store: Address = self._tree.mailbox("store")
        self.tokens: Address = self._tree.mailbox("tokens")

    # -- life

    async def run(
        self,
        before_trading: Callable[[], Awaitable[None]] | None = None,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Runs until stopped; started() once every user's trader is ready.

        before_trading: awaited once the store is open: puts users in place. Raises: what the tree ends with
        (StartFailed, ChildExhausted …), or what before_trading raised; never wrapped in a group of one.
        """
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                await nursery.start(self._supervise)
                if before_trading is not None:
                    await before_trading()
                for record in await self.store.ask(LoadUsers()):
                    self.take_in(record)
                task_status.started()
        except BaseExceptionGroup as group:
            error = only(group)
            raise error from error.__cause__
        finally:
            with trio.CancelScope(shield=True), trio.move_on_after(1.0):
                await self.outside.sessions.close()

    async def _supervise(self, *, task_status: trio.TaskStatus[None]) -> None:
        await self._tree.run(task_status=task_status)
        self._nursery.cancel_scope.cancel()

    async def stop(self, drain_s: float) -> tuple[str, ...]:
        """No new pair; live pairs are followed for up to drain_s; then everything stops in order.

        Returns the paths of children that are stuck.
        """
        self.draining = True
        for user in self._users:
            self._tree.mailbox(f"traders/{user}").post(Drain())
        with trio.move_on_after(drain_s):
            while live := [cell for cell in self._snapshots.values() if cell.value is not None and cell.value.pair]:
                await live[0].changed(live[0].version)
        return await self._tree.stop()

    def crash(self, path: str, why: str) -> None:
        """Lets a running actor die at its next await point. Raises Refusal: it does not run."""
        self._tree.crash(path, why)

    def running(self) -> list[str]:
        """Paths of the actors that are ready."""
        return self._tree.running()

    def subscribe(self, subscriber: Subscriber) -> None:
        """subscriber hears what happens to actors."""
        self._tree.subscribe(subscriber)

    async def chaos(self, per_minute: float, rng: Random, spare: Collection[str]) -> None:
        """Lets random actors crash at random moments, until it is cancelled."""
        await chaos(self._tree, per_minute=per_minute, rng=rng, spare=spare)

    # -- users

    def take_in(self, record: UserRecord) -> None:
        """A user that the store knows gets a session and, once configured, a trader."""
        user = record.user.user
        self.outside.sessions.open(record)
        self._keys.setdefault(user, Cell())
        self._snapshots.setdefault(user, Cell())
        if user not in self._users:
            self._users.append(user)
            self._users.sort()
        if record.config is not None:
            self._tree.put("traders", self._trader_spec(user))
            self._tree.mailbox("keeper").post(KeepKey(user))

    def _trader_spec(self, user: str) -> ChildSpec:
        world = desk.World(
            user=user,
            exchange=self.outside.sessions.exchange(user),
            store=self.store,
            rows=StoreRows(self.store),
            tokens=self.tokens,
            keeper=self._tree.mailbox("keeper"),
            feeds=self,
            key=self._keys[user],
            snapshot=self._snapshots[user],
            sockets=self.outside.sockets,
            wall=self.wall,
            rng=self._own_rng(f"traders/{user}"),
            log=self.outside.log.bind(child=f"traders/{user}"),
            events=self.outside.bus,
        )
        return ChildSpec(
            name=user,
            start=partial(trader.run, world=world, settings=self._settings),
            last_resort=partial(trader.run, world=world, settings=self._settings, reducing=True),
            capacity=TRADER_CAPACITY,
            stop_s_max=5.0 * self.outside.rate,
            progress_s_max=PROGRESS_S_MAX * self.outside.rate,
            **self._kept,
        )

    def _happened(self, it: Happened) -> None:
        """A trader that was given up is a pause of its user: durable, and ended by an operator only (F47)."""
        if it.what == "parked" and it.path.startswith("traders/"):
            self._nursery.start_soon(self._record_crash, it.path.removeprefix("traders/"), it.why)

    async def _record_crash(self, user: str, why: str) -> None:
        now_ms = self.wall.now_ms()
        pause = Pause(reason="CRASHED", since_ms=now_ms, detail=why, hint=HINTS["CRASHED"])
        cell = self._snapshots[user]
        if cell.value is not None and all(other.reason != "CRASHED" for other in cell.value.pauses):
            cell.publish(replace(cell.value, pauses=(*cell.value.pauses, pause)))
        row = PauseRow(user=user, reason="CRASHED", since_at=now_ms, detail=why, hint=pause.hint)
        audit = AuditRow(
            audit_id=f"supervisor-{user}-{now_ms}",
            happened_at=now_ms,
            who="supervisor",
            user=user,
            action="pause",
            after="CRASHED",
        )
        await StoreRows(self.store).write([row, audit])
        self.outside.bus.emit(f"pause.{user}", "paused", reason="CRASHED", detail=why)

    # -- feeds by use (ports.Feeds)

    def use(self, user: str, market: Market) -> FeedLink:
        symbol = market.instrument.symbol
        before = self._uses.get(user)
        self._uses[user] = symbol
        if symbol not in self._feed_names:
            token = market.token.name
            taken = token in self._feed_names.values() or not NAME.fullmatch(token)
            name = market.token.alpha_id if taken else token
            self._feed_names[symbol] = name
            self._quotes[symbol] = Cell()
            self._feeds[symbol] = Cell()
            self._tree.put("feeds", self._feed_spec(name, market))
        if before is not None and before != symbol:
            self._nursery.start_soon(self._retire, before)
        address = self._tree.mailbox(f"feeds/{self._feed_names[symbol]}")
        return FeedLink(self._quotes[symbol], address)

    def release(self, user: str) -> None:
        symbol = self._uses.pop(user, None)
        if symbol is not None:
            self._nursery.start_soon(self._retire, symbol)

    async def _retire(self, symbol: str) -> None:
        await trio.sleep(FEED_LINGER_S)
        if symbol not in self._uses.values() and symbol in self._feed_names:
            name = self._feed_names.pop(symbol)
            del self._quotes[symbol], self._feeds[symbol]
            await self._tree.remove(f"feeds/{name}")

    def _feed_spec(self, name: str, market: Market) -> ChildSpec:
        symbol = market.instrument.symbol
        outside = self.outside
        return ChildSpec(
            name=name,
            start=partial(
                feed.run,
                market=market,
                quotes=self._quotes[symbol],
                snapshot=self._feeds[symbol],
                sockets=outside.sockets,
                url=self._ws_public,
                public=outside.sessions.public,
                rows=StoreRows(self.store),
                refill=partial(self._resting, symbol),
                wall=self.wall,
                rng=self._own_rng(f"feeds/{name}"),
                log=outside.log.bind(child=f"feeds/{name}", symbol=symbol),
                events=outside.bus,
                stale_s=self._settings.stale_s,
                price_age_s=self._settings.price_age_s_max,
                rotate_s=self._settings.rotate_s,
            ),
            capacity=FEED_CAPACITY,
            progress_s_max=PROGRESS_S_MAX * self.outside.rate,
            **self._kept,
        )

    def _resting(self, symbol: str) -> Iterable[tuple[str, str, Sequence[OwnOrder]]]:
        """Own orders of a symbol as the traders' snapshots show them: for a feed that lost its register."""
        for user, cell in self._snapshots.items():
            shown = cell.value
            if shown is not None and shown.pair is not None and shown.symbol == symbol and shown.own_orders:
                yield user, shown.pair.pair_id, shown.own_orders

    # -- fixed children

    async def _store(self, inbox: Inbox, *, task_status: Started) -> None:
        await store.run(
            inbox,
            self.outside.database,
            wall=self.wall,
            log=self.outside.log.bind(child="store"),
            events=self.outside.bus,
            shown=self.store_shown,
            rows_max=self.patience.commit_rows,
            wait_s_max=self.patience.commit_wait_s,
            publish_s=self.patience.publish_s,
            task_status=task_status,
        )

    async def _tokens(self, inbox: Inbox, *, task_status: Started) -> None:
        await tokens.run(
            inbox,
            store=self.store,
            rows=StoreRows(self.store),
            public=self.outside.sessions.public,
            wall=self.wall,
            log=self.outside.log.bind(child="tokens"),
            events=self.outside.bus,
            task_status=task_status,
        )

    async def _keeper(self, inbox: Inbox, *, task_status: Started) -> None:
        await keeper.run(
            inbox,
            users=lambda: [user for user in self._users if self.trader(user) is not None],
            exchanges=self.outside.sessions.exchange,
            cells=self._keys.__getitem__,
            wall=self.wall,
            rng=self._own_rng("keeper"),
            timing=Timing(renew_s=self.patience.renew_s),
            log=self.outside.log.bind(child="keeper"),
            events=self.outside.bus,
            task_status=task_status,
        )

    def _own_rng(self, name: str) -> Random:
        """A generator per actor: what one draws does not move another's."""
        return Random(f"{self._seed}/{name}")

    # -- the daemon as control sees it (supervisor/control/office.py)

    def users(self) -> Sequence[str]:
        return self._users

    def trader(self, user: str) -> Address | None:
        try:
            return self._tree.mailbox(f"traders/{user}")
        except Refusal:
            return None

    def snapshot(self, user: str) -> TraderSnapshot | None:
        cell = self._snapshots.get(user)
        return cell.value if cell is not None else None

    def snapshots(self) -> tuple[TraderSnapshot, ...]:
        shown = (self.snapshot(user) for user in self._users)
        return tuple(snapshot for snapshot in shown if snapshot is not None)

    async def user_record(self, user: str) -> UserRecord:
        records: tuple[UserRecord, ...] = await self.store.ask(LoadUsers())
        for record in records:
            if record.user.user == user:
                return record
        raise Refusal(f"no user '{user}'", code="USER_UNKNOWN", do="see otoctl user list")

    def feed(self, token: str) -> tuple[FeedSnapshot | None, Quote | None]:
        """By short name, alphaId or symbol, as far as somebody uses it."""
        for symbol, cell in self._feeds.items():
            shown = cell.value
            if shown is not None and token in (shown.market.token.name, shown.market.token.alpha_id, symbol):
                return shown, self._quotes[symbol].value
        return None, None

    def tree(self) -> Node:
        return self._tree.statistics()

    async def restart(self, path: str) -> None:
        await self._tree.restart(path)

    async def force_stop(self, user: str, who: str) -> TraderSnapshot:
        """A trader that does not answer: its wish is stored, its incarnation replaced; the next one cancels."""
        record = await self.user_record(user)
        now_ms = self.wall.now_ms()
        stopped = replace(record.user, wanted="stopped", updated_at=now_ms)
        audit = AuditRow(
            audit_id=f"control-{user}-{now_ms}", happened_at=now_ms, who=who, user=user, action="force_stop"
        )
        await StoreRows(self.store).write([stopped, audit])
        await self._tree.restart(f"traders/{user}")
        answer: TraderSnapshot = await self._tree.mailbox(f"traders/{user}").ask(
            StopTrading(who, now=True), within_s=FORCE_S * self.outside.rate
        )
        return answer


def only(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one error in nested groups of one; else the group."""
    inner: BaseException = group
    while isinstance(inner, BaseExceptionGroup) and len(inner.exceptions) == 1:
        inner = inner.exceptions[0]
    return inner
