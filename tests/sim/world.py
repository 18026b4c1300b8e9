"""The whole daemon in the virtual world: the real wiring and actors, the real HTTP and web socket libraries on both
sides, the paper exchange on a machine of its own.

    exchange machine    Exchange + PaperServer + MemoryJournal, lives through everything
    daemon machine      one Life after the other on the same Disk; a life is ended by stop() or, at any step, by kill()

Everything random comes from generators named after the seed, one per purpose.
"""

from __future__ import annotations

from decimal import Decimal
from random import Random
from typing import Any

import trio

from actors.adapters.limits import LOOPBACK, Rates
from actors.adapters.paper import PaperServer
from actors.adapters.paper_journal import MemoryJournal
from actors.adapters.sim import SimWall
from actors.adapters.sim_net import Calm, SimDialer, SimNet, Weather
from actors.adapters.sim_store import Disk, SimDatabase
from actors.adapters.vault import FileVault
from actors.adapters.websocket import TrioSockets
from actors.desk import Settings
from actors.paper.api import Frame, Request, Response
from actors.paper.faults import Faults
from actors.paper.listing import Listing, demo_listing
from actors.paper.machine import Exchange
from actors.paper.market import SyntheticMarket, Traded
from actors.paper.rules import Rules
from supervisor import users
from supervisor.bus import EventBus
from supervisor.sessions import Sessions
from supervisor.wiring import Daemon, Outside, Patience
from tests.sim.log import Record, SimLog
from tests.sim.options import PACE, Options

HTTP_PORT, WS_PORT = 8701, 8702
REST_BASE = f"http://127.0.0.1:{HTTP_PORT}"
WS_PUBLIC = f"ws://127.0.0.1:{WS_PORT}/w3w/wsa/stream"
WS_USER = f"ws://127.0.0.1:{WS_PORT}/w3w/stream"
VAULT_KEY = "b3RvZCBzaW11bGF0aW9uIGtleSAwMTIzNDU2Nzg5YWI="


class Violation(AssertionError):
    """Something that must never be."""

    def __init__(self, what: str, user: str | None = None) -> None:
        super().__init__(what)
        self.user = user


class Onlooker:
    """Sees what passes between exchange and daemon, and what becomes durable. Checkers are onlookers."""

    def asked(self, request: Request, account: str | None) -> None:
        """A request has arrived at the exchange and is about to be handled."""

    def handled(self, request: Request, account: str | None, response: Response) -> None: ...

    def moved(self) -> None:
        """The exchange has changed."""

    def wrote(self, row: Any) -> None:
        """A row is durable."""


class WatchedExchange:
    """The machine as the server sees it (paper.Exchange), with onlookers."""

    def __init__(self, exchange: Exchange, onlookers: list[Onlooker]) -> None:
        self.inner = exchange
        self._onlookers = onlookers
        self.take_frames = exchange.take_frames
        self.take_journal = exchange.take_journal
        self.next_due_ms = exchange.next_due_ms
        self.snapshot = exchange.snapshot
        self.unsubscribe = exchange.unsubscribe

    def handle(self, request: Request, now_ms: int) -> Response:
        account = request.cookies.get("paper_account")
        for onlooker in self._onlookers:
            onlooker.asked(request, account)
        response = self.inner.handle(request, now_ms)
        for onlooker in self._onlookers:
            onlooker.handled(request, account, response)
            onlooker.moved()
        return response

    def advance(self, now_ms: int) -> None:
        self.inner.advance(now_ms)
        for onlooker in self._onlookers:
            onlooker.moved()

    def subscribe(self, stream: str, *, public: bool, now_ms: int) -> bool:
        return self.inner.subscribe(stream, public=public, now_ms=now_ms)

    def take(self) -> list[Frame]:
        return self.inner.take_frames()


class WatchedDisk(Disk):
    def __init__(self, onlookers: list[Onlooker]) -> None:
        super().__init__()
        self._onlookers = onlookers

    def _put(self, row: Any) -> None:
        super()._put(row)
        for onlooker in self._onlookers:
            onlooker.wrote(row)


class World:
    """Both machines and what lies between them. Make it inside `sim.play`."""

    def __init__(
        self,
        options: Options,
        *,
        weather: Weather | None = None,
        faults: Faults | None = None,
        rules: Rules | None = None,
        listing: Listing | None = None,
        settings: Settings | None = None,
        patience: Patience | None = None,
        rates: Rates = LOOPBACK,
        synthetic: bool = True,
    ) -> None:
        self.options = options
        self.record = Record()
        self.onlookers: list[Onlooker] = []
        self.net = SimNet(weather or Calm(self.rng("net")))
        self.wall = SimWall(options.start_ms)  # the daemon's
        self.true_wall = SimWall(options.start_ms)  # the exchange's
        self.disk = WatchedDisk(self.onlookers)
        self.settings = settings or Settings(ws_user=WS_USER)
        self.patience = patience or Patience()
        self.rates = rates
        self.faults = faults or Faults(rng=self.rng("faults"))
        self.rules = rules or Rules()
        self.exchange = self._exchange(listing or demo_listing(), synthetic)
        self.lives = 0
        self.life: Life | None = None
        self.nursery: trio.Nursery
        self._http = self.net.listen(HTTP_PORT)
        self._ws = self.net.listen(WS_PORT)

    def rng(self, purpose: str) -> Random:
        return Random(f"{self.options.seed}/{purpose}")

    def _exchange(self, listing: Listing, synthetic: bool) -> Exchange:
        start_ms = self.true_wall.now_ms()
        exchange = Exchange(
            listing=listing, rules=self.rules, faults=self.faults, rng=self.rng("exchange"), now_ms=start_ms
        )
        traded = [
            Traded(instrument=instrument, price=token.price, orders_per_s=PACE.get(token.ticker, 0.25))
            for instrument in listing.instruments
            if instrument.quote_asset == "USDT"
            and (token := listing.token_of(instrument.symbol)).ticker in self.options.tokens
        ]
        if synthetic:
            exchange.market = SyntheticMarket(self.options.seed, traded, start_ms)
        for user in self.options.users:
            usdt = user.balance - self.rules.start_balance
            exchange.deposit(user.name, "funding", "USDT", usdt, start_ms)
            if user.holdings:
                alpha_id = next(token.alpha_id for token in listing.tokens if token.ticker == user.trading.token)
                exchange.deposit(user.name, "alpha", alpha_id, user.holdings, start_ms)
        return exchange

    # -- the exchange's machine

    async def serve_exchange(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        watched = WatchedExchange(self.exchange, self.onlookers)
        server = PaperServer(watched, self.true_wall, MemoryJournal())
        await server.serve([self._http], [self._ws], task_status=task_status)

    # -- the daemon's machine

    @property
    def daemon(self) -> Daemon:
        assert self.life is not None, "no daemon lives"
        return self.life.daemon

    def new_life(self) -> Life:
        self.lives += 1
        self.life = Life(self, self.lives)
        return self.life

    async def start_daemon(self) -> Life:
        """A new life, ready when this returns."""
        life = self.new_life()
        self.nursery.start_soon(life.run, name=life.machine)
        await life.begun.wait()
        return life

    def database(self) -> SimDatabase:
        return SimDatabase(self.disk, self.wall)


class Life:
    """One process of the daemon, from start to stop or kill."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.machine = f"otod-{number}"
        self.database = world.database()
        self.vault = FileVault([VAULT_KEY])
        self.scope = trio.CancelScope()
        self.killed = False
        self.begun = trio.Event()
        self.ended = trio.Event()
        self.log = SimLog(world.record)
        dialer = SimDialer(world.net, self.machine)
        outside = Outside(
            wall=world.wall,
            sockets=TrioSockets(dialer),
            sessions=Sessions(REST_BASE, dialer, world.rates, self.vault, world.wall, call_s_max=10.0),
            database=self.database,
            rng=world.rng(f"daemon/{number}"),
            log=self.log,
            bus=EventBus(world.wall, boot=self.machine),
        )
        self.daemon = Daemon(
            outside,
            world.settings,
            ws_public=WS_PUBLIC,
            mode="paper",
            version="sim",
            patience=world.patience,
            on_stuck=self._stuck,
        )

    async def run(self) -> None:
        """Returns when the process is over. Raises: what the daemon ended with, unless it was killed."""
        try:
            with self.scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._live)
        finally:
            self.ended.set()
            if self.world.life is self:
                self.world.life = None

    async def _live(self) -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(self.daemon.run, self._users_in_place)
            self.begun.set()

    def kill(self) -> None:
        """SIGKILL: from this very moment nothing of this process reaches anybody."""
        self.killed = True
        self.database.fenced = True
        self.world.net.kill(self.machine)
        self.scope.cancel()

    async def _users_in_place(self) -> None:
        known = {record.user.user for record in await self.daemon.store.ask(users.LoadUsers())}
        wishes = [
            users.UserWish(
                user=user.name,
                trading=user.trading,
                secrets=users.Secrets(cookies={"paper_account": user.name}, headers={}),
                wanted=user.wanted,
            )
            for user in self.world.options.users
            if user.name not in known
        ]
        now_ms = self.world.wall.now_ms()
        await users.apply(wishes, store=self.daemon.store, vault=self.vault, who="apply", now_ms=now_ms)

    def _stuck(self, paths: tuple[str, ...]) -> None:
        raise Violation(f"stuck: {', '.join(paths)}")


def balance_of(exchange: Exchange, account: str, asset: str) -> Decimal:
    """Free and locked, over all wallets."""
    owner = exchange.audit(account).wallets
    return sum(
        (
            free + locked
            for assets in owner.wallets.values()
            for name, (free, locked) in assets.items()
            if name == asset
        ),
        Decimal(0),
    )
