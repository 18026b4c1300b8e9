"""What the tests of the fault catalogue act with, besides the stage of the stories (tests/sim/stage.py).

A test here plays one fault of ../shared/reliability.md § 1 in the whole daemon: real wiring, actors, HTTP and web
socket libraries, the paper exchange with the switch for exactly that fault, a virtual clock. Each ends with the checks
of every simulated run: records equal the exchange's, never two live pairs, every placement durable first and sent once.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable
from decimal import Decimal as D

import trio

from actors.adapters.sim_net import Calm
from actors.adapters.sim_store import SimDatabase
from actors.errors import Refusal, StoreError, StoreLost
from actors.rows import PairRow
from tests.sim.menu import OTO
from tests.sim.world import HTTP_PORT, WS_PORT, Onlooker

HTTP, WS = HTTP_PORT, WS_PORT
KOGE, LUMI = "ALPHA_22USDT", "ALPHA_24USDT"
CROSSING = {"interval_seconds": D(3)}
PASSIVE = {"buy_offset": D("-1.5"), "sell_offset": D("1.5")}
"""Rests in the book: the market moves 1.5 % in a quarter of an hour at the earliest."""
STUCK_SALE = {"buy_offset": D("0.05"), "sell_offset": D("1.5")}
"""Buys at once, and its sale rests."""


class Weather(Calm):
    """A good network but for what a test says.

    dials: port → "refused" or "silent". torn: asked at each send, see sim_net.Weather. delays_s: of every piece.
    """

    def __init__(self, rng):
        super().__init__(rng)
        self.dials = {}
        self.tear = None
        self.delays_s = None

    def dial(self, port, machine):
        return self.dials.get(port)

    def delay_s(self):
        return super().delay_s() if self.delays_s is None else self._rng.uniform(*self.delays_s)

    def torn(self, wire, side, size):
        return None if self.tear is None else self.tear(wire, side, size)


def with_weather(world):
    """For tell(before=…): stage.world.net.weather is a Weather."""
    world.net.weather = Weather(world.rng("net"))


def wires(stage, port):
    """Of the daemon that lives."""
    return [wire for wire in stage.world.net.of(stage.world.life.machine) if wire.port == port]


def cut(stage, port, how):
    """Every connection to the port breaks, and no other comes about: how is "refused" or "silent"."""
    stage.world.net.weather.dials[port] = how
    for wire in wires(stage, port):
        wire.reset()


def heal(stage):
    stage.world.net.weather.dials.clear()
    stage.world.net.weather.delays_s = stage.world.net.weather.tear = None
    for wire in list(stage.world.net.wires.values()):
        wire.release()


class Intents(Onlooker):
    """Calls `do` with each pair's first row, at the instant at which it is durable: its request is about to leave."""

    def __init__(self, do: Callable[[PairRow], None]) -> None:
        self._do, self._seen = do, set()

    def wrote(self, row):
        if isinstance(row, PairRow) and (row.user, row.pair_id) not in self._seen:
            self._seen.add((row.user, row.pair_id))
            self._do(row)


class Requests(Onlooker):
    """Everything that arrives at the exchange: (virtual time, account, path)."""

    def __init__(self):
        self.all = []

    def asked(self, request, account):
        self.all.append((trio.current_time(), account, request.path))

    def since(self, at_s, account=None):
        return [path for when, who, path in self.all if when >= at_s and account in (None, who)]

    def placements(self, account=None):
        return [when for when, who, path in self.all if path.endswith(OTO) and account in (None, who)]


def watched(stage) -> Requests:
    requests = Requests()
    stage.world.onlookers.append(requests)
    return requests


class Moody(SimDatabase):
    """A database that does as its mood says. One per life, all with the world's one mood."""

    def __init__(self, world, mood):
        super().__init__(world.disk, world.wall)
        self._mood = mood

    async def commit(self, groups):
        mood = self._mood
        await trio.sleep(mood.slow_s)
        if mood.full:
            mood.refused += 1
            raise StoreError("no space left on device", where="memory")
        if mood.breaks and not self.fenced:
            mood.breaks -= 1
            self._open = False
            raise StoreLost("fsync failed", where="memory", do="open it again")
        mood.before = copy.deepcopy(self._disk._tables) if mood.keeps else None
        return await super().commit(groups)


class Mood:
    """full: nothing can be committed. slow_s: a commit takes so much longer. breaks: commits after which the database
    has to be opened again. keeps: `before` is the disk as it was before the newest commit. refused: commits so far."""

    def __init__(self):
        self.full, self.slow_s, self.breaks, self.keeps, self.refused, self.before = False, 0.0, 0, False, 0, None

    def __call__(self, world):
        """For tell(before=mood)."""
        world.database = lambda: Moody(world, self)


def phase_of(stage, user=None):
    shown = stage.shown(user)
    return shown.phase if shown is not None else None


def renew(stage, user):
    """New credentials were handed over, as far as the daemon can see."""
    daemon = stage.world.daemon
    daemon.renew(daemon.records()[user])


def crash(stage, path):
    """If it runs; else it has just died, or is being started."""
    with contextlib.suppress(Refusal, AssertionError):
        stage.crash(path)


async def resumed(stage, user=None, *, within_s=120):
    """As an operator does: again, as long as the daemon says that the cause is still there."""
    with trio.fail_after(within_s):
        while stage.pauses(user) or (shown := stage.shown(user)) is None or shown.pauses:  # durable or not yet
            try:
                await stage.resume(user)
            except Refusal:
                await trio.sleep(2)


async def resumes_and_trades(stage, user=None):
    """The end of most faults: an operator resumes, and another pair is completed."""
    closed = len(stage.outcomes(user))
    await stage.until(lambda: stage.shown(user) is not None and stage.shown(user).pair is None, within_s=400)
    await resumed(stage, user)
    await stage.until(lambda: len(stage.outcomes(user)) > closed, within_s=400)
