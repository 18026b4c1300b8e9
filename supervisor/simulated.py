"""One daemon on the paper exchange in the virtual world (design § 9): a seed, a market and users in, their rows out.

The real wiring, actors and HTTP and web socket libraries, over simulated streams and a clock that leaps; nothing of it
touches a socket, a file or a thread. Days are whole UTC days. When nobody has anything left to do before midnight,
market and daemon rest until then; its next life goes on from its rows, as after any restart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any, Literal, TypeAlias

import trio
from msgspec import Struct

from actors.adapters.limits import REAL_HOST
from actors.adapters.paper import PaperServer, load_recording
from actors.adapters.sim import SimWall, play
from actors.adapters.sim_net import SimDialer, SimNet
from actors.adapters.sim_store import Disk, SimDatabase
from actors.adapters.vault import FileVault, new_key
from actors.adapters.websocket import TrioSockets
from actors.desk import Settings
from actors.domain.day import DAY_MS
from actors.messages import TraderSnapshot
from actors.paper.api import Market
from actors.paper.listing import Listing, demo_listing
from actors.paper.machine import Exchange
from actors.paper.market import SyntheticMarket, Traded
from actors.paper.recording import Recording
from actors.paper.replay import TapeMarket
from actors.paper.rules import Rules
from supervisor import users
from supervisor.bus import EventBus
from supervisor.paper_house import PACE, QUIET_PACE
from supervisor.sessions import Sessions
from supervisor.trouble import TROUBLE, Unsteady
from supervisor.wiring import Daemon, Outside

START_MS = 1_795_132_800_000  # 2026-11-20T00:00:00Z: always the same, so that a run can be repeated to the last digit
HTTP_PORT, WS_PORT = 8701, 8702
LOOK_S = 10.0  # between two looks whether anybody still has something to do
BEFORE_MIDNIGHT_S = 120.0  # the market wakes so long before the day on which it is needed: a 60 s range has to be there
DELAY_S = (0.02, 0.08)  # one way to the exchange; 160 to 250 ms for a report were captured (wire § 7)

Profile = Literal["none", "normal", "harsh"]
Tell: TypeAlias = Callable[[float], None]
"""Hears which share of the work is done, 0 to 1."""


class Wanted(Struct, frozen=True, kw_only=True):
    """What to simulate. wishes: every user with a configuration; credentials do not matter here."""

    wishes: tuple[users.UserWish, ...]
    seed: int = 1
    days: int = 1
    replay: Path | None = None
    faults: Profile = "none"


class Simulated(Struct, frozen=True, kw_only=True):
    """disk: all rows as the daemon wrote them. snapshots: the traders as they stood at the end, by user."""

    disk: Disk
    snapshots: dict[str, TraderSnapshot]
    virtual_s: float
    struck: dict[str, int]


def simulate(wanted: Wanted, tell: Tell) -> Simulated:
    """Raises: ConfigError, the tape cannot be read; whatever the daemon ends with."""
    recording = load_recording(wanted.replay) if wanted.replay is not None else None

    async def main() -> Simulated:
        return await _Run(wanted, recording, tell).main()  # made in there, because it looks at the clock

    return play(main, seed=wanted.seed)


class _Run:
    """One simulation, inside `play`."""

    def __init__(self, wanted: Wanted, recording: Recording | None, tell: Tell) -> None:
        self.wanted, self.recording, self.tell = wanted, recording, tell
        self.listing: Listing = demo_listing()
        self.resumed = {wish.user: wish.trading.auto_resume for wish in wanted.wishes if wish.trading is not None}
        self.wall = SimWall(START_MS)
        self.disk = Disk()
        trouble = TROUBLE[wanted.faults]
        self.faults = trouble.switches(self._rng("faults"))
        self.net = SimNet(Unsteady(trouble, self._rng("net"), delay_s=DELAY_S))
        self.exchange = Exchange(
            listing=self.listing, rules=Rules(), faults=self.faults, rng=self._rng("exchange"), now_ms=START_MS
        )
        self.exchange.market = self._market(START_MS)
        self.server = PaperServer(self.exchange, self.wall, Forgetful())
        self.vault = FileVault([new_key()])
        self.lives = 0
        self.daemon = self._daemon()
        self.nursery: trio.Nursery

    def _rng(self, purpose: str) -> Random:
        return Random(f"{self.wanted.seed}/{purpose}")

    async def main(self) -> Simulated:
        http, ws = self.net.listen(HTTP_PORT), self.net.listen(WS_PORT)
        async with trio.open_nursery() as nursery:
            self.nursery = nursery
            await nursery.start(self.server.serve, [http], [ws])
            await nursery.start(self.daemon.run, self._users_in_place)
            for day in range(self.wanted.days):
                await self._day(day)
            found = {shown.user: shown for shown in self.daemon.snapshots()}
            virtual_s = trio.current_time()
            await self.daemon.stop(drain_s=0)
            nursery.cancel_scope.cancel()
        return Simulated(
            disk=self.disk,
            snapshots=found,
            virtual_s=virtual_s,
            struck=dict(sorted(self.faults.fired.items())),
        )

    async def _day(self, day: int) -> None:
        """Until midnight; on the last day only for as long as anybody has something to do."""
        ends_s = (day + 1) * DAY_MS / 1000
        last = day + 1 == self.wanted.days
        while trio.current_time() < ends_s:
            await trio.sleep(min(LOOK_S, ends_s - trio.current_time()))
            self.tell((day + self._done(day)) / self.wanted.days)
            if all(map(self._at_rest, self.daemon.snapshots())):
                if last:
                    break
                await self._rest_until(ends_s)
        self.tell((day + 1) / self.wanted.days)

    def _done(self, day: int) -> float:
        """Whichever is farther: the day, or the user who has most left to buy."""
        passed = trio.current_time() * 1000 / DAY_MS - day
        bought = [
            min(1.0, float(shown.progress.percent) / 100) if not self._at_rest(shown) else 1.0
            for shown in self.daemon.snapshots()
            if shown.progress is not None
        ]
        return max(passed, min(bought, default=0.0))

    def _at_rest(self, shown: TraderSnapshot) -> bool:
        """Nothing happens any more today: the target is reached, or only an operator could make the user go on."""
        lasting = [pause for pause in shown.pauses if pause.reason not in self.resumed[shown.user]]
        return shown.pair is None and (shown.phase == "done" or bool(lasting))

    async def _rest_until(self, midnight_s: float) -> None:
        """Nobody trades, so nobody is needed: a daemon that is started again goes on from its rows."""
        wake_s = midnight_s - BEFORE_MIDNIGHT_S
        if wake_s > trio.current_time():
            await self.daemon.stop(drain_s=0)
            self.exchange.market = None
            await trio.sleep_until(wake_s)
            self.exchange.market = self._market(self.wall.now_ms())
            self.daemon = self._daemon()
            await self.nursery.start(self.daemon.run)
        await trio.sleep_until(midnight_s)

    # -- the exchange's machine

    def _market(self, now_ms: int) -> Market:
        traded = list(self._traded())
        if self.recording is not None:
            return TapeMarket(self.recording, traded, START_MS, from_ms=now_ms)
        return SyntheticMarket(self.wanted.seed, traded, now_ms)

    def _traded(self) -> Iterator[Traded]:
        tokens = {wish.trading.token for wish in self.wanted.wishes if wish.trading is not None}
        for instrument in self.listing.instruments:
            token = self.listing.token_of(instrument.symbol)
            if instrument.quote_asset == "USDT" and tokens & {token.ticker, token.alpha_id}:
                last = self.exchange.last_price(instrument.symbol) if self.recording is None else None
                yield Traded(
                    instrument=instrument,
                    price=token.price if last is None else last,
                    anchor=token.price,
                    orders_per_s=PACE.get(token.ticker, QUIET_PACE),
                )

    # -- the daemon's machine

    def _daemon(self) -> Daemon:
        rest_base = f"http://127.0.0.1:{HTTP_PORT}"
        ws_base = f"ws://127.0.0.1:{WS_PORT}/w3w"
        self.lives += 1
        dialer = SimDialer(self.net, f"otod-{self.lives}")
        outside = Outside(
            wall=self.wall,
            sockets=TrioSockets(dialer),
            sessions=Sessions(rest_base, dialer, REAL_HOST, self.vault, self.wall, call_s_max=10.0),
            database=SimDatabase(self.disk, self.wall),
            rng=self._rng(f"daemon/{self.lives}"),
            log=Silent(),
            bus=EventBus(self.wall, boot=f"simulated-{self.lives}"),
        )
        settings = Settings(ws_user=f"{ws_base}/stream")
        return Daemon(outside, settings, ws_public=f"{ws_base}/wsa/stream", mode="paper", version="simulated")

    async def _users_in_place(self) -> None:
        wishes = [
            users.UserWish(
                user=wish.user,
                trading=wish.trading,
                secrets=users.Secrets(cookies={"paper_account": wish.user}, headers={}),
                wanted="running",
            )
            for wish in self.wanted.wishes
        ]
        store, now_ms = self.daemon.store, self.wall.now_ms()
        await users.apply(wishes, store=store, vault=self.vault, who="otod simulate", now_ms=now_ms)


class Forgetful:
    """paper_journal.Journal of an exchange that is never restarted."""

    size = 0

    def lines(self) -> Iterator[bytes]:
        return iter(())

    def append(self, data: bytes) -> None:
        pass

    def replace(self, data: bytes) -> None:
        pass


class Silent:
    """ports.Log that nobody reads: the rows tell the story."""

    def bind(self, **new_values: Any) -> Silent:
        return self

    def debug(self, event: str, **kw: Any) -> None:
        pass

    info = warning = error = exception = debug
