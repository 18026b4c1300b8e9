"""Joins everything: cells and mailboxes, the tree of children, users and feeds by use; the daemon as control sees it.

Everything that reaches the world is handed in (`Outside`), so the same wiring runs over sockets and, in the simulation,
over memory. Nothing here decides about trading. The children themselves are in children.py.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from random import Random
from typing import Any

import trio
from msgspec.structs import replace

from actors import desk
from actors.domain.day import date_of
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
    TellTest,
    Told,
    TraderRecord,
    TraderSnapshot,
    UserRecord,
)
from actors.ports import Address, PrivateExchange, PublicExchange
from actors.store import StoreStatistics
from actors.targets import NotifierStatistics
from supervisor import children, users
from supervisor.access import Access, nobody_else
from supervisor.chaos import chaos
from supervisor.control.office import Levers
from supervisor.feeds import FeedsByUse
from supervisor.keyring import Keyring
from supervisor.lifecycle import Happened, Node, Sign, Subscriber, reporter
from supervisor.liveness import LoopWatch, watched
from supervisor.mailbox import Cell
from supervisor.outfit import Outside as Outside
from supervisor.outfit import Patience as Patience
from supervisor.outfit import Telling as Telling
from supervisor.people import People
from supervisor.spec import GroupSpec, Start
from supervisor.tree import END_S_MAX, STOP_S_MAX, Answer, Tree
from supervisor.unreadable import without_unreadable

TEST_S_MAX = 9.0
"""Of notify.test: the notifier gives each target a second less."""


class Up:
    """A task_status that may never come: the tree was stopped while it was starting."""

    def __init__(self) -> None:
        self.event = trio.Event()

    def started(self, value: None = None) -> None:
        self.event.set()


ANSWER_S = 0.2
"""So long control has to send its last answer before it is restarted."""


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
        metrics: Callable[[Daemon], Start] | None = None,
        telling: Telling | None = None,
        kept: Mapping[str, Any] | None = None,
        on_stuck: Callable[[tuple[str, ...]], None] | None = None,
        access: Access | None = None,
    ) -> None:
        """kept: supervision options of traders and feeds (supervisor/spec.py, Kept). access None: nobody_else()."""
        self.outside = outside
        self.wall = outside.wall
        self.mode, self.version = mode, version
        self.started_ms = outside.wall.now_ms()
        self.tally = outside.tally
        self.metrics = None if metrics is None else metrics(self)
        self.telling, self.told = telling, Cell[NotifierStatistics]()
        self.patience = patience or Patience()
        self.store_shown: Cell[StoreStatistics] = Cell()
        self.committing: Cell[float | None] = Cell()
        self.loop: LoopWatch | None = None
        self.draining = False
        self.access = access or nobody_else()
        self.levers = Levers()
        self.rate = outside.rate
        self.settings = settings
        self.kept = self._scaled(kept or {})
        self._seed = outside.rng.getrandbits(64)
        self.keys: dict[str, Cell[ListenKey]] = {}
        self.cells: dict[str, Cell[TraderSnapshot]] = {}
        self._users: list[str] = []
        self._records: dict[str, UserRecord] = {}
        self._nursery: trio.Nursery
        rate = outside.rate
        self._tree = Tree(
            GroupSpec(name="root", children=children.fixed(self, control, paper)),
            wall=outside.wall,
            rng=self.own_rng("tree"),
            on_stuck=on_stuck,
            stop_s_max=STOP_S_MAX * rate,
            end_s_max=END_S_MAX * rate,
        )
        self._tree.subscribe(reporter(outside.log, outside.bus))
        self._tree.subscribe(self._happened)
        self.store: Address = self._tree.mailbox("store")
        self.tokens: Address = self._tree.mailbox("tokens")
        self.keeper: Address = self._tree.mailbox("keeper")
        self.feeds = FeedsByUse(
            self._tree, outside, settings, ws_public=ws_public, store=self.store, kept=self.kept,
            own_rng=self.own_rng, snapshots=self.snapshots,
        )  # fmt: skip
        self.people = People(
            self,
            outside.sessions.vault,
            events=outside.bus,
            log=outside.log.bind(child="people"),
            boot=outside.bus.boot,
        )
        self.keyring = Keyring(self.people, outside.bus)

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

    def _scaled(self, kept: Mapping[str, Any]) -> dict[str, Any]:
        """Our own actors' deadlines are about work done in real time: --speed scales the world's, not these."""
        ready_s_max = kept.get("ready_s_max", children.READY_S_MAX)
        return {**kept, "ready_s_max": ready_s_max * self.rate, "stuck_s": children.STUCK_S * self.rate}

    def reconfigure(self, settings: desk.Settings, patience: Patience, kept: Mapping[str, Any]) -> None:
        """In force with the next incarnation of each actor; kept with the next end of each feed and trader."""
        self.settings, self.patience, self.kept = settings, patience, self._scaled(kept)
        self.feeds.reconfigure(settings, self.kept)
        for user in self._users:
            if self.trader(user) is not None:
                self._tree.respec("traders", children.trader_of(self, user))

    async def _put_users_in_place(self, before_trading: Callable[[], Awaitable[None]] | None) -> None:
        if before_trading is not None:
            await before_trading()
        stored: tuple[UserRecord, ...] = await self.store.ask(LoadUsers())
        sessions, now_ms = self.outside.sessions, self.wall.now_ms()
        records, rows = without_unreadable(stored, sessions.vault, now_ms=now_ms, boot=f"{now_ms}")
        if rows:
            await self.people.write(rows)
        question = LoadTraders(tuple(record.user.user for record in records), date_of(self.wall.now_ms()))
        loaded: dict[str, TraderRecord | StoreError] = await self.store.ask(question)
        self.feeds.found({user: it.open_pairs for user, it in loaded.items() if isinstance(it, TraderRecord)})
        for record in records:
            self.take_in(record)
        self.people.open()
        self._nursery.start_soon(self.keyring.recall)

    async def _supervise(self, up: Up) -> None:
        outside = self.outside
        with ExitStack() as stack:
            if outside.loop_s is not None:
                self.loop = stack.enter_context(watched(outside.log, outside.bus, now=outside.loop_s))
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
            while live := [cell for cell in self.cells.values() if cell.value is not None and cell.value.pair]:
                await live[0].changed(live[0].version)
        return await self._tree.stop()

    def crash(self, path: str, why: str) -> None:
        """Lets a running actor die at its next await point. Raises Refusal: it does not run."""
        self._tree.crash(path, why)

    def running(self) -> list[str]:
        """Paths of the actors that are ready."""
        return self._tree.running()

    def signs(self) -> list[Sign]:
        """Of every actor, for the service watchdog."""
        return self._tree.signs()

    @property
    def committing_since_s(self) -> float | None:
        """trio s; None: no commit is under way."""
        return self.committing.value

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
        self.keys.setdefault(user, Cell())
        self.cells.setdefault(user, Cell())
        if users.can_trade(record) and self.trader(user) is None:
            self._tree.put("traders", children.trader_of(self, user))
            self.keeper.post(KeepKey(user))

    def remember(self, record: UserRecord) -> None:
        self._records[record.user.user] = record

    def renew(self, record: UserRecord) -> None:
        """New credentials: the session sends them from its next request on; keeper and trader look again."""
        user = record.user.user
        self.outside.sessions.open(record)
        address = self.trader(user)
        self.take_in(record)
        if address is not None:
            self.keeper.post(KeepKey(user))
            address.post(SessionRenewed())

    async def let_go(self, user: str) -> None:
        """Ends a trader in order; its feed and its listen key with it. Raises: Refusal STUCK."""
        if self.trader(user) is None:
            return
        answer = await self._tree.remove(f"traders/{user}")
        if answer.did == "stuck":
            raise Refusal("its trader does not end", code="STUCK", where=f"traders/{user}", do="restart otod")
        self.keeper.post(DropKey(user))
        self.feeds.release(user)

    async def forget(self, user: str) -> None:
        """A removed user leaves nothing here."""
        self._users.remove(user)
        for known in (self._records, self.keys, self.cells):
            known.pop(user, None)
        await self.outside.sessions.close_one(user)

    async def until_flat(self, user: str) -> None:
        cell = self.cells[user]
        while cell.value is not None and cell.value.pair is not None:
            await cell.changed(cell.version)

    def _happened(self, it: Happened) -> None:
        """A trader that was given up is a pause of its user: durable, and ended by an operator only (F47)."""
        if it.what == "parked" and it.path.startswith("traders/"):
            self.outside.tally.pauses["CRASHED"] += 1
            self._nursery.start_soon(self.people.record_crash, it.path.removeprefix("traders/"), it.why)

    def own_rng(self, name: str) -> Random:
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
        cell = self.cells[user]
        if cell.value is not None and all(other.reason != pause.reason for other in cell.value.pauses):
            cell.publish(replace(cell.value, pauses=(*cell.value.pauses, pause)))

    def snapshot(self, user: str) -> TraderSnapshot | None:
        cell = self.cells.get(user)
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

    @property
    def public(self) -> PublicExchange:
        return self.outside.sessions.public

    def feed(self, token: str) -> tuple[FeedSnapshot | None, Quote | None]:
        return self.feeds.shown(token)

    def feeds_shown(self) -> Mapping[str, tuple[FeedSnapshot | None, Quote | None]]:
        return self.feeds.all_shown()

    def listen_key(self, user: str) -> ListenKey | None:
        cell = self.keys.get(user)
        return cell.value if cell is not None else None

    @property
    def session_host(self) -> str | None:
        return self.outside.sessions.host

    def figures(self) -> Mapping[str, Any]:
        shown = {
            "store": self.store_shown.value,
            "requests": self.outside.sessions.statistics(),
            "loop": self.loop and self.loop.statistics(),
        }
        return shown if self.telling is None else {**shown, "notices": self.told.value}

    async def tell_test(self) -> Mapping[str, Any]:
        """Raises: AskFailed; Refusal, nobody is to be told."""
        if self.telling is None:
            await trio.lowlevel.checkpoint()
            raise Refusal("nobody is to be told", where="[notifications]", do="name a target, restart otod")
        told: tuple[Told, ...] = await self._tree.mailbox("notifier").ask(TellTest(), within_s=TEST_S_MAX)
        return {"targets": [{"target": each.target, "told": each.error is None, "error": each.error} for each in told]}

    def tree(self) -> Node:
        return self._tree.statistics()

    async def renew_actor(self, path: str) -> Answer:
        """Replaces an actor's incarnation; returns when the next one is up, or did not come up."""
        return await self._tree.restart(path)

    async def restart(self, path: str) -> Answer:
        """The same for whoever asks through control."""
        if path != "control":
            return await self._tree.restart(path)
        await trio.lowlevel.checkpoint()
        self._nursery.start_soon(self._restart_control)  # it answers whoever asks for this: first the answer
        shown = next(child for child in self.tree().children if child.path == path)
        return Answer(path=path, did="restarted", state=shown.state, incarnation=shown.incarnation)

    async def _restart_control(self) -> None:
        await trio.sleep(ANSWER_S * self.rate)
        await self._tree.restart("control")

    async def force_stop(self, user: str, who: str, *, now: bool = True) -> TraderSnapshot:
        return await self.people.force_stop(user, who, now=now)

    def given_up(self, user: str) -> bool:
        return self.trader(user) is not None and self._tree.parked(f"traders/{user}")

    async def bring_back(self, user: str) -> None:
        if not self.given_up(user):
            await trio.lowlevel.checkpoint()
            return
        answer = await self._tree.start(f"traders/{user}")
        if answer.did != "started":
            why = f"its trader does not start: {answer.did} {answer.detail}".rstrip()
            raise Refusal(why, where=user, do="read its child_crashed lines in the log")


def only(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one error in nested groups of one; else the group."""
    inner: BaseException = group
    while isinstance(inner, BaseExceptionGroup) and len(inner.exceptions) == 1:
        inner = inner.exceptions[0]
    return inner
