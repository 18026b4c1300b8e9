"""One run: a seed in, a history out.

Two phases. In the storm everything that the options name goes wrong. Then the world is healed: within HEALED_S every
user must trade again, once an operator has resumed it; then all are stopped, and once nothing lives the records must
be exact, and a restart of the daemon must change nothing.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any

import trio
from msgspec import Struct
from msgspec.structs import replace

from actors.adapters import sim
from actors.domain.day import date_of
from actors.domain.trading import AUTO_RESUMABLE
from actors.errors import OtodError
from actors.messages import StopTrading, TraderSnapshot
from actors.paper.faults import Faults
from actors.rows import ConfigRow, FillRow, OrderRow, PairRow, PauseRow, UserRow
from supervisor.lifecycle import Node
from tests.sim.checks import standing_checks
from tests.sim.hands import HEALER, Hands
from tests.sim.options import Options, Profile, calm_options, drawn
from tests.sim.rest import at_rest
from tests.sim.storm import Storm, StormyDatabase, StormyWeather
from tests.sim.world import Life, Violation, World

HEALED_S = 600.0
REST_S = 900.0
"""After the stop: two time-outs of a pair, and the unwinding of what is left down to the floor."""

ATTEMPT_S = 10.0

MANY_LOOKS, BETWEEN_LOOKS_S = 20, 0.37

SLOW_COMMIT_S = 0.1

Script = Callable[[World], Awaitable[None]]


class Result(Struct, kw_only=True):
    """What a run was and did. digest: of all steps; log_digest: of all log lines. real_s: how long it took."""

    options: Options
    world: World
    snapshots: tuple[TraderSnapshot, ...] = ()
    digest: str = ""
    log_digest: str = ""
    steps: int = 0
    virtual_s: float = 0.0
    real_s: float = 0.0

    @property
    def violations(self) -> list[Violation]:
        return self.world.violations

    @property
    def struck(self) -> Counter[str]:
        """How often each trouble happened."""
        faults: dict[str, int] = {f"exchange.{kind}": times for kind, times in self.world.faults.fired.items()}
        return self.world.struck + Counter(faults) + Counter(self._conditions())

    def _conditions(self) -> Iterator[str]:
        """What holds from beginning to end, if there was anything for it to hold for."""
        options = self.options
        if self.world.exchange.statistics().orders:
            yield from (f"rule.{name}" for name in options.rules)
            if options.disk.commit_s[1] > SLOW_COMMIT_S:
                yield "disk.slow"
            if date_of(options.start_ms) != date_of(options.start_ms + int(options.minutes * 60_000)):
                yield "start.midnight"

    @property
    def user_hours(self) -> float:
        return self.virtual_s / 3600 * len(self.options.users)


def play(options: Options, script: Script, *, witnessed: bool = True, **kw: Any) -> Result:
    """Runs a script in a new world: the exchange is served; what lives at the script's end is stopped. kw: of World.

    witnessed: the result tells steps and digest.
    """
    witness = sim.Witness() if witnessed else None
    began_s = time.perf_counter()  # sim-ok: how long a run takes is about the real machine
    result = sim.play(partial(_play, options, script, kw), seed=options.seed, witness=witness)
    result.real_s = time.perf_counter() - began_s  # sim-ok: see above
    if witness is not None:
        result.digest, result.steps = witness.digest, witness.steps
    result.log_digest = result.world.record.digest
    return result


async def _play(options: Options, script: Script, kw: dict[str, Any]) -> Result:
    world = World(options, **kw)
    result = Result(options=options, world=world)
    async with trio.open_nursery() as nursery:
        world.nursery = nursery
        await nursery.start(world.serve_exchange)
        await script(world)
        if world.life is not None:
            result.snapshots = world.life.daemon.snapshots()
            world.closing = True
            await world.stop_daemon(drain_s=10)
        result.virtual_s = trio.current_time()
        nursery.cancel_scope.cancel()
    return result


def simulate(
    seed: int,
    *,
    users: int = 5,
    minutes: float = 10,
    profile: Profile = "none",
    options: Options | None = None,
    witnessed: bool = True,
) -> Result:
    """The run of a seed: faults as drawn, or demo users on the demo market if the profile is none."""
    if options is None:
        calm = profile == "none"
        options = (
            calm_options(seed, users=users, minutes=minutes)
            if calm
            else drawn(seed, users=users, minutes=minutes, profile=profile)
        )
    struck: Counter[str] = Counter()
    rng = options_rng(options)
    weather = StormyWeather(options.net, rng("net"), struck)
    faults = Faults(rng=rng("faults"))
    return play(options, partial(course, struck, weather, faults), weather=weather, faults=faults, witnessed=witnessed)


def options_rng(options: Options) -> Callable[[str], Any]:
    from random import Random

    return lambda purpose: Random(f"{options.seed}/{purpose}")


async def course(struck: Counter[str], weather: StormyWeather, faults: Faults, world: World) -> None:
    """The whole course of a run; ends early at a violation."""
    world.struck = struck
    storm = Storm(world, struck, weather, faults)
    world.database = lambda: StormyDatabase(world.disk, world, storm)
    checks = standing_checks(world, allowed_deaths=_allowed(world.options), calm=world.options.calm)
    world.onlookers += [*checks, storm]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_until_broken, world, nursery.cancel_scope, name="until broken")
        nursery.start_soon(_until_too_late, world, name="until too late")
        down = world.rng("down")
        nursery.start_soon(
            world.keep_daemon, lambda: down.uniform(*world.options.process.down_s), name="service manager"
        )
        hands = Hands(world)
        with trio.move_on_after(world.options.minutes * 60):
            async with trio.open_nursery() as trouble:
                trouble.start_soon(storm.run, name="storm")
                trouble.start_soon(hands.run, name="hands")
                trouble.start_soon(trio.sleep_forever)
        storm.end()
        world.healthy_s = trio.current_time()
        _end_orders_by_hand(world)
        await _heal(world, hands)
        await _come_to_rest(world, hands)
        await _restart(world)
        world.closing = True
        await world.stop_daemon(drain_s=0)
        for wire in world.net.wires.values():
            if not wire.client.closed:
                world.violate(f"a stream is left open: {wire}")
        nursery.cancel_scope.cancel()


def _allowed(options: Options) -> tuple[str, ...]:
    """ChildExhausted: the store was crashed too often, the process ends and is started again."""
    lost = ("StoreLost",) if options.disk.lost else ()
    return (*lost, "ChildExhausted") if lost or options.process.crashes_per_min else ()


async def _until_broken(world: World, scope: trio.CancelScope) -> None:
    await world.broken.wait()
    await trio.sleep(1)  # what else comes of it
    if world.life is not None:
        world.life.kill()
    world.closing = True
    scope.cancel()


def _end_orders_by_hand(world: World) -> None:
    """Else each restart would find foreign orders anew."""
    for user in world.names:
        for symbol, order_id in sorted(world.by_hand(user)):
            world.exchange.end_order(symbol, order_id, world.exchange.now_ms)


async def _until_too_late(world: World) -> None:
    await trio.sleep(world.options.minutes * 60 + HEALED_S + REST_S + 600)
    world.violate(f"the run does not come to its end: life {world.life}, closing {world.closing}")


async def _heal(world: World, hands: Hands) -> None:
    """Everybody must trade again, or be done, within HEALED_S."""
    deadline = trio.current_time() + HEALED_S
    since_ms = world.exchange.now_ms
    waiting = set(world.names)
    while waiting:
        if trio.current_time() > deadline:
            for user in sorted(waiting):
                world.violate(f"does not trade again in a healthy world: {_how(world, user)}", user)
            return
        for user in sorted(waiting):
            ready = await hands.heal(user)
            shown = world.life.daemon.snapshot(user) if world.life is not None else None
            if ready and shown is not None and (_done(world, user, shown) or _trades(world, user, since_ms)):
                waiting.discard(user)
        await trio.sleep(ATTEMPT_S)


def _trades(world: World, user: str, since_ms: int) -> bool:
    """The exchange has accepted a pair of this user."""
    return any(order.list_id and order.created_ms > since_ms for order in world.exchange.audit(user).orders)


def _done(world: World, user: str, shown: TraderSnapshot) -> bool:
    """The target is reached, at the exchange."""
    if shown.phase != "done" or shown.progress is None:
        return False
    bought = [fill for fill in world.exchange.audit(user).fills if fill.side == "BUY"]
    volume = sum(fill.quote for fill in bought if date_of(fill.time_ms) == shown.progress.day)
    if volume < shown.progress.target:
        world.violate(f"takes {shown.progress.target} USDT for reached, the exchange has filled {volume}", user)
    return True


async def _come_to_rest(world: World, hands: Hands) -> None:
    """Everybody is stopped; once nothing lives the records are exact."""
    deadline = trio.current_time() + REST_S
    left = set(world.names)
    while left:
        if trio.current_time() > deadline:
            for user in sorted(left):
                world.violate(f"does not come to rest: {_how(world, user)}", user)
            return
        for user in sorted(left):
            try:
                shown = await hands.ask(user, StopTrading(HEALER))
            except OtodError:
                continue
            if shown is not None and shown.pair is None and shown.wanted == "stopped":
                left.discard(user)
        await trio.sleep(ATTEMPT_S)
    _end_orders_by_hand(world)
    await trio.sleep(30)  # late looks and rows
    for what, user in at_rest(world):
        world.violate(what, user)


async def _restart(world: World) -> None:
    """A restart of a daemon at rest changes nothing, and asks the exchange for nothing that acts.

    And the old life, whatever it went through, had no task and no letter more than the new one has.
    """
    before = _rows(world)
    tasks, letters = await _always_there(world)
    for path in letters:
        world.violate(f"letters lie with {path}, which is at rest")
    orders = world.exchange.statistics().orders
    await world.stop_daemon(drain_s=0)
    await trio.sleep(60)
    if world.life is None or not world.life.begun.is_set():
        world.violate("the daemon is not up a minute after a restart")
        return
    for kind, rows in _rows(world).items():
        changed = [row for row in rows if row not in before[kind]]
        if changed or len(rows) != len(before[kind]):
            world.violate(f"a restart changed {kind}: {changed[:3]}")
    if world.exchange.statistics().orders != orders:
        world.violate("a restart placed orders")
    fresh, _ = await _always_there(world)
    for name, more in (tasks - fresh).items():
        world.violate(f"{more} of the task {name!r} more than after a restart")
    for what, user in at_rest(world):
        world.violate(f"after a restart: {what}", user)


async def _always_there(world: World) -> tuple[Counter[str], Counter[str]]:
    """(tasks by name, letters by path) of the daemon that lives, as few as at any of many looks: a ping or a row may be
    on its way at one of them."""
    assert world.life is not None, "a daemon lives"
    tasks, letters = _tasks(world.life), Counter(_letters(world.life.daemon.tree()))
    for _ in range(MANY_LOOKS):
        await trio.sleep(BETWEEN_LOOKS_S)
        tasks &= _tasks(world.life)
        letters &= Counter(_letters(world.life.daemon.tree()))
    return tasks, letters


def _tasks(life: Life) -> Counter[str]:
    root = trio.lowlevel.current_root_task()
    assert root is not None, "trio runs"
    top = next(task for task in _below(root) if task.name == f"{life.machine} daemon")
    return Counter(re.sub(r"#[0-9]+$", "", task.name) for task in _below(top))


def _below(task: trio.lowlevel.Task) -> Iterator[trio.lowlevel.Task]:
    for nursery in task.child_nurseries:
        for child in nursery.child_tasks:
            yield child
            yield from _below(child)


def _letters(node: Node) -> Iterator[str]:
    if node.mailbox is not None and node.mailbox.depth + node.mailbox.in_hand:
        yield node.path
    for child in node.children:
        yield from _letters(child)


def _rows(world: World) -> dict[str, list[Any]]:
    kept = (PairRow, FillRow, UserRow, ConfigRow)
    rows: dict[str, list[Any]] = {kind.__name__: world.disk.all(kind) for kind in kept}
    # A pause that may end by itself does so a minute after its cause is gone, which may be after the restart.
    rows["PauseRow"] = [
        replace(row, ended_at=None, ended_by=None) if row.reason in AUTO_RESUMABLE else row
        for row in world.disk.all(PauseRow)
    ]
    rows["OrderRow"] = [_what_stays(row) for row in world.disk.all(OrderRow)]
    return rows


def _what_stays(row: OrderRow) -> OrderRow:
    """An order that is not ours is filed under the token that the user has now, which may have changed since. Of a leg
    that was never released the exchange may say nothing at its end, and tell it to a new subscription."""
    if row.pair_id is None:
        return replace(row, token="")
    return replace(row, status="", updated_at=0) if row.leg == "pending" and not row.quantity else row


def _how(world: World, user: str) -> str:
    shown = world.life.daemon.snapshot(user) if world.life is not None else None
    if shown is None:
        return "the daemon is down"
    paused = ", ".join(f"{pause.reason} ({pause.detail})" for pause in shown.pauses)
    return f"{shown.wanted}, {shown.phase}, {shown.decision}; {paused or 'no pause'}; {shown.waiting}"
