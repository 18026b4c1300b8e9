"""Long runs: some users with auto_resume, a fault now and then, and a look every virtual hour at what must not grow.

`python -m tests.sim.soak --hours 8 --users 4` shows the table. The exchange's journal, the disk's rows and the log are
the world's own memory and grow as they must; what is counted is the daemon's: objects of its modules, tasks, wires.
"""

from __future__ import annotations

import argparse
import gc
from collections import Counter, deque
from decimal import Decimal
from functools import partial
from random import Random

import trio
from msgspec import Struct

from actors.desk import Settings
from actors.paper.faults import Fault, Faults
from tests.sim.menu import OTO
from tests.sim.options import START_MS, NetTrouble, Options, ProcessTrouble, UserOptions, demo_config, user_name
from tests.sim.run import Result, course, play
from tests.sim.storm import StormyWeather
from tests.sim.world import WS_USER, World

HOUR_S = 3600.0
OURS = ("actors.", "supervisor.")
NOT_OURS = ("actors.paper", "actors.adapters.sim", "actors.adapters.paper", "actors.rows")
"""The world's: the exchange, the network, the disk's rows."""

STALE_S = 60.0  # pings are half of the steps of a quiet market
TOKENS = ("PICO",)  # a quiet market: hours of it are computed in seconds
KEPT_LINES = 100  # of the log: lines of crashes hold the error, and with it all that its actor knew

FAULTS = (
    Fault(kind="lost_reply", path=OTO, share=0.01),
    Fault(kind="http_error", status=502, share=0.002),
    Fault(kind="duplicate_frame", stream="alpha@", share=0.01),
    Fault(kind="delay_frame", stream="alpha@", seconds=3, share=0.01),
    Fault(kind="drop_frame", stream="alpha@", share=0.002),
    Fault(kind="disconnect", stream="alpha@", share=0.001),
    Fault(kind="partial_fill", seconds=2, share=0.05),
)


class Sample(Struct, frozen=True, kw_only=True):
    """At the end of a virtual hour. objects: by type, the daemon's own. pauses: reasons in force, of all users."""

    hour: int
    objects: dict[str, int]
    tasks: int
    wires: int
    fills: int
    pauses: tuple[str, ...]

    @property
    def total(self) -> int:
        return sum(self.objects.values())


def options(*, seed: int, users: int, hours: float, interval_s: int) -> Options:
    """From 20:00 UTC, so that midnight comes after four hours."""
    trading = {
        "target": Decimal(1_000_000),
        "interval_seconds": Decimal(interval_s),
        "volatility_threshold": Decimal(50),
        "unwind_floor_percent": Decimal(20),
    }
    return Options(
        seed=seed,
        minutes=hours * 60,
        start_ms=START_MS + 8 * 3_600_000,
        users=tuple(
            UserOptions(name=user_name(number), trading=demo_config(TOKENS[number % len(TOKENS)], **trading))
            for number in range(1, users + 1)
        ),
        net=NetTrouble(
            resets_per_min=0.05, ends_per_min=0.03, holds_per_min=0.02, hold_s=(1.0, 40.0), outages_per_min=0.01
        ),
        process=ProcessTrouble(crashes_per_min=0.05),
        faults=FAULTS,
    )


def soak(*, seed: int = 1, users: int = 4, hours: float = 8, interval_s: int = 60) -> tuple[Result, list[Sample]]:
    """All that holds in every simulated run is checked as there: at every event, and exact records at the end."""
    chosen = options(seed=seed, users=users, hours=hours, interval_s=interval_s)
    samples: list[Sample] = []
    struck: Counter[str] = Counter()
    weather = StormyWeather(chosen.net, Random(f"{seed}/net"), struck)
    faults = Faults(rng=Random(f"{seed}/faults"))

    async def script(world: World) -> None:
        world.record.lines = deque(maxlen=KEPT_LINES)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(look, world, samples, hours=hours))
            await course(struck, weather, faults, world)
            nursery.cancel_scope.cancel()

    settings = Settings(ws_user=WS_USER, stale_s=STALE_S)
    return play(chosen, script, weather=weather, faults=faults, settings=settings), samples


async def look(world: World, samples: list[Sample], *, hours: float) -> None:
    """Every hour, a moment before the last one ends."""
    for hour in range(1, int(hours) + 1):
        await trio.sleep_until(hour * HOUR_S - 1)
        samples.append(taken(world, hour))


def taken(world: World, hour: int) -> Sample:
    gc.collect()
    found: Counter[str] = Counter()
    for each in gc.get_objects():
        module = getattr(type(each), "__module__", "")
        if isinstance(module, str) and module.startswith(OURS) and not module.startswith(NOT_OURS):
            found[f"{module}.{type(each).__qualname__}"] += 1
    assert world.life is not None, "no daemon lives"
    pauses = [pause.reason for shown in world.daemon.snapshots() for pause in shown.pauses]
    return Sample(
        hour=hour,
        objects=dict(found),
        tasks=trio.lowlevel.current_statistics().tasks_living,
        wires=len(world.net.wires),
        fills=world.exchange.statistics().fills,
        pauses=tuple(pauses),
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.sim.soak", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--users", type=int, default=4)
    parser.add_argument("--hours", type=float, default=8)
    parser.add_argument("--interval", type=int, default=60, help="seconds between two pairs of a user")
    args = parser.parse_args()
    result, samples = soak(seed=args.seed, users=args.users, hours=args.hours, interval_s=args.interval)
    for one in samples:
        counts = f"{one.total} objects, {one.tasks} tasks, {one.wires} wires, {one.fills} fills"
        print(f"hour {one.hour}: {counts}, {one.pauses}")
    first, last = samples[min(1, len(samples) - 1)], samples[-1]
    grown = {name: count - first.objects.get(name, 0) for name, count in last.objects.items()}
    print("grown:", sorted(((by, name) for name, by in grown.items() if by > 5), reverse=True)[:15])
    print(f"trouble: {dict(sorted(result.struck.items()))}")
    print(f"{result.virtual_s / 3600:.1f} virtual h in {result.real_s:.1f} s, {result.steps} steps")
    for violation in result.violations:
        print(f"VIOLATION {violation}")


if __name__ == "__main__":
    main()
