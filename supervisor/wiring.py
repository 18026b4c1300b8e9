"""Joins everything: cells and mailboxes, the tree of children, users and feeds by use; the daemon as control sees it.

Everything that reaches the world is handed in (`Outside`), so the same wiring runs over sockets and, in the simulation,
over memory. Nothing here decides about trading.

    root ── store · control · paper · tokens · keeper · feeds/* · traders/*       (started in this order)
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from random import Random
from typing import Any

import trio
from msgspec.structs import replace

from actors import desk, keeper, store, tokens, trader
from actors.domain.day import date_of
from actors.domain.keyschedule import Timing
from actors.domain.quotes import Quote
from actors.domain.trading import Pause
from actors.errors import AskFailed, Refusal, StoreError
from actors.messages import (
    Drain,
    DropKey,
    FeedSnapshot,
    KeepKey,
    ListenKey,
    LoadTraders,
    LoadUsers,
    SessionRenewed,
    TraderRecord,
    TraderSnapshot,
    UserRecord,
)
from actors.ports import Address, Inbox, PrivateExchange, Started
from actors.store import StoreRows, StoreStatistics
from supervisor import users
from supervisor.access import Access, nobody_else
from supervisor.chaos import chaos
from supervisor.control.office import Levers
from supervisor.feeds import FeedsByUse
from supervisor.keyring import Keyring
from supervisor.lifecycle import Happened, Node, Subscriber, reporter
from supervisor.mailbox import Cell
from supervisor.outfit import Outside as Outside
from supervisor.outfit import Patience as Patience
from supervisor.people import People
from supervisor.spec import ChildSpec, FamilySpec, GroupSpec, Spec, Start
from supervisor.tree import END_S_MAX, STOP_S_MAX, Tree

TRADER_CAPACITY = 256
"""Commands and news of one user: people and the keeper send a few a minute."""

STORE_CAPACITY = 4096
"""Senders that may have a write waiting: one per trader, feed and command; beyond it they wait at the door."""

READY_S_MAX = 10.0
"""From start to ready: loading a user's state takes milliseconds, on a busy disk seconds."""

LOAD_S_MAX = 60.0
"""Of a trader: it is loaded once the rows that its last life left in the store's queue are durable, and a full disk
takes as long as somebody needs to make room. One that gives up before is parked, which only an operator ends."""

PROGRESS_S_MAX = 30.0
"""An actor whose loop has not come round for so long is stuck: each turn of it takes milliseconds."""


class Up:
    """A task_status that may never come: the tree was stopped while it was starting."""

    def __init__(self) -> None:
        self.event = trio.Event()

    def started(self, value: None = None) -> None:
        self.event.set()


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
        access: Access | None = None,
    ) -> None:
        """kept: supervision options of traders and feeds (supervisor/spec.py, Kept). access None: nobody_else()."""
        self.outside = outside
        self.wall = outside.wall
        self.mode, self.version = mode, version
        self.started_ms = outside.wall.now_ms()
        self.patience = patience or Patience()
        self.store_shown: Cell[StoreStatistics] = Cell()
        self.draining = False
        self.access = access or nobody_else()
        self.levers = Levers()
        self.rate = outside.rate
        self._settings = settings
        # Our own actors' deadlines are about work done in real time: --speed scales the world's, not these.
        self._kept = {"ready_s_max": READY_S_MAX, **(kept or {})}
        self._kept["ready_s_max"] *= outside.rate
        self._seed = outside.rng.getrandbits(64)
        self._keys: dict[str, Cell[ListenKey]] = {}
        self._snapshots: dict[str, Cell[TraderSnapshot]] = {}
        self._users: list[str] = []
        self._records: dict[str, UserRecord] = {}
        self._nursery: trio.Nursery
        rate = outside.rate
        self._tree = Tree(
            GroupSpec(name="root", children=self._children(control, paper)),
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
        self.feeds = FeedsByUse(
            self._tree, outside, settings, ws_public=ws_public, store=self.store, kept=self._kept,
            own_rng=self._own_rng, snapshots=self.snapshots,
        )  # fmt: skip
        self.people = People(
            self,
            outside.sessions.vault,
            events=outside.bus,
            log=outside.log.bind(child="people"),
            boot=outside.bus.boot,
        )
        self.keyring = Keyring(self.people, outside.bus)

    def _children(self, control: Callable[[Daemon], Start] | None, paper: Start | None) -> tuple[Spec, ...]:
        """In the order of starting; stopped in reverse. Control is up before anything trades, and down late."""
        rate = self.rate
        ready_s_max = READY_S_MAX * rate
        store = ChildSpec(
            name="store",
            start=self._store,
            capacity=STORE_CAPACITY,
            redeliver=True,
            exhausted="escalate",
            ready_s_max=60.0 * rate,  # a long write-ahead log is replayed first
            stop_s_max=20.0 * rate,
        )
        middle = []
        if control is not None:
            middle.append(
                ChildSpec(name="control", start=control(self), stop_s_max=2.0 * rate, ready_s_max=ready_s_max)
            )
        if paper is not None:
            middle.append(ChildSpec(name="paper", start=paper, ready_s_max=ready_s_max))
        return (
            store,
            *middle,
            ChildSpec(name="tokens", start=self._tokens, stop_s_max=2.0 * rate, ready_s_max=ready_s_max),
            ChildSpec(name="keeper", start=self._keeper, stop_s_max=2.0 * rate, ready_s_max=ready_s_max),
            FamilySpec(name="feeds"),
            FamilySpec(name="traders"),
        )

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
                self._nursery = self.feeds.nursery = nursery
                await nursery.start(self.people.run)
                await nursery.start(self.keyring.watch)
                up = Up()
                nursery.start_soon(self._supervise, up)
                await up.event.wait()  # a tree that is stopped before it is up ends this nursery
                try:
                    await self._put_users_in_place(before_trading)
                except AskFailed:
                    if not self.draining:
                        raise
                    await trio.sleep_forever()  # it is being stopped; the end of the tree ends this too
                task_status.started()
        except BaseExceptionGroup as group:
            error = only(group)
            raise error from error.__cause__
        finally:
            with trio.CancelScope(shield=True), trio.move_on_after(1.0):
                await self.outside.sessions.close()

    async def _put_users_in_place(self, before_trading: Callable[[], Awaitable[None]] | None) -> None:
        if before_trading is not None:
            await before_trading()
        records: tuple[UserRecord, ...] = await self.store.ask(LoadUsers())
        question = LoadTraders(tuple(record.user.user for record in records), date_of(self.wall.now_ms()))
        loaded: dict[str, TraderRecord | StoreError] = await self.store.ask(question)
        self.feeds.found({user: it.open_pairs for user, it in loaded.items() if isinstance(it, TraderRecord)})
        for record in records:
            self.take_in(record)
        self.people.open()
        self._nursery.start_soon(self.keyring.recall)

    async def _supervise(self, up: Up) -> None:
        await self._tree.run(task_status=up)
        self._nursery.cancel_scope.cancel()

    async def stop(self, drain_s: float) -> tuple[str, ...]:
        """No new pair; live pairs are followed for up to drain_s; then everything stops in order.

        Returns the paths of children that are stuck.
        """
        self.draining = True
        for user in self._users:
            if (address := self.trader(user)) is not None:
                address.post(Drain())
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
        """A user that the store knows gets a session and, once it has what trading needs, a trader."""
        user = record.user.user
        self._records[user] = record
        if user not in self._users:
            self.outside.sessions.open(record)
            self._users.append(user)
            self._users.sort()
        self._keys.setdefault(user, Cell())
        self._snapshots.setdefault(user, Cell())
        if users.can_trade(record) and self.trader(user) is None:
            self._tree.put("traders", self._trader_spec(user))
            self._tree.mailbox("keeper").post(KeepKey(user))

    def remember(self, record: UserRecord) -> None:
        self._records[record.user.user] = record

    def renew(self, record: UserRecord) -> None:
        """New credentials: the session sends them from its next request on; keeper and trader look again."""
        user = record.user.user
        self.outside.sessions.open(record)
        address = self.trader(user)
        self.take_in(record)
        if address is not None:
            self._tree.mailbox("keeper").post(KeepKey(user))
            address.post(SessionRenewed())

    async def let_go(self, user: str) -> None:
        """Ends a trader in order; its feed and its listen key with it. Raises: Refusal STUCK."""
        if self.trader(user) is None:
            return
        answer = await self._tree.remove(f"traders/{user}")
        if answer.did == "stuck":
            raise Refusal("its trader does not end", code="STUCK", where=f"traders/{user}", do="restart otod")
        self._tree.mailbox("keeper").post(DropKey(user))
        self.feeds.release(user)

    async def forget(self, user: str) -> None:
        """A removed user leaves nothing here."""
        self._users.remove(user)
        for known in (self._records, self._keys, self._snapshots):
            known.pop(user, None)
        await self.outside.sessions.close_one(user)

    async def until_flat(self, user: str) -> None:
        cell = self._snapshots[user]
        while cell.value is not None and cell.value.pair is not None:
            await cell.changed(cell.version)

    def _trader_spec(self, user: str) -> ChildSpec:
        world = desk.World(
            user=user,
            exchange=self.outside.sessions.exchange(user),
            skew_ms=partial(self.outside.sessions.skew_ms, user),
            store=self.store,
            rows=StoreRows(self.store),
            tokens=self.tokens,
            keeper=self._tree.mailbox("keeper"),
            feeds=self.feeds,
            key=self._keys[user],
            snapshot=self._snapshots[user],
            sockets=self.outside.sockets,
            wall=self.wall,
            rng=self._own_rng(f"traders/{user}"),
            log=self.outside.log.bind(child=f"traders/{user}"),
            events=self.outside.bus,
            # Nothing is begun whose intent could not become durable now (F48, F59).
            may_begin=lambda: not (self.store_shown.value and self.store_shown.value.unavailable_since_ms),
        )
        return ChildSpec(
            name=user,
            start=partial(trader.run, world=world, settings=self._settings),
            last_resort=partial(trader.run, world=world, settings=self._settings, reducing=True),
            capacity=TRADER_CAPACITY,
            stop_s_max=5.0 * self.outside.rate,
            progress_s_max=PROGRESS_S_MAX * self.outside.rate,
            **(self._kept | {"ready_s_max": LOAD_S_MAX * self.outside.rate}),
        )

    def _happened(self, it: Happened) -> None:
        """A trader that was given up is a pause of its user: durable, and ended by an operator only (F47)."""
        if it.what == "parked" and it.path.startswith("traders/"):
            self._nursery.start_soon(self.people.record_crash, it.path.removeprefix("traders/"), it.why)

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
            rate=self.outside.rate,
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

    def show_pause(self, user: str, pause: Pause) -> None:
        """Of a trader that cannot tell it itself."""
        cell = self._snapshots[user]
        if cell.value is not None and all(other.reason != pause.reason for other in cell.value.pauses):
            cell.publish(replace(cell.value, pauses=(*cell.value.pauses, pause)))

    def snapshot(self, user: str) -> TraderSnapshot | None:
        cell = self._snapshots.get(user)
        return cell.value if cell is not None else None

    def snapshots(self) -> tuple[TraderSnapshot, ...]:
        shown = (self.snapshot(user) for user in self._users)
        return tuple(snapshot for snapshot in shown if snapshot is not None)

    async def user_record(self, user: str) -> UserRecord:
        await trio.lowlevel.checkpoint()
        return self.people.record(user)

    def records(self) -> Mapping[str, UserRecord]:
        """As far as changes go through here; wishes and pauses are the traders' (snapshots)."""
        return self._records

    def exchange(self, user: str) -> PrivateExchange:
        return self.outside.sessions.exchange(user)

    def feed(self, token: str) -> tuple[FeedSnapshot | None, Quote | None]:
        return self.feeds.shown(token)

    def feeds_shown(self) -> Mapping[str, tuple[FeedSnapshot | None, Quote | None]]:
        return self.feeds.all_shown()

    def listen_key(self, user: str) -> ListenKey | None:
        cell = self._keys.get(user)
        return cell.value if cell is not None else None

    @property
    def session_host(self) -> str | None:
        return self.outside.sessions.host

    def figures(self) -> Mapping[str, Any]:
        return {"store": self.store_shown.value, "requests": self.outside.sessions.statistics()}

    def tree(self) -> Node:
        return self._tree.statistics()

    async def restart(self, path: str) -> None:
        await self._tree.restart(path)

    async def force_stop(self, user: str, who: str) -> TraderSnapshot:
        return await self.people.force_stop(user, who)


def only(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one error in nested groups of one; else the group."""
    inner: BaseException = group
    while isinstance(inner, BaseExceptionGroup) and len(inner.exceptions) == 1:
        inner = inner.exceptions[0]
    return inner
