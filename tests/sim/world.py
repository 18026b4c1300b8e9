"""The whole daemon in the virtual world: the real wiring and actors, the real HTTP and web socket libraries on both
sides, the paper exchange on a machine of its own.

    exchange machine    Exchange + PaperServer + MemoryJournal, lives through everything
    daemon machine      one Life after the other on the same Disk; a life is ended by stop() or, at any step, by kill()

Everything random comes from generators named after the seed, one per purpose.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal
from random import Random
from typing import Any

import trio
from msgspec import Struct

from actors.adapters.limits import LOOPBACK, REAL_HOST
from actors.adapters.paper import PaperServer
from actors.adapters.sim import SimWall
from actors.adapters.sim_net import Calm, SimDialer, SimNet, Weather
from actors.adapters.sim_store import Disk, SimDatabase
from actors.adapters.vault import FileVault
from actors.adapters.websocket import TrioSockets
from actors.desk import Settings
from actors.errors import OtodError
from actors.messages import LoadTrader, LoadTraders, LoadUsers, TraderRecord, Write
from actors.paper.api import Frame, Request, Response
from actors.paper.faults import Faults
from actors.paper.listing import Listing, demo_listing
from actors.paper.machine import Exchange
from actors.paper.market import SyntheticMarket, Traded
from actors.paper.rules import Rules
from actors.ports import Address
from actors.rows import Row
from supervisor import users
from supervisor.bus import EventBus
from supervisor.lifecycle import Happened
from supervisor.sessions import Sessions
from supervisor.wiring import Daemon, Outside, Patience, Telling
from tests.sim.log import Record, SimLog
from tests.sim.options import PACE, QUIET_PACE, Options, UserOptions

DYING_S = 60.0
"""A daemon that gave up in the storm may take so long to end in order."""

RESUMING_S = 120.0
"""A resume waits for a look at the account, and what it ends for the disk."""

HTTP_PORT, WS_PORT = 8701, 8702
REST_BASE = f"http://127.0.0.1:{HTTP_PORT}"
WS_PUBLIC = f"ws://127.0.0.1:{WS_PORT}/w3w/wsa/stream"
WS_USER = f"ws://127.0.0.1:{WS_PORT}/w3w/stream"
VAULT_KEY = "b3RvZCBzaW11bGF0aW9uIGtleSAwMTIzNDU2Nzg5YWI="


class Violation(Struct, frozen=True):
    """Something that must never be."""

    at_s: float
    what: str
    user: str | None

    def __str__(self) -> str:
        return f"{self.at_s:.3f} {self.user or 'all'}: {self.what}"


class Onlooker:
    """Sees what passes between exchange and daemon, and what becomes durable. Checkers are onlookers."""

    def asked(self, request: Request, account: str | None) -> None:
        """A request has arrived at the exchange and is about to be handled."""

    def handled(self, request: Request, account: str | None, response: Response) -> None: ...

    def moved(self) -> None:
        """The exchange has changed."""

    def wrote(self, row: Any) -> None:
        """A row is durable."""

    def acked(self, rows: tuple[Row, ...]) -> None:
        """Whoever wrote these rows has heard that they are durable."""

    def loaded(self, user: str, record: TraderRecord, since: int) -> None:
        """A trader is told what the store knows of it. since: rows on the disk when that was asked."""

    def happened(self, it: Happened) -> None:
        """Something befell an actor."""


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
    """Knows when each row came; by identity, since the same row may be written twice."""

    def __init__(self, onlookers: list[Onlooker]) -> None:
        super().__init__()
        self._onlookers = onlookers
        self._came: dict[int, tuple[int, Any]] = {}

    def came(self, row: Any) -> int | None:
        """The how-manieth row ever written this one was, first of all; None: it never was."""
        found = self._came.get(id(row))
        return None if found is None else found[0]

    def _put(self, row: Any) -> None:
        super()._put(row)
        self._came.setdefault(id(row), (self.rows, row))  # holds the row: else another could get its identity
        for onlooker in self._onlookers:
            onlooker.wrote(row)


class ListJournal:
    """paper_journal.Journal in memory, for long runs."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self.size = 0

    def lines(self) -> Iterator[bytes]:
        return iter(b"".join(self._parts).splitlines(keepends=True))

    def append(self, data: bytes) -> None:
        self._parts.append(data)
        self.size += len(data)

    def replace(self, data: bytes) -> None:
        self._parts, self.size = [data], len(data)


class World:
    """Both machines and what lies between them. Make it inside `sim.play`."""

    def __init__(
        self,
        options: Options,
        *,
        weather: Weather | None = None,
        faults: Faults | None = None,
        listing: Listing | None = None,
        settings: Settings | None = None,
        synthetic: bool = True,
        telling: Callable[[EventBus], Telling] | None = None,
    ) -> None:
        """synthetic: the exchange has a market of its own; else the script is the market. telling: who is told."""
        self.options = options
        self.record = Record()
        self.onlookers: list[Onlooker] = []
        self.violations: list[Violation] = []
        self.broken = trio.Event()  # the first violation
        self.struck: Counter[str] = Counter()  # what happened how often: faults, acts, deaths
        self.commanded: Counter[str] = Counter()  # by path of an actor: ends that somebody asked for, still to come
        self.resumes: list[tuple[str, str, float]] = []  # (user, who, virtual s): somebody asked for the end of pauses
        self.browsers: dict[str, tuple[str | None, float]] = {}  # by user: of the newest credentials; since when
        self.names = tuple(user.name for user in options.users)
        self.net = SimNet(weather or Calm(self.rng("net")))
        self.wall = SimWall(options.start_ms)  # the daemon's
        self.true_wall = SimWall(options.start_ms)  # the exchange's
        self.disk = WatchedDisk(self.onlookers)
        self.database: Callable[[], SimDatabase] = lambda: SimDatabase(self.disk, self.wall)
        self.settings = settings or Settings(ws_user=WS_USER, rotate_s=options.rotate_s)
        self.faults = faults or Faults(rng=self.rng("faults"))
        self.rules = Rules(**options.rules)
        self.listing = listing or demo_listing()
        self.synthetic = synthetic
        self.telling = telling
        self.journal = ListJournal()
        self.exchange = self._new_exchange()
        self.lives = 0
        self.life: Life | None = None
        self.looks: dict[str, list[tuple[float, int, int]]] = {name: [] for name in self.names}  # at s, at ms, since ms
        self.healthy_s = math.inf  # since when nothing has gone wrong any more
        self.closing = False
        self.nursery: trio.Nursery
        self._serving = trio.CancelScope()
        self._http = self.net.listen(HTTP_PORT)
        self._ws = self.net.listen(WS_PORT)

    def violate(self, what: str, user: str | None = None) -> None:
        """Notes a violation; the same one only once."""
        if all((what, user) != (old.what, old.user) for old in self.violations):
            self.violations.append(Violation(trio.current_time(), what, user))
            self.record.add("error", "VIOLATION", {"user": user, "what": what})
            self.broken.set()

    def resumed_at(self, user: str, who: str) -> list[float]:
        """When somebody asked for the end of a user's pauses, as far as it may still be under way; virtual s."""
        since_s = trio.current_time() - RESUMING_S
        return [at_s for asked, name, at_s in self.resumes if (asked, name) == (user, who) and at_s >= since_s]

    def by_hand(self, user: str) -> set[tuple[str, int]]:
        """(symbol, order id) of the orders that the user placed on the web site: the daemon places no plain BUY."""
        orders = self.exchange.audit(user).orders
        return {order.key for order in orders if not order.list_id and order.side == "BUY"}

    def shown(self, user: str, created_ms: int, updated_ms: int) -> bool:
        """Whether the daemon has read, in a healthy world, all that became of an order."""
        healthy = (look for look in self.looks[user] if look[0] >= self.healthy_s)
        return any(since_ms <= created_ms and at_ms > updated_ms for _, at_ms, since_ms in healthy)

    def holdings(self, user: UserOptions) -> list[tuple[str, Decimal]]:
        """(asset, amount) that a user has from elsewhere."""
        ids = [token.alpha_id for token in self.listing.tokens if token.ticker == user.trading.token]
        return [(ids[0], user.holdings)] if user.holdings else []

    def rng(self, purpose: str) -> Random:
        return Random(f"{self.options.seed}/{purpose}")

    # -- the exchange's machine

    def _new_exchange(self) -> Exchange:
        now_ms = self.true_wall.now_ms()
        exchange = self._restored(now_ms)
        for user in self.options.users:
            exchange.deposit(user.name, "funding", "USDT", user.balance - self.rules.start_balance, now_ms)
            for asset, amount in self.holdings(user):
                exchange.deposit(user.name, "alpha", asset, amount, now_ms)
        return exchange

    def _restored(self, now_ms: int) -> Exchange:
        exchange = Exchange.restore(
            self.journal.lines(),
            listing=self.listing,
            rules=self.rules,
            faults=self.faults,
            rng=self.rng(f"exchange/{now_ms}"),
            now_ms=now_ms,
        )
        if self.synthetic:
            traded = list(self._traded(exchange))
            exchange.market = SyntheticMarket(self.options.seed, traded, exchange.now_ms)
        return exchange

    def _traded(self, exchange: Exchange) -> Iterator[Traded]:
        for instrument in self.listing.instruments:
            token = self.listing.token_of(instrument.symbol)
            if instrument.quote_asset == "USDT" and token.ticker in self.options.tokens:
                last = exchange.last_price(instrument.symbol)
                yield Traded(
                    instrument=instrument,
                    price=token.price if last is None else last,
                    anchor=token.price,
                    orders_per_s=PACE.get(token.ticker, QUIET_PACE) * self.options.pace,
                )

    async def serve_exchange(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        with trio.CancelScope() as self._serving:
            server = PaperServer(WatchedExchange(self.exchange, self.onlookers), self.true_wall, self.journal)
            await server.serve([self._http], [self._ws], task_status=task_status)

    async def restart_exchange(self, down_s: float) -> None:
        """The exchange's process dies and comes back with what is in its journal, whatever becomes of the caller."""
        self._http.serving = self._ws.serving = False
        self._serving.cancel()
        for wire in list(self.net.wires.values()):
            wire.reset()
        with trio.CancelScope(shield=True):
            await trio.sleep(down_s)
            self.exchange = self._restored(self.true_wall.now_ms())
            await self.nursery.start(self.serve_exchange)
        self._http.serving = self._ws.serving = True

    # -- the daemon's machine

    @property
    def daemon(self) -> Daemon:
        assert self.life is not None, "no daemon lives"
        return self.life.daemon

    async def start_daemon(self) -> Life:
        """A new life, ready when this returns."""
        self.lives += 1
        life = self.life = Life(self, self.lives)
        self.nursery.start_soon(life.run, name=life.machine)
        await life.begun.wait()
        return life

    async def keep_daemon(self, down_s: Callable[[], float]) -> None:
        """The service manager: one life after the other, until `closing`."""
        while True:
            self.lives += 1
            life = self.life = Life(self, self.lives)
            await life.run()
            if self.closing:
                return
            if trio.current_time() > self.healthy_s + DYING_S and not life.asked_to_stop:
                self.violate(f"the daemon ended in a healthy world: {life.error!r}")
            await trio.sleep(down_s())

    async def stop_daemon(self, drain_s: float) -> None:
        """In order, as at SIGTERM; returns when the process is over."""
        life = self.life
        if life is not None:
            life.asked_to_stop = True
            await life.daemon.stop(drain_s)
            await life.ended.wait()


class Life:
    """One process of the daemon, from start to stop or kill. error: what it ended with by itself."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.machine = f"otod-{number}"
        self.database = world.database()
        self.vault = FileVault([VAULT_KEY])
        self.killed = self.asked_to_stop = False
        self.error: BaseException | None = None
        self.begun = trio.Event()
        self.ended = trio.Event()
        self._scope = trio.CancelScope()
        dialer = SimDialer(world.net, self.machine)
        rates = REAL_HOST if world.options.real_rates else LOOPBACK
        outside = Outside(
            wall=world.wall,
            sockets=TrioSockets(dialer),
            sessions=Sessions(REST_BASE, dialer, rates, self.vault, world.wall, call_s_max=10.0),
            database=self.database,
            rng=world.rng(f"daemon/{number}"),
            log=SimLog(world.record),
            bus=EventBus(world.wall, boot=self.machine),
        )
        self.daemon = Daemon(
            outside,
            world.settings,
            ws_public=WS_PUBLIC,
            mode="paper",
            version="sim",
            patience=Patience(renew_s=world.options.renew_s),
            telling=world.telling(outside.bus) if world.telling is not None else None,
            on_stuck=self._stuck,
        )
        self.daemon.subscribe(self._happened)
        self._listen_in(self.daemon.store)

    async def run(self) -> None:
        """Returns when the process is over."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._live, name=f"{self.machine} daemon")
        except* OtodError as group:
            self.error = group
            self.world.struck["process.died"] += 1
            self.world.record.add("error", "process_died", {"machine": self.machine, "why": repr(group)})
        finally:
            self.world.net.kill(self.machine)
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
        self._scope.cancel()

    async def _users_in_place(self) -> None:
        known = {record.user.user for record in await self.daemon.store.ask(LoadUsers())}
        wishes = [
            users.UserWish(
                user=user.name,
                trading=user.trading,
                secrets=users.Secrets(cookies={"paper_account": user.name}, headers={}),
                wanted="running",
            )
            for user in self.world.options.users
            if user.name not in known
        ]
        now_ms = self.world.wall.now_ms()
        await users.apply(wishes, store=self.daemon.store, vault=self.vault, who="apply", now_ms=now_ms)

    def _stuck(self, paths: tuple[str, ...]) -> None:
        if not self.killed:
            self.world.violate(f"stuck: {', '.join(paths)}")

    def _listen_in(self, store: Address) -> None:
        """What the store says is heard where its asker hears it: nearer to the store, a wrong word would look right."""
        ask = store.ask

        async def heard(question: Any, *, within_s: float | None = None) -> Any:
            since = self.world.disk.rows
            answer = await ask(question, within_s=within_s)
            if not self.killed:
                for onlooker in self.world.onlookers:
                    match question:
                        case Write(rows=rows):
                            onlooker.acked(rows)
                        case LoadTrader(user=user):
                            onlooker.loaded(user, answer, since)
                        case LoadTraders():
                            for user, record in answer.items():
                                if isinstance(record, TraderRecord):
                                    onlooker.loaded(user, record, since)
            return answer

        store.ask = heard  # type: ignore[method-assign]  # an instrument, as the wires and the disk are

    def _happened(self, it: Happened) -> None:
        if not self.killed:
            for onlooker in self.world.onlookers:
                onlooker.happened(it)


def balance_of(exchange: Exchange, account: str, asset: str) -> Decimal:
    """Free and locked, over all wallets."""
    wallets = exchange.audit(account).wallets.wallets.values()
    return sum((sum(assets[asset], Decimal(0)) for assets in wallets if asset in assets), Decimal(0))
