"""The trouble of a run: what the network, the disk, the processes and the clocks do; each thing it does is counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from random import Random

import trio
from msgspec.structs import replace

from actors.adapters.sim_net import Side, Wire
from actors.adapters.sim_store import Disk, SimDatabase
from actors.errors import Refusal, StoreError, StoreLost, StoreRefused
from actors.paper.api import Request
from actors.paper.faults import Fault, Faults
from actors.rows import Row
from supervisor.lifecycle import Happened
from tests.sim.menu import OTO
from tests.sim.options import NetTrouble
from tests.sim.world import Onlooker, World

SURGE_DELAY_S = (0.3, 2.5)


class StormyWeather:
    """sim_net.Weather with the trouble of a run; `over` ends it."""

    def __init__(self, trouble: NetTrouble, rng: Random, struck: Counter[str]) -> None:
        self.trouble, self._rng, self._struck = trouble, rng, struck
        self.surging = False
        self.out = False
        self.over = False

    def dial(self, port: int, machine: str) -> str | None:
        if self.over:
            return None
        if self.out or self._strikes("silent", self.trouble.silent):
            return "silent"
        return "refused" if self._strikes("refused", self.trouble.refused) else None

    def delay_s(self) -> float:
        low, high = SURGE_DELAY_S if self.surging and not self.over else self.trouble.delay_s
        return low if low == high else self._rng.uniform(low, high)

    def split(self, size: int) -> int:
        if size > 1 and not self.over and self._strikes("split", self.trouble.split):
            return self._rng.randint(1, size - 1)
        return size

    def torn(self, wire: Wire, side: Side, size: int) -> int | None:
        if self.over or not self._strikes("torn", self.trouble.torn):
            return None
        return self._rng.randint(0, size)

    def _strikes(self, name: str, share: float) -> bool:
        if share and self._rng.random() < share:
            self._struck[f"net.{name}"] += 1
            return True
        return False


class StormyDatabase(SimDatabase):
    """A disk that fails, is slow or full; and a process that is killed at its commits."""

    def __init__(self, disk: Disk, world: World, storm: Storm) -> None:
        super().__init__(disk, world.wall)
        self._storm = storm

    async def commit(self, groups: Sequence[Sequence[Row]]) -> tuple[StoreRefused | None, ...]:
        self._check()
        storm, trouble = self._storm, self._storm.world.options.disk
        low, high = trouble.commit_s
        await trio.sleep(storm.rng.uniform(low, high))
        self._check()
        if storm.strikes("disk.full", float(storm.disk_full)) or storm.strikes("disk.failing", trouble.failing):
            raise StoreError("no space left on device", where="memory")
        if storm.strikes("process.kill_before_commit", storm.world.options.process.kill_before_commit):
            storm.kill()
            self._check()
        self._disk.write(groups)
        if storm.strikes("process.kill_after_commit", storm.world.options.process.kill_after_commit):
            storm.kill()
            self._check()
        if storm.strikes("disk.unsure", trouble.unsure):
            raise StoreError("fsync failed", where="memory")
        if storm.strikes("disk.lost", trouble.lost):
            self._open = False
            raise StoreLost("the database gave up", where="memory", do="open it")
        return (None,) * len(groups)


class Storm(Onlooker):
    """Performs the trouble of a run until `end`. struck: how often each kind happened."""

    def __init__(self, world: World, struck: Counter[str], weather: StormyWeather, faults: Faults) -> None:
        self.world, self.struck = world, struck
        self.rng = world.rng("storm")
        self.disk_full = False
        self.over = False
        self._weather, self._faults = weather, faults
        self._scope = trio.CancelScope()
        for fault in world.options.faults:
            faults.add(replace(fault))

    def strikes(self, name: str, share: float) -> bool:
        if self.over or not share or self.rng.random() >= share:
            return False
        self.struck[name] += 1
        return True

    def kill(self) -> None:
        if self.world.life is not None and self.world.life.begun.is_set():
            self.world.life.kill()

    def happened(self, it: Happened) -> None:
        """Counts whom it met: a catalogue of deaths is only covered if all kinds of actors have died."""
        if it.what == "parked":
            self.struck["actor.parked"] += 1
        elif it.what == "crashed":
            self.struck[f"actor.{it.path.partition('/')[0]}"] += 1

    def asked(self, request: Request, account: str | None) -> None:
        if request.path.endswith(OTO):
            share = self.world.options.process.kill_at_placement
            if self.strikes("process.kill_at_placement", share):
                self.kill()

    async def run(self) -> None:
        net, process = self._weather.trouble, self.world.options.process
        doings: list[tuple[str, float, Callable[[], Awaitable[None]]]] = [
            ("net.reset", net.resets_per_min, self._reset),
            ("net.end", net.ends_per_min, self._end),
            ("net.hold", net.holds_per_min, self._hold),
            ("net.outage", net.outages_per_min, self._outage),
            ("net.surge", net.surges_per_min, self._surge),
            ("disk.outage", self.world.options.disk.full_per_min, self._fill_disk),
            ("process.crash", process.crashes_per_min, self._crash),
            ("process.crash_loop", process.crash_loops_per_min, self._crash_loop),
            ("exchange.halt", process.halts_per_min, self._halt),
            ("process.kill", process.kills_per_min, self._kill),
            ("process.stop", process.stops_per_min, self._stop),
            ("process.exchange_restart", process.exchange_restarts_per_min, self._restart_exchange),
            ("process.clock_step", process.steps_per_min, self._step_clock),
        ]
        with self._scope:
            async with trio.open_nursery() as nursery:
                for name, per_min, do in doings:
                    if per_min:
                        nursery.start_soon(self._again_and_again, name, per_min, do, name=name)

    def end(self) -> None:
        """Everything is healthy from now on."""
        self.over = self._weather.over = True
        self._weather.surging = self._weather.out = self.disk_full = False
        self._scope.cancel()
        self._faults.clear()
        self.world.wall.ahead_ms = 0
        for wire in list(self.world.net.wires.values()):
            wire.release()

    async def _again_and_again(self, name: str, per_min: float, do: Callable[[], Awaitable[None]]) -> None:
        rng = self.world.rng(f"storm/{name}")
        while True:
            await trio.sleep(rng.expovariate(per_min / 60))
            self.world.record.add("debug", "storm", {"does": name})
            self.struck[name] += 1
            await do()
            await trio.lowlevel.checkpoint()

    # -- what it does

    def _wire(self) -> Wire | None:
        wires = list(self.world.net.wires.values())
        return self.rng.choice(wires) if wires else None

    async def _reset(self) -> None:
        if (wire := self._wire()) is not None:
            wire.reset()

    async def _end(self) -> None:
        if (wire := self._wire()) is not None:
            wire.end()

    async def _hold(self) -> None:
        wire = self._wire()
        if wire is None:
            return
        wire.hold()
        await trio.sleep(self.rng.uniform(*self._weather.trouble.hold_s))
        if self.rng.random() < 0.5:
            wire.release()
        else:
            wire.reset()

    async def _outage(self) -> None:
        self._weather.out = True
        held = list(self.world.net.wires.values())
        for wire in held:
            wire.hold()
        await trio.sleep(self.rng.uniform(*self._weather.trouble.outage_s))
        self._weather.out = False
        for wire in held:
            wire.release()

    async def _surge(self) -> None:
        self._weather.surging = True
        await trio.sleep(self.rng.uniform(*self._weather.trouble.surge_s))
        self._weather.surging = False

    async def _fill_disk(self) -> None:
        self.disk_full = True
        await trio.sleep(self.rng.uniform(*self.world.options.disk.full_s))
        self.disk_full = False

    async def _crash(self) -> None:
        life = self.world.life
        if life is None:
            return
        running = [path for path in life.daemon.running() if path]
        if running:
            try:
                life.daemon.crash(self.rng.choice(running), "storm")
            except Refusal:
                return  # it has just ended by itself

    async def _crash_loop(self) -> None:
        """One trader dies as soon as it lives, more often than it may."""
        path = f"traders/{self.rng.choice(self.world.names)}"
        for _ in range(8):
            with trio.move_on_after(5):
                while self.world.life is None or path not in self.world.life.daemon.running():  # noqa: ASYNC110
                    await trio.sleep(0.05)
                self.world.life.daemon.crash(path, "storm")
            await trio.sleep(0.01)

    async def _halt(self) -> None:
        ids = [token.alpha_id for token in self.world.listing.tokens if token.ticker in self.world.options.tokens]
        halt = self._faults.add(Fault(kind="halt", symbol=f"{self.rng.choice(ids)}USDT"))
        await trio.sleep(self.rng.uniform(3, 40))
        self._faults.remove(halt)

    async def _kill(self) -> None:
        self.kill()

    async def _stop(self) -> None:
        life = self.world.life
        if life is not None and life.begun.is_set():
            await self.world.stop_daemon(self.rng.choice((0.0, 10.0)))

    async def _restart_exchange(self) -> None:
        await self.world.restart_exchange(self.rng.uniform(0.0, 5.0))

    async def _step_clock(self) -> None:
        self.world.wall.ahead_ms = self.rng.randint(*self.world.options.process.step_ms)
