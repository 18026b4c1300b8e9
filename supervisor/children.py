"""What the daemon's tree consists of: the actors, how long each may take, and what happens when one fails.

root ── store · notifier · control · metrics · paper · tokens · keeper · feeds/* · traders/*   (started in this order)
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from actors import desk, keeper, notifier, store, tokens, trader
from actors.domain.keyschedule import Timing
from actors.messages import ListenKey
from actors.ports import Inbox, Started
from actors.store import StoreRows
from supervisor.mailbox import Cell
from supervisor.spec import ChildSpec, FamilySpec, Spec, Start

if TYPE_CHECKING:
    from supervisor.wiring import Daemon

TRADER_CAPACITY = 256
"""Commands and news of one user: people and the keeper send a few a minute."""

STORE_CAPACITY = 4096
"""Senders that may have a write waiting: one per trader, feed and command; beyond it they wait at the door."""

READY_S_MAX = 10.0
"""From start to ready: loading a user's state takes milliseconds, on a busy disk seconds."""

STUCK_S = 5.0
"""From cancelled to gone: closing a socket may take 2 s."""

LOAD_S_MAX = 60.0
"""Of a trader: it is loaded once the rows that its last life left in the store's queue are durable, and a full disk
takes as long as somebody needs to make room. One that gives up before is parked, which only an operator ends."""

PROGRESS_S_MAX = 30.0
"""An actor whose loop has not come round for so long is stuck: each turn of it takes milliseconds."""


def fixed(daemon: Daemon, control: Callable[[Daemon], Start] | None, paper: Start | None) -> tuple[Spec, ...]:
    """In the order of starting; stopped in reverse. Control is up before anything trades, and down late."""
    rate = daemon.rate
    ready_s_max = READY_S_MAX * rate
    opened = ChildSpec(
        name="store",
        start=partial(_store, daemon),
        capacity=STORE_CAPACITY,
        redeliver=True,
        exhausted="escalate",
        ready_s_max=60.0 * rate,  # a long write-ahead log is replayed first
        stop_s_max=20.0 * rate,
    )
    small: dict[str, Any] = {
        "stop_s_max": 2.0 * rate, "ready_s_max": ready_s_max, "progress_s_max": PROGRESS_S_MAX * rate
    }  # fmt: skip
    middle = []
    if daemon.telling is not None:
        middle.append(
            ChildSpec(name="notifier", start=partial(_notifier, daemon), stop_s_max=3.0 * rate, ready_s_max=ready_s_max)
        )
    if control is not None:
        middle.append(ChildSpec(name="control", start=control(daemon), stop_s_max=2.0 * rate, ready_s_max=ready_s_max))
    if daemon.metrics is not None:
        middle.append(ChildSpec(name="metrics", start=daemon.metrics, stop_s_max=1.0 * rate, ready_s_max=ready_s_max))
    if paper is not None:
        middle.append(ChildSpec(name="paper", start=paper, ready_s_max=ready_s_max))
    actors = (
        opened,
        *middle,
        ChildSpec(name="tokens", start=partial(_tokens, daemon), **small),
        ChildSpec(name="keeper", start=partial(_keeper, daemon), **small),
    )
    patient = (replace(actor, stuck_s=STUCK_S * rate) for actor in actors)
    return (*patient, FamilySpec(name="feeds"), FamilySpec(name="traders"))


async def _store(daemon: Daemon, inbox: Inbox, *, task_status: Started) -> None:
    outside, patience = daemon.outside, daemon.patience
    await store.run(
        inbox,
        outside.database,
        wall=outside.wall,
        log=outside.log.bind(child="store"),
        events=outside.bus,
        shown=daemon.store_shown,
        committing=daemon.committing.publish,
        rows_max=patience.commit_rows,
        wait_s_max=patience.commit_wait_s,
        publish_s=patience.publish_s,
        rate=outside.rate,
        tally=outside.tally,
        task_status=task_status,
    )


async def _notifier(daemon: Daemon, inbox: Inbox, *, task_status: Started) -> None:
    outside, telling = daemon.outside, daemon.telling
    assert telling is not None, "a notifier with nobody to tell"
    await notifier.run(
        inbox,
        settings=telling.settings,
        hearing=telling.hearing,
        notices=telling.notices,
        store=daemon.store,
        rows=StoreRows(daemon.store),
        wall=outside.wall,
        rng=daemon.own_rng("notifier"),
        log=outside.log.bind(child="notifier"),
        shown=daemon.told,
        moment=telling.moment,
        task_status=task_status,
    )


async def _tokens(daemon: Daemon, inbox: Inbox, *, task_status: Started) -> None:
    outside = daemon.outside
    await tokens.run(
        inbox,
        store=daemon.store,
        rows=StoreRows(daemon.store),
        public=outside.sessions.public,
        wall=outside.wall,
        log=outside.log.bind(child="tokens"),
        events=outside.bus,
        task_status=task_status,
    )


async def _keeper(daemon: Daemon, inbox: Inbox, *, task_status: Started) -> None:
    outside = daemon.outside

    def cell_of(user: str) -> Cell[ListenKey]:
        return daemon.keys.setdefault(user, Cell())  # a user may be removed while its key is under way

    await keeper.run(
        inbox,
        users=lambda: [user for user in daemon.users() if daemon.trader(user) is not None],
        exchanges=outside.sessions.exchange,
        cells=cell_of,
        wall=outside.wall,
        rng=daemon.own_rng("keeper"),
        timing=Timing(renew_s=daemon.patience.renew_s),
        log=outside.log.bind(child="keeper"),
        events=outside.bus,
        task_status=task_status,
    )


def trader_of(daemon: Daemon, user: str) -> ChildSpec:
    outside = daemon.outside
    world = desk.World(
        user=user,
        exchange=outside.sessions.exchange(user),
        skew_ms=partial(outside.sessions.skew_ms, user),
        store=daemon.store,
        rows=StoreRows(daemon.store),
        tokens=daemon.tokens,
        keeper=daemon.keeper,
        feeds=daemon.feeds,
        key=daemon.keys[user],
        snapshot=daemon.cells[user],
        sockets=outside.sockets,
        wall=outside.wall,
        rng=daemon.own_rng(f"traders/{user}"),
        log=outside.log.bind(child=f"traders/{user}"),
        events=outside.bus,
        tally=outside.tally,
        draining=lambda: daemon.draining,
        # Nothing is begun whose intent could not become durable now (F48, F59).
        store_down=lambda: bool(daemon.store_shown.value and daemon.store_shown.value.unavailable_since_ms),
    )
    return ChildSpec(
        name=user,
        start=partial(trader.run, world=world, settings=daemon.settings),
        last_resort=partial(trader.run, world=world, settings=daemon.settings, reducing=True),
        capacity=TRADER_CAPACITY,
        stop_s_max=5.0 * outside.rate,
        progress_s_max=PROGRESS_S_MAX * outside.rate,
        **(daemon.kept | {"ready_s_max": LOAD_S_MAX * outside.rate}),
    )
