"""One run: a seed in, a history out."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from functools import partial

import trio
from msgspec import Struct

from actors.adapters import sim
from actors.messages import TraderSnapshot
from tests.sim.options import Options, calm_options
from tests.sim.world import World

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
    def user_hours(self) -> float:
        return self.virtual_s / 3600 * len(self.options.users)


def play(options: Options, script: Script, **world: object) -> Result:
    """Runs a script in a new world: the exchange is served; what lives at the script's end is stopped."""
    witness = sim.Witness()
    began_s = time.perf_counter()  # sim-ok: how long a run takes is about the real machine
    result = sim.play(partial(_play, options, script, world), seed=options.seed, witness=witness)
    result.real_s = time.perf_counter() - began_s  # sim-ok: see above
    result.digest, result.steps = witness.digest, witness.steps
    result.log_digest = result.world.record.digest
    return result


async def _play(options: Options, script: Script, kw: dict[str, object]) -> Result:
    world = World(options, **kw)  # type: ignore[arg-type]
    result = Result(options=options, world=world)
    async with trio.open_nursery() as nursery:
        world.nursery = nursery
        await nursery.start(world.serve_exchange)
        await script(world)
        if world.life is not None:
            life = world.life
            result.snapshots = life.daemon.snapshots()
            await life.daemon.stop(drain_s=10)
            await life.ended.wait()
        result.virtual_s = trio.current_time()
        nursery.cancel_scope.cancel()
    return result


async def calm(world: World) -> None:
    """The daemon trades for so many minutes."""
    await world.start_daemon()
    await trio.sleep(world.options.minutes * 60)


def simulate(seed: int, *, users: int = 5, minutes: float = 10, target: int = 500) -> Result:
    """Demo users on the demo market, nothing goes wrong."""
    return play(calm_options(seed, users=users, minutes=minutes, target=target), calm)
